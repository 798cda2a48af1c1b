"""Collectives on four XLA devices, against NumPy on the stacked shards; in a process of its own."""

import os
import subprocess
import sys

import monograph as mg
import pytest
from monograph import ops

CODE = """
import jax, monograph as mg, numpy as np
from jax.sharding import PartitionSpec as P
from monograph import ops
from monograph_xla.lowerings import replay

N = 4
mesh = jax.make_mesh((N,), ("data",))
over = {"axis_name": "data", "size": N}
join = lambda x, axis: np.broadcast_to(np.concatenate(list(x), axis), (N, *np.concatenate(list(x), axis).shape))
every = lambda x: np.broadcast_to(x, (N, *x.shape))
CASES = {  # on the shards stacked [device, ...]; "linear" ones have an adjoint
    "all_reduce": (ops.all_reduce, {}, lambda x: every(x.sum(0)), True),
    "all_reduce product": (ops.all_reduce, {"kind": "multiply"}, lambda x: every(x.prod(0)), False),
    "all_reduce largest": (ops.all_reduce, {"kind": "maximum"}, lambda x: every(x.max(0)), False),
    "all_gather": (ops.all_gather, {"axis": 1}, lambda x: join(x, 1), True),
    "reduce_scatter": (ops.reduce_scatter, {"axis": 0}, lambda x: np.stack(np.split(x.sum(0), N, 0)), True),
    "collective_broadcast": (ops.collective_broadcast, {"root": 2}, lambda x: every(x[2]), True),
    "all_to_all": (
        ops.all_to_all, {"split_axis": 0, "concat_axis": 1},
        lambda x: np.stack([np.concatenate([np.split(p, N, 0)[i] for p in x], 1) for i in range(N)]), True,
    ),
}

def spread_out(graph, *xs):
    # each device runs the graph on its own shard, as a strategy would
    spec = P("data")
    run = lambda *shards: tuple(y[None] for y in replay(graph, [s[0] for s in shards]))
    xs = [jax.device_put(x, jax.sharding.NamedSharding(mesh, spec)) for x in xs]
    out = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))(*xs)
    return [np.asarray(y) for y in out]

rng = np.random.default_rng(0)
for name, (op, attrs, simulate, linear) in CASES.items():
    x = rng.normal(size=(N, 4, 3)).astype("float32")
    want = simulate(x)
    w = rng.normal(size=want.shape).astype("float32")
    def program(x, w):
        y, pull = mg.vjp(lambda x: op(x, **attrs, **over), x)
        return (y, *(pull(w) if linear else ()))
    graph = mg.trace(program, mg.Spec(x.shape[1:]), mg.Spec(w.shape[1:]))
    got, *grads = spread_out(graph, x, w)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)
    for g in grads:  # <w, C x> = <C' w, x>
        np.testing.assert_allclose(np.vdot(w, want), np.vdot(g, x), rtol=1e-4, err_msg=name)
    print("agrees:", name)

x = rng.normal(size=(N, 5)).astype("float32")
(got,) = spread_out(mg.trace(lambda x: mg.grad(lambda v: mg.sum(ops.all_reduce(v, kind="maximum", **over)))(x), mg.Spec((5,))), x)
np.testing.assert_allclose(got, N * (x == x.max(0)), err_msg="gradient of the largest")
(ids,) = spread_out(mg.trace(lambda x: ops.replica_id(**over), mg.Spec((5,))), x)
assert ids.tolist() == [0, 1, 2, 3], ids
print("agrees: all")
"""


def test_collectives_over_four_devices_agree_with_numpy_and_their_gradients_with_the_adjoint():
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "agrees: all"


def test_a_mesh_larger_than_the_engine_is_refused_by_name():
    graph = mg.trace(lambda x: ops.all_reduce(x, size=2), mg.Spec((3,)))
    with pytest.raises(mg.errors.EngineError, match="2 devices"):
        graph.compile("xla")
    with pytest.raises(mg.errors.EngineError, match="2 devices"):
        graph.compile("numpy")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: ops.all_reduce(x, kind="mean"), "kind='mean'"),
        (lambda x: ops.reduce_scatter(x, axis=0, size=2), "2 devices cannot share"),
        (lambda x: ops.all_gather(x, axis=3), "axis 3"),
        (lambda x: ops.collective_broadcast(x, root=1), "root=1"),
    ],
)
def test_mistakes_are_named_at_the_users_line(call, says):
    with pytest.raises(mg.errors.MonographError, match=says) as e:
        mg.trace(call, mg.Spec((3, 2)))
    assert str(e.value).startswith(__file__)
