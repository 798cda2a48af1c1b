"""The part of a TensorFlow graph that leads to StableHLO: calls, variables, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.dtypes import dtype
from monograph.errors import FileFormatError

from .bundle import DTYPES
from .wire import Message, signed


class Handle(NamedTuple):
    """A variable, by the name of its node."""

    name: str


class Node(NamedTuple):
    """A node as TensorFlow writes it: inputs are ``name:output`` or ``^control``."""

    name: str
    op: str
    inputs: list[str]
    attrs: dict[str, Message]

    @staticmethod
    def of(m: Message) -> Node:
        return Node(m.text(1), m.text(2), m.texts(3), m.map(5))


class Function(NamedTuple):
    """A function, or the whole graph: nodes by name, arguments, and where its results come from."""

    nodes: dict[str, Node]
    arguments: list[str]
    results: list[str]


class Program:
    """The graph of a SavedModel with its functions and StableHLO modules."""

    def __init__(self, graph: Message, name: str):
        self.name = name
        self.main = Function({n.name: n for n in map(Node.of, graph.many(1))}, [], [])
        self.functions = {}
        for f in graph.one(2).many(1):
            signature, results = f.one(1), {m.text(1): m.text(2) for m in f.many(4)}
            self.functions[signature.text(1)] = Function(
                {n.name: n for n in map(Node.of, f.many(3))},
                [a.text(1) for a in signature.many(2)],
                [results[o.text(1)] for o in signature.many(3) if o.text(1) in results],
            )
        self.modules: dict[int, Any] = {}  # by the node: names are a function's own

    def module(self, node: Node) -> Any:
        """The StableHLO that a node calls."""
        if id(node) not in self.modules:
            from ..stablehlo import mlir, parse

            where = f"{self.name}: {node.name}"
            text = mlir.generic(node.attrs["module"].data(2), where)
            self.modules[id(node)] = parse.parse(text, node.name)
        return self.modules[id(node)]

    def restored(self) -> dict[str, str]:
        """The checkpoint's key for each variable's node, as the graph itself restores them."""
        out = {}
        calls = [n for n in self.main.nodes.values() if n.op in _CALLS]
        for inside, call in [(self.main, None), *((self.callee(n), n) for n in calls)]:
            for node in inside.nodes.values():
                if node.op != "AssignVariableOp":
                    continue
                handle, i = self.source(inside, node.inputs[0])
                if handle is None and call is not None:
                    handle, _ = self.source(self.main, call.inputs[i])
                key = self._restored(inside, node.inputs[1])
                if handle is not None and key is not None:
                    out[handle.name] = key
        return out

    def _restored(self, inside: Function, ref: str) -> str | None:
        """The key of a value that comes from a checkpoint."""
        value, i = self.source(inside, ref)
        while value is not None and value.op == "Identity":
            value, i = self.source(inside, value.inputs[0])
        if value is None or value.op != "RestoreV2":
            return None
        keys, _ = self.source(inside, value.inputs[1])
        return None if keys is None else keys.attrs["value"].one(8).texts(8)[i]

    def callee(self, node: Node) -> Function:
        name = node.attrs["f"].one(10).text(1) if "f" in node.attrs else ""
        if name not in self.functions:
            raise FileFormatError(f"{self.name}: {node.name} calls {name!r}, which is not there")
        return self.functions[name]

    def functions_of(self, node: Node) -> Iterator[Function]:
        """What a node calls, branches and bodies of loops too."""
        for value in node.attrs.values():
            for name in (value.one(10).text(1), *(f.text(1) for f in value.one(1).many(9))):
                if name in self.functions:
                    yield self.functions[name]

    def source(self, function: Function, ref: str) -> tuple[Node | None, int]:
        """Which node makes a value, and which of its results it is; None for an argument."""
        base, *rest = ref.split(":")
        if base in function.arguments and base not in function.nodes:
            return None, function.arguments.index(base)
        if base not in function.nodes:
            raise FileFormatError(f"{self.name}: there is no node {base!r}")
        return function.nodes[base], int(rest[-1]) if rest and rest[-1].isdigit() else 0

    def reached(self, function: Function, refs: list[str]) -> Iterator[Node]:
        """Every node that results depend on, in called functions too, and what those write."""
        seen: set[tuple[int, str]] = set()
        todo = [(function, ref) for ref in refs]
        while todo:
            inside, ref = todo.pop()
            if ref.startswith("^"):
                continue
            node, _ = self.source(inside, ref)
            if node is None or (id(inside), node.name) in seen:
                continue
            seen.add((id(inside), node.name))
            yield node
            todo += [(inside, r) for r in node.inputs]
            if node.op in _CALLS:
                self.callee(node)  # which must be there
            for called in self.functions_of(node):
                writes = [n.name for n in called.nodes.values() if _writes(n.op)]
                todo += [(called, r) for r in (*called.results, *writes)]


def _writes(op: str) -> bool:
    """Whether TensorFlow runs an operation of a function for what it, or a part of it, assigns."""
    return op.startswith("Assign") or op in ("StatefulPartitionedCall", "If", "While")


class Run:
    """One evaluation: variables by name, results of nodes as they are needed.

    Args:
        call: runs a function of a StableHLO module.
    """

    def __init__(self, program: Program, variables: Mapping[str, Any], call: Any):
        self.program, self.variables, self.call = program, variables, call

    def function(
        self, function: Function, args: list[Any], refs: list[str], depth: int = 0
    ) -> list[Any]:
        if depth > 50:
            raise FileFormatError(f"{self.program.name}: its functions call each other without end")
        made: dict[str, Any] = {}
        out = []
        for ref in refs:  # by a stack of our own: graphs are deeper than Python's
            stack = [ref]
            while stack:
                node, _ = self.program.source(function, stack[-1])
                if node is None or node.name in made:
                    stack.pop()
                    continue
                inputs = [r for r in node.inputs if not r.startswith("^")]
                lacks = [r for r in inputs if self._missing(function, r, made)]
                if lacks:
                    if len(stack) > len(function.nodes):
                        raise FileFormatError(f"{self.program.name}: {node.name} depends on itself")
                    stack += lacks[:1]
                    continue
                xs = [self._value(function, r, made, args) for r in inputs]
                made[node.name] = RULES[node.op](self, node, xs, depth)
                stack.pop()
            out.append(self._value(function, ref, made, args))
        return out

    def _missing(self, function: Function, ref: str, made: dict[str, Any]) -> bool:
        node, _ = self.program.source(function, ref)
        return node is not None and node.name not in made

    def _value(self, function: Function, ref: str, made: dict[str, Any], args: list[Any]) -> Any:
        node, i = self.program.source(function, ref)
        return args[i] if node is None else made[node.name][i]


def _call(run: Run, node: Node, xs: list[Any], depth: int) -> list[Any]:
    called = run.program.callee(node)
    return run.function(called, xs, called.results, depth + 1)


def _module(run: Run, node: Node, xs: list[Any], depth: int) -> list[Any]:
    module = run.program.module(node)
    takes = len(module.functions["main"].body.arguments)
    platforms = [bytes(p).decode() for p in node.attrs["platforms"].one(1).all(2)]
    if takes == len(xs) + 1:  # a program for several platforms asks which it is
        at = platforms.index("CPU") if "CPU" in platforms else 0
        xs = [np.asarray(at, np.int32), *xs]
    if takes != len(xs):
        raise FileFormatError(
            f"{run.program.name}: {node.name} gets {len(xs)} of {takes} arguments"
        )
    return run.call(module, "main", xs)


def _constant(run: Run, node: Node, xs: list[Any], depth: int) -> list[Any]:
    tensor = node.attrs["value"].one(8)
    d = dtype(DTYPES[tensor.integer(1)]).numpy
    shape = tuple(signed(n.integer(1)) for n in tensor.one(2).many(2))
    content = tensor.data(4)
    values = (
        np.frombuffer(content, d)
        if content
        else np.array(tensor.ints(7) or tensor.ints(10) or [0], d)
    )
    return [np.broadcast_to(values if values.size == 1 else values.reshape(shape), shape)]


def _read(run: Run, node: Node, xs: list[Any], depth: int) -> list[Any]:
    handle = xs[0]
    if not isinstance(handle, Handle) or handle.name not in run.variables:
        raise FileFormatError(
            f"{run.program.name}: {node.name} reads {handle}, which is no variable of it"
        )
    return [run.variables[handle.name]]


def _handle(run: Run, node: Node, xs: list[Any], depth: int) -> list[Any]:
    return [Handle(node.name)]


Rule = Callable[[Run, Node, list[Any], int], list[Any]]
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
RULES: dict[str, Rule] = {
    **dict.fromkeys(_CALLS, _call),
    "XlaCallModule": _module,
    "Const": _constant,
    "VarHandleOp": _handle,
    "ReadVariableOp": _read,
    "Placeholder": lambda run, node, xs, depth: [run.variables[node.name]],
    **dict.fromkeys(
        ("Identity", "IdentityN", "StopGradient", "PreventGradient", "EnsureShape"),
        lambda run, node, xs, depth: xs,
    ),
    "Cast": lambda run, node, xs, depth: [mg.astype(xs[0], DTYPES[node.attrs["DstT"].integer(6)])],
    "NoOp": lambda run, node, xs, depth: [],
}
