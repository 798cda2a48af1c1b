"""Random programs keep their bits through passes; and what a wrong pass does is found."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from monograph import ops
from monograph.rewrite import rebuild
from monograph.testing.differ import Trial, on_engine
from monograph.testing.fuzz import findings, graphs, main, program_of
from monograph.testing.programs import random_program

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(st.data())
def test_passes_keep_the_bits_of_random_programs(data):
    program = random_program(lambda n: data.draw(st.integers(0, n - 1)), steps=8)
    assert findings(program, ["numpy"]) == [], program


@pytest.mark.parametrize(
    ("op", "other", "changes"),
    [
        (ops.sine, lambda x: ops.sine(x) * (1 + 1e-12), True),
        (ops.add, lambda a, b: ops.subtract(a, ops.negate(b)), False),  # the same, to the bit
    ],
    ids=["sine", "add"],
)
def test_a_pass_that_changes_numbers_is_found(op, other, changes):
    def swap(graph):
        # a - (-b) of unsigned numbers is the same too
        return rebuild(graph, lambda node, xs: (other(*xs),) if node.op is op else None)

    found = [findings(program_of(seed), [], exact={"swap": swap}, near={}) for seed in range(40)]
    assert any(found) == changes, found


def test_a_crash_of_a_pass_is_a_finding():
    def change(graph):
        raise ValueError("no")

    assert (
        findings(program_of(0), [], exact={"bad": change}, near={})[0]
        == "program, bad: ValueError: no"
    )


def test_rounding_is_no_finding_and_more_than_rounding_is():
    graph = mg.trace(lambda x: mg.sum(mg.exp(x)), mg.Spec((100,), "float64"))
    trial = Trial(graph, [np.linspace(0, 1, 100)])
    (want,) = trial.wanted
    assert trial.problems([want * (1 + 1e-15)]) == []
    assert trial.problems([want * (1 + 1e-15)], exact=True) == ["output 0, float64[]: other bits"]
    assert "differs by" in trial.problems([want * (1 + 1e-11)])[0]
    assert "differs by inf" in trial.problems([want * np.nan])[0]


def test_a_result_that_hangs_on_a_tie_may_come_out_either_way():
    graph = mg.trace(lambda x: (x * 0.1 * 10.0 > x).astype("int32"), mg.Spec((40,), "float64"))
    x = np.arange(40.0)
    trial = Trial(graph, [x])
    assert trial.problems([(trial.wanted[0] == 0).astype("int32")]) == []
    sure = mg.trace(lambda x: (x * 0.1 > x).astype("int32"), mg.Spec((40,), "float64"))
    assert Trial(sure, [x]).problems([(x < 100).astype("int32")]) != []


def test_programs_have_loops_branches_and_most_ops():
    seen = set()
    for seed in range(150):
        for step in program_of(seed).steps:
            seen.add(step.op.name if hasattr(step, "op") else step.kind)
    assert {"scan", "while", "cond", "checkpoint"} <= seen
    assert len(seen) > 120
    assert sum("gradient" in dict(graphs(program_of(s))) for s in range(40)) > 20


def test_the_same_seed_is_the_same_program():
    assert repr(program_of(5)) == repr(program_of(5)) != repr(program_of(6))
    assert program_of(5).graph() == program_of(5).graph()


def test_results_of_an_engine_are_numpy_arrays():
    graph = mg.trace(lambda x: x + 1, mg.Spec((2,)))
    assert on_engine(graph, [np.float32([1, 2])], "numpy")[0].tolist() == [2, 3]


def test_the_command_says_how_many_and_exits_with_0(capsys):
    assert main(["3"]) == 0
    assert "3 programs, 0 with findings" in capsys.readouterr().err
