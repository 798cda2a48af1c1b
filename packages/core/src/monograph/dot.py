"""A graph in Graphviz's DOT language, and as SVG where Graphviz is installed.

Boxes have the op, shapes, the user's line, and a colour by cost; layers' scopes and nested graphs are
clusters.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .errors import MonographError
from .graph import Graph, Node, Value, attr_graphs
from .outline import Group, Shares, attributes, heat, outline

_STYLE = """  graph [fontname="Helvetica", fontsize=11, color="#b6bfc9", style="rounded", compound=true, nodesep=0.25,
    ranksep=0.35];
  node [shape=box, style="rounded,filled", fillcolor="white", color="#8c959f",
    fontname="Helvetica", fontsize=10, margin="0.12,0.06"];
  edge [color="#57606a", arrowsize=0.6, fontname="Helvetica", fontsize=8, fontcolor="#57606a"];"""


def graph_dot(graph: Graph, mark: Collection[Node] = ()) -> str:
    """DOT text, nodes in ``mark`` framed. Render it with ``dot -Tsvg``, or by `Graph.svg`.

    >>> import monograph as mg
    >>> print(mg.trace(lambda x: x + x, mg.Spec((2,))).dot().splitlines()[0])
    digraph main {
    """
    lines = [f"digraph {_id(graph.name)} {{", _STYLE]
    _Drawing(lines, mark).graph(graph, "g", "  ")
    return "\n".join([*lines, "}"])


def graph_svg(graph: Graph, path: Any = None, mark: Collection[Node] = ()) -> str:
    """SVG text of `graph_dot`; written to ``path`` too if one is given.

    Raises:
        MonographError: Graphviz is not installed, or failed.
    """
    program = shutil.which("dot")
    if program is None:
        raise MonographError(
            "graph.svg() draws with Graphviz, whose program 'dot' is not on the PATH. Install it "
            "(apt install graphviz, brew install graphviz, conda install graphviz, or "
            "https://graphviz.org/download), or use graph.html(), which needs nothing."
        )
    done = subprocess.run(
        [program, "-Tsvg"], input=graph_dot(graph, mark).encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise MonographError(f"Graphviz failed: {done.stderr.decode(errors='replace')[:2000]}")
    svg = done.stdout.decode()
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


_KEYWORDS = frozenset(("digraph", "edge", "graph", "node", "strict", "subgraph"))


def _id(s: str) -> str:
    return s if s.isidentifier() and s.lower() not in _KEYWORDS else _quote(s)


def _quote(s: str) -> str:
    escaped = s.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


class _Drawing:
    """The lines of one drawing."""

    def __init__(self, lines: list[str], mark: Collection[Node]):
        self.lines, self.mark = lines, frozenset(mark)
        self.clusters = 0

    def graph(self, graph: Graph, prefix: str, pad: str) -> None:
        """Inputs, nodes and outputs; ``prefix`` keeps names of nested graphs apart."""
        names: dict[Node, str] = {n: f"{prefix}_{i}" for i, n in enumerate(graph.nodes)}
        for i, v in enumerate(graph.inputs):
            names[v.node] = f"{prefix}_in{i}"
            self._box(names[v.node], [v.node.attrs["name"], repr(v.spec)], pad, "#ddf4ff")
        self._items(outline(graph), names, Shares(graph), pad)
        for node in graph.nodes:
            for v in dict.fromkeys(node.inputs):
                self._edge(v, names[v.node], names[node], pad)
        for i, v in enumerate(graph.outputs):
            out = f"{prefix}_out{i}"
            self._box(out, [f"output {i}", repr(v.spec)], pad, "#dafbe1")
            self._edge(v, names[v.node], out, pad)

    def _items(self, group: Group, names: dict[Node, str], shares: Shares, pad: str) -> None:
        for item in group.items:
            if not isinstance(item, Group):
                self._node(item, names[item], shares, pad)
                continue
            label = f"{item.name}  {shares.text(*item.nodes())}".strip()
            with_pad = self._open(label, pad)
            self._items(item, names, shares, with_pad)
            self.lines.append(f"{pad}}}")

    def _open(self, label: str, pad: str) -> str:
        self.clusters += 1
        self.lines.append(f"{pad}subgraph cluster_{self.clusters} {{ label={_quote(label)};")
        return pad + "  "

    def _node(self, node: Node, name: str, shares: Shares, pad: str) -> None:
        source = str(node.source or "")
        short = source.replace("\\", "/").rpartition("/")[2]
        cost = shares.text(node)
        text = [
            node.op.name,
            *(repr(v.spec) for v in node.outputs),
            " ".join(filter(None, (short, cost))),
        ]
        tooltip = "\n".join(filter(None, (attributes(node, 300), source)))
        frame = ', color="#cf222e", penwidth=3' if node in self.mark else ""
        self._box(name, text, pad, heat(shares.of(node)), tooltip, frame)
        for inner in attr_graphs(node.attrs):
            below = self._open(f"{inner.name} of {node.op.name}", pad)
            cluster = self.clusters
            self.graph(inner, f"{name}_{cluster}", below)
            self.lines.append(f"{pad}}}")
            first = f"{name}_{cluster}_{'in' if inner.inputs else 'out'}0"
            if inner.inputs or inner.outputs:
                self.lines.append(
                    f"{pad}{name} -> {first} [lhead=cluster_{cluster}, style=dashed, arrowhead=none];"
                )

    def _box(
        self, name: str, text: list[str], pad: str, color: str, tooltip: str = "", frame: str = ""
    ) -> None:  # fmt: skip
        label = _quote("\n".join(filter(None, text)))
        tip = f", tooltip={_quote(tooltip)}" if tooltip else ""
        self.lines.append(f'{pad}{name} [label={label}, fillcolor="{color}"{tip}{frame}];')

    def _edge(self, v: Value, start: str, end: str, pad: str) -> None:
        label = f' [label="{v.index}"]' if len(v.node.outputs) > 1 else ""
        self.lines.append(f"{pad}{start} -> {end}{label};")
