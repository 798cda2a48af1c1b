"""Transposes moved, cancelled and taken into products; and the reference, whose bits know no layout."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import ops, transforms
from monograph.numpy_engine import evaluate
from monograph.op import core_ops
from monograph.rewrite import decompose
from monograph.testing.jobs import recorded
from monograph.testing.oracles import samples_of


def count(graph, name="transpose"):
    return sum(n.op.name == name for n in graph.walk())


def numbers(graph, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s.shape).astype(s.dtype.numpy) for s in graph.input_specs]
    return [x.numpy() for x in mg.tree.leaves(graph.compile("numpy")(*arrays))]


move, S = mg.permute_dims, lambda *n: mg.Spec(n, "float64")

# transposes left; expression
MOVED = {
    "two that cancel around an operation": (0, lambda x: mg.exp(x.T).T, S(3, 4)),
    "a bias along another axis": (
        0, lambda x, b: move(move(x, (0, 3, 1, 2)) + b[None, :, None, None], (0, 2, 3, 1)),
        S(2, 3, 4, 5), S(5),
    ),
    "a product's operands": (0, lambda x, w: w.T @ x.T, S(4, 3), S(3, 5)),
    "a product's result": (0, lambda x, w: (x.T @ w).T, S(4, 3), S(4, 5)),
    "batches of products": (
        0, lambda q, k: move(move(q, (0, 2, 1, 3)) @ move(k, (0, 2, 3, 1)), (1, 0, 3, 2)),
        S(2, 3, 4, 5), S(2, 6, 4, 5),
    ),
    "free axes in another order": (
        1, lambda x, y: mg.tensordot(move(x, (2, 1, 0)), y, axes=((0,), (0,))), S(4, 3, 2), S(2, 5)
    ),
    "a sum": (1, lambda x: mg.sum(move(x, (2, 0, 1)), axis=1), S(4, 3, 2)),
    "a sum that leaves one axis": (0, lambda x: mg.sum(move(x, (2, 0, 1)), axis=(0, 1)), S(4, 3, 2)),
    "a largest, and where": (
        0, lambda x: (mg.max(x.T, axis=0), mg.argmax(x.T, axis=1), mg.argmin(x.T, axis=0)), S(4, 3)
    ),
    "joined": (
        0, lambda x, y: move(mg.concat([move(x, (2, 0, 1)), move(y, (2, 0, 1))], axis=1), (1, 2, 0)),
        S(4, 3, 2), S(5, 3, 2),
    ),
    "padded and cut": (
        0,
        lambda x: ops.slice_(
            ops.pad(x.T, ops.literal(1.0, x.dtype), low=(1, 0), high=(0, -1), interior=(2, 0)),
            start=(1, 0), limit=(8, 2), strides=(2, 1),
        ).T,
        S(4, 3),
    ),
    "softmax along the other axis": (0, lambda x: mg.softmax(x.T, axis=0).T, S(4, 3)),
    "running sums, reversed": (0, lambda x: mg.flip(mg.cumulative_sum(x.T, axis=0), axis=1).T, S(4, 3)),
    "chosen": (0, lambda x: mg.where(x.T > 0, x.T, 1.0).T, S(4, 3)),
    "in a loop": (0, lambda x: mg.fori_loop(0, 3, lambda i, v: mg.sin(v.T).T, x), S(4, 3)),
    "many readers: as it was": (1, lambda x: (x.T, mg.exp(x.T), mg.sin(x.T)), S(4, 3)),
    "not in the way": (1, lambda x, y: x.T + y, S(4, 3), S(3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("what", MOVED)
def test_transposes_move_together(what):
    left, fn, *specs = MOVED[what]
    graph = mg.trace(fn, *specs)
    made = graph.transform(transforms.layout).verify()
    assert count(graph) > 0 and count(made) == left, str(made)
    for a, b in zip(numbers(graph), numbers(made)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def transposed_twice(op, samples):
    """Each sample's operands transposed before the op and handed in the other way round."""
    graph, arrays = recorded(op, samples)

    def fn(*xs):
        back = [mg.permute_dims(x, tuple(range(x.ndim))[::-1]) for x in xs]
        return tuple(mg.tracing.inline(graph, back))

    turned = [np.asarray(a.T, order="C") for a in arrays]
    return mg.trace(fn, *turned), turned, graph, arrays


@pytest.mark.parametrize("op", [op for op in core_ops() if op.samples], ids=lambda op: op.name)
def test_layout_keeps_what_every_op_computes(op):
    d = next(
        (d for d in ("float64", "int32", "bool", "complex128", "uint32") if samples_of_kind(op, d)),
        None,
    )
    if d is None:
        return
    graph, turned, plain, arrays = transposed_twice(op, samples_of(op, d))
    with_layout = decompose(graph.transform(transforms.layout).verify(), lambda o: o.body is None)[
        0
    ]
    want = evaluate(decompose(plain, lambda o: o.body is None)[0], arrays)
    for a, b in zip(want, evaluate(with_layout, turned)):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


def samples_of_kind(op, d):
    return any(k in ("any", d, d.rstrip("0123456789")) for k in op.dtypes)


# ---- the reference: a result depends on values, not on where they lie

LAID_OUT = {
    "reversed": lambda x: ops.reverse(x, axes=(0, 1)),
    "every second": lambda x: ops.slice_(x, start=(0, 0), limit=x.shape, strides=(2, 3)),
    "transposed": lambda x: ops.transpose(x, permutation=(1, 0)),
    "broadcast": lambda x: ops.broadcast_in_dim(x[0], shape=x.shape, dims=(1,)),
}


@pytest.mark.parametrize("view", LAID_OUT.values(), ids=LAID_OUT)
@pytest.mark.parametrize("fn", [mg.tan, mg.exp, mg.sum, lambda x: mg.sum(x, axis=0), lambda x: x @ x.T],
                         ids=["tan", "exp", "sum", "column sums", "product"])  # fmt: skip
def test_the_reference_sums_a_view_as_it_sums_a_copy(view, fn):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (64, 48)).astype("float32")
    seen = mg.trace(view, x).compile("numpy")(x).numpy()
    of_view = mg.trace(lambda x: fn(view(x)), x).compile("numpy")(x).numpy()
    of_copy = mg.trace(fn, seen).compile("numpy")(np.ascontiguousarray(seen)).numpy()
    assert of_view.tobytes() == of_copy.tobytes()


@given(st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 2), st.integers(0, 1))
@settings(max_examples=100, deadline=None)
def test_products_of_transposes_of_any_kind(left, right, contracted, batch):
    shape = np.array((2, 3, 4, 5))
    a, b = (
        np.random.default_rng(i).normal(size=shape[list(p)]) for i, p in enumerate((left, right))
    )

    def fn(a, b):
        a, b = (
            ops.transpose(v, permutation=np.argsort(p).tolist()) for v, p in ((a, left), (b, right))
        )
        axes = tuple(range(batch, batch + contracted))
        over = {"lhs_batching": tuple(range(batch)), "rhs_batching": tuple(range(batch))}
        out = ops.dot_general(a, b, lhs_contracting=axes, rhs_contracting=axes, **over)
        return ops.transpose(out, permutation=tuple(range(out.ndim))[::-1])

    graph = mg.trace(fn, a, b)
    made = graph.transform(transforms.layout).verify()
    want, got = (g.compile("numpy")(a, b).numpy() for g in (graph, made))
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
