"""Graphs as text and as files."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import FileFormatError, GraphError
from monograph.graph import Node
from monograph.text import graph_text, parse


def example(x):
    big = np.linspace(0, 1, 20, dtype="float32")
    carry, ys = mg.scan(lambda c, v: (c * v + float("inf") * 0.0, c + v), mg.sum(x * big[:3]), x)
    return {"carry": carry, "ys": [ys, mg.astype(x, "int32")], "big": mg.asarray(big) * 2}


GRAPH = mg.trace(example, mg.Spec((3,), "float32"))


def test_text_reads_back_to_an_equal_graph():
    again = parse(graph_text(GRAPH, full=True))
    assert again == GRAPH and again.fingerprint == GRAPH.fingerprint
    assert (
        graph_text(again.verify(), full=True).splitlines()[0]
        == graph_text(GRAPH, full=True).splitlines()[0]
    )


@pytest.mark.parametrize(
    "line", ["  %1 = nothing(%0) : float32[3]", "  %1 = add(%0, %9) : float32[3]", "  rubbish"]
)
def test_text_that_is_wrong_names_the_line(line):
    with pytest.raises(FileFormatError, match="line 2"):
        parse(f'graph g(%0 "x": float32[3]) {{\n{line}\n  return %0\n}}')


def test_text_is_never_executed():
    with pytest.raises(FileFormatError, match="line 2"):
        parse(
            'graph g(%0 "x": float32[3]) {\n  %1 = reshape(%0) {shape=__import__("os")} : float32[3]\n  return %1\n}'
        )


def test_file_reads_back_and_runs(tmp_path):
    GRAPH.save(tmp_path / "g.monograph")
    again = mg.Graph.load(tmp_path / "g.monograph")
    assert again == GRAPH
    x = np.array([1.0, 2.0, 3.0], "float32")
    got, want = again.compile("numpy")(x), GRAPH.compile("numpy")(x)
    assert set(got) == {"carry", "ys", "big"}
    np.testing.assert_array_equal(got["ys"][0].numpy(), want["ys"][0].numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["g.monograph"], "no temporary file stays"


def test_every_truncation_and_bit_flip_is_detected(tmp_path):
    path = tmp_path / "g"
    GRAPH.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 7, 8, 40, 47, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError, match="g: "):
            mg.Graph.load(path)
    for bit in rng.integers(0, 8 * len(data), 200):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(altered)
        with pytest.raises(FileFormatError):
            mg.Graph.load(path)


def test_verifier_lists_every_broken_rule():
    x = GRAPH.inputs[0]
    bad = Node(mg.ops.add, (x, x), {"extra": 1}, (mg.Spec((2,), "int8"),))
    with pytest.raises(GraphError, match=r"(?s)breaks 2 rule.*attributes.*has specs"):
        mg.Graph([x], bad.outputs).verify()


def test_dot_names_every_op_and_the_inputs():
    text = GRAPH.dot()
    assert (
        text.startswith("digraph") and "scan" in text and "cluster" in text and text.endswith("}")
    )
    assert text.count("{") == text.count("}")
