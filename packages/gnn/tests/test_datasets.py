"""Loaders: real files where there are some, made ones elsewhere, and files that are not as they should be."""

import importlib.util
import sys
import types
import warnings
import zipfile

import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, FileFormatError, StorageError
from monograph_gnn import datasets


@pytest.fixture(autouse=True)
def nowhere(request, monkeypatch):
    """No folder of data but those that a test names."""
    if "shared_data" in request.fixturenames:  # which asks for it, too
        request.getfixturevalue("shared_data")
    monkeypatch.delenv("MONOGRAPH_DATA", raising=False)


# ---- Planetoid

FIGURES = {"cora": (2708, 10556, 1433, 7), "citeseer": (3327, 9104, 3703, 6)}


@pytest.mark.parametrize("name", FIGURES)
def test_planetoid_has_the_published_figures(shared_data, name, monkeypatch):
    nodes, edges, features, classes = FIGURES[name]
    task = datasets.planetoid(name.title(), shared_data)
    assert (task.graph.num_nodes, task.graph.index.num_edges) == (nodes, edges)
    assert task.graph.nodes.shape == (nodes, features) and task.classes == classes
    assert np.bincount(task.labels[task.train]).tolist() == [20] * classes
    assert (task.validation.sum(), task.test.sum()) == (500, 1000)
    assert not (task.train & task.validation | task.train & task.test).any()
    total = task.graph.nodes.sum(1)
    np.testing.assert_allclose(total[total > 0], 1, rtol=1e-5)
    raw = datasets.planetoid(name, shared_data / "planetoid", normalize=False).graph.nodes
    assert set(np.unique(raw)) == {0, 1} and ((raw > 0) == (task.graph.nodes > 0)).all()
    pairs = set(zip(task.graph.index.senders.tolist(), task.graph.index.receivers.tolist()))
    assert pairs == {(b, a) for a, b in pairs} and len(pairs) == edges
    monkeypatch.setenv("MONOGRAPH_DATA", str(shared_data))
    assert (datasets.planetoid(name).labels == task.labels).all()


def small(**changes):
    arrays = dict(
        feature_indptr=np.int32([0, 1, 3]), feature_indices=np.int32([2, 0, 1]), feature_values=np.ones(3),
        num_features=np.int32(3), labels=np.int32([1, 0]), edges=np.int32([[0, 1], [1, 0]]),
        train_index=np.int32([0]), validation_index=np.int32([1]), test_index=np.zeros(0, "int32"),
    )  # fmt: skip
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def test_planetoid_reads_what_its_documentation_says(tmp_path):
    np.savez(tmp_path / "cora.npz", **small())
    task = datasets.planetoid("cora", tmp_path)
    assert task.graph.nodes.tolist() == [[0, 0, 1], [0.5, 0.5, 0]]
    assert task.train.tolist() == [True, False] and task.validation.tolist() == [False, True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(labels=None, edges=None), ["there is no labels", "there is no edges"]),
        (dict(edges=np.int32([[0, 9], [1, 0]]), train_index=np.int32([-1])),
         ["edges: 1 ids such as 9 are out of range, of 2", "train_index: 1 ids such as -1"]),
        (dict(feature_indptr=np.int32([0, 9])), ["feature_indptr does not part 3 values among 2 nodes"]),
        (dict(labels=np.float32([1, 0])), ["labels is float32 of 1 axes"]),
        (dict(labels=np.asarray(["a", None], object)), ["no archive of arrays"]),
    ],
)  # fmt: skip
def test_planetoid_files_that_are_wrong_are_refused(tmp_path, changes, said):
    np.savez(tmp_path / "cora.npz", **small(**changes))
    with pytest.raises(FileFormatError) as e:
        datasets.planetoid("cora", tmp_path)
    assert [s for s in said if s not in str(e.value)] == []


def test_planetoid_features_that_are_not_finite_are_refused(tmp_path):
    np.savez(tmp_path / "cora.npz", **small(feature_values=[1, np.inf, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # inf / inf
        with pytest.raises(ArgumentError, match=r"nodes\[1, 0\] is nan"):
            datasets.planetoid("cora", tmp_path)
    (tmp_path / "cora.npz").write_bytes(b"PK no zip")
    with pytest.raises(FileFormatError, match="no archive of arrays"):
        datasets.planetoid("cora", tmp_path)


def test_missing_files_are_all_named_with_where_and_what_to_do(tmp_path):
    with pytest.raises(
        ArgumentError, match=r"Pass folder=, or set MONOGRAPH_DATA .*planetoid/: cora.npz"
    ):
        datasets.planetoid("cora")
    (tmp_path / "ind.cora.graph").touch()
    with pytest.raises(ArgumentError) as e:
        datasets.planetoid("cora", tmp_path)
    for part in (
        "1 of 1 files of cora are missing",
        str(tmp_path / "planetoid"),
        "those are pickles",
    ):
        assert part in str(e.value)
    (tmp_path / "train.txt").write_text("a\tr\tb\n")
    with pytest.raises(ArgumentError) as e:
        datasets.knowledge_graph("umls", tmp_path)
    assert "2 of 3 files" in str(e.value) and "  valid.txt\n  test.txt\n" in str(e.value)
    with pytest.raises(ArgumentError, match="known are citeseer, cora"):
        datasets.planetoid("pubmed", tmp_path)


# ---- knowledge graphs


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("Nations", (14, 55, 1592, 199, 201)),
        ("umls", (135, 46, 5216, 652, 661)),
        ("kinship", (104, 25, 8544, 1068, 1074)),
    ],
)
def test_knowledge_graphs_have_pykeens_figures(name, figures):
    if importlib.util.find_spec("pykeen") is None:
        pytest.skip("needs the files in the package pykeen")
    kg = datasets.knowledge_graph(name)
    sizes = (len(kg.entities), len(kg.relations), *(len(x) for x in kg[2:]))
    assert sizes == figures
    assert kg.entities == sorted(kg.entities)
    for part in kg[2:]:
        assert part.dtype == np.int32 and part.shape[1] == 3
        assert (part >= 0).all() and (part.max(0) < [sizes[0], sizes[1], sizes[0]]).all()
    assert "pykeen" not in sys.modules


def test_triples_are_read_and_numbered(tmp_path):
    (tmp_path / "train.txt").write_text("b\tlikes\ta\n\nc\tknows\tb\r\n", newline="")
    (tmp_path / "test.txt").write_text("ü\tknows\ta\n", encoding="utf-8")
    kg = datasets.read_triples({k: tmp_path / f"{k}.txt" for k in ("train", "test")})
    assert kg.entities == ["a", "b", "c", "ü"] and kg.relations == ["knows", "likes"]
    assert kg.train.tolist() == [[1, 1, 0], [2, 0, 1]] and kg.test.tolist() == [[3, 0, 0]]
    assert kg.validation.shape == (0, 3)
    g = gnn.graph(None, kg.train[:, 0], kg.train[:, 2], edges=kg.train[:, 1], num_nodes=4)
    assert g.edges.tolist() == [1, 0]
    (tmp_path / "train.txt").write_text("a\tr\tb\n\na r b\na\tr\tb\tc\n")
    with pytest.raises(FileFormatError, match=r"line 3 is no head.*'a r b' \(2 lines are none\)"):
        datasets.read_triples({"train": tmp_path / "train.txt"})
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="no text in UTF-8"):
        datasets.read_triples({"train": tmp_path / "train.txt"})
    with pytest.raises(StorageError, match="cannot read"):
        datasets.read_triples({"train": tmp_path / "none.txt"})
    with pytest.raises(ArgumentError, match="needs train"):
        datasets.read_triples({"valid": "x"})


# ---- TU


def tu_files(folder, name="TOY", seed=0, **changes):
    """A dataset of four graphs, one of them without edges, with loops and duplicates."""
    rng = np.random.default_rng(seed)
    sizes, pairs = [3, 4, 1, 5], []
    for n, start in zip(sizes, np.cumsum([0, *sizes])):
        if n > 1:
            pairs += (rng.integers(0, n, (8, 2)) + start + 1).tolist()
    pairs[1] = pairs[0]
    text = lambda rows: "".join(", ".join(map(str, np.atleast_1d(r))) + "\n" for r in rows)
    n, e = sum(sizes), len(pairs)
    parts = {
        "A": text(pairs), "graph_indicator": text(np.repeat(np.arange(4) + 1, sizes)),
        "graph_labels": text([-1, 1, 1, 5]), "node_labels": text(rng.integers(2, 5, n)),
        "node_attributes": text(rng.normal(size=(n, 2)).round(3)),
        "edge_labels": text(rng.integers(0, 3, e)), "edge_attributes": text(rng.normal(size=e).round(3)),
    } | changes  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        (folder / f"{name}_{part}.txt").unlink(missing_ok=True)
        if content is not None:
            (folder / f"{name}_{part}.txt").write_text(content)
    return folder


@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("missing", [(), ("edge_labels", "node_attributes"), ("edge_attributes", "node_labels")])  # fmt: skip
def test_tu_datasets_are_pygs(tmp_path, attributes, missing):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        io = pytest.importorskip("torch_geometric.io", reason="the reference")
    folder = tu_files(tmp_path / "TOY", **dict.fromkeys(missing))
    data, slices, sizes = io.read_tu_data(str(folder), "TOY")
    x, edge_attr = data.x, data.edge_attr
    if not attributes:  # as TUDataset does by default
        x, edge_attr = (
            x[:, sizes["num_node_attributes"] :],
            edge_attr[:, sizes["num_edge_attributes"] :],
        )
    task = datasets.tu("TOY", tmp_path, use_node_attr=attributes, use_edge_attr=attributes)
    assert task.labels.tolist() == data.y.tolist() == [0, 1, 1, 2] and task.classes == 3
    graphs = gnn.unbatch(task.graphs)
    assert len(graphs) == 4
    for k, g in enumerate(graphs):
        if x.shape[1]:
            nodes = slice(*slices["x"][k : k + 2].tolist()) if "x" in slices else slice(0)
            np.testing.assert_allclose(g.nodes, x[nodes].numpy(), rtol=1e-6)
        else:
            assert g.nodes is None
        at = (
            slice(*slices["edge_index"][k : k + 2].tolist())
            if k + 1 < len(slices["edge_index"])
            else slice(0, 0)
        )
        senders, receivers = data.edge_index[:, at].numpy()
        order = np.lexsort((senders, receivers))
        assert g.index.senders.tolist() == senders[order].tolist()
        assert g.index.receivers.tolist() == receivers[order].tolist()
        if edge_attr.shape[1]:
            np.testing.assert_allclose(g.edges, edge_attr[at].numpy()[order], rtol=1e-6)


def test_tu_reads_folders_and_zips_alike(tmp_path):
    plain = datasets.tu("TOY", tu_files(tmp_path / "a" / "tu" / "TOY").parents[1])
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b" / "TOY.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("TOY/README.txt", "hello")
        for p in (tmp_path / "a/tu/TOY").iterdir():
            z.write(p, f"TOY/{p.name}")
    zipped = datasets.tu("TOY", tmp_path / "b")
    np.testing.assert_array_equal(plain.graphs.edges, zipped.graphs.edges)
    np.testing.assert_array_equal(plain.graphs.nodes, zipped.graphs.nodes)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [
        "TOY.zip"
    ]  # nothing was extracted


def test_tu_without_features_or_labels_has_only_graphs(tmp_path):
    only = dict.fromkeys(["graph_labels", "node_labels", "node_attributes", "edge_labels", "edge_attributes"])  # fmt: skip
    task = datasets.tu("TOY", tu_files(tmp_path, **only))
    assert task.graphs.nodes is None and task.graphs.edges is None and task.graphs.num_graphs == 4
    regression = datasets.tu("TOY", tu_files(tmp_path, graph_attributes="0.5, 1\n" * 4))
    assert regression.labels.dtype == np.float32 and regression.labels.shape == (4, 2)
    empty = datasets.tu("TOY", tu_files(tmp_path, **only, A="", graph_attributes=None))
    assert empty.graphs.index.num_edges == 0 and empty.graphs.num_nodes == 13


def test_all_that_is_wrong_with_tu_files_is_said(tmp_path):
    tu_files(tmp_path, A="1, 2\n1, 99\n", node_labels="1\n", graph_labels="1\n2\n", edge_attributes="nan\n1\n")  # fmt: skip
    with pytest.raises(FileFormatError) as e:
        datasets.tu("TOY", tmp_path)
    for part in (
        "A: 1 ids such as 99 are out of range, of 13 nodes", "node_labels: 1 lines, there are 13 nodes",
        "graph_labels: 2 lines, there are 4 graphs", "edge_attributes: 1 numbers are not finite",
        "edge_labels: 24 lines, there are 2 edges",
    ):  # fmt: skip
        assert part in str(e.value)
    for changes, said in (
        (dict(A="1, 4\n"), "1 edges connect different graphs"),
        (dict(A="1 2\n"), "A: could not convert"),
        (dict(A="1, 2, 3\n"), "A: a line is a pair of nodes, not 3 numbers"),
        (dict(graph_indicator="2\n1\n"), "graphs must be numbered from 1"),
    ):
        with pytest.raises(FileFormatError, match=said):
            datasets.tu("TOY", tu_files(tmp_path, **changes))
    with pytest.raises(ArgumentError, match="a name is letters"):
        datasets.tu("../TOY", tmp_path)
    with pytest.raises(
        ArgumentError, match=r"NONE_A.txt, NONE_graph_indicator.txt.*\n  NONE.zip\n.*sha256="
    ):
        datasets.tu("NONE", tmp_path)


# ---- OGB


@pytest.fixture
def ogb(monkeypatch, tmp_path):
    """A package that gives what ogb's documentation says, and the folder of its datasets."""
    rng = np.random.default_rng(0)
    one = lambda n, e: {
        "edge_index": rng.integers(0, n, (2, e)), "edge_feat": rng.normal(size=(e, 3)),
        "node_feat": rng.normal(size=(n, 2)).astype("float32"), "num_nodes": n,
    }  # fmt: skip
    relation = ("author", "writes", "paper")
    mag = {
        "edge_index_dict": {relation: np.asarray([[0, 1], [3, 3]])}, "edge_feat_dict": {},
        "node_feat_dict": {"paper": rng.normal(size=(4, 2))}, "num_nodes_dict": {"paper": 4, "author": 2},
        "node_year": {"paper": np.arange(4)[:, None]}, "edge_reltype": {relation: np.zeros((2, 1), int)},
    }  # fmt: skip
    split = {"train": np.asarray([0, 2]), "valid": np.asarray([1]), "test": np.asarray([3])}
    known = {
        "ogbn-arxiv": ([(one(4, 9) | {"edge_feat": None, "node_year": np.arange(4)[:, None]}, np.asarray([[1], [0], [2], [0]]))], split),
        "ogbn-mag": ([(mag, {"paper": np.asarray([[1], [0], [2], [0]])})], {k: {"paper": v} for k, v in split.items()}),
        "ogbg-molhiv": ([(one(n, 4), np.asarray([n % 2])) for n in (2, 3, 5, 4)], split),
        "ogbg-molpcba": ([(one(n, 4), np.asarray([np.nan, 1.0])) for n in (2, 3, 5, 4)], split),
        "ogbg-code2": ([(one(2, 1), ["get", "name"])], split),
    }  # fmt: skip

    class Loader:
        def __init__(self, name, root):
            assert root == str(tmp_path / "ogb")
            self.items, self.split = known[name]

        def __getitem__(self, i):
            return self.items[i]

        def __len__(self):
            return len(self.items)

        def get_idx_split(self):
            return self.split

    monkeypatch.setitem(sys.modules, "ogb", types.ModuleType("ogb"))
    for kind in ("Node", "Graph"):
        module = types.ModuleType(f"ogb.{kind.lower()}proppred")
        setattr(module, f"{kind}PropPredDataset", Loader)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in known:
        (tmp_path / "ogb" / name.replace("-", "_")).mkdir(parents=True)
    return tmp_path, known


def test_ogbs_nodes(ogb):
    folder, known = ogb
    task = datasets.ogb_nodes("ogbn-arxiv", folder)
    found = known["ogbn-arxiv"][0][0][0]
    np.testing.assert_array_equal(task.graph.nodes["x"], found["node_feat"])
    assert task.graph.nodes["node_year"].shape == (4, 1) and task.graph.edges is None
    assert task.labels.tolist() == [1, 0, 2, 0] and task.labels.dtype == np.int32
    assert [m.tolist() for m in task[2:]] == [
        [True, False, True, False], [False, True, False, False], [False, False, False, True],
    ]  # fmt: skip
    mag = datasets.ogb_nodes("ogbn-mag", folder)
    assert isinstance(mag.graph, gnn.HeteroBatch) and mag.labels.tolist() == [1, 0, 2, 0]
    assert mag.graph.num_nodes("author") == 2 and set(mag.graph.nodes["paper"]) == {
        "x",
        "node_year",
    }
    assert set(mag.graph.edges["author", "writes", "paper"]) == {"edge_reltype"}
    assert mag.train.tolist() == [True, False, True, False]


def test_ogbs_graphs(ogb):
    folder, known = ogb
    task = datasets.ogb_graphs("ogbg-molhiv", folder)
    assert task.labels.tolist() == [0, 1, 1, 0] and task.train.tolist() == [0, 2]
    for one, (found, _) in zip(gnn.unbatch(task.graphs), known["ogbg-molhiv"][0]):
        np.testing.assert_array_equal(one.nodes["x"], found["node_feat"])
        order = np.argsort(found["edge_index"][1], kind="stable")
        np.testing.assert_array_equal(one.edges["edge_attr"], found["edge_feat"][order])
    several = datasets.ogb_graphs("ogbg-molpcba", folder).labels
    assert several.shape == (4, 2) and np.isnan(several[:, 0]).all()
    with pytest.raises(FileFormatError, match="labels are no numbers"):
        datasets.ogb_graphs("ogbg-code2", folder)


def test_what_ogb_needs_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ogb", None)
    with pytest.raises(ArgumentError) as e:
        datasets.ogb_nodes("ogbg-molhiv", tmp_path)
    for part in ("are called ogbn-...", "pip install ogb", "there is no folder ogbg_molhiv in"):
        assert part in str(e.value)
    with pytest.raises(ArgumentError, match="set MONOGRAPH_DATA"):
        datasets.ogb_graphs("ogbg-molhiv")


# ---- edge lists

FORMS = {
    "plain.txt": ("# from to weight\n0 1 0.5\n2 1  1.5 # twice as far\n\n1 1 2\n", {}),
    "comma.csv": ("0,1,0.5\n2, 1,1.5\n1,1,2", {}),
    "tabs.tsv": ("sender\treceiver\tweight\n0\t1\t0.5\n2\t1\t1.5\n1\t1\t2\n", {"header": True}),
    "other.dat": ("0;1;0.5\n2;1;1.5\n1;1;2\n", {"delimiter": ";"}),
}


@pytest.mark.parametrize("file", FORMS)
def test_edge_lists_in_several_forms(tmp_path, file):
    text, options = FORMS[file]
    (tmp_path / file).write_text(text)
    g, names = datasets.read_edges(tmp_path / file, **options)
    assert names is None and g.num_nodes == 3
    assert list(zip(g.index.senders.tolist(), g.edges.tolist())) == [(0, 0.5), (2, 1.5), (1, 2.0)]
    both, _ = datasets.read_edges(tmp_path / file, directed=False, num_nodes=5, **options)
    assert both.index.num_edges == 5 and both.num_nodes == 5  # the loop once
    called, names = datasets.read_edges(tmp_path / file, names=True, **options)
    assert names == ["0", "1", "2"] and called.num_nodes == 3


def test_names_of_nodes(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text('"New York, NY",Rome\nRome,Oslo\n', encoding="utf-8")
    g, names = datasets.read_edges(path, names=True)
    assert names == ["New York, NY", "Rome", "Oslo"] and g.edges is None
    g, names = datasets.read_edges(path, names=["Oslo", "Rome", "New York, NY", "Paris"])
    assert g.num_nodes == 4 and g.index.senders.tolist() == [1, 2]
    with pytest.raises(
        FileFormatError, match="2 names such as 'New York, NY' are not among those given"
    ):
        datasets.read_edges(path, names=["Rome"])


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_edges_written_are_read_again(tmp_path_factory, data):
    text = st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(' ,#"'),
        min_size=1,
    )
    names = data.draw(
        st.lists(text.map(str.strip).filter(len), unique=True, min_size=1, max_size=5)
    )
    n = len(names)
    ids = st.integers(0, n - 1)
    edges = np.asarray(data.draw(st.lists(st.tuples(ids, ids), max_size=8)), "int64").reshape(-1, 2)
    width = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(n)
    values = rng.normal(size=(len(edges), width)).astype("float32") if width else None
    values = values[:, 0] if width == 1 else values
    g = gnn.graph(None, *edges.T, edges=values, num_nodes=n)
    path = tmp_path_factory.mktemp("edges") / data.draw(
        st.sampled_from(["e.csv", "e.tsv", "e.txt"])
    )
    for called in (None, names):
        datasets.write_edges(path, g, names=called)
        back, found = datasets.read_edges(path, names=called or False, num_nodes=n)
        assert found == called
        assert back.index.senders.tolist() == g.index.senders.tolist()
        assert back.index.receivers.tolist() == g.index.receivers.tolist()
        if len(edges) and width:
            np.testing.assert_array_equal(back.edges, g.edges)
        else:
            assert back.edges is None


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("0 1\n1 2 3\n", FileFormatError, "number of columns changed"),
        ("a b\n", FileFormatError, "names=True takes any .*'a'"),
        ("0 1 far\n", FileFormatError, "weights are no numbers .*'far'"),
        ("0 1 nan\n", ArgumentError, r"edges\[0\] is nan"),
        ("0 -1\n", ArgumentError, r"receivers\[0\] is -1"),
        ("0\n", FileFormatError, "a sender and a receiver, the first is '0' alone"),
    ],
)  # fmt: skip
def test_edge_lists_that_are_none_are_refused(tmp_path, text, kind, said):
    (tmp_path / "edges.txt").write_text(text)
    with pytest.raises(kind, match=said):
        datasets.read_edges(tmp_path / "edges.txt")


def test_empty_edge_lists_and_what_cannot_be_written(tmp_path):
    (tmp_path / "none.txt").write_text("# nothing\n")
    g, _ = datasets.read_edges(tmp_path / "none.txt", num_nodes=3)
    assert (g.num_nodes, g.index.num_edges) == (3, 0)
    with pytest.raises(ArgumentError, match="1 different names for 3 nodes; edges hold no array"):
        datasets.write_edges(
            tmp_path / "x.txt", g.replace(edges={"a": np.zeros(0)}), names=["a", "a"]
        )
    assert not (tmp_path / "x.txt").exists()
    with pytest.raises(StorageError, match="cannot read"):
        datasets.read_edges(tmp_path / "no.txt")
