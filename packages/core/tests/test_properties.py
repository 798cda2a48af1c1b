"""Properties of every graph, tree and spec, on random ones: passes and files change nothing."""

import math
import pickle
from collections import namedtuple

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import tree
from monograph.errors import DTypeError, FileFormatError, GraphError, ShapeError
from monograph.graph import Graph
from monograph.numpy_engine import evaluate
from monograph.op import core_ops
from monograph.rewrite import decompose, simplify
from monograph.spec import Spec
from monograph.testing.distance import distance, same
from monograph.testing.oracles import samples_of
from monograph.text import graph_text, parse
from monograph.tracing import inline, trace_flat, tracing


def applications():
    """Every (op, sample) of the records in a few dtypes: what random graphs are made of."""
    out = []
    for op in core_ops():
        if "collectives" in op.__module__:
            continue  # they need the replicas' axis
        for name in ("float64", "float32", "complex128", "int32", "uint32", "bool"):
            kind = name.rstrip("0123456789")
            if any(k in ("any", kind, name) for k in op.dtypes):
                out += [(op, sample) for sample in samples_of(op, name)]
    return out


APPLICATIONS = applications()


@st.composite
def programs(draw):
    """A raw graph of one to five ops, wired where specs fit, and inputs for it."""
    steps = draw(st.lists(st.sampled_from(APPLICATIONS), min_size=1, max_size=5))
    choices = draw(st.lists(st.integers(0, 7), min_size=30, max_size=30))
    arrays = [x for _, sample in steps for x in sample.operands]

    def run(*inputs):
        fresh, values, pick = iter(inputs), [], iter(choices * 10)
        for op, sample in steps:
            operands = []
            for _ in sample.operands:
                given = next(fresh)
                known = [v for v in values if v.spec is given.spec]
                operands.append(known[next(pick) % len(known)] if known and next(pick) else given)
            out = op(*operands, **sample.attrs)
            values += out if op.multi else [out]
        return tuple(values[next(pick) % len(values) :])

    with tracing(None):
        graph, out_tree, _ = trace_flat(run, [Spec.of(x) for x in arrays])
    _, in_tree = tree.flatten((tuple(arrays), {}))
    return Graph(graph.inputs, graph.outputs, in_tree, out_tree), arrays


def results(graph, arrays):
    plain, missing = decompose(graph, lambda op: op.reference is not None)
    assert not missing
    return evaluate(plain, arrays)


def assert_same(graph, other, arrays):
    for a, b in zip(results(graph, arrays), results(other, arrays), strict=True):
        assert same(a, b)


SETTINGS = settings(max_examples=120, deadline=None)


@SETTINGS
@given(programs(), st.lists(st.integers(1, 60), min_size=1, max_size=3, unique=True))
def test_a_graph_split_anywhere_computes_the_same_and_joins_to_itself(program, places):
    graph, arrays = simplify(program[0]), program[1]
    try:
        split = graph.split(sorted(places))
    except GraphError as e:
        assert "is not in 1 .. " in str(e) or "would have no operations" in str(e)
        return
    assert split.join().verify() == graph
    got = split.run(arrays, lambda k, part, xs: results(part.graph.verify(), xs))
    for a, b in zip(results(graph, arrays), got, strict=True):
        assert same(a, b)


@SETTINGS
@given(programs())
def test_simplify_changes_no_bit_and_is_done_after_once(program):
    graph, arrays = program
    small = simplify(graph.verify()).verify()
    assert len(small.nodes) <= len(graph.nodes)
    assert small.output_specs == graph.output_specs
    assert simplify(small) == small
    assert_same(graph, small, arrays)


@SETTINGS
@given(programs())
def test_decompose_leaves_primitives_and_changes_no_bit(program):
    graph, arrays = program
    plain, missing = decompose(graph, lambda op: not op.is_composite)
    assert not missing and not any(node.op.is_composite for node in plain.verify().walk())
    # only the composites' bodies are new: a second time finds nothing to do
    assert decompose(plain, lambda op: not op.is_composite)[0] == plain
    assert_same(graph, plain, arrays)


@SETTINGS
@given(programs())
def test_text_reads_back_to_the_same_graph(program):
    graph, arrays = program
    again = parse(graph_text(graph, full=True))
    assert again == graph and again.fingerprint == graph.fingerprint
    assert_same(graph, again, arrays)


@SETTINGS
@given(programs())
def test_a_file_reads_back_to_the_same_graph(tmp_path_factory, program):
    graph, arrays = program
    path = tmp_path_factory.mktemp("graphs") / "graph"
    graph.save(path)
    again = mg.Graph.load(path)
    assert again == graph
    assert (again.in_tree, again.out_tree) == (graph.in_tree, graph.out_tree)
    assert_same(graph, again, arrays)


@SETTINGS
@given(programs())
def test_another_graph_has_another_fingerprint(program):
    graph, _ = program
    more = Graph(graph.inputs, (*graph.outputs, graph.outputs[0]))
    fewer = Graph(graph.inputs, graph.outputs[1:])
    assert len({graph, more, fewer}) == 3
    assert Graph(graph.inputs, graph.outputs, name="another") == graph, "names do not count"


def test_every_altered_byte_and_every_truncation_is_refused(tmp_path):
    path = tmp_path / "graph"
    mg.trace(lambda x: x + np.arange(3.0), mg.Spec((3,), "float64")).save(path)
    data = path.read_bytes()
    for i in range(len(data)):
        altered = bytearray(data)
        altered[i] ^= 1 << (i % 8)
        path.write_bytes(altered)
        with pytest.raises(FileFormatError):
            mg.Graph.load(path)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError):
            mg.Graph.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(FileFormatError):
        mg.Graph.load(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_graph_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="file: "):
        mg.Graph.load(path)


# ---- trees

Pair = namedtuple("Pair", "left right")
TREES = st.recursive(
    st.integers(),
    lambda inner: st.one_of(
        st.none(),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=12,
)


@given(TREES)
def test_trees_are_put_back_as_they_were(t):
    leaves, treedef = tree.flatten(t)
    again = tree.unflatten(treedef, leaves)
    assert again == t and type(again) is type(t)
    assert tree.count(treedef) == len(leaves) == len(tree.paths(t)) == len(set(tree.paths(t)))
    assert tree.map(lambda leaf: leaf, t) == t
    assert hash(treedef) == hash(tree.flatten(again)[1])
    assert tree.flatten(tree.unflatten(treedef, range(len(leaves))))[0] == list(range(len(leaves)))


@given(TREES, TREES)
def test_trees_of_two_structures_are_told_apart(a, b):
    one, other = tree.flatten(a)[1], tree.flatten(b)[1]
    assert (one == other) == (tree.describe(one) == tree.describe(other) and type(a) is type(b))


# ---- specs

DTYPES = st.sampled_from(["bool", "int8", "uint64", "float32", "float64", "complex128"])


@given(st.lists(st.integers(0, 9), max_size=5), DTYPES)
def test_equal_specs_are_one_object(shape, dtype):
    s = Spec(shape, dtype)
    assert s is Spec(tuple(shape), np.dtype(dtype)) is pickle.loads(pickle.dumps(s))
    assert s.size == math.prod(shape) and s.nbytes == s.size * np.dtype(dtype).itemsize
    assert s is Spec.of(np.empty(shape, dtype)) and s.with_() is s


@given(
    st.lists(st.integers(0, 5), max_size=3),
    st.one_of(st.integers(max_value=-1), st.floats(), st.text(), st.none()),
    st.integers(0, 3),
)
def test_an_axis_that_is_no_length_is_named(shape, axis, at):
    at = min(at, len(shape))
    with pytest.raises(ShapeError, match=f"axis {at} is "):
        Spec([*shape[:at], axis, *shape[at:]])


@pytest.mark.parametrize("dtype", ["object", "U3", None, 3, np.dtype("M8[s]"), "int128"])
def test_what_is_no_dtype_is_refused(dtype):
    with pytest.raises(DTypeError):
        Spec((), dtype)


@SETTINGS
@given(programs(), st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_batch_of_a_graph_is_the_graph_of_each(program, choices):
    graph, arrays = program
    batched = [b for b, _ in zip(choices, arrays)]
    with np.errstate(all="ignore"):
        near = [x + x / 64 if x.dtype.kind in "fc" else x for x in arrays]
    lanes = [arrays, [(y if b else x) for x, y, b in zip(arrays, near, batched)]]
    stacked = [np.stack(pair) if b else pair[0] for *pair, b in zip(*lanes, batched)]
    axes = tuple(0 if b else None for b in batched)
    fn = mg.vmap(lambda *xs: tuple(inline(graph, xs)), axes, axis_size=2)
    got = fn.on("numpy")(*stacked)
    for i, want in enumerate(zip(*[results(graph, xs) for xs in lanes], strict=True)):
        d = graph.output_specs[i].dtype
        # sums may come out in another order, and the ops after them amplify that
        assert distance(got[i].numpy(), np.stack(want), d) <= 256
