"""The form in which both an ``ExportedProgram`` and a ``.pt2`` file are interpreted: plain data, no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from monograph.graph import Source
from monograph.importing import Input


class Ref(NamedTuple):
    """An argument that is another node's value."""

    name: str


@dataclass(slots=True)
class Node:
    """One call.

    Attributes:
        target: ``aten.add.Tensor``, ``higher_order.cond``, ``_operator.mul`` ...
        args: numbers, strings, `Ref`, `Graph`, None, and lists of them; dtypes are their names.
        outputs: the value's name, or a name per value of a tuple.
        source: the model's line.
    """

    target: str
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: str | list[str]
    source: Source | None = None


@dataclass(slots=True)
class Graph:
    """Nodes in the order they run; a body of control flow is one too.

    Attributes:
        is_single: it gives a tensor, not a tuple of one.
        example: the spec of a value by its name in the example the program was exported with, several
            in a list; None where it is no tensor, or its sizes depend on data.
    """

    inputs: list[str]
    nodes: list[Node]
    outputs: list[Any]
    is_single: bool = False
    example: Callable[[str], Any] = field(default=lambda name: None, compare=False, repr=False)

    def walk(self) -> Iterator[Node]:
        """Its nodes and those of the graphs inside."""
        for node in self.nodes:
            for inner in node.args:
                if isinstance(inner, Graph):
                    yield from inner.walk()
            yield node


@dataclass
class Program:
    """A program with its tensors.

    Attributes:
        inputs: what the user gives, by the name of its placeholder.
        fixed: placeholders whose value the export has fixed: numbers, None, lifted constants.
        variables: the path of the variable behind a placeholder; tied ones have one path.
        trainable: paths of parameters that require gradients.
        writes: an output's position, and the path of the variable it is assigned to.
        results: positions of the outputs that the user gets.
        out_spec: how they nest, as `nested` takes it.
        hints: lengths of named axes in the example it was exported with.
        problems: what cannot be had of it, as ``(what, where, why)``.
        effort: how much may be done to find more of those, as `lacks` counts it.
        verify: raises FileFormatError when tensors are not what was written.
    """

    graph: Graph
    inputs: list[Input]
    fixed: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    trainable: set[str] = field(default_factory=set)
    writes: list[tuple[int, str]] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    out_spec: Any = None
    hints: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    effort: float = math.inf
    verify: Callable[[], None] = lambda: None


def path_of(name: str) -> str:
    """A parameter's name as a path in a scope."""
    return name.replace(".", "/")


_FRAME = re.compile(r'File "([^"\n]*)", line (\d{1,9}), in ([^\n]*)')
_LIBRARY = re.compile(r"(^|[/\\])torch[/\\](nn|_|utils|export|functional|fx)|^<")


def source_of(trace: str | None, scope: str) -> Source | None:
    """The innermost line of a stack trace that is the model's own, not the library's."""
    frames = _FRAME.findall(trace or "")
    if not frames:
        return None
    own = [f for f in frames if not _LIBRARY.search(f[0])] or frames
    file, line, function = own[-1]
    return Source(file, int(line), function, path_of(scope))


def nested(spec: str) -> Any:
    """A structure as torch's pytrees write it: ``(kind, keys, children)``, None for a leaf.

    Types other than the built-in ones are never looked up: with names they are dicts, else tuples.
    """
    version, tree = json.loads(spec)
    if version != 1:
        raise ValueError(f"pytree protocol {version!r} is not known, 1 is")
    return _node(tree)


def _node(tree: dict[str, Any]) -> Any:
    kind, context = tree["type"], tree["context"]
    below = [_node(c) for c in tree["children_spec"]]
    if kind is None:
        return None
    return branch(kind, json.loads(context) if isinstance(context, str) else context, below)


def branch(kind: str, keys: Any, below: list[Any]) -> Any:
    """One level of a structure."""
    named = isinstance(keys, list) and len(keys) == len(below) and "namedtuple" not in kind
    kind = kind.removeprefix("builtins.")
    if named and kind not in ("list", "tuple"):
        return "dict", keys, below
    return "list" if kind == "list" else "tuple", None, below


def leaves(spec: Any, name: str = "") -> Iterator[str]:
    """A name per leaf, such as ``states.0``."""
    if spec is None:
        yield name or "result"
        return
    _, keys, children = spec
    for i, child in enumerate(children):
        yield from leaves(child, ".".join(filter(None, (name, str(keys[i] if keys else i)))))


def rebuild(spec: Any, values: Iterator[Any]) -> Any:
    """The structure with ``values`` as its leaves."""
    if spec is None:
        return next(values)
    kind, keys, children = spec
    below = [rebuild(c, values) for c in children]
    if kind == "dict":
        return dict(zip(keys, below))
    return below if kind == "list" else tuple(below)


def check(program: Program) -> None:
    """That every value is made once, before it is used, and results fit their structure.

    Raises:
        ValueError: says what does not.
    """
    _check(program.graph)
    names, results = len(list(leaves(program.out_spec))), len(program.results)
    if names != results:
        raise ValueError(f"{results} results in a structure of {names}")


def _check(graph: Graph) -> None:
    made: set[str] = set()

    def make(names: list[str]) -> None:
        for name in filter(None, names):
            if name in made:
                raise ValueError(f"the value {name!r} is made twice")
            made.add(name)

    def use(x: Any) -> None:
        if isinstance(x, list):
            for i in x:
                use(i)
        elif isinstance(x, Ref) and x.name not in made:
            raise ValueError(f"the value {x.name!r} is used before it is made")
        elif isinstance(x, Graph):
            _check(x)

    make(graph.inputs)
    for node in graph.nodes:
        use([*node.args, *node.kwargs.values()])
        make([node.outputs] if isinstance(node.outputs, str) else node.outputs)
    use(graph.outputs)
