"""A graph as text a person can read, and back again.

    graph main(%0 "x": float32[3]) {
      %1 = multiply(%0, %0) : float32[3]  # model.py:7
      %2 = reduce_sum(%1) {axes=(0,)} : float32[]
      return %2
    }

Nested graphs come first, under names that attributes refer to with ``@``. `parse` reads attributes
with `ast.literal_eval` and a few marked forms; nothing from a text is executed.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .dtypes import DType, dtype as as_dtype
from .errors import FileFormatError, MonographError
from .graph import Graph, Literal, Node, Value, attr_graphs
from .op import get
from .spec import Spec
from .tracing import Trace


def graph_text(graph: Graph, full: bool = False) -> str:
    """The text of a graph; ``full`` writes big constants out, so that `parse` can read it back."""
    names: dict[Graph, str] = {}
    blocks: list[str] = []

    def emit(g: Graph) -> None:
        for node in g.nodes:
            for inner in attr_graphs(node.attrs):
                if inner not in names:
                    emit(inner)
        base = re.sub(r"\W", "_", g.name) or "graph"
        name, i = base, 1
        while name in names.values():
            name, i = f"{base}_{i}", i + 1
        names[g] = name
        blocks.append(_block(g, name, names, full))

    emit(graph)
    return "\n\n".join(blocks)


def _block(g: Graph, name: str, names: dict[Graph, str], full: bool) -> str:
    index: dict[Value, int] = {v: i for i, v in enumerate(g.inputs)}
    params = ", ".join(
        f"%{i} {_quote(v.node.attrs['name'])}: {v.spec}" for i, v in enumerate(g.inputs)
    )
    lines = [f"graph {name}({params}) {{"]
    for node in g.nodes:
        for v in node.outputs:
            index[v] = len(index)
        lines.append("  " + node_text(node, index, names, full))
    lines.append(f"  return {', '.join(f'%{index[v]}' for v in g.outputs)}".rstrip())
    return "\n".join([*lines, "}"])


def node_text(
    node: Node, index: dict[Value, int] | None = None, names: dict[Graph, str] | None = None,
    full: bool = False,
) -> str:  # fmt: skip
    """One line: results, op, operands, attributes, specs, source."""

    def ref(v: Value) -> str:
        return f"%{index[v]}" if index is not None else f"%n{v.node.id}.{v.index}"

    outs = ", ".join(ref(v) for v in node.outputs)
    attrs = ", ".join(f"{k}={_attr(a, names or {}, full)}" for k, a in node.attrs.items())
    specs = ", ".join(map(repr, (v.spec for v in node.outputs)))
    left = f"{outs} = " if outs else ""
    line = f"{left}{node.op.name}({', '.join(ref(v) for v in node.inputs)})"
    line += f" {{{attrs}}}" if attrs else ""
    line += f" : {specs}"
    return f"{line}  # {node.source}" if node.source else line


def _quote(s: str) -> str:
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _attr(a: Any, names: dict[Graph, str], full: bool) -> str:
    if isinstance(a, Graph):
        return f"@{names[a]}" if a in names else repr(a)
    if isinstance(a, DType):
        return f"!{a.name}"
    if isinstance(a, Literal):
        return literal_text(a.array, full)
    if isinstance(a, tuple):
        inner = ", ".join(_attr(x, names, full) for x in a)
        return f"({inner},)" if len(a) == 1 else f"({inner})"
    if a is None or isinstance(a, (bool, int, str)):
        return repr(a)
    if isinstance(a, float):
        return f"float({a.hex()!r})" if a - a != 0 or full else repr(a)
    return f"<{getattr(a, '__qualname__', type(a).__name__)}>"


def literal_text(x: np.ndarray, full: bool) -> str:
    """``dense(dtype, shape, data)``: numbers when few, base64 of the bytes when many."""
    spec = Spec.of(x)
    if x.size > 8 and not full:
        return f"dense({spec.dtype}, {spec.shape}, <{x.nbytes} bytes>)"
    if x.size <= 8 and spec.dtype.kind in ("int", "uint", "bool"):
        data = repr(x.ravel().tolist())
    elif x.size <= 8 and spec.dtype.name in ("float32", "float64") and np.isfinite(x).all():
        data = repr([float(v) for v in x.ravel()])
    else:
        data = repr(base64.b64encode(x.tobytes()).decode())
    return f"dense({spec.dtype}, {spec.shape}, {data})"


# ---- reading

_HEADER = re.compile(r"graph (\w+)\((.*)\) \{$")
_PARAM = re.compile(r'%(\d+) "((?:[^"\\]|\\.)*)": (\w+)\[([\d,]*)\]')
_NODE = re.compile(
    r"(?:((?:%\d+)(?:, %\d+)*) = )?(\w+)\(([^()]*)\)(?: \{(.*)\})? : (.*?)(?:  # .*)?$"
)
_SPEC = re.compile(r"(\w+)\[([\d,]*)\]")


def parse(text: str) -> Graph:
    """The graph that `graph_text` with ``full=True`` wrote.

    Raises:
        FileFormatError: names the line that does not fit.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: x * x, mg.Spec((2,)))
    >>> parse(graph_text(g, full=True)) == g
    True
    """
    graphs: dict[str, Graph] = {}
    found: Graph | None = None
    block: _Block | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line:
            continue
        try:
            if block is None:
                block = _Block(line, graphs)
            elif line == "}":
                found = graphs[block.name] = block.finish()
                block = None
            else:
                block.add(line)
        except (MonographError, ValueError, SyntaxError, KeyError, IndexError, TypeError) as e:
            raise FileFormatError(
                f"line {number} of the graph's text: {e}: {line[:120]!r}"
            ) from None
    if found is None or block is not None:
        raise FileFormatError("the graph's text ends before its last '}'; it is truncated")
    return found


class _Block:
    def __init__(self, header: str, graphs: dict[str, Graph]):
        m = _HEADER.match(header)
        if not m:
            raise ValueError("expected 'graph name(...) {'")
        self.name, self.graphs, self.trace = m[1], graphs, Trace(None, m[1])
        self.values: dict[str, Value] = {}
        self.outputs: list[Value] | None = None
        for p in _PARAM.finditer(m[2]):
            name = re.sub(r"\\(.)", r"\1", p[2])
            self.values[f"%{p[1]}"] = self.trace.add_input(_spec(p[3], p[4]), name)
        if len(self.values) != len(re.findall(r"%\d+ \"", m[2])):
            raise ValueError("a parameter does not read '%0 \"name\": dtype[shape]'")

    def add(self, line: str) -> None:
        if self.outputs is not None:
            raise ValueError("nothing may follow 'return'")
        if line.startswith("return"):
            self.outputs = [self.values[r.strip()] for r in line[6:].split(",") if r.strip()]
            return
        m = _NODE.match(line)
        if not m:
            raise ValueError("expected '%n = op(%a, ...) {attrs} : spec'")
        op = get(m[2])
        inputs = [self.values[r.strip()] for r in m[3].split(",") if r.strip()]
        attrs = op.bind(inputs, _attrs(m[4] or "", self.graphs))
        specs = op.infer_specs([v.spec for v in inputs], attrs)
        said = tuple(_spec(s[1], s[2]) for s in _SPEC.finditer(m[5]))
        if specs != said:
            raise ValueError(f"{op.name} yields {specs}, the text says {said}")
        node = Node(op, tuple(inputs), attrs, specs, None, self.trace)
        for ref, v in zip((m[1] or "").split(","), node.outputs):
            self.values[ref.strip()] = v

    def finish(self) -> Graph:
        if self.outputs is None:
            raise ValueError(f"graph {self.name} has no 'return'")
        self.trace.open = False
        return Graph(self.trace.inputs, self.outputs, name=self.name)


def _spec(dtype: str, shape: str) -> Spec:
    return Spec(tuple(int(n) for n in shape.split(",") if n), dtype)


def _attrs(text: str, graphs: dict[str, Graph]) -> dict[str, Any]:
    # one Python call's keyword arguments, after marking what is no Python
    def mark(s: str) -> str:
        return re.sub(r"@(\w+)", r"graph('\1')", re.sub(r"!(\w+)", r"dtype('\1')", s))

    text = _outside_strings(text, mark)
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {k.arg or "": _value(k.value, graphs) for k in call.keywords}


def _outside_strings(text: str, fn: Callable[[str], str]) -> str:
    parts = re.split(r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", text)
    return "".join(p if i % 2 else fn(p) for i, p in enumerate(parts))


def _value(n: ast.expr, graphs: dict[str, Graph]) -> Any:
    if isinstance(n, ast.Tuple):
        return tuple(_value(x, graphs) for x in n.elts)
    if isinstance(n, ast.Call) and isinstance(n.func, ast.Name):
        kind, args = n.func.id, n.args
        if kind == "graph":
            return graphs[ast.literal_eval(args[0])]
        if kind == "dtype":
            return as_dtype(ast.literal_eval(args[0]))
        if kind == "float":
            return float.fromhex(ast.literal_eval(args[0]))
        if kind == "dense":
            assert isinstance(args[0], ast.Name)
            return Literal(_dense(as_dtype(args[0].id), *map(ast.literal_eval, args[1:])))
        raise ValueError(f"unknown form {kind}(...)")
    return ast.literal_eval(n)


def _dense(d: DType, shape: tuple[int, ...], data: Any) -> np.ndarray:
    if isinstance(data, str):
        flat = np.frombuffer(base64.b64decode(data, validate=True), dtype=d.numpy)
    else:
        flat = np.asarray(data, dtype=d.numpy)
    return flat.reshape(shape)
