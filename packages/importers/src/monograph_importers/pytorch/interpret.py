"""Runs a `Program` with Monograph's ops while they are recorded."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.cost import flops
from monograph.errors import ArgumentError, MonographError
from monograph.graph import Value
from monograph.tracing import at, tracing, user_source

from .._steps import WRONG, variables
from . import decompose
from .memory import Memory
from .program import Graph, Node, Program, Ref, rebuild
from .rules import DRAWS, LOOSE, WRITES, base_of, find, is_view, resolved

# values that are known are computed at once up to this size, larger ones are part of the graph;
# indices and masks, on whose values shapes may depend, up to the second;
# and neither where that takes more operations, or numbers on the way, than the third
_KNOWN, _KNOWN_INDICES, _WORK = 4096, 1 << 20, 1 << 24


def run(program: Program, scope: mg.Scope, *inputs: Any) -> Any:
    """The program's results for inputs in its own order; its variables are those of ``scope``."""
    program.verify()
    recording = Run(scope)
    memory, found = recording.started(program, inputs)
    outputs = recording.graph(program.graph, memory)
    names: dict[str, list[str]] = {}
    for name, path in program.variables.items():
        names.setdefault(path, []).append(name)
    for path, tied in names.items():
        if path not in program.trainable and memory.written(tied):
            found[path].assign(memory.get(tied[0]))
    for i, path in program.writes:
        found[path].assign(outputs[i])
    return rebuild(program.out_spec, iter([outputs[i] for i in program.results]))


class Run:
    """One recording."""

    def __init__(self, scope: mg.Scope):
        self.scope = scope

    def memory(self) -> Memory:
        """For the values of one graph."""
        return Memory()

    def started(self, program: Program, inputs: Sequence[Any]) -> tuple[Memory, dict[str, Any]]:
        """The memory that a program begins with, and its variables by path."""
        memory, first = self.memory(), dict[str, str]()
        found = variables(self.scope, program.tensors, program.trainable.__contains__)
        for name, path in program.variables.items():
            if path in first:  # tied
                memory.view(name, memory.get(first[path]), first[path])
            else:
                memory.put(name, found[path] if path in program.trainable else found[path].value)
                first[path] = name
        for name, value in program.fixed.items():
            memory.put(name, constant(value))
        for given, x in zip(program.inputs, inputs):
            memory.put(given.name, x)
        return memory, found

    def graph(self, graph: Graph, memory: Memory) -> list[Any]:
        """The values of a graph's outputs; its inputs are in ``memory``."""
        for node in graph.nodes:
            # what an op is taken apart into is on the line of the op
            with at(node.source) if node.source else contextlib.nullcontext():
                self.step(graph, node, memory)
        return [self.argument(x, memory) for x in graph.outputs]

    def step(self, graph: Graph, node: Node, memory: Memory) -> None:
        """One node of a graph: its value under its names.

        Raises:
            MonographError: at the node's line.
        """
        try:
            self.compute(node, memory)
        except WRONG as e:
            if isinstance(e, MonographError):
                raise
            why = str(e) or type(e).__name__
            raise ArgumentError(f"{user_source()}: {node.target}: {why}") from e

    def compute(self, node: Node, memory: Memory) -> None:
        """The same, with errors as they come."""
        target, written = resolved(node.target)
        args = [self.argument(a, memory) for a in node.args]
        kwargs = {k: self.argument(a, memory) for k, a in node.kwargs.items()}
        value = self.value(target, args, kwargs)
        if written:
            name, old = node.args[0].name, args[0]
            memory.write(name, mg.broadcast_to(mg.astype(mg.asarray(value), old.dtype), old.shape))
            memory.view(node.outputs, memory.get(name), name)  # type: ignore[arg-type]
            return
        if (op := target.partition(".")[2]) in WRITES:
            value, new = value
            for i, x in zip(WRITES[op], new):
                if x is not args[i]:
                    memory.write(node.args[i].name, x)
        self.bind(node, target, value, args[1:], kwargs, memory)

    def bind(
        self, node: Node, target: str, value: Any, rest: Any, kwargs: Any, memory: Memory
    ) -> None:
        """The value under the node's names, as a view where it is one in torch."""
        whole = isinstance(node.outputs, str)
        of = node.args[0].name if node.args and isinstance(node.args[0], Ref) else None
        names = [node.outputs] if isinstance(node.outputs, str) else node.outputs
        # one of several results is a view when they are, as those of a split
        looks = is_view(target) and (target != "_operator.getitem" or of in memory.views)
        for i, (name, x) in enumerate(zip(names, [value] if whole else value or ())):
            if of is not None and looks and _alike(x, memory.get(of)):
                read = _reader(find(target), rest, kwargs, None if whole else i)
                memory.view(name, x, of, read, LOOSE.get(base_of(target), ""))
            else:
                memory.put(name, x)

    def value(self, target: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What an op gives."""
        rule = find(target) or functools.partial(self.decomposed, target)
        op = base_of(target)
        if op in DRAWS and DRAWS[op](*args, **kwargs):
            return rule(*args, **kwargs, key=self.scope.key())
        out = rule(*args, **kwargs)
        if all(map(_is_known, flat([*args, *kwargs.values()]))) and _is_small(out):
            with tracing(None), mg.engine("numpy"):
                return rule(*args, **kwargs)
        return out

    def decomposed(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """An op without a rule, by what torch makes of it."""
        graph, arrays = decompose.traced(target, args, kwargs)
        lacking = sorted({n.target for n in graph.walk() if find(resolved(n.target)[0]) is None})
        if lacking:
            raise ArgumentError(f"{user_source()}: its decomposition needs {', '.join(lacking)}")
        out = self.function(graph)(*arrays)
        return out[0] if graph.is_single else out

    def argument(self, x: Any, memory: Memory) -> Any:
        """What a rule is given."""
        if isinstance(x, Ref):
            return memory.get(x.name)
        if isinstance(x, list):
            return [self.argument(i, memory) for i in x]
        return self.function(x) if isinstance(x, Graph) else constant(x)

    def function(self, graph: Graph) -> Callable[..., tuple[Any, ...]]:
        """A body of control flow."""

        def fn(*args: Any) -> tuple[Any, ...]:
            memory = self.memory()
            for name, x in zip(graph.inputs, args):
                memory.put(name, x)
            return tuple(self.graph(graph, memory))

        return fn


def _reader(rule: Any, rest: Any, kwargs: Any, i: int | None) -> Callable[[Any], Any]:
    def read(parent: Any) -> Any:
        out = rule(parent, *rest, **kwargs)
        return out if i is None else out[i]

    return read


def _alike(x: Any, of: Any) -> bool:
    """Whether a result can be the same memory: of the same dtype."""
    a, b = ([v for v in flat([t]) if isinstance(v, mg.Array)] for t in (x, of))
    return bool(a and b) and a[0].dtype is b[0].dtype


def constant(x: Any) -> Any:
    """NumPy's arrays as tensors, not copied; anything else as it is."""
    if not isinstance(x, np.ndarray):
        return x
    view = x.view()
    view.setflags(write=False)
    return mg.Tensor.over(view)


def _is_known(x: Any) -> bool:
    return not isinstance(x, Value) and not callable(x)


def _is_small(out: Any) -> bool:
    """Whether a result that was recorded can be computed at once, for little."""
    values = [x for x in flat([out]) if isinstance(x, Value)]
    if any(x.size > (_KNOWN if x.dtype.is_inexact else _KNOWN_INDICES) for x in values):
        return False
    todo, seen = [x.node for x in values], set()
    while todo:
        node = todo.pop()
        if node not in seen and node.inputs:
            seen.add(node)
            todo += [x.node for x in node.inputs]
            if flops(node) > _WORK or any(x.size > _WORK for x in node.outputs):
                return False
    return bool(values)


def flat(xs: Any) -> Iterator[Any]:
    """The leaves of nested lists and tuples, None among them."""
    for x in xs:
        if isinstance(x, (list, tuple)):
            yield from flat(x)
        else:
            yield x
