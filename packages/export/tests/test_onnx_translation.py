"""Every operation's translation is valid ONNX, and means what the record says to ONNX's own evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from monograph import Spec
from monograph.engine import Engine
from monograph.numpy_engine import evaluate
from monograph.testing.oracles import dtypes_of, samples_of
from monograph.tracing import trace_flat, tracing
from monograph_export.onnx import LOWER, translate
from onnx.reference import ReferenceEvaluator

DTYPES = ("float32", "int32", "bool")
SAMPLED = [op for op in LOWER if any(samples_of(op, d) for d in dtypes_of(op) if d.name in DTYPES)]

# what onnx's evaluator gets wrong or cannot: (op, dtype) -> why
EVALUATOR = {
    ("log_softmax", "float32"): "-inf - -inf on its way",
    ("power", "float32"): "computes in another dtype at infinity",
    ("reduce_window_max", "float32"): "steps out of the array with a dilated window",
    ("reduce_window_min", "float32"): "steps out of the array with a dilated window",
    ("scatter", "float32"): "its maximum and minimum lose NaN",
}


class Exporter(Engine):
    """Decomposes what has no translation."""

    name = "onnx"
    LOWER = LOWER

    @property
    def devices(self):
        from monograph.engine import Device

        return (Device(self, "cpu"),)


def evaluates(op, dtype, attrs):
    """Whether onnx's evaluator can tell; it has no Scan that goes backwards."""
    return (op.name, dtype) not in EVALUATOR and not attrs.get("reverse")


def whole(made):
    """The model with its large constants written into it."""
    model = onnx.ModelProto()
    model.CopyFrom(made.model)
    for t in model.graph.initializer:
        if t.name in made.constants:
            t.CopyFrom(onnx.numpy_helper.from_array(made.constants[t.name], t.name))
    return model


def cases(op):
    for d in dtypes_of(op):
        if d.name in DTYPES:
            for sample in samples_of(op, d):
                with tracing(None):
                    specs = [Spec(x.shape, x.dtype) for x in sample.operands]
                    graph = trace_flat(lambda *xs: op(*xs, **sample.attrs), specs)[0]  # noqa: B023
                yield d.name, sample.attrs, graph, [np.asarray(x) for x in sample.operands]


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_every_translation_is_valid_and_means_what_the_record_says(op):
    checked = 0
    for d, attrs, graph, operands in cases(op):
        if any(s.dtype.name in ("float64", "uint64") for s in graph.output_specs):
            continue  # nothing that is one of DTYPES
        graph = Exporter().prepare(graph)
        made = translate(graph)
        model = whole(made)
        onnx.checker.check_model(model, full_check=True)
        checked += 1
        if not evaluates(op, d, attrs):
            continue
        with np.errstate(all="ignore"):
            got = ReferenceEvaluator(model).run(None, dict(zip(made.inputs, operands)))
            want = evaluate(graph.inline(), operands)
        for a, b in zip(got, want):
            assert np.shape(a) == b.shape
            np.testing.assert_allclose(np.asarray(a, b.dtype), b, rtol=2e-5, atol=1e-5)
    assert checked


def test_numbers_given_become_constants_and_large_ones_stay_outside_the_model():
    import monograph as mg

    graph = mg.trace(lambda x, w, b: x @ w + b, mg.Spec((2, 40)), mg.Spec((40, 9)), mg.Spec((9,)))
    w, b = np.eye(40, 9, dtype="float32"), np.arange(9, dtype="float32")
    made = translate(graph, {1: w, 2: b})
    assert [name is not None for name in made.inputs] == [True, False, False]
    (kept,) = made.constants.values()
    assert kept is w  # not copied
    assert len(made.model.SerializeToString()) < w.nbytes
    x = np.ones((2, 40), "float32")
    got = ReferenceEvaluator(whole(made)).run(None, {made.inputs[0]: x})
    np.testing.assert_allclose(got[0], x @ w + b)


def test_numbers_that_repeat_are_not_written_out():
    import monograph as mg

    graph = mg.trace(lambda x, b: (x - b) * 2 + 1, mg.Spec((8, 5, 5, 3)), mg.Spec((3,)))
    ops = [node.op_type for node in translate(graph).model.graph.node]
    assert "Expand" not in ops and ops.count("Sub") == 1


def test_bounds_by_numbers_are_one_clip():
    import monograph as mg

    graph = mg.trace(lambda x: mg.minimum(mg.maximum(x, 0.0), 6.0), mg.Spec((8,)))
    (node,) = [
        n for n in translate(graph).model.graph.node if n.op_type == "Clip" and len(n.input) == 3
    ]
    assert all(node.input)


def test_attention_is_onnxs_own():
    import monograph as mg

    q = mg.Spec((2, 5, 4, 8))
    graph = mg.trace(lambda q, k, v: mg.attention(q, k, v), q, q, q)
    assert "Attention" in [node.op_type for node in translate(graph).model.graph.node]
