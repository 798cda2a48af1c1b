"""`mg.compare`: two engines node by node, both fed the first one's values."""

import re
from pathlib import Path

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
import torch
from monograph.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6)).astype("float32")
EPS = float(np.finfo("float32").eps)
LINES = {
    m[1]: i
    for i, text in enumerate(Path(__file__).read_text().splitlines(), 1)
    if (m := re.search(r"# (WRONG\w*)$", text))
}


def _wrong(x):
    """Sixteen ulps off in the largest element, right elsewhere."""
    y = (x * 2).clone()
    at = y.abs().argmax()
    y.view(-1)[at] *= 1 + 16 * EPS
    return y


@mg.op(
    infer=lambda x: x, vjp=lambda g, y, x: (g * 2,), samples=lambda d, rng: (),
    lower={"torch": lambda node, device: _wrong},
)  # fmt: skip
def compare_test_doubled(x):
    """Twice; wrong on torch."""
    return x * 2


def model(x):
    y = mg.tanh(x) + 1
    y = compare_test_doubled(y)  # WRONG
    return mg.softmax(y) * mg.sum(y)


@pytest.mark.parametrize("first", ["numpy", "xla"])
def test_the_first_node_that_differs_is_named_with_its_line(first):
    found = mg.compare(model, [X], engines=[first, "torch"])
    assert not found.ok
    row = found.first
    assert (row.op, row.source.file) == ("compare_test_doubled", __file__)
    assert row.source.line == LINES["WRONG"]
    assert row.ulps == pytest.approx(16, rel=0.1) and row.tolerance == 4
    assert sum(row.histogram) == X.size and row.histogram[0] == X.size - 1
    assert found.largest(1) == [row]
    text = str(found)
    assert f"{__file__}:{LINES['WRONG']}" in text and "1 beyond" in text
    assert re.search(r"<=   16 +1 #|<=   64 +1 #", text)


def test_later_nodes_get_the_first_engine_s_values():
    found = mg.compare(model, [X], engines=["numpy", "torch"])
    after = found.rows[found.rows.index(found.first) + 1 :]
    assert after and not any(r.beyond for r in after)


def test_equal_engines_do_not_differ():
    found = mg.compare(model, [X], engines=["numpy", "numpy"])
    assert found.ok and {r.ulps for r in found.rows} == {0.0} and found.first is None
    assert len(found.rows) == len(mg.trace(model, X).nodes)


def in_scan(x):
    def body(c, row):
        c = mg.where(row[0] > 1e3, compare_test_doubled(row), row)  # WRONG_inside
        return c, c

    return mg.scan(body, x[0], x)[1]


def test_loops_are_entered_turn_by_turn():
    x = np.ones((4, 6), "float32")
    found = mg.compare(in_scan, [x], engines=["numpy", "torch"], loops=True)
    assert found.first.source.line == LINES["WRONG_inside"]
    assert [(p.op, p.index, p.count) for p in found.first.places] == [("scan", 0, 4)]
    turns = {p.index for r in found.rows for p in r.places}
    assert turns == {0, 1, 2, 3}
    outside = mg.compare(in_scan, [x], engines=["numpy", "torch"])
    assert outside.ok  # what is chosen is right, and one row stands for the loop
    assert [r.op for r in outside.rows].count("scan") == 1


def test_a_bound_model_a_jitted_function_and_a_graph():
    def bound(scope, x):
        return nn.dense(scope / "logits", x, 3)

    call = mg.Store().bind(bound, "numpy")
    found = mg.compare(call, [X], engines=["numpy", "torch"])
    assert "dot_general" in {r.op for r in found.rows} and found.ok
    jitted = mg.compare(mg.jit(model), [X], engines=["numpy", "numpy"])
    graph = mg.compare(mg.trace(model, X), [X], engines=["numpy", "numpy"])
    assert [r.op for r in jitted.rows] == [r.op for r in graph.rows]


def test_xla_and_torch_agree_on_a_model_and_its_gradient():
    def loss(x):
        return mg.mean(mg.square(mg.softmax(mg.gelu(x @ mg.matrix_transpose(x)))))

    found = mg.compare(mg.value_and_grad(loss), [X], engines=["xla", "torch"])
    assert found.ok, str(found)
    assert max(r.ulps for r in found.rows) > 0


def test_tolerance_and_progress():
    seen = []
    found = mg.compare(
        model, [X], ["numpy", "torch"], tolerance=100, progress=lambda *n: seen.append(n)
    )
    assert found.ok and {r.tolerance for r in found.rows} == {100}
    n = len(found.rows)
    assert seen == [(i, n) for i in range(1, n + 1)]


def test_integers_and_nan_differ_entirely_or_not_at_all():
    def fn(x, i):
        return mg.log(x - 1), i * 2

    found = mg.compare(fn, [X, np.arange(3)], engines=["numpy", "torch"])
    by_op = {r.op: r for r in found.rows}
    assert by_op["log"].ulps < 1 and by_op["multiply"].ulps == 0


def test_bad_input_is_named():
    with pytest.raises(ArgumentError, match="two engines"):
        mg.compare(model, [X], engines=["numpy"])
    with pytest.raises(ArgumentError, match="takes"):
        mg.compare(mg.trace(model, X), [X[0]], engines=["numpy", "torch"])


def test_torch_is_what_is_wrong_here():
    x = torch.tensor([1.0, 2.0])
    assert (_wrong(x) != 2 * x).tolist() == [False, True]
