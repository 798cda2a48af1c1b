"""Graph stores: built in memory and in chunks, mapped from files, and files that are not what they say."""

import os

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, DTypeError, FileFormatError, ShapeError, StorageError
from monograph_gnn import edge_index
from monograph_gnn.sampling import GraphStore, NeighborSampler, build_store

graphs = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n[0] - 1), st.integers(0, n[1] - 1)))
    )
)


def ends(edges):
    pairs = np.asarray(edges, "int64").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@given(graphs)
def test_a_store_holds_the_edges_by_receiver_then_sender(graph):
    (n_senders, n), edges = graph
    store = GraphStore.from_edges(*ends(edges), n, n_senders)
    receivers = np.repeat(np.arange(n), np.diff(store.offsets))
    assert [*zip(receivers, store.senders)] == sorted((r, s) for s, r in edges)
    assert [edges[i] for i in store.places] == [*zip(store.senders, receivers)]
    every = np.indices((n_senders, n)).reshape(2, -1)
    assert store.has_edge(*every).tolist() == [pair in set(edges) for pair in zip(*every)]


@settings(deadline=None, max_examples=30)
@given(graphs, st.integers(1, 4), st.booleans())
def test_a_store_built_in_chunks_is_the_one_built_at_once(tmp_path_factory, graph, size, places):
    (n_senders, n), edges = graph
    path = tmp_path_factory.mktemp("store") / "g.safetensors"
    chunks = (ends(edges[i : i + size]) for i in range(0, len(edges), size))  # one walk only
    built = build_store(path, chunks, n, n_senders, places=places)
    want = GraphStore.from_edges(*ends(edges), n, n_senders)
    for name in ("offsets", "senders", *(["places"] if places else [])):
        np.testing.assert_array_equal(getattr(built, name), getattr(want, name))
        assert getattr(built, name).dtype == getattr(want, name).dtype
    assert (built.places is None) is not places
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_blocks_of_rows_are_ordered_one_by_one(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("monograph_gnn.sampling.building.BLOCK", 50)
    edges = rng.integers(0, 40, (2, 1000))
    built = build_store(tmp_path / "g", [edges[:, :300], edges[:, 300:]], 40)
    np.testing.assert_array_equal(built.senders, GraphStore.from_edges(*edges, 40).senders)


def test_a_saved_store_is_mapped_and_small(tmp_path, rng):
    edges, nodes = 1_000_000, 100_000
    path = tmp_path / "g.safetensors"
    made = GraphStore.from_edges(*rng.integers(0, nodes, (2, edges)), nodes)
    made.save(path)
    opened = GraphStore.open(path)
    for name in ("offsets", "senders", "places"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(made, name))
        assert not getattr(opened, name).flags.owndata
        assert not getattr(opened, name).flags.writeable
    assert opened.check() is opened
    assert os.path.getsize(path) < 20 * edges  # ten million edges: less than 200 MB
    assert opened.num_senders == nodes
    assert GraphStore.open(path, mapped=False).senders.flags.writeable


def test_weights_are_saved_too(tmp_path):
    store = GraphStore.from_edges([0, 1, 2], [0, 0, 0], 3).with_weights([1, 0, 3])
    store.save(tmp_path / "g")
    opened = GraphStore.open(tmp_path / "g")
    total = opened.cumulative[-1]
    np.testing.assert_allclose(opened.cumulative / total, [0.25, 0.25, 1])


def test_from_index_leaves_out_padding():
    index, _ = edge_index([0, 2, 1], [1, 0, 0], num_nodes=3)
    from monograph_gnn.batches import padded_index

    store = GraphStore.from_index(padded_index(index, 7))
    assert store.senders.tolist() == [1, 2, 0]
    assert repr(store) == "GraphStore(3 edges, 3 nodes)"


@pytest.mark.parametrize("keep", [0, 5, 8, 40, 200, -1])
def test_a_truncated_file(tmp_path, keep):
    path = tmp_path / "g"
    GraphStore.from_edges([0, 1, 2], [1, 2, 0], 3).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    with pytest.raises(FileFormatError, match="damaged"):
        GraphStore.open(path)


GOOD = {"offsets": np.asarray([0, 1, 3]), "senders": np.asarray([1, 0, 1], "int32")}
NOTE = {"format": "monograph-graph-1", "num_senders": "2"}


@pytest.mark.parametrize(
    ("arrays", "note", "message"),
    [
        ({}, {"format": "else"}, "its format is 'else'"),
        ({}, {}, "its format is None"),
        ({}, {"num_senders": "many"}, "invalid literal"),
        ({}, {"num_senders": "-3"}, "num_senders is -3"),
        ({}, {"num_senders": "1"}, r"senders\[0\] is 1, of 1 nodes"),
        ({"senders": None}, NOTE, "there is no array 'senders'"),
        ({"extra": np.zeros(1)}, NOTE, "'extra' is no array of a graph"),
        ({"senders": np.zeros(3)}, NOTE, "senders is float64"),
        ({"offsets": np.asarray([[0, 1, 3]])}, NOTE, "offsets is int64"),
        ({"offsets": np.asarray([0, 1, 4])}, NOTE, "offsets go from"),
        ({"offsets": np.asarray([1, 1, 3])}, NOTE, "offsets go from"),
        ({"offsets": np.zeros(0, "int64")}, NOTE, "offsets go from"),
        ({"offsets": np.asarray([0, 5, 3])}, NOTE, r"offsets\[2\] is less"),
        ({"senders": np.asarray([1, 0, -7], "int32")}, NOTE, r"senders\[2\] is -7"),
        ({"senders": np.asarray([1, 1, 0], "int32")}, NOTE, r"must ascend; senders\[2\]"),
        ({"places": np.zeros(2, "int32")}, NOTE, "places has 2 entries for 3 edges"),
    ],
)
def test_a_file_that_holds_something_else(tmp_path, arrays, note, message):
    whole = {k: v for k, v in {**GOOD, **arrays}.items() if v is not None}
    note = {**({} if note == {} else NOTE), **note}
    mg.save_safetensors(whole, tmp_path / "g", note)
    with pytest.raises(FileFormatError, match=message):
        GraphStore.open(tmp_path / "g")


def test_no_file(tmp_path):
    with pytest.raises(StorageError, match="cannot read"):
        GraphStore.open(tmp_path / "none")
    with pytest.raises(StorageError, match="cannot write"):
        build_store(tmp_path / "none" / "g", [([0], [0])], 1)


def test_check_looks_at_every_edge(rng):
    store = GraphStore.from_edges(*rng.integers(0, 50, (2, 100_000)), 50)
    store.senders[54_321] = 50
    with pytest.raises(ArgumentError, match=r"senders\[54321\] is 50, of 50 nodes"):
        store.check()


def test_what_cannot_be_a_store():
    with pytest.raises(ArgumentError, match=r"senders\[1\] is 3, of 3 nodes.*receivers\[0\] is -1"):
        GraphStore.from_edges([0, 3], [-1, 0], 3)
    with pytest.raises(DTypeError, match="senders must be integers"):
        GraphStore.from_edges([0.5], [0], 3)
    with pytest.raises(ShapeError, match="must both be"):
        GraphStore.from_edges([0, 1], [0], 3)
    store = GraphStore.from_edges([0, 1], [0, 1], 2)
    with pytest.raises(ShapeError, match=r"weights must be \[2\]"):
        store.with_weights([1.0])
    with pytest.raises(ArgumentError, match=r"weights\[1\] is nan"):
        store.with_weights([1.0, np.nan])
    with pytest.raises(ArgumentError, match="receivers: 2 is no node of 2"):
        store.has_edge([0], [2])


def test_a_bad_chunk_is_named_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "g"
    build_store(path, [([0], [1])], 2)
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"in chunk 1: receivers\[0\] is 9, of 2 nodes"):
        build_store(path, [([0], [1]), ([0], [9])], 2)

    def failing():
        yield [0], [1]
        raise OSError("the disk of the caller")

    with pytest.raises(OSError, match="the disk of the caller"):
        build_store(path, failing(), 2)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["g"]


@pytest.mark.parametrize("native", ["0", "1"])
def test_damage_that_opening_does_not_see_is_found_while_sampling(monkeypatch, native):
    monkeypatch.setenv("MONOGRAPH_NATIVE", native)
    store = GraphStore.from_edges([1, 2, 3], [0, 1, 2], 4)
    sampler = NeighborSampler(store, (2, 2), 1)
    sampler.stores[("node", "to", "node")].senders[1] = 77
    with pytest.raises(FileFormatError, match=r"damaged at senders\[1\]"):
        sampler.sample([0])
    assert sampler.sample([2]).node_ids.tolist()[:2] == [2, 3]
    sampler.stores[("node", "to", "node")].offsets[1] = 1 << 40
    with pytest.raises(FileFormatError, match=r"damaged at offsets\[[01]\]"):
        sampler.sample([0])
