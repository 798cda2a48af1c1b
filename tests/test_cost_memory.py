"""Estimated peak memory against what XLA says it allocates, and the tables of a graph's cost."""

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph.liveness import peak_bytes

pytest.importorskip("jax", reason="XLA's buffer assignment is the reference")


def mlp(x, *weights):
    for w in weights:
        x = mg.tanh(x @ w)
    return mg.sum(x * x)


def attention(q, k, v):
    return mg.sum(mg.attention(q, k, v))


def cnn(x, first, second):
    return mg.mean(mg.relu(mg.conv(mg.relu(mg.conv(x, first)), second)))


def recurrence(x, w):
    return mg.sum(mg.scan(lambda c, _: (mg.tanh(c @ w), None), x, length=10)[0])


KERNELS = (mg.Spec((3, 3, 16, 32)), mg.Spec((3, 3, 32, 32)))
SQUARE = mg.Spec((256, 256))
GRAPHS = {
    "mlp": (mg.grad(mlp, (0, 1, 2, 3)), (mg.Spec((128, 256)), SQUARE, SQUARE, SQUARE)),
    "attention": (mg.grad(attention, (0, 1, 2)), [mg.Spec((4, 128, 8, 32))] * 3),
    "cnn": (mg.grad(cnn, (1, 2)), (mg.Spec((8, 32, 32, 16)), *KERNELS)),
    "recurrence": (mg.grad(recurrence, (0, 1)), (mg.Spec((128, 256)), SQUARE)),
    "loop": (
        lambda x, w: mg.scan(lambda c, _: (mg.tanh(c @ w), c), x, length=10),
        (mg.Spec((128, 256)), SQUARE),
    ),
    "elementwise": (lambda x: mg.sum(mg.exp(mg.sin(x) * mg.cos(x))), (mg.Spec((100000,)),)),
    "sort": (lambda x: mg.sort(x * 2.0) + mg.cumulative_sum(x), (mg.Spec((100000,)),)),
    "softmax": (lambda x: mg.softmax(x @ x.T), (mg.Spec((1000, 100)),)),
}


def allocated_by_xla(graph):
    m = graph.compile("xla").executable.memory_analysis()
    return (
        m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes
        - m.alias_size_in_bytes
    )  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_the_estimated_peak_is_within_a_factor_of_two_of_what_xla_allocates(name):
    fn, specs = GRAPHS[name]
    graph = mg.trace(fn, *specs)
    assert 0.5 <= graph.cost().peak / allocated_by_xla(graph) <= 2


def test_the_estimated_peak_of_a_resnet_is_within_a_fifth_of_what_xla_allocates():
    call = mg.Store(seed=0).bind(zoo.resnet, "numpy", blocks=(1, 1, 1, 1), classes=10)
    graph = call.trace(np.zeros((4, 64, 64, 3), "float32"))
    assert 0.8 <= graph.cost().peak / allocated_by_xla(graph) <= 1.2


def test_peaks_counted_by_hand():
    x = mg.Spec((1000,))  # 4000 bytes
    assert peak_bytes(mg.trace(lambda x: x, x)) == 4000
    assert peak_bytes(mg.trace(lambda x: mg.exp(x), x)) == 8000
    assert peak_bytes(mg.trace(lambda x: mg.exp(mg.sin(x)), x)) == 8000, "overwrites sin's result"
    both = mg.trace(lambda x: (y := mg.sin(x), mg.exp(y)), x)
    assert peak_bytes(both) == 12000, "sin's result is an output: it stays"
    assert peak_bytes(mg.trace(lambda x: mg.reshape(mg.sin(x), (10, 100)), x)) == 8000
    twice = mg.trace(lambda x: mg.cond(mg.sum(x) > 0, lambda: mg.exp(x), lambda: x), x)
    assert 8000 <= peak_bytes(twice) <= 8008, "input, result, and the few bytes of the index"
    loop = mg.trace(lambda x: mg.scan(lambda c, _: (mg.exp(mg.sort(c)), c), x, length=3), x)
    # input, last carry, three stacked, and one in the body
    assert 4000 * 6 <= peak_bytes(loop) <= 4000 * 7


def test_bytes_and_flops_of_loops_count_per_turn_and_of_branches_the_dearer():
    w = mg.ones((5, 5))
    once = mg.trace(lambda x: x @ w, mg.Spec((1, 5))).cost()
    many = mg.trace(lambda x: mg.scan(lambda c, _: (c @ w, None), x, length=7)[0], mg.Spec((1, 5)))
    assert (many.cost().flops, many.cost().bytes) == (7 * once.flops, 7 * once.bytes)
    assert (once.flops, once.bytes, once.constants) == (50, 4 * (5 + 25 + 5), 100)
    either = mg.trace(
        lambda x: mg.cond(mg.sum(x) > 0, lambda: x @ w, lambda: x + 1.0), mg.Spec((1, 5))
    )
    assert [r.key for r in either.cost().rows() if r.key in ("dot_general", "add")] == [
        "dot_general"
    ]


def test_flops_are_what_jax_counts():
    jax = pytest.importorskip("jax", reason="XLA's cost analysis is the reference")
    graph = mg.trace(lambda x, w: mg.maximum(x @ w, 0.0) @ w, mg.Spec((64, 64)), mg.Spec((64, 64)))
    theirs = jax.jit(lambda x, w: jax.numpy.maximum(x @ w, 0) @ w)
    x = jax.numpy.zeros((64, 64))
    counted = theirs.lower(x, x).compile().cost_analysis()["flops"]
    assert graph.cost().flops == counted


def test_tables_name_operations_lines_and_scopes():
    call = mg.Store(seed=0).bind(zoo.resnet, "numpy", blocks=(1, 1), classes=10)
    cost = call.trace(np.zeros((1, 32, 32, 3), "float32")).cost()
    by_op, by_line = cost.table(), cost.table("line")
    assert by_op.splitlines()[1].startswith("convolution")
    assert __file__ in by_line or "resnets.py:" in by_line
    assert "stage1/block1/layer2" in cost.table("scope", limit=None)
    assert (
        sum(r.flops for r in cost.rows("scope")) == cost.flops == sum(r.flops for r in cost.rows())
    )
    assert "and " in cost.table("scope", limit=2).splitlines()[-1]
    assert "peak about" in str(cost) and by_line in str(cost)
    with pytest.raises(ArgumentError, match=r"test_cost_memory.py:\d+: by='shape'.*'line'"):
        cost.rows("shape")
