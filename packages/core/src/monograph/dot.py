"""A graph in Graphviz's DOT language: boxes with op and spec, tooltips with the user's line."""

from __future__ import annotations

from .graph import Graph, Value, attr_graphs


def graph_dot(graph: Graph) -> str:
    """DOT text; nested graphs are clusters. Render with ``dot -Tsvg``.

    >>> import monograph as mg
    >>> print(mg.trace(lambda x: x + x, mg.Spec((2,))).dot().splitlines()[0])
    digraph main {
    """
    lines = [f"digraph {_id(graph.name)} {{", '  node [shape=box, fontname="monospace"];']
    _emit(graph, "g", lines, "  ")
    return "\n".join([*lines, "}"])


def _id(s: str) -> str:
    return s if s.isidentifier() else '"' + s.replace('"', r"\"") + '"'


def _emit(graph: Graph, prefix: str, lines: list[str], pad: str) -> None:
    at: dict[Value, str] = {}
    for i, v in enumerate(graph.inputs):
        at[v] = f"{prefix}_in{i}"
        name = v.node.attrs["name"].replace('"', r"\"")
        lines.append(f'{pad}{at[v]} [label="{name}\\n{v.spec}", style=rounded];')
    for i, node in enumerate(graph.nodes):
        me = f"{prefix}_{i}"
        specs = "\\n".join(repr(v.spec) for v in node.outputs)
        lines.append(
            f'{pad}{me} [label="{node.op.name}\\n{specs}", tooltip="{node.source or ""}"];'
        )
        lines.extend(f"{pad}{at[v]} -> {me};" for v in node.inputs)
        at.update(dict.fromkeys(node.outputs, me))
        for j, inner in enumerate(attr_graphs(node.attrs)):
            lines.append(f"{pad}subgraph cluster_{me}_{j} {{ label={_id(inner.name)};")
            _emit(inner, f"{me}_{j}", lines, pad + "  ")
            lines.append(f"{pad}}}")
    for i, v in enumerate(graph.outputs):
        lines.append(f'{pad}{prefix}_out{i} [label="output {i}", style=rounded];')
        lines.append(f"{pad}{at[v]} -> {prefix}_out{i};")
