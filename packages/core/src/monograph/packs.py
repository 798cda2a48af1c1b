"""Small variables in one buffer: fewer arrays in and out of a call, and one update for all of them.

A call costs some 0.6 us per array that it takes or gives, a thousand of which cost more than a small
model's step. So where that weighs (`plan`), the parameters of an optimizer's update lie one after
another in a `Pack`, their moments in further ones, and the update runs once on whole packs. A pack is
made for the first program that takes its variables, stays, and is what programs on engines that gain
from it (`Engine.packs`) take; others have it taken apart. By name nothing changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import ops
from .engine import Device
from .graph import Graph, Node, Value
from .rewrite import copy_node
from .spec import Spec
from .tracing import Trace, source_of, tracing

if TYPE_CHECKING:
    from .store import Slot

LARGEST, FEWEST = 4096, 4
"""Numbers in a variable that is packed, which costs copying them; variables that are worth a pack."""

ARRAY, FLOPS, SHARE = 6e-7, 1e11, 0.05
"""Seconds that a call needs per array; operations a second that its work is taken to run at; and the
least part of a call that packing must save: it makes compiling longer."""

UPDATES = {ops.adam_update: 2, ops.sgd_update: 1}
"""Ops that update ``count`` arrays elementwise: operands before the first of them. After these come as
many gradients, then moments; results are all but the gradients."""


class Pack:
    """Variables of one dtype, one after another in a flat buffer.

    Attributes:
        slots: its variables.
        starts: where each begins.
        buffer, device: the numbers; None while the variables have buffers of their own.
    """

    __slots__ = ("slots", "starts", "spec", "buffer", "device")

    def __init__(self, slots: Sequence[Slot]):
        self.slots = tuple(slots)
        ends = [*itertools.accumulate(s.spec.size for s in slots)]
        self.starts = dict(zip(self.slots, [0, *ends]))
        self.spec = Spec((ends[-1],), slots[0].spec.dtype)
        self.buffer: Any = None
        self.device: Device | None = None
        for slot in slots:
            slot.pack = self

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(s.spec.size for s in self.slots)

    def on(self, device: Device) -> Any:
        """The buffer on ``device``, where it stays."""
        if self.device is not device:
            if self.device is None:
                flat = np.concatenate([s.array().reshape(-1) for s in self.slots])
            else:
                flat = self.device.engine.get(self.buffer)
            self.buffer, self.device = device.engine.put(flat, device), device
            for slot in self.slots:
                slot.buffer, slot.device = None, None
        return self.buffer

    def array(self, slot: Slot) -> np.ndarray:
        """The numbers of one of its variables, while it holds them."""
        assert self.device is not None
        return self.cut(slot, self.device.engine.get(self.buffer))

    def cut(self, slot: Slot, flat: np.ndarray) -> np.ndarray:
        """One variable's part of ``flat``."""
        start = self.starts[slot]
        return flat[start : start + slot.spec.size].reshape(slot.spec.shape)

    def take_apart(self) -> None:
        """Give every variable a buffer of its own, where the pack was."""
        if (device := self.device) is not None:
            for slot in self.slots:
                slot.buffer, slot.device = device.engine.put(self.array(slot), device), device
            self.buffer, self.device = None, None


class Plan(NamedTuple):
    """How a program takes its state.

    Attributes:
        graph: inputs are arguments, then state; outputs are results, then state.
        reads, writes: what holds it, variables and then packs.
        plain: the same with a variable each.
        slots, results: its variables.
    """

    graph: Graph
    reads: list[Slot | Pack]
    writes: list[Slot | Pack]
    plain: Graph
    slots: list[Slot]
    results: list[Slot]

    @property
    def written(self) -> list[int]:
        """Where in `graph`'s inputs what is written is."""
        return _places(self.graph, self.reads, self.writes)

    @property
    def plainly_written(self) -> list[int]:
        """The same of `plain`."""
        return _places(self.plain, self.slots, self.results)

    def inputs(self, buffers: Sequence[Any], device: Device) -> list[Any]:
        """Buffers for `plain`, of those for `graph`."""
        return _apart(buffers, self.reads, self.slots, device)

    def outputs(self, buffers: Sequence[Any], device: Device) -> list[Any]:
        """Results of `plain`, of those of `graph`."""
        return _apart(buffers, self.writes, self.results, device)


def _places(graph: Graph, reads: Sequence[Any], writes: Sequence[Any]) -> list[int]:
    first = len(graph.inputs) - len(reads)
    places = {holder: first + i for i, holder in enumerate(reads)}
    return [places[holder] for holder in writes]


def _apart(
    buffers: Sequence[Any], holders: Sequence[Slot | Pack], slots: Sequence[Slot], device: Device
) -> list[Any]:
    first = len(buffers) - len(holders)
    found: dict[Slot, Any] = {}
    for holder, buffer in zip(holders, buffers[first:]):
        if isinstance(holder, Pack):
            for slot in holder.slots:
                found[slot] = device.engine.put(holder.cut(slot, device.engine.get(buffer)), device)
        else:
            found[holder] = buffer
    return [*buffers[:first], *[found[s] for s in slots]]


def plan(graph: Graph, reads: list[Slot], writes: list[Slot], packing: bool) -> Plan:
    """The program of ``graph``, whose last inputs are the variables ``reads``, whose last outputs ``writes``.

    Args:
        packing: whether packs are taken, and made where that is worth it.
    """
    if packing:
        inputs = dict(zip(graph.inputs[len(graph.inputs) - len(reads) :], reads))
        _make(graph, inputs, writes)
        if packs := list(dict.fromkeys(s.pack for s in reads if s.pack is not None)):
            return Plan(*_Packing(graph, inputs, writes, packs).made(), graph, reads, writes)
    return Plan(graph, [*reads], [*writes], graph, reads, writes)


def _make(graph: Graph, inputs: dict[Value, Slot], writes: list[Slot]) -> None:
    """Pack what updates and what is only read, if that saves enough of a call.

    A variable is packed for the first program that takes it, or never: no later one changes what
    those before it were compiled for.
    """
    results = dict(zip(writes, graph.outputs[len(graph.outputs) - len(writes) :]))
    small = {v: s for v, s in inputs.items() if s.spec.size <= LARGEST}
    found: list[list[Slot]] = []
    for node in graph.nodes:
        if node.op in UPDATES:
            found += _updated(node, small, results)
    updated = {s for group in found for s in group}
    rest = [s for s in small.values() if not s.settled and s not in updated and s not in results]
    kind = lambda s: (s.trainable, s.spec.dtype.name, s.path)  # noqa: E731
    rest.sort(key=kind)
    found += [list(g) for _, g in itertools.groupby(rest, lambda s: kind(s)[:2])]
    found = [group for group in found if len(group) >= FEWEST]
    saved = sum(len(group) * (2 if group[0] in updated else 1) for group in found)
    if saved and saved * ARRAY >= SHARE * graph.cost().flops / FLOPS:
        for group in found:
            Pack(group)
    for slot in inputs.values():
        slot.settled = True


def _groups(node: Node) -> tuple[list[range], list[range]]:
    """Positions of an update's operands and results: parameters and each kind of moment."""
    n, first = node.attrs["count"], UPDATES[node.op]
    kinds = (len(node.inputs) - first) // n if n else 0
    reads = [range(first + i * n, first + (i + 1) * n) for i in range(kinds) if i != 1]
    return reads, [range(i * n, (i + 1) * n) for i in range(len(reads))]


def _updated(node: Node, small: dict[Value, Slot], results: dict[Slot, Value]) -> list[list[Slot]]:
    """The parameters that an update reads and writes as they are, and their moments, in its order;
    without those that are such a pack already."""
    reads, writes = _groups(node)

    def whole(i: int) -> bool:
        return all(
            (slot := small.get(node.inputs[r[i]])) is not None
            and results.get(slot) is node.outputs[w[i]]
            for r, w in zip(reads, writes)
        )

    chosen = [i for i in range(node.attrs["count"]) if whole(i)]
    groups = [[small[node.inputs[r[i]]] for i in chosen] for r in reads]
    packed = [g[0].pack.slots == tuple(g) if g and g[0].pack else False for g in groups]
    if any(s.settled for g, p in zip(groups, packed) if not p for s in g):
        return []
    return [g for g, p in zip(groups, packed) if not p]


class _Packing:
    """One graph, remade to take packs."""

    def __init__(
        self, graph: Graph, inputs: dict[Value, Slot], writes: list[Slot], packs: list[Pack]
    ):
        self.graph, self.inputs, self.writes, self.packs = graph, inputs, writes, packs
        self.flat: dict[Pack, Value] = {}
        # a value that is a part of a flat one, and which part
        self.part: dict[Value, tuple[Value, int]] = {}

    def made(self) -> tuple[Graph, list[Slot | Pack], list[Slot | Pack]]:
        """The graph, and what holds the state that it reads and writes."""
        graph, n = self.graph, len(self.graph.inputs) - len(self.inputs)
        trace = Trace(None, graph.name)
        with tracing(trace):
            given = {v: trace.add_input(v.spec, v.node.attrs["name"]) for v in graph.inputs[:n]}
            alone = {v: s for v, s in self.inputs.items() if s.pack is None}
            given |= {v: trace.add_input(v.spec, s.path) for v, s in alone.items()}
            pieces: dict[Slot, Value] = {}
            for i, pack in enumerate(self.packs):
                flat = self.flat[pack] = trace.add_input(pack.spec, f"packed {i}")
                pieces |= zip(pack.slots, self._apart(flat, pack))
            given |= {v: pieces[s] for v, s in self.inputs.items() if s.pack is not None}
            outs = graph.replay([given[v] for v in graph.inputs], self._execute)
            results, new = outs[: -len(self.writes) or None], outs[len(outs) - len(self.writes) :]
            pieces |= zip(self.writes, new)
            written = list(dict.fromkeys(s.pack for s in self.writes if s.pack is not None))
            packed = [self._joined([pieces[s] for s in pack.slots]) for pack in written]
        trace.open = False
        writes = [s for s in self.writes if s.pack is None]
        outputs = [*results, *[pieces[s] for s in writes], *packed]
        made = Graph(trace.inputs, outputs, graph.in_tree, graph.out_tree, graph.name)
        return made, [*alone.values(), *self.packs], [*writes, *written]

    def _apart(self, flat: Value, pack: Pack) -> list[Value]:
        out = []
        for i, (slot, piece) in enumerate(
            zip(pack.slots, ops.split(flat, sizes=pack.sizes, axis=0))
        ):
            value = piece if slot.spec.ndim == 1 else ops.reshape(piece, shape=slot.spec.shape)
            self.part[value] = (flat, i)
            out.append(value)
        return out

    def _joined(self, values: Sequence[Value]) -> Value:
        """One flat value of several: the one they are all the parts of, in this order, if there is one."""
        parts = [self.part.get(v, (None, 0)) for v in values]
        flat = parts[0][0]
        # by identity: == of values is an operation
        in_order = all(of is flat and at == i for i, (of, at) in enumerate(parts))
        if flat is not None and in_order and flat.size == sum(v.size for v in values):
            return flat
        lines = [v if v.ndim == 1 else ops.reshape(v, shape=(v.size,)) for v in values]
        return ops.concatenate(*lines, axis=0)

    def _execute(self, node: Node, xs: list[Value]) -> Sequence[Value]:
        with source_of(node):
            if node.op in UPDATES and (packs := self._updates(node)):
                return self._update(node, xs, packs)
            return copy_node(node, xs)

    def _updates(self, node: Node) -> list[Pack]:
        """The packs that this update is for: of parameters and moments, all or none of each."""
        reads, _ = _groups(node)
        found = [[self._pack(node.inputs[i]) for i in r] for r in reads]
        packs = [next(filter(None, group), None) for group in found]
        for group, pack, r in zip(found, packs, reads):
            members = [self.inputs[node.inputs[i]] for i, p in zip(r, group) if p]
            if pack is None or tuple(members) != pack.slots:
                return []
        alike = all([*map(bool, group)] == [*map(bool, found[0])] for group in found)
        return [p for p in packs if p] if alike else []

    def _pack(self, v: Value) -> Pack | None:
        return self.inputs[v].pack if v in self.inputs else None

    def _update(self, node: Node, xs: list[Value], packs: list[Pack]) -> Sequence[Value]:
        reads, writes = _groups(node)
        n, first = node.attrs["count"], UPDATES[node.op]
        inside = {*packs[0].slots}
        packed = [i for i in range(n) if self.inputs.get(node.inputs[reads[0][i]]) in inside]
        others = [i for i in range(n) if i not in {*packed}]
        flat = [self.flat[p] for p in packs]
        gradient = self._joined([xs[first + n + i] for i in packed])
        new = node.op(*xs[:first], flat[0], gradient, *flat[1:], **(node.attrs | {"count": 1}))
        out: list[Any] = [None] * len(node.outputs)
        for w, value, pack in zip(writes, new, packs):
            for i, piece in zip(packed, self._apart(value, pack)):
                out[w[i]] = piece
        if others:
            kinds = [reads[0], range(first + n, first + 2 * n), *reads[1:]]
            rest = [xs[k[i]] for k in kinds for i in others]
            made = iter(node.op(*xs[:first], *rest, **(node.attrs | {"count": len(others)})))
            for w in writes:
                for i in others:
                    out[w[i]] = next(made)
        return out
