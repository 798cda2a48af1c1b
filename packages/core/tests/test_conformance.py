"""The conformance kit on the NumPy engine, and that it catches planted faults."""

import numpy as np
from monograph import ops
from monograph.numpy_engine import NumpyEngine, execute
from monograph.testing import run


class Faulty(NumpyEngine):
    """NumPy with one op broken."""

    name = "faulty"

    def __init__(self, op, fault):
        self.broken, self.fault = op, fault

    def compile(self, graph, options):
        def step(node, xs):
            out = execute(node, xs)
            return [self.fault(y) for y in out] if node.op is self.broken else out

        return lambda *buffers: graph.replay(buffers, step)


def outcomes(engine, op):
    return {(r.dtype, r.check): r.outcome for r in run(engine, [op]).rows if r.op == op}


def test_numpy_passes_its_own_records_quickly():
    report = run("numpy", quick=True)
    assert report.ok, [r for r in report.rows if r.outcome == "failed"]


def test_gradients_are_checked_to_second_order():
    got = outcomes("numpy", "tanh")
    assert got["float64", "gradient"] == got["float64", "second"] == "passed"


def test_a_wrong_value_a_wrong_dtype_and_a_wrong_shape_are_caught():
    faults = (lambda y: y * np.float32(1.001), lambda y: y.astype("float16"), lambda y: y[None])
    for fault in faults:
        got = outcomes(Faulty(ops.tanh, fault), "tanh")
        assert got["float32", "value"] == "failed"


def test_a_record_with_a_wrong_gradient_is_caught(monkeypatch):
    monkeypatch.setattr(ops.tanh, "vjp", lambda g, y, x: (g * (1.0 - y),))
    assert outcomes("numpy", "tanh")["float64", "gradient"] == "failed"


def test_an_engine_that_lacks_an_op_refuses_it_by_name():
    class Partial(NumpyEngine):
        def supports(self, op):
            return op is not ops.tanh and super().supports(op)

    rows = run(Partial(), ["tanh"]).rows
    assert {r.outcome for r in rows if r.op == "tanh"} == {"skipped"}
    assert rows[-1].outcome == "passed" and rows[-1].note == "lacks tanh"
