"""The exact passes on every op record's samples and gradients: not a bit of difference."""

import numpy as np
import pytest
from monograph import ops, transforms
from monograph.numpy_engine import evaluate
from monograph.op import NOT_DIFFERENTIABLE, core_ops, get
from monograph.rewrite import decompose
from monograph.testing.jobs import pulled, recorded
from monograph.testing.oracles import dtypes_of, samples_of
from monograph.tracing import inline, trace_flat, tracing

ALL = {"DEFAULT": transforms.DEFAULT}
OF_INPUTS = {"simplify": transforms.simplify, **ALL}
OF_CONSTANTS = {"fold_constants": transforms.fold_constants, **ALL}


def bits_equal(a, b):
    """To the bit, signs of zeros included; one NaN is as good as another."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind == "c":
        return all(bits_equal(getattr(a, p).copy(), getattr(b, p).copy()) for p in ("real", "imag"))
    nan = a != a
    return np.array_equal(nan, b != b) and a[~nan].tobytes() == b[~nan].tobytes()


def on_numpy(graph, arrays):
    return evaluate(primitive(graph), arrays)


def primitive(graph):
    return decompose(graph, lambda op: op.reference is not None)[0]


def frozen(graph, arrays):
    """The same computation with its inputs as constants: everything in it can be folded."""
    with tracing(None):
        made = trace_flat(
            lambda: tuple(inline(graph, [ops.literal(a) for a in arrays])), [], name="frozen"
        )
    return made[0]


def graphs_of(op):
    """Each record's samples in one graph per dtype, and their gradients; with their inputs."""
    for d in dtypes_of(op):
        samples = samples_of(op, d)
        if samples:
            yield recorded(op, samples)
        smooth = [s for s in samples if s.grad and all(0 < a.size <= 200 for a in s.operands)]
        if smooth and op.vjp is not NOT_DIFFERENTIABLE and d.name in ("float32", "complex64"):
            yield pulled(op, smooth, 1)[:2]


@pytest.mark.parametrize("op", [op for op in core_ops() if op.samples], ids=lambda op: op.name)
def test_exact_passes_change_no_bit_of_an_op_or_its_gradient(op):
    for graph, arrays in graphs_of(op):
        plain = primitive(graph)
        for given, inputs, tried in (
            (graph, arrays, OF_INPUTS), (plain, arrays, OF_INPUTS),
            (frozen(graph, arrays), [], OF_CONSTANTS), (frozen(plain, arrays), [], OF_CONSTANTS),
        ):  # fmt: skip
            want = on_numpy(given, inputs)
            for name, passes in tried.items():
                got = on_numpy(given.transform(passes).verify(), inputs)
                assert all(map(bits_equal, got, want)), (name, graph.name)


def of_constants(op):
    graph, arrays = next(graphs_of(op))
    return frozen(graph, arrays).transform(transforms.DEFAULT)


def test_constants_fold_to_the_last():
    for name in ("add", "tanh", "reduce_sum", "dot_general", "softmax", "sort", "gather"):
        left = {n.op.name for n in of_constants(get(name)).nodes}
        assert left <= {"constant", "broadcast_in_dim"}, name


NOT_FOLDED = [
    "random_bits",
    "check_finite",
    "threefry_2x32",
    "optimization_barrier",
    "while",
    "scan",
    "all_reduce",
]


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_what_draws_loops_or_stands_apart_is_not_folded(name):
    op = get(name)
    assert name in {n.op.name for n in of_constants(op).nodes}
