"""A graph as one self-contained HTML page: a folded tree by scope, without scripts.

Groups are layers' scopes, their heads give the share of the cost; a node's line has its operands,
shapes, attributes and the user's line; loops and branches unfold to their own graphs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from html import escape
from typing import Any

from .cost import number
from .graph import Graph, Node, Value, attr_graphs
from .outline import Group, Shares, attributes, heat, outline

OPEN_BELOW = 40
"""Graphs of at most so many nodes, nested ones included, are unfolded at first."""

STYLE = """
.mg-graph{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:#1c2128;
 background:#fff;border:1px solid #d8dee4;border-radius:6px;padding:10px 14px;max-width:1200px;
 overflow-x:auto}
.mg-graph h4{margin:0 0 2px;font-size:14px;font-weight:600}
.mg-graph .mg-sum{color:#57606a;margin-bottom:8px}
.mg-graph details{margin-left:14px;border-left:1px solid #d8dee4;padding-left:8px}
.mg-graph details.mg-top{margin-left:0;border:0;padding:0}
.mg-graph summary{cursor:pointer;white-space:nowrap;border-radius:4px;padding:0 4px}
.mg-graph summary:hover,.mg-graph .mg-n:hover{background:#f3f6f9}
.mg-graph .mg-n{margin-left:22px;white-space:nowrap;padding:0 4px;border-radius:4px}
.mg-graph .mg-v{color:#8250df}.mg-graph .mg-o{font-weight:600}
.mg-graph .mg-s{color:#0550ae}.mg-graph .mg-a{color:#57606a}
.mg-graph .mg-l{color:#8c959f;font-size:11px;margin-left:8px}
.mg-graph .mg-c{border-radius:8px;padding:0 6px;font-size:11px;margin-left:8px;color:#424a53}
.mg-graph .mg-m{outline:2px solid #cf222e;outline-offset:-1px;background:#ffebe9}
"""


def graph_html(graph: Graph, mark: Collection[Node] = ()) -> str:
    """The page's text; opens in any browser, and notebooks show it.

    Args:
        mark: nodes, of nested graphs too, to point out: they are framed, and what they are in is
            unfolded.

    >>> import monograph as mg
    >>> page = mg.trace(lambda x: x + x, mg.Spec((2,))).html()
    >>> "<details" in page and "float32[2]" in page and "<script" not in page
    True
    """
    cost = graph.cost()
    head = (
        f"{len(graph.nodes)} nodes, {number(cost.flops)}FLOP, moves {number(cost.bytes)}B, "
        f"peak about {number(cost.peak)}B"
    )
    body = _Page(mark).graph(graph, "mg-top", f"graph {escape(graph.name)}", True)
    return (
        f'<div class="mg-graph"><style>{STYLE}</style><h4>{escape(graph.name)}</h4>'
        f'<div class="mg-sum">{escape(head)}</div>{body}</div>'
    )


class _Page:
    """One page in the making."""

    def __init__(self, mark: Collection[Node]):
        self.mark = frozenset(mark)

    def _open(self, unfolded: bool, nodes: Iterable[Node]) -> str:
        return " open" if unfolded or not self.mark.isdisjoint(nodes) else ""

    def graph(self, graph: Graph, css: str, title: str, unfolded: bool) -> str:
        index: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
        for node in graph.nodes:
            index.update((v, len(index) + j) for j, v in enumerate(node.outputs))
        shares = Shares(graph)
        inputs = "".join(
            f'<div class="mg-n"><span class="mg-v">%{i}</span> input '
            f'<span class="mg-a">{escape(v.node.attrs["name"])}</span> {_spec(v)}</div>'
            for i, v in enumerate(graph.inputs)
        )
        if len(graph.inputs) > 8:
            size = number(sum(v.spec.nbytes for v in graph.inputs))
            inputs = (
                f"<details><summary>{len(graph.inputs)} inputs "
                f'<span class="mg-a">{size}B</span></summary>{inputs}</details>'
            )
        rest = self.items(outline(graph), index, shares, sum(1 for _ in graph.walk()) <= OPEN_BELOW)
        outputs = ", ".join(f"%{index[v]}" for v in graph.outputs)
        last = f'<div class="mg-n"><span class="mg-o">return</span> <span class="mg-v">{outputs}</span></div>'
        return (
            f'<details class="{css}"{self._open(unfolded, graph.walk())}><summary>{title}</summary>'
            f"{inputs}{rest}{last}</details>"
        )

    def items(self, group: Group, index: dict, shares: Shares, unfolded: bool) -> str:
        return "".join(
            self.group(item, index, shares, unfolded)
            if isinstance(item, Group)
            else self.node(item, index, shares, unfolded)
            for item in group.items
        )

    def group(self, group: Group, index: dict, shares: Shares, unfolded: bool) -> str:
        nodes = list(group.nodes())
        last = nodes[-1].outputs
        shapes = ", ".join(map(_spec, last[:2]))
        return (
            f"<details{self._open(unfolded, _walk(nodes))}><summary>"
            f'<span class="mg-o">{escape(group.name)}</span> <span class="mg-a">{len(nodes)} nodes</span>'
            f" \u2192 {shapes}{_badge(shares, nodes)}</summary>"
            f"{self.items(group, index, shares, unfolded)}</details>"
        )

    def node(self, node: Node, index: dict, shares: Shares, unfolded: bool) -> str:
        outs = ", ".join(f"%{index[v]}" for v in node.outputs)
        ins = ", ".join(f"%{index[v]}" for v in node.inputs)
        specs = ", ".join(map(_spec, node.outputs))
        attrs = attributes(node)
        line = (
            f'<span class="mg-v">{outs}</span> = <span class="mg-o">{escape(node.op.name)}</span>'
            f'(<span class="mg-v">{ins}</span>) {specs}'
            f'{f""" <span class="mg-a">{escape(attrs)}</span>""" if attrs else ""}'
            f"{_badge(shares, [node])}{_line(node)}"
        )
        inner = list(attr_graphs(node.attrs))
        marked = " mg-m" if node in self.mark else ""
        if not inner:
            return f'<div class="mg-n{marked}">{line}</div>'
        below = "".join(self.graph(g, "", f"{escape(g.name)}", len(inner) == 1) for g in inner)
        opened = self._open(unfolded, (n for g in inner for n in g.walk()))
        return f'<details{opened}><summary class="{marked}">{line}</summary>{below}</details>'


def _walk(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        for g in attr_graphs(node.attrs):
            yield from g.walk()


def _spec(v: Value) -> str:
    return f'<span class="mg-s">{escape(repr(v.spec))}</span>'


def _badge(shares: Shares, nodes: list[Node]) -> str:
    text = shares.text(*nodes)
    if not text:
        return ""
    return f'<span class="mg-c" style="background:{heat(shares.of(*nodes))}">{escape(text)}</span>'


def _line(node: Node) -> str:
    source: Any = node.source
    if source is None:
        return ""
    short = str(source).replace("\\", "/").rpartition("/")[2]
    title = f"{source} in {source.function}" + (" (gradient)" if source.backward else "")
    return f'<span class="mg-l" title="{escape(title)}">{escape(short)}</span>'
