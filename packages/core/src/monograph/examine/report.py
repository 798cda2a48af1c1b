"""What was found, for people: `Report`, and the picture of the graph around it."""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..graph import Graph, Node, Source, Value
from .blame import Finding
from .inside import Place
from .statistics import NAN, NEGATIVE, POSITIVE, Statistics


@dataclass(frozen=True)
class Report:
    """The first NaN or infinity, by name. ``str()`` is what the error says.

    Attributes:
        kind: ``operation``; ``argument`` or ``variable`` when that was bad already; ``point`` when
            only a `check_finite` minds; ``unknown`` when no replay shows it.
        op: the operation's name, empty where none is to blame.
        inner: inside a composite, the operations down to the primitive.
        source: the user's line; of the call where no operation is to blame.
        backward: it belongs to the gradient of that line.
        scope: the path of the layer.
        places: loops (with the turn), branches and bodies around it, outermost first.
        operands, results: statistics of what it read and made.
        name: of the argument, variable or `check_finite`.
        bad: which results of the call are not finite.
        engine: the device.
        what: the caller's words for what ran, such as ``training step 12``.
        picture: a file in Graphviz's DOT language: the graph around, the operation marked.
    """

    kind: str
    op: str = ""
    inner: tuple[str, ...] = ()
    source: Source | None = None
    backward: bool = False
    scope: str = ""
    places: tuple[Place, ...] = ()
    operands: tuple[Statistics, ...] = ()
    results: tuple[Statistics, ...] = ()
    name: str = ""
    bad: tuple[str, ...] = ()
    engine: str = ""
    what: str = ""
    picture: Path | None = None

    @property
    def iteration(self) -> int | None:
        """The turn of the innermost loop around, from 0; None outside loops."""
        turns = [p.index for p in self.places if p.op in ("scan", "while")]
        return turns[-1] if turns else None

    @property
    def line(self) -> str:
        """The text of the user's line, empty where its file cannot be read."""
        import linecache

        if self.source is None:
            return ""
        return linecache.getline(self.source.file, self.source.line).strip()

    def __str__(self) -> str:
        forward = self.source.of if self.source else None
        rows = [
            ("forward", str(forward or "")),
            ("scope", self.scope),
            *[("inside", str(p)) for p in self.places],
        ]
        rows += [("within", " > ".join((self.op, *self.inner)) if self.inner else "")]
        rows += [("operand", f"{i}: {s}") for i, s in enumerate(self.operands)]
        rows += [("result", f"{i}: {s}") for i, s in enumerate(self.results)]
        rows += [("seen in", ", ".join(self.bad[:6]) + (", ..." if len(self.bad) > 6 else ""))]
        rows += [("ran", self.what), ("engine", self.engine)]
        rows += [("graph", self.picture.as_uri() if self.picture else "")]
        head = f"{self.source}: {self._headline()}" if self.source else self._headline()
        text = [f"    {self.line}"] if self.line else []
        return "\n".join([head, *text, *[f"  {k:<8} {v}" for k, v in rows if v]])

    def _headline(self) -> str:
        if self.kind == "unknown":
            return (
                "a result is not finite, yet neither the operations one by one nor the graph with a flag "
                "for each show where it comes from: the compiled call reckons otherwise"
            )
        made = next((s.odd for s in self.results if s.first is not None), "")
        if self.kind in ("argument", "variable"):
            return f"{self.kind} {self.name} was not finite before the call: {made}"
        if self.kind == "point":
            return f"check_finite({self.name!r}) was given {made}"
        where = ", in the gradient of this line" if self.backward else ""
        new = "of finite numbers"
        if any(s.first is not None for s in self.operands):
            nan = any(s.nan for s in self.results)
            new = "of infinities" + (", the first NaN there is" if nan else " it was given")
        return f"{self.op} made {made} {new}{where}"


def place_of(v: Any, values: Any) -> int:
    """Where a value is among others; ``==`` would compare their elements."""
    return next(i for i, other in enumerate(values) if other is v)


def given(kind: str, v: Value, array: Any, **known: Any) -> Report:
    """The report of an argument or variable that was bad already."""
    found = Statistics.of(array, v.spec)
    return Report(kind, name=v.node.attrs["name"], results=(found,), **known)


def described(finding: Finding, **known: Any) -> Report:
    """The report of an operation that is to blame; ``known`` are further attributes of `Report`."""
    node, get = finding.node, finding.trail.device.engine.get
    assert node is not None

    def statistics(values: Any, buffers: Any) -> tuple[Statistics, ...]:
        return tuple(Statistics.of(get(b), v.spec) for v, b in zip(values, buffers))

    source, point = node.source, node.op.name == "check_finite"
    return Report(
        kind="point" if point else "operation",
        op=node.op.name, inner=finding.inner, source=source,
        backward=bool(source and source.backward), scope=source.scope if source else "",
        places=finding.places, operands=statistics(node.inputs, finding.operands),
        results=statistics(node.outputs, finding.results),
        name=node.attrs["name"] if point else finding.point, **known,
    )  # fmt: skip


# ---- the picture


_numbers = itertools.count(1)
_COLORS = {True: 'style=filled, fillcolor="#ffd8a8"', False: "style=solid"}


def picture(finding: Finding, folder: Any, reach: int = 3) -> Path | None:
    """Write the graph around the finding as DOT, the blamed one red, values not finite in orange.

    Returns:
        The file, written as a whole or not at all; None where the folder takes none.
    """
    try:
        where = Path(tempfile.mkdtemp(prefix="monograph-nan-") if folder is None else folder)
        where.mkdir(parents=True, exist_ok=True)
        path = where.resolve() / f"nonfinite-{os.getpid()}-{next(_numbers)}.dot"
        partial = path.with_suffix(".part")
        partial.write_text(_dot(finding, reach), encoding="utf-8")
        os.replace(partial, path)
    except OSError:  # the report matters more than its picture
        return None
    return path


def _dot(finding: Finding, reach: int) -> str:
    blamed = finding.node or finding.given.node  # type: ignore[union-attr]
    near = _around(finding.trail.graph, blamed, reach)
    name = {n: f"n{i}" for i, n in enumerate(near)}
    lines = ["digraph nonfinite {", '  node [shape=box, fontname="monospace"];']
    for n in near:
        bad = finding.trail.has(n.outputs)
        style = 'style=filled, fillcolor="#ff8787", penwidth=3' if n is blamed else _COLORS[bad]
        text = [_label(n), *[repr(v.spec) + _odd(v, finding) for v in n.outputs[:4]]]
        if n.source:
            text.append(f"{os.path.basename(n.source.file)}:{n.source.line}")
        label = "\\n".join(_quoted(t) for t in text)
        lines.append(f'  {name[n]} [label="{label}", tooltip="{_quoted(str(n.source))}", {style}];')
        for v in n.inputs:
            if v.node in name:
                color = ' [color="#e8590c"]' if finding.trail.has([v]) else ""
                lines.append(f"  {name[v.node]} -> {name[n]}{color};")
    return "\n".join([*lines, "}", ""])


def _label(node: Node) -> str:
    return node.attrs["name"] if node.op.name in ("parameter", "check_finite") else node.op.name


def _odd(v: Value, finding: Finding) -> str:
    found = finding.trail.kinds.get(v, 0)
    names = [n for bit, n in ((NAN, "NaN"), (POSITIVE, "+Inf"), (NEGATIVE, "-Inf")) if found & bit]
    return f"  {' '.join(names)}" if names else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', r"\"").replace("\n", " ")


def _around(graph: Graph, node: Node, reach: int) -> list[Node]:
    """Nodes at most ``reach`` steps before or after one, oldest first."""
    readers: dict[Node, list[Node]] = {}
    for n in graph.nodes:
        for v in n.inputs:
            readers.setdefault(v.node, []).append(n)
    found = {node}
    for follow in (lambda n: [v.node for v in n.inputs], lambda n: readers.get(n, [])):
        layer = {node}
        for _ in range(reach):
            layer = {m for n in layer for m in follow(n)} - found
            found |= layer
            if len(found) > 200:  # a value that everything reads
                break
    return sorted(found, key=lambda n: n.id)
