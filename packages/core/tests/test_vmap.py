"""vmap: what becomes of a graph, what ops from outside may say, and what it answers to bad input."""

import re

import monograph as mg
import numpy as np
import pytest
from monograph import ops
from monograph.errors import ArgumentError, AxisError, ShapeError, TraceError
from monograph.op import _REGISTRY

RNG = np.random.default_rng(2)


def count(fn, *args):
    """op -> how many nodes of it a traced function has, nested graphs included."""
    found = {}
    for node in mg.trace(fn, *args).walk():
        found[node.op.name] = found.get(node.op.name, 0) + 1
    return found


# ---- what becomes of a graph


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None), (1, 2)], ids=str)
def test_a_batched_product_is_one_product(axes):
    a, b = RNG.normal(size=(3, 3, 3)), RNG.normal(size=(3, 3, 3))
    shared = [x if i is not None else x[0] for x, i in zip((a, b), axes)]
    product = mg.vmap(mg.matmul, axes)
    found = count(product, *shared)
    assert found.pop("dot_general") == 1 and found.keys() <= {"transpose"}
    lanes = [[x if i is None else np.take(x, k, i) for x, i in zip(shared, axes)] for k in range(3)]
    np.testing.assert_allclose(product(*shared).numpy(), [x @ y for x, y in lanes], 1e-12, 1e-14)


def test_gradients_of_each_sample_have_no_loop_and_three_products_per_layer():
    shapes = [(4, 8), (8, 8), (8, 2)]
    params = [RNG.normal(size=s) for s in shapes]

    def loss(params, x, y):
        for w in params[:-1]:
            x = mg.tanh(x @ w)
        return mg.sum((x @ params[-1] - y) ** 2)

    x, y = RNG.normal(size=(16, 4)), RNG.normal(size=(16, 2))
    each = mg.vmap(mg.grad(loss), (None, 0, 0))
    found = count(each, params, x, y)
    assert "scan" not in found and "while" not in found
    assert found["dot_general"] == 3 * len(shapes) - 1  # the input's own gradient is not asked for
    want = [[g.numpy() for g in mg.grad(loss)(params, a, b)] for a, b in zip(x, y)]
    for g, w in zip(each(params, x, y), zip(*want), strict=True):
        np.testing.assert_allclose(g.numpy(), np.stack(w), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "axes"),
    [
        (ops.softmax, [(3, 4)], {"axis": 1}, (0,)),
        (ops.log_softmax, [(3, 4)], {"axis": 0}, (0,)),
        (ops.gelu, [(3, 4)], {}, (0,)),
        (ops.silu, [(3, 4)], {}, (0,)),
        (ops.layer_norm, [(3, 4), (4,), (4,)], {"epsilon": 1e-3}, (0, None, None)),
        (ops.rms_norm, [(3, 4), (4,)], {"epsilon": 1e-3}, (0, None)),
        (ops.batch_norm_training, [(3, 4), (4,), (4,)], {"epsilon": 1e-3}, (0, 0, None)),
        (ops.attention, [(2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 4)], {}, (0, None, 0)),
        (ops.attention, [(2, 3, 2, 4)] * 3 + [(1, 2, 3, 3)], {"is_causal": True}, (0, 0, 0, None)),
        (ops.adam_update, [(), (), (3,), (3,), (3,), (3,)], {"count": 1}, (None, None, 0, 0, 0, 0)),
        (ops.sgd_update, [(), (3,), (3,)], {"count": 1}, (None, 0, 0)),
        (ops.solve, [(3, 3), (3, 2)], {}, (0, None)),
        (ops.det, [(3, 3)], {}, (0,)),
    ],
    ids=lambda v: v.name if isinstance(v, mg.Op) else "",
)
def test_a_composite_stays_one(op, operands, attrs, axes):
    xs = [mg.Spec((5, *s) if a == 0 else s, "float32") for s, a in zip(operands, axes)]
    found = count(mg.vmap(lambda *v: op(*v, **attrs), axes), *xs)
    assert found[op.name] == 1


def test_one_matrix_with_many_right_hand_sides_is_factored_once():
    a, b = RNG.normal(size=(3, 3)), RNG.normal(size=(7, 3))
    (node,) = [
        n for n in mg.trace(mg.vmap(mg.linalg.solve, (None, 0)), a, b).walk() if n.op is ops.solve
    ]
    assert [v.shape for v in node.inputs] == [(3, 3), (3, 7)]


def test_pooling_stays_pooling():
    x = mg.Spec((5, 2, 6, 6, 3), "float32")
    attrs = {"window": (1, 2, 2, 1), "strides": (1, 2, 2, 1), "padding": ((0, 0),) * 4,
             "base_dilation": (1,) * 4, "window_dilation": (1,) * 4}  # fmt: skip
    graph = mg.trace(mg.vmap(lambda v: ops.reduce_window_max(v, **attrs)), x)
    (node,) = [n for n in graph.nodes if n.op is ops.reduce_window_max]
    assert node.inputs[0].shape == (10, 6, 6, 3) and node.attrs["window"] == (1, 2, 2, 1)


def test_what_does_not_depend_on_the_batch_is_computed_once():
    def fn(w, x):
        return mg.sin(w) * x, mg.cos(w)

    graph = mg.trace(mg.vmap(fn, (None, 0), (0, None)), np.ones(3), np.ones((5, 3)))
    assert {n.op.name: n.outputs[0].shape for n in graph.nodes if n.op in (ops.sine, ops.cosine)} == {
        "sine": (3,), "cosine": (3,),
    }  # fmt: skip


def test_a_loop_whose_length_is_shared_stays_as_it_is():
    def fn(x):
        return mg.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 2), (0, x))[1]

    (loop,) = [n for n in mg.trace(mg.vmap(fn), np.ones((4, 2))).nodes if n.op is ops.while_]
    assert [v.shape for v in loop.outputs] == [(), (4, 2)]
    assert "select" not in count(mg.vmap(fn), np.ones((4, 2)))


def test_a_scan_has_its_length_first_and_the_lanes_inside():
    def fn(xs):
        return mg.scan(lambda c, x: (c + 1, x * 2), 0, xs)

    (loop,) = [n for n in mg.trace(mg.vmap(fn), np.ones((4, 7, 2))).nodes if n.op is ops.scan]
    assert [v.shape for v in loop.outputs] == [(), (7, 4, 2)]  # the counter is shared
    assert mg.vmap(fn)(np.ones((4, 7, 2)))[0].tolist() == [7] * 4


def test_nodes_keep_the_line_of_the_function_mapped():
    def fn(x):
        return mg.cumulative_sum(x)

    graph = mg.trace(mg.vmap(fn), np.ones((2, 3)))
    (node,) = [n for n in graph.nodes if n.op is ops.cumsum]
    assert node.source.function == "fn"


def test_a_number_in_every_element_stays_one_for_engines_to_see():
    graph = mg.trace(mg.vmap(lambda x: x * 2.0 + 1.0), np.ones((4, 3)))
    spread = [n for n in graph.nodes if n.op is ops.broadcast_in_dim]
    assert [v.shape for n in spread for v in (*n.inputs, *n.outputs)] == [(), (4, 3)] * 2


def test_a_jacobian_takes_up_to_64_rows_at_once_and_more_in_blocks():
    def fn(x):
        return mg.sin(x) * mg.sum(x)

    for n, loops in ((64, 0), (65, 1), (130, 1)):
        x = RNG.normal(size=n)
        assert count(mg.jacobian(fn), x).get("scan", 0) == loops
        want = np.diag(np.cos(x) * x.sum()) + np.sin(x)[:, None]
        np.testing.assert_allclose(mg.jacobian(fn)(x).numpy(), want, rtol=1e-12, atol=1e-12)
    assert mg.jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)


def test_a_tall_jacobian_does_not_hold_a_square_of_its_rows():
    tall = mg.trace(mg.jacobian(lambda p: mg.sin(mg.arange(2000.0) * p[0]) + p[1]), mg.Spec((2,)))
    cost = tall.cost()
    assert cost.constants < 100_000 and cost.peak < 2000 * 2000 * 4


# ---- where it may be called


def test_a_batch_of_none_is_empty_and_gradients_of_it_are_zero():
    attrs = {"strides": (1,), "padding": ((0, 0),), "lhs_dilation": (1,), "rhs_dilation": (1,)}

    def fn(w, x, kernel):
        y = mg.cond(mg.sum(x) > 0, lambda v: v @ w, lambda v: v[:2], x)
        z = ops.convolution(x[None, :, None], kernel, **attrs)
        return mg.scan(lambda c, r: (c + r, c), y, mg.stack([y, y]))[1], z

    f = mg.vmap(fn, (None, 0, 0))
    w, none, kernels = RNG.normal(size=(3, 2)), np.zeros((0, 3)), np.zeros((0, 2, 1, 4))
    assert [y.shape for y in f(w, none, kernels)] == [(0, 2, 2), (0, 1, 2, 4)]
    total = mg.grad(lambda w: mg.sum(f(w, none, kernels)[0]))
    assert total(w).tolist() == np.zeros((3, 2)).tolist()


def test_axis_size_where_nothing_is_mapped():
    f = mg.vmap(lambda x: x * 2, in_axes=None, axis_size=3)
    assert f(np.float32(1)).tolist() == [2, 2, 2]
    assert mg.vmap(lambda: mg.ones(2), axis_size=2)().shape == (2, 2)
    assert mg.vmap(lambda x: x, axis_size=2)(np.ones(2)).shape == (2,)


def test_inside_scan_cond_jit_and_on_an_engine():
    w = RNG.normal(size=(3,))

    def step(c, x):
        y = mg.cond(
            x[0] > 0,
            lambda: mg.vmap(mg.sin)(x) * c,
            lambda: mg.vmap(lambda v: v * w)(c[:, None])[:, 0],
        )
        return y, mg.vmap(lambda a, b: a * b, (0, None))(y, x[0])

    def plain(c, x):
        y = mg.cond(x[0] > 0, lambda: mg.sin(x) * c, lambda: c * w[0])
        return y, y * x[0]

    xs, c = RNG.normal(size=(5, 3)), RNG.normal(size=(3,))
    total = lambda body: lambda c: sum(map(mg.sum, mg.scan(body, c, xs)))
    for wrap in (mg.jit, mg.grad):
        np.testing.assert_allclose(
            wrap(total(step))(c).numpy(), wrap(total(plain))(c).numpy(), 1e-13
        )
    assert mg.vmap(mg.sin).on("numpy")(xs).device.engine.name == "numpy"


def test_a_function_may_read_tensors_and_values_around_it():
    held = mg.tensor([1.0, 2.0])
    f = mg.jit(lambda x, y: mg.vmap(lambda v: v * held[0] + y)(x))
    assert f(mg.tensor([1.0, 2.0]), mg.tensor(10.0)).tolist() == [11.0, 12.0]


def test_a_custom_gradient_may_read_a_value_around_the_map():
    def outer(x, k):
        f = mg.custom_vjp(lambda v: v * 1.0)
        f.defvjp(lambda v: (v * 1.0, None), lambda res, g: (g * k,))
        return mg.sum(mg.vmap(f)(x))

    assert mg.grad(outer)(mg.tensor([1.0, 2.0]), mg.tensor(5.0)).tolist() == [5.0, 5.0]


# ---- ops from outside


@pytest.fixture
def outside():
    """Makes an op that is forgotten after the test."""
    made = []

    def make(batch=None):
        def vmap_test(x, y):
            """The smaller of the sums of ``x`` and of ``y``, and of ``x`` the sum."""
            return np.minimum(x.sum(), y.sum()), x.sum()

        made.append(mg.op(
            infer=lambda x, y: (x.with_(()), x.with_(())), batch=batch, multi=True,
            vjp=lambda g, y, a, b: (ops.broadcast_in_dim(g[1], shape=a.shape, dims=()), None),
            samples=lambda d, rng: [],
        )(vmap_test))  # fmt: skip
        return made[-1]

    yield make
    for op in made:
        _REGISTRY.pop(op.name)


def test_an_op_without_a_rule_runs_in_a_loop(outside):
    op = outside()
    x, y = RNG.normal(size=(4, 2)), RNG.normal(size=(3,))
    f = mg.vmap(op, (0, None))
    assert count(f, x, y)["scan"] == 1
    np.testing.assert_allclose(f(x, y)[0].numpy(), np.minimum(x.sum(1), y.sum()))
    by_x = mg.vmap(mg.grad(lambda a, b: op(a, b)[1] ** 2), (0, None))(x, y).numpy()
    np.testing.assert_allclose(by_x, 2 * x.sum(1, keepdims=True) * np.ones((4, 2)))


def test_an_op_may_bring_its_own_rule(outside):
    seen = []

    def rule(op, xs, batched, lanes, /):
        seen.append((op, batched, lanes.size))
        sums = [mg.sum(lanes.of(x, b), axis=1) for x, b in zip(xs, batched)]
        return mg.minimum(*sums), sums[0]

    op = outside(rule)
    x, y = RNG.normal(size=(4, 2)), RNG.normal(size=(3,))
    got = mg.vmap(op, (0, None))(x, y)
    assert seen == [(op, [True, False], 4)]
    np.testing.assert_allclose(got[0].numpy(), np.minimum(x.sum(1), y.sum()))


# ---- bad input


X, Y = np.ones((3, 4)), np.ones((5, 4))
LINE = re.escape(__file__) + r":\d+: vmap of "


@pytest.mark.parametrize(
    ("error", "call", "says"),
    [
        (ShapeError, lambda: mg.vmap(mg.add)(X, Y),
         r"add: mapped axes must have one length, but arg\[0\] has length 3 along axis 0, arg\[1\] has "
         r"length 5 along axis 0"),
        (ShapeError, lambda: mg.vmap(lambda t, *, s: s, in_axes=-1)({"a": X, "b": (Y, X[0])}, s=Y),
         r"arg\[0\]\['a'\] has length 4 along axis 1, arg\[0\]\['b'\]\[0\] has length 4 along axis 1, "
         r"arg\[0\]\['b'\]\[1\] has length 4 along axis 0, s has length 5 along axis 0"),
        (ShapeError, lambda: mg.vmap(mg.sin, axis_size=7)(X), r"axis_size is 7, arg\[0\] has length 3"),
        (AxisError, lambda: mg.vmap(mg.add, (2, -3))(X, Y),
         r"arg\[0\] has shape \(3, 4\) and no axis 2; arg\[1\] has shape \(5, 4\) and no axis -3"),
        (AxisError, lambda: mg.vmap(mg.sin)(1.0), r"arg\[0\] has shape \(\) and no axis 0"),
        (ArgumentError, lambda: mg.vmap(mg.add, (0,))(X, X), r"in_axes has 1 entries for 2 positional"),
        (ArgumentError, lambda: mg.vmap(mg.sin, None)(X), "no argument is mapped; axis_size= must say"),
        (ArgumentError, lambda: mg.vmap(mg.sin, axis_size=-1)(X), "axis_size=-1 must be an int >= 0"),
        (ArgumentError, lambda: mg.vmap(mg.sin, axis_size=3.0)(X), "axis_size=3.0 must be an int"),
        (ArgumentError, lambda: mg.vmap(mg.sin, ({"a": 0},))(X),
         r"in_axes=\(\{'a': 0\},\) does not fit the arguments, which nest as \(\*,\)"),
        (ArgumentError, lambda: mg.vmap(lambda t: t, ({"b": 0},))({"a": X}), "does not fit the arguments"),
        (ArgumentError, lambda: mg.vmap(mg.sin, 0.5)(X), "in_axes holds 0.5; an entry is an int or None"),
        (ArgumentError, lambda: mg.vmap(mg.sin, (True,))(X), "in_axes holds True"),
        (ArgumentError, lambda: mg.vmap(lambda x: {"y": x}, out_axes={"y": None})(X),
         r"result\['y'\] depends on mapped arguments, so out_axes=None cannot give it once"),
        (ArgumentError, lambda: mg.vmap(lambda x: (x, x), out_axes=(0, 0, 0))(X),
         r"out_axes=\(0, 0, 0\) does not fit the results, which nest as \(\*, \*\)"),
        (AxisError, lambda: mg.vmap(lambda x: (x, x), out_axes=(2, -3))(X),
         r"result\[0\] has 2 axes and no axis 2; result\[1\] has 2 axes and no axis -3"),
    ],
)  # fmt: skip
def test_bad_input_is_named_at_the_users_line(error, call, says):
    with pytest.raises(error, match=LINE + ".*" + says):
        call()


def test_an_error_of_the_function_speaks_of_one_example():
    def fn(x):
        return mg.matmul(x, x)

    with pytest.raises(ShapeError, match=rf"test_vmap.py:{fn.__code__.co_firstlineno + 1}: .*4, 5"):
        mg.vmap(fn)(np.ones((3, 4, 5)))


def test_a_condition_in_python_says_what_to_do():
    with pytest.raises(TraceError, match=r"test_vmap.py.*Use mg.where or mg.cond"):
        mg.vmap(lambda x: x if x > 0 else -x)(np.ones(3))


@pytest.mark.parametrize("policy", ["save_nothing", "save_products", "save_everything"])
def test_what_checkpoint_keeps_is_kept_per_lane(policy):
    def energy(w, x):
        return mg.sum(mg.sin(mg.tanh(x @ w) @ w))

    rng = np.random.default_rng(0)
    w, xs = rng.normal(size=(4, 4)), rng.normal(size=(3, 2, 4))
    kept = mg.checkpoint(energy, getattr(mg.transforms.policies, policy))
    want = mg.vmap(mg.grad(energy), (None, 0))(w, xs).numpy()
    np.testing.assert_array_equal(mg.vmap(mg.grad(kept), (None, 0))(w, xs).numpy(), want)
    total = mg.grad(lambda w: mg.sum(mg.vmap(kept, (None, 0))(w, xs)))(w)
    np.testing.assert_allclose(total.numpy(), want.sum(0), rtol=1e-12)
