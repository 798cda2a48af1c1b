"""Pictures of graphs: the folded page, DOT and SVG; what they show, and that they are well formed."""

import shutil
import subprocess
from html.parser import HTMLParser

import monograph as mg
import pytest
from monograph.errors import MonographError
from monograph.text import graph_text, parse
from monograph.tracing import in_scope

HOSTILE = 'a"b<script>alert(1)</script>\\&\n'


def model(x, w):
    with in_scope("block0/attention"):
        h = x @ w
    h = mg.relu(h)  # between two layers of a block
    with in_scope("block0/mlp"):
        h = mg.tanh(h @ w)
    h, _ = mg.scan(lambda c, _: (mg.exp(c @ w), None), h, length=3)
    with in_scope("block1"):
        return mg.sum(h * 2.0)


@pytest.fixture(scope="module")
def graph():
    return mg.trace(mg.value_and_grad(model, (0, 1)), mg.Spec((4, 8)), mg.Spec((8, 8)))


class Tree(HTMLParser):
    """The page's tags, all closed, and the text in each ``summary``."""

    def __init__(self, page):
        super().__init__()
        self.stack, self.tags, self.summaries, self.opened = [], set(), [], 0
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.stack.append(tag)
        self.tags.add(tag)
        self.opened += tag == "details" and ("open", None) in attrs
        if tag == "summary":
            self.summaries.append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "summary" in self.stack:
            self.summaries[-1] += data


def test_the_page_is_a_tree_by_scope_without_scripts(graph):
    tree = Tree(graph.html())
    assert tree.tags == {"div", "style", "h4", "details", "summary", "span"}
    heads = [s.split(" ")[0] for s in tree.summaries]
    for name in ("block0", "attention", "mlp", "block1", "backward"):
        assert name in heads
    assert heads.index("block0") < heads.index("attention") < heads.index("mlp")
    assert any("scan(" in s and "FLOP (" in s and "test_pictures.py:" in s for s in tree.summaries)
    assert "float32[4,8]" in graph.html() and "peak about" in graph.html()
    assert graph._repr_html_() == graph.html()


def test_an_operation_between_two_layers_counts_to_their_block(graph):
    from monograph.outline import outline

    block = next(g for g in outline(graph).items if getattr(g, "name", "") == "block0")
    ours = [getattr(i, "name", None) or i.op.name for i in block.items]
    assert ours == ["attention", "relu", "mlp"]
    found = [
        n for item in outline(graph).items for n in getattr(item, "nodes", lambda i=item: [i])()
    ]
    assert tuple(found) == graph.nodes, "every node once, in the graph's order"


def test_small_graphs_are_unfolded_and_big_ones_folded(graph):
    small = mg.trace(model, mg.Spec((4, 8)), mg.Spec((8, 8)))
    tree = Tree(small.html())
    assert tree.opened == len(tree.summaries)
    deep = mg.trace(lambda x: [x := mg.sin(x) for _ in range(100)][-1], mg.Spec(()))
    assert Tree(deep.html()).opened == 1
    big = mg.trace(lambda x: mg.scan(lambda c, _: ([c := mg.sin(c) for _ in range(50)][-1], None),
                                     x, length=2)[0], mg.Spec(()))  # fmt: skip
    assert Tree(big.html()).opened < len(Tree(big.html()).summaries)
    inner = big.nodes[0].attrs["body"].nodes[7]
    marked = big.html(mark=[inner])
    assert Tree(marked).opened == len(Tree(marked).summaries) and marked.count('mg-m"') == 1


def test_names_are_escaped():
    def fn(x):
        with in_scope(HOSTILE):
            return mg.sin(x) + mg.cos(x)

    g = mg.trace(fn, mg.Spec(()))
    page = g.html()
    assert "<script" not in page and "&lt;script&gt;" in page
    Tree(page)
    line = next(line for line in g.dot().splitlines() if "cluster_1" in line)
    assert r"a\"b<script>" in line and line.endswith(";")


def test_dot_has_clusters_by_scope_nested_graphs_lines_and_colours(graph):
    text = graph.dot()
    assert text.startswith("digraph model {") and text.count("{") == text.count("}")
    for label in ('label="attention', 'label="mlp', 'label="backward', "<lambda> of scan"):
        assert label in text
    node = next(line for line in text.splitlines() if 'label="scan' in line)
    assert "float32[4,8]" in node and "test_pictures.py:" in node and 'fillcolor="#ff' in node
    scan = next(n for n in graph.nodes if n.op.name == "scan")
    assert "penwidth=3" in graph.dot(mark=[scan]) and "penwidth" not in text


def test_a_graph_may_have_a_keyword_of_dot_for_its_name():
    def node(x):
        return x

    # digraph node { is a syntax error
    assert mg.trace(node, mg.Spec(())).dot().startswith('digraph "node" {')


def test_without_graphviz_it_says_how_to_install_it(graph, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MonographError, match=r"apt install graphviz.*or use graph.html\(\)"):
        graph.svg()


def test_svg_is_what_graphviz_says(graph, monkeypatch, tmp_path):
    """Without Graphviz here: a stand-in that gets the DOT text and answers, or fails."""

    def run(command, input, **options):
        assert command[1:] == ["-Tsvg"] and input.decode() == graph.dot()
        return subprocess.CompletedProcess(command, fails, b"<svg/>", b"syntax error")

    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/dot")
    monkeypatch.setattr(subprocess, "run", run)
    fails = 0
    assert graph.svg(tmp_path / "g.svg") == "<svg/>" == (tmp_path / "g.svg").read_text()
    fails = 1
    with pytest.raises(MonographError, match="Graphviz failed: syntax error"):
        graph.svg()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_draws_it(graph):
    assert "<svg" in graph.svg() and "attention" in graph.svg()


def test_print_stays_what_parse_reads(graph):
    assert parse(graph_text(graph, full=True)) == graph and str(graph) == graph_text(graph)
