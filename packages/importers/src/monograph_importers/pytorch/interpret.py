"""Runs a `Program` with Monograph's ops while they are recorded, and says beforehand what it lacks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, MonographError
from monograph.graph import Value
from monograph.tracing import at, tracing, user_source

from .._steps import variables
from . import decompose
from .memory import Memory, writes
from .program import Graph, Node, Program, Ref, rebuild
from .rules import DRAWS, LOOSE, WRITES, base_of, find, is_view, resolved

# values that are known are computed at once up to this size, larger ones are part of the graph;
# indices and masks, on whose values shapes may depend, up to the second
_KNOWN, _KNOWN_INDICES = 4096, 1 << 20


def run(program: Program, scope: mg.Scope, *inputs: Any) -> Any:
    """The program's results for inputs in its own order; its variables are those of ``scope``."""
    program.verify()
    p, memory = program, Memory()
    found = variables(scope, p.tensors, p.trainable.__contains__)
    names: dict[str, list[str]] = {}
    for name, path in p.variables.items():
        same = names.setdefault(path, [])
        if same:  # tied
            memory.view(name, memory.get(same[0]), same[0])
        else:
            memory.put(name, found[path] if path in p.trainable else found[path].value)
        same.append(name)
    for name, value in p.fixed.items():
        memory.put(name, constant(value))
    for given, x in zip(p.inputs, inputs):
        memory.put(given.name, x)
    outputs = _Run(scope).graph(p.graph, memory)
    for path, tied in names.items():
        if path not in p.trainable and memory.written(tied):
            found[path].assign(memory.get(tied[0]))
    for i, path in p.writes:
        found[path].assign(outputs[i])
    return rebuild(p.out_spec, iter([outputs[i] for i in p.results]))


class _Run:
    """One recording."""

    def __init__(self, scope: mg.Scope):
        self.scope = scope

    def graph(self, graph: Graph, memory: Memory) -> list[Any]:
        """The values of a graph's outputs; its inputs are in ``memory``."""
        for node in graph.nodes:
            with at(node.source):
                try:
                    self.step(node, memory)
                except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as e:
                    if isinstance(e, MonographError):
                        raise
                    raise ArgumentError(f"{user_source()}: {node.target}: {e}") from e
        return [self.argument(x, memory) for x in graph.outputs]

    def step(self, node: Node, memory: Memory) -> None:
        """One node: its value under its names."""
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
        if all(_is_known(x) for x in _flat([*args, *kwargs.values()])):
            with tracing(None), mg.engine("numpy"):
                out = rule(*args, **kwargs)
            if all(map(_is_small, _flat([out]))):
                return out
        return rule(*args, **kwargs)

    def decomposed(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """An op without a rule, by what torch makes of it."""
        graph, arrays = decompose.traced(target, args, kwargs)
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
            memory = Memory()
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
    a, b = ([v for v in _flat([t]) if isinstance(v, mg.Array)] for t in (x, of))
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


def _is_small(x: Any) -> bool:
    if not isinstance(x, mg.Array):
        return True
    return x.size <= (_KNOWN if x.dtype.is_inexact else _KNOWN_INDICES)


def _flat(xs: Any) -> Iterator[Any]:
    for x in xs:
        if isinstance(x, (list, tuple)):
            yield from _flat(x)
        else:
            yield x


def lacks(program: Program) -> Iterator[tuple[str, str, str]]:
    """``(op, where, why)`` of every step that cannot run."""
    yield from program.problems
    kinds = {i.name: "input" for i in program.inputs} | {
        n: "parameter" for n, path in program.variables.items() if path in program.trainable
    }
    for name, node in writes(program.graph):
        if name in kinds:
            why = f"it writes into the {kinds[name]} {name}; let the model work on a copy"
            yield node.target, _where(node), why
    for node in program.graph.walk():
        target, _ = resolved(node.target)
        if find(target) is not None:
            if why := _misfit(target, node):
                yield node.target, _where(node), why
        elif not decompose.can(target):
            yield node.target, _where(node), ""
        else:
            yield from _lacks_below(program, node, target)
        if target == "higher_order.wrap_with_autocast" and node.args[2]:
            yield node.target, _where(node), "mixed precision of torch; export without autocast"


def _where(node: Node) -> str:
    return str(node.source or node.outputs)


def _lacks_below(program: Program, node: Node, target: str) -> Iterator[tuple[str, str, str]]:
    """What of an op's decomposition has no rule, for the sizes of the example."""

    def example(x: Any) -> Any:
        if isinstance(x, list):
            return [example(i) for i in x]
        if not isinstance(x, Ref):
            return x
        found = program.example(x.name)
        return x if found is None else mg.Spec(*found)

    args, kwargs = [example(a) for a in node.args], {k: example(v) for k, v in node.kwargs.items()}
    if any(isinstance(x, Ref) for x in _flat([*args, *kwargs.values()])):
        return  # a size, or inside a body: seen when it runs
    try:
        graph, _ = decompose.traced(target, args, kwargs)
    except Exception as e:  # torch's own
        yield node.target, _where(node), f"torch's decomposition of it fails: {e}"
        return
    for inner in graph.walk():
        if find(resolved(inner.target)[0]) is None:
            yield node.target, _where(node), f"its decomposition needs {inner.target}"


_signature = functools.cache(inspect.signature)


def _misfit(target: str, node: Node) -> str:
    """What of a call its rule does not take."""
    rule = find(target)
    if not inspect.isfunction(rule):  # Python's own arithmetic
        return ""
    key = {"key": None} if base_of(target) in DRAWS else {}
    try:
        _signature(rule).bind(*node.args, **node.kwargs, **key)
    except TypeError as e:
        return f"called with other arguments than are known: {e}"
    return ""
