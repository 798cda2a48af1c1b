"""`Bound`: a model compiled with a store as its state; made by `Store.bind`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import guarding, tree
from .compiled import Compiled, guarded_class
from .engine import Device, _selected, resolve
from .errors import TraceError
from .graph import Graph, Value
from .packs import plan
from .scope import Frame, Scope
from .spec import Spec
from .store import Store
from .tensor import feed, unwrap, wrap
from .tracing import argument_names, current, trace_flat, tracing, user_source


class Bound:
    """A model compiled with a store as its state; made by `Store.bind`."""

    def __init__(
        self, store: Store, model: Callable, engine: Any, static: dict[str, Any],
        donate_argnums: Iterable[int] | int = (),
    ):  # fmt: skip
        self.store, self.model, self.engine, self.static = store, model, engine, static
        self.donate = {donate_argnums} if isinstance(donate_argnums, int) else {*donate_argnums}
        self._device = None if engine is None else resolve(engine)
        self._cache: dict[Any, _Entry] = {}
        self._chosen: dict[Any, Device] = {}  # by engine="auto"

    def on(self, engine: Any) -> Bound:
        """The same model and store on another engine; the variables move there when called."""
        return Bound(self.store, self.model, engine, self.static, self.donate)

    def __call__(self, *args: Any) -> Any:
        if current() is not None:
            raise TraceError(
                f"{user_source()}: a bound model cannot be called inside a trace; call the model with "
                f"the scope instead"
            )
        device = self._device or _selected.get() or resolve()
        leaves, in_tree = tree.flatten(args)
        if device.kind == "auto":
            device = self._fastest(device, args, leaves, in_tree)
        found = unwrap(leaves, device) or zip(*[feed(x, device) for x in leaves])
        specs, buffers = map(list, found)
        guarded = bool(guarding.on and guarding.current() is not None)
        key = ("guarded", device, in_tree, *specs) if guarded else (device, in_tree, *specs)
        entry = self._cache.get(key)
        if entry is None:
            donate = self._donated(args) if self.donate and not guarded else ()
            entry = self._cache[key] = _Entry(self, specs, in_tree, device, guarded, donate)
        return entry.run(buffers, leaves)

    def _fastest(self, device: Device, args: tuple, leaves: list, in_tree: Any) -> Device:
        """Where ``engine="auto"`` runs this call; measured for the first of its kind, on copies of state."""
        specs = [Spec.of(x) for x in leaves]
        key = (in_tree, *specs)
        found = self._chosen.get(key)
        if found is None:
            from . import auto

            donate = self._donated(args)

            def make(d: Device, kind: Callable[..., Compiled] = Compiled) -> _Entry:
                return _Entry(self, specs, in_tree, d, False, donate, packing=False, make=kind)

            graph, frame, _ = record(self, specs, in_tree)
            slots = self.store.slots
            reads, writes = ([slots[p] for p in paths] for paths in (frame.inputs, frame.written))
            inputs = [*leaves, *[s.read() for s in reads]]
            places = {p: len(specs) + i for i, p in enumerate(frame.inputs)}
            written = [*donate, *[places[p] for p in frame.written]]
            steady = [i for i in places.values() if i not in written]
            found, entry = auto.choose(graph, make, inputs, written, steady, mixes=device.index > 0)
            self._chosen[key] = found
            # all engines were measured without packs
            packed = plan(graph, reads, writes, found.engine.packs(found))
            if type(entry.compiled) is Compiled and packed.graph is not graph:
                entry = _Entry(self, specs, in_tree, found, False, donate)
            self._cache[(found, *key)] = entry
        return found

    def _donated(self, args: tuple) -> tuple[int, ...]:
        """Places of the leaves of donated arguments."""
        out: list[int] = []
        first = 0
        for i, arg in enumerate(args):
            n = tree.count(tree.flatten(arg)[1])
            out += range(first, first + n) if i in self.donate else ()
            first += n
        return tuple(out)

    def trace(self, *args: Any) -> Graph:
        """The graph for these example arguments: inputs are arguments, then variables by path."""
        leaves, in_tree = tree.flatten(args)
        return record(self, [Spec.of(x) for x in leaves], in_tree)[0]


class _Entry:
    """One compilation of a bound model."""

    __slots__ = (
        "compiled", "reads", "writes", "arranged", "device", "out_tree", "out_specs", "donated",
    )  # fmt: skip

    def __init__(
        self, bound: Bound, specs: list, in_tree: Any, device: Device, guarded: bool,
        donate: tuple[int, ...], packing: bool = True, make: Callable[..., Compiled] = Compiled,
    ):  # fmt: skip
        self.donated = bool(donate)
        graph, frame, self.out_tree = record(bound, specs, in_tree)
        slots = bound.store.slots
        reads, writes = ([slots[p] for p in paths] for paths in (frame.inputs, frame.written))
        self.out_specs = graph.output_specs[: len(graph.outputs) - len(writes)]
        self.device = device
        made = plan(graph, reads, writes, packing and device.engine.packs(device))
        self.reads, self.writes = made.reads, made.writes
        if guarded:  # lends no state: what the variables held is there when the guard trips
            self.compiled: Compiled = guarded_class()(
                made.graph, device, variables=len(specs), out_tree=self.out_tree, plan=made
            )
        else:
            steady = [i for i in range(len(specs), len(made.graph.inputs)) if i not in made.written]
            written = sorted(made.written)
            self.compiled = make(made.graph, device, (*donate, *written), steady)
        wishes = getattr(self.compiled.executable, "arranges", {})
        state = enumerate(self.reads, len(specs))
        self.arranged = [(i, s, wishes[i]) for i, s in state if i in wishes]

    def execute(self, buffers: list) -> Any:
        """The program by itself; nothing is written to the store."""
        return self.compiled.execute(buffers)

    def run(self, buffers: list, leaves: list) -> Any:
        device = self.device
        if self.donated:
            self.compiled.claim(leaves)
        buffers += [s.buffer if s.device is device else s.on(device) for s in self.reads]
        for i, s, arrange in self.arranged:
            buffers[i] = s.buffer = arrange(buffers[i])
        outs = self.compiled.execute(buffers)
        if self.donated:
            self.compiled.give_up(leaves)
        n = len(self.out_specs)
        for s, b in zip(self.writes, outs[n:]):
            s.buffer = b
        result = wrap(outs, self.out_specs, device)
        if self.out_tree is tree.LEAF:
            return result[0]
        return tree.unflatten(self.out_tree, result)


def record(
    bound: Bound, specs: list[Spec], in_tree: Any, names: list[str] | None = None
) -> tuple[Graph, Frame, Any]:
    """A bound model's graph, the variables it reads and writes, and how its results nest."""
    from .rewrite import simplify

    frames: list[Frame] = []
    out_trees: list[Any] = []

    def flat(*values: Value) -> Any:
        frame = Frame(bound.store, current())  # type: ignore[arg-type]
        frames.append(frame)
        out = bound.model(Scope(frame), *tree.unflatten(in_tree, values), **bound.static)
        leaves, out_tree = tree.flatten(out)
        out_trees.append(out_tree)
        return (*leaves, *[frame.values[p] for p in frame.written])

    name = getattr(bound.model, "__name__", "model")
    names = names or argument_names(tree.unflatten(in_tree, specs), {})
    try:
        with tracing(None):
            graph, _, _ = trace_flat(flat, specs, names, name)
    except BaseException:
        # variables made for a model that failed to trace go again: the store is as it was
        for frame in frames:
            for path in frame.created:
                bound.store.slots.pop(path, None)
        raise
    graph = simplify(Graph(graph.inputs, graph.outputs, None, None, graph.name))
    return graph, frames[0], out_trees[0]
