"""What a program lacks: seen by its ops, and by recording it once on examples, past every step that fails.

The recording of a program from a file ends, with what was found so far, when it takes too much effort: what such a
program lacks further on is said when it is traced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import monograph as mg
from monograph.tracing import current, without_line

from .._steps import STEP, Effort, Missing, Spent
from . import decompose
from .interpret import Run, flat
from .memory import Memory, writes
from .program import Graph, Node, Program, Ref
from .rules import DRAWS, base_of, find, resolved


def lacks(program: Program, inputs: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    """``(op, where, why)`` of every step that cannot run for inputs of these specs."""
    yield from program.problems
    found: dict[int, list[str]] = defaultdict(list)
    for node, why in _seen(program):
        found[id(node)].append(why)

    def dry(scope: mg.Scope, *given: Any) -> tuple[()]:
        recording = _Dry(scope, found, program.effort)
        with contextlib.suppress(Missing, Spent):
            recording.graph(program.graph, recording.started(program, given)[0])
        return ()

    axes = {n for i in program.inputs for n in i.shape if isinstance(n, str)}
    if axes <= program.hints.keys():  # of other sizes than an example's a sound model may fail
        mg.Outline().bind(dry, "numpy").trace(*inputs)
    for node in program.graph.walk():
        for why in found.get(id(node), ()):
            yield node.target, str(node.source or node.outputs), why


def _seen(program: Program) -> Iterator[tuple[Node, str]]:
    """Every node that cannot run whatever its arguments are, and why; empty where it is unknown altogether."""
    kinds = {i.name: "input" for i in program.inputs} | {
        n: "parameter" for n, path in program.variables.items() if path in program.trainable
    }
    for name, node in writes(program.graph):
        if name in kinds:
            yield node, f"it writes into the {kinds[name]} {name}; let the model work on a copy"
    for node in program.graph.walk():
        target, _ = resolved(node.target)
        if find(target) is None and not decompose.can(target):
            yield node, ""
        elif why := _misfit(target, node):
            yield node, why
        if target == "higher_order.wrap_with_autocast" and node.args[2]:
            yield node, "mixed precision of torch; export without autocast"


_signature = functools.cache(inspect.signature)


def _misfit(target: str, node: Node) -> str:
    """What of a call its rule does not take."""
    rule = find(target)
    if not inspect.isfunction(rule):  # none, or Python's own arithmetic
        return ""
    key = {"key": None} if base_of(target) in DRAWS else {}
    try:
        _signature(rule).bind(*node.args, **node.kwargs, **key)
    except TypeError as e:
        return f"called with other arguments than are known: {e}"
    return ""


_APART = 1 << 18  # what torch's taking an op apart counts as


class _Dry(Run):
    """A recording of which nothing is kept but the steps that fail.

    What such a step, or one that needs its results, should have given is data of the example's shape; a value
    that has none there is missing, and steps that need it may be fine.
    """

    def __init__(self, scope: mg.Scope, found: dict[int, list[str]], effort: float):
        super().__init__(scope)
        self.found, self.effort, self.begun = found, Effort(effort), set[int]()

    def memory(self) -> Memory:
        return Memory(self.effort.spend)

    def graph(self, graph: Graph, memory: Memory) -> list[Any]:
        self.begun.add(id(graph))
        return super().graph(graph, memory)

    def step(self, graph: Graph, node: Node, memory: Memory) -> None:
        constants: dict = current().constants  # type: ignore[union-attr]
        before = len(constants)
        try:
            self.effort.spend(STEP)
            self.compute(node, memory)
            made = islice(reversed(constants.values()), len(constants) - before)
            return self.effort.spend(sum(v.size for _, v in made))
        except Missing:
            pass
        except Exception as e:
            if not self.found[id(node)]:
                self.found[id(node)].append(without_line(e) or type(e).__name__)
        names = [node.outputs] if isinstance(node.outputs, str) else node.outputs
        self.stand_in(graph, names, memory)
        for body in node.args:
            if isinstance(body, Graph) and id(body) not in self.begun:
                inner = self.memory()
                self.stand_in(body, body.inputs, inner)
                with contextlib.suppress(Missing):
                    self.graph(body, inner)

    def stand_in(self, graph: Graph, names: Sequence[str], memory: Memory) -> None:
        """Data in the place of values that are not there."""
        for name in names:
            specs = graph.example(name)
            if None not in flat([specs]):
                memory.put(name, mg.tree.map(lambda s: mg.zeros(s.shape, dtype=s.dtype), specs))

    def argument(self, x: Any, memory: Memory) -> Any:
        if isinstance(x, Ref) and x.name not in memory.values:
            raise Missing
        return super().argument(x, memory)

    def value(self, target: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        out = super().value(target, args, kwargs)
        self.effort.spend(sum(x.size for x in flat([out]) if isinstance(x, mg.Tensor)))
        return out

    def decomposed(self, target: str, *args: Any, **kwargs: Any) -> Any:
        before = decompose.count()
        try:  # one step, which fails as a whole
            return Run(self.scope).decomposed(target, *args, **kwargs)
        finally:
            self.effort.spend((decompose.count() - before) * _APART)
