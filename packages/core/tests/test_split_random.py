"""Random programs split at random: joined to the bit what they were, gradients within rounding."""

import numpy as np
import pytest
from monograph import ops
from monograph.autodiff import value_and_grad
from monograph.errors import GraphError, NotDifferentiable
from monograph.numpy_engine import evaluate
from monograph.rewrite import decompose
from monograph.spec import Spec
from monograph.testing.differ import Trial
from monograph.testing.fuzz import findings, program_of
from monograph.tracing import trace

SEEDS = [*range(40), 149, 176, 234, 599]  # barriers and loops of constants, loops off the path


def reference(graph, arrays):
    return evaluate(decompose(graph, lambda op: op.reference is not None)[0], arrays)


def cut_at_random(graph, seed):
    """A split in two to four parts; None if the graph is too small for any that was tried."""
    rng = np.random.default_rng(seed)
    for parts in (4, 3, 2, 2, 2):
        if len(graph.nodes) > parts:
            places = rng.choice(np.arange(1, len(graph.nodes)), parts - 1, replace=False)
            try:
                return graph.split(sorted(map(int, places)))
            except GraphError as e:
                assert "would have no operations" in str(e)
    return None


def in_parts(graph, seed):
    split = cut_at_random(graph, seed)
    if split is None:
        return graph
    joined = split.join()
    assert joined == graph
    return joined


def total_of(program):
    """The sum of a program's floats as a function of its floats, and these."""
    floats = [x for x in program.inputs if x.dtype.kind == "f"]

    def total(*xs):
        out = program(*xs, *program.inputs[len(xs) :])
        smooth = [ops.convert(y, dtype="float64") for y in out if y.dtype.is_inexact]
        return sum(
            (ops.reduce_sum(y, axes=tuple(range(y.ndim))) for y in smooth),
            ops.full(0, Spec((), "float64")),
        )

    return total, floats


def gradient_findings(seed):
    total, floats = total_of(program_of(seed))
    specs, places = list(map(Spec.of, floats)), tuple(range(len(floats)))
    try:
        whole = trace(value_and_grad(total, places), *specs)
    except NotDifferentiable:
        return []
    split = cut_at_random(trace(total, *specs), seed)
    if split is None or not floats:
        return []
    parts = split.value_and_grad(places)
    for part in parts.parts:
        part.graph.verify()
    got = parts.run(floats, lambda k, part, xs: reference(part.graph, xs))
    return Trial(whole, floats).problems(got)


@pytest.mark.parametrize("seed", SEEDS)
def test_split_programs_are_joined_to_the_bit(seed):
    program = program_of(seed)
    split = {"split": lambda g: in_parts(g, seed), "inline": lambda g: g.inline()}
    assert findings(program, [], exact=split) == [], program


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_split_programs_are_those_of_the_whole(seed):
    assert gradient_findings(seed) == [], program_of(seed)


def test_enough_programs_are_split():
    graphs = [program_of(seed).graph() for seed in SEEDS]
    assert sum(cut_at_random(g, s) is not None for s, g in enumerate(graphs)) > 30
