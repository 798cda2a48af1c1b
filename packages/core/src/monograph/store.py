"""Variables by path: `Store` keeps them, `Scope` names them, `Store.bind` makes them state.

A model is a function of a scope and its inputs. While it is traced, the variables it asks for
become inputs of the graph, and those it assigns become extra outputs; the compiled call feeds the
store's buffers in and takes the new ones back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from . import ops, tree
from .engine import Device, _selected, engine as use_engine, resolve
from .errors import ArgumentError, TraceError, VariableError
from .graph import Graph, Value
from .jit import Compiled
from .spec import Spec
from .tensor import Tensor, feed, unwrap, wrap
from .tracing import Trace, as_value, current, trace_flat, tracing, user_source

Init = Callable[[Any, tuple, Any], Any]  # (key uint32[2], shape, dtype) -> array


class Slot:
    """One variable's place in a store: its spec, and the buffer that holds it now."""

    __slots__ = ("path", "spec", "trainable", "buffer", "device")

    def __init__(self, path: str, value: Tensor, trainable: bool):
        self.path, self.spec, self.trainable = path, value.spec, trainable
        self.buffer, self.device = value.buffer, value.device

    def on(self, device: Device) -> Any:
        """The buffer on ``device``; it moves there for good."""
        if self.device is not device:
            moved = device.engine.put(self.device.engine.get(self.buffer), device)
            self.buffer, self.device = moved, device
        return self.buffer

    def read(self) -> Tensor:
        """A copy, so that a later donated update cannot pull it away."""
        engine = self.device.engine
        return Tensor(engine.put(engine.get(self.buffer), self.device), self.spec, self.device)


class Store(Mapping):
    """Variables by path, such as ``"stem/kernel"``. Reading gives a copy.

    Args:
        seed: from it and its path each variable's first value is made, the same on every engine.

    >>> import monograph as mg
    >>> store = mg.Store(seed=0)
    >>> def model(scope, x):
    ...     return x * scope.parameter("scale", x.shape, init=lambda k, s, d: mg.ones(s, dtype=d))
    >>> store.bind(model)(mg.tensor([1.0, 2.0])).tolist(), list(store)
    ([1.0, 2.0], ['scale'])
    """

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.slots: dict[str, Slot] = {}

    def __getitem__(self, path: str) -> Tensor:
        return self._slot(path).read()

    def __setitem__(self, path: str, value: Any) -> None:
        """Replace a variable's value (spec unchanged), or add a new trainable one."""
        found = self.slots.get(path)
        new = Tensor.of(value, dtype=found.spec.dtype if found else None)
        if found is None:
            self.add(path, new)
            return
        if new.shape != found.spec.shape:
            raise VariableError(
                f"variable {path!r} has shape {found.spec.shape}; a value of shape {new.shape} "
                f"does not fit"
            )
        put = found.device.engine.put
        found.buffer = put(new.numpy(), found.device)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.slots))

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, path: object) -> bool:
        return path in self.slots

    def __repr__(self) -> str:
        n = sum(s.spec.size for s in self.slots.values())
        return f"Store({len(self)} variables, {n:,} numbers)"

    def _slot(self, path: str) -> Slot:
        found = self.slots.get(path)
        if found is None:
            near = [p for p in self.slots if p.endswith(path.rpartition("/")[2])][:3]
            raise VariableError(
                f"there is no variable {path!r}"
                + (f"; did you mean {', '.join(near)}?" if near else "")
            )
        return found

    def add(self, path: str, value: Any, trainable: bool = True) -> None:
        """A new variable. Raises `VariableError` when the path is taken."""
        if path in self.slots:
            raise VariableError(
                f"variable {path!r} exists already; assign with store[{path!r}] = ..."
            )
        value = Tensor.of(value)
        own = value.device.engine.put(value.numpy(), value.device)
        self.slots[path] = Slot(path, Tensor(own, value.spec, value.device), trainable)

    def spec(self, path: str) -> Spec:
        """A variable's shape and dtype, without reading it."""
        return self._slot(path).spec

    @property
    def trainable(self) -> list[str]:
        """Paths of the variables that gradients are for, sorted."""
        return [p for p in self if self.slots[p].trainable]

    def numpy(self) -> dict[str, np.ndarray]:
        """Every variable as a NumPy array of its own."""
        return {p: np.array(s.device.engine.get(s.buffer)) for p, s in sorted(self.slots.items())}

    def copy(self) -> Store:
        """A store of its own with the same values."""
        out = Store(self.seed)
        for path, slot in self.slots.items():
            out.add(path, slot.read(), slot.trainable)
        return out

    def key(self, path: str) -> Any:
        """The random key of a path: the seed folded with the path's checksum."""
        import zlib

        from . import random

        return random.fold_in(random.key(self.seed), zlib.crc32(path.encode()))

    def bind(self, model: Callable, engine: Any = None, **static: Any) -> Bound:
        """``model(scope, *args)`` as a compiled function whose state is this store.

        Args:
            model: a function of a `Scope` and arrays.
            engine: where to run; None follows `mg.engine`.
            static: keyword arguments handed to the model as Python values (``training=True``).
        """
        return Bound(self, model, engine, static)


class Scope:
    """Where a model's variables are named. ``scope / "name"`` opens one below it."""

    __slots__ = ("frame", "path", "is_shared")

    def __init__(self, frame: Frame, path: str = "", is_shared: bool = False):
        self.frame, self.path, self.is_shared = frame, path, is_shared

    def __truediv__(self, name: str) -> Scope:
        return Scope(self.frame, self._join(name), self.is_shared)

    def shared(self, name: str) -> Scope:
        """A sub-scope whose variables may be asked for more than once in a trace."""
        return Scope(self.frame, self._join(name), True)

    def _join(self, name: str) -> str:
        if not isinstance(name, str) or not name:
            raise VariableError(
                f"{user_source()}: a scope's name is a non-empty string, not {name!r}"
            )
        return f"{self.path}/{name}" if self.path else name

    def variable(
        self, name: str, shape: Any, init: Init | float = 0.0, dtype: Any = "float32",
        trainable: bool = False,
    ) -> Variable:  # fmt: skip
        """A variable of this scope, made by ``init`` when the store lacks it.

        Args:
            init: ``(key, shape, dtype) -> array``, or a number to fill with.
            trainable: whether gradients are for it; `parameter` says yes.

        Raises:
            VariableError: asked for twice in one trace without `shared`, or stored with another
                shape or dtype.
        """
        return self.frame.variable(
            self._join(name), Spec(shape, dtype), init, trainable, self.is_shared
        )

    def parameter(
        self, name: str, shape: Any, init: Init | float = 0.0, dtype: Any = "float32"
    ) -> Value:
        """A trainable variable's value."""
        return self.variable(name, shape, init, dtype, trainable=True).value

    def read(self, path: str) -> Value:
        """The value of any variable of the store, by its full path: what optimizers do."""
        self.frame.store.spec(path)
        return self.frame.read(path)

    def assign(self, path: str, x: Any) -> None:
        """Write any variable by its full path; see `Variable.assign`."""
        self.frame.store.spec(path)
        self.frame.write(path, x)

    def key(self) -> Value:
        """A fresh random key ``uint32[2]``; the store's random state moves on."""
        from . import random

        first = lambda k, s, d: random.key(self.frame.store.seed)  # noqa: E731
        state = self.frame.variable("random/state", Spec((2,), "uint32"), first, False, True)
        keys = random.split(state.value)
        state.assign(keys[0])
        return keys[1]

    def value_and_grad(self, fn: Callable, has_aux: bool = False) -> Callable:
        """``fn`` with its gradient by every trainable variable it reads.

        Returns:
            A function giving ``(fn(...), {path: gradient})``; with ``has_aux`` the first is the
            pair ``(scalar, aux)`` that ``fn`` returned.
        """
        return lambda *args, **kwargs: self.frame.value_and_grad(fn, has_aux, args, kwargs)

    def __repr__(self) -> str:
        return f"Scope({self.path!r})"


class Variable:
    """A variable inside a trace: read `value`, write with `assign`."""

    __slots__ = ("frame", "path", "spec")

    def __init__(self, frame: Frame, path: str, spec: Spec):
        self.frame, self.path, self.spec = frame, path, spec

    @property
    def value(self) -> Value:
        """Its value at this point of the function."""
        return self.frame.read(self.path)

    def assign(self, x: Any) -> None:
        """Its value from here on; stored when the call returns.

        Raises:
            VariableError: another shape or dtype, or inside a loop or branch body.
        """
        self.frame.write(self.path, x)


class Frame:
    """The variables of one trace: which were read, and what they hold now."""

    def __init__(self, store: Store, trace: Trace):
        self.store, self.trace = store, trace
        self.values: dict[str, Value] = {}
        self.inputs: dict[str, Value] = {}
        self.written: dict[str, None] = {}
        self.asked: dict[str, Any] = {}
        self.created: list[str] = []
        self.regions: list[dict[str, Value]] = []

    def variable(
        self, path: str, spec: Spec, init: Any, trainable: bool, is_shared: bool
    ) -> Variable:
        if path in self.asked and not is_shared:
            raise VariableError(
                f"{user_source()}: variable {path!r} is created twice in one trace (first at "
                f"{self.asked[path]}). Give the second another scope, or share it with "
                f"scope.shared(name)."
            )
        self.asked.setdefault(path, user_source())
        slot = self.store.slots.get(path)
        if slot is None:
            self._create(path, spec, init, trainable)
        elif slot.spec is not spec:
            raise VariableError(
                f"{user_source()}: variable {path!r} is stored as {slot.spec}, the model asks for "
                f"{spec}"
            )
        return Variable(self, path, spec)

    def _create(self, path: str, spec: Spec, init: Any, trainable: bool) -> None:
        # on the reference engine: the same numbers whichever engine trains them
        with tracing(None), use_engine("numpy"):
            made = (
                init(self.store.key(path), spec.shape, spec.dtype)
                if callable(init)
                else np.full(spec.shape, init, spec.dtype.numpy)
            )
            value = Tensor.of(made)
        if value.spec is not spec:
            raise VariableError(
                f"{user_source()}: the initializer of {path!r} made {value.spec}, asked was {spec}"
            )
        self.store.add(path, value, trainable)
        self.created.append(path)

    def read(self, path: str) -> Value:
        if path not in self.values:
            slot = self.store.slots[path]
            self.inputs[path] = self.values[path] = self.trace.add_input(slot.spec, path)
        region = self.regions[-1] if self.regions else None
        if region is not None and path not in region and self.store.slots[path].trainable:
            with tracing(self.trace):
                self.values[path] = region[path] = ops.alias(self.values[path])
        return self.values[path]

    def write(self, path: str, x: Any) -> None:
        if current() is not self.trace:
            raise VariableError(
                f"{user_source()}: variable {path!r} is assigned inside the body of a loop, branch or "
                f"checkpoint; return the value from the body and assign it outside"
            )
        value, spec = as_value(x), self.store.slots[path].spec
        if value.spec is not spec:
            raise VariableError(
                f"{user_source()}: variable {path!r} is {spec}; cannot assign {value.spec}"
            )
        self.read(path)
        self.values[path] = value
        self.written[path] = None

    def value_and_grad(self, fn: Callable, has_aux: bool, args: tuple, kwargs: dict) -> Any:
        from .autodiff import backward

        region: dict[str, Value] = {}
        self.regions.append(region)
        try:
            out = fn(*args, **kwargs)
        finally:
            self.regions.pop()
        y = as_value(out[0] if has_aux else out)
        if y.shape != () or not y.dtype.is_float:
            raise ArgumentError(
                f"{user_source()}: the gradient needs a real scalar loss, got {y.spec}; reduce it first"
            )
        paths = sorted(region)
        got = backward([y], [ops.full(1, y.spec)], [region[p] for p in paths])
        grads = {p: ops.full(0, region[p].spec) if g is None else g for p, g in zip(paths, got)}
        return out, grads


class Bound:
    """A model compiled with a store as its state; made by `Store.bind`."""

    def __init__(self, store: Store, model: Callable, engine: Any, static: dict[str, Any]):
        self.store, self.model, self.engine, self.static = store, model, engine, static
        self._device = None if engine is None else resolve(engine)
        self._cache: dict[Any, _Entry] = {}

    def on(self, engine: Any) -> Bound:
        """The same model and store on another engine; the variables move there when called."""
        return Bound(self.store, self.model, engine, self.static)

    def __call__(self, *args: Any) -> Any:
        if current() is not None:
            raise TraceError(
                f"{user_source()}: a bound model cannot be called inside a trace; call the model with "
                f"the scope instead"
            )
        device = self._device or _selected.get() or resolve()
        leaves, in_tree = tree.flatten(args)
        found = unwrap(leaves, device) or zip(*[feed(x, device) for x in leaves])
        specs, buffers = map(list, found)
        key = (device, in_tree, *specs)
        entry = self._cache.get(key)
        if entry is None:
            entry = self._cache[key] = _Entry(self, specs, in_tree, device)
        return entry.run(buffers)

    def trace(self, *args: Any) -> Graph:
        """The graph for these example arguments: inputs are arguments, then variables by path."""
        leaves, in_tree = tree.flatten(args)
        return _record(self, [Spec.of(x) for x in leaves], in_tree)[0]


class _Entry:
    """One compilation of a bound model."""

    __slots__ = ("compiled", "slots", "writes", "device", "out_tree", "out_specs")

    def __init__(self, bound: Bound, specs: list, in_tree: Any, device: Device):
        graph, frame, out_tree = _record(bound, specs, in_tree)
        slots = bound.store.slots
        self.slots = [slots[p] for p in frame.inputs]
        self.writes = [slots[p] for p in frame.written]
        self.device, self.out_tree = device, out_tree
        places = {p: len(specs) + i for i, p in enumerate(frame.inputs)}
        donate = tuple(sorted(places[p] for p in frame.written))
        self.compiled = Compiled(graph, device, donate)
        self.out_specs = graph.output_specs[: len(graph.outputs) - len(self.writes)]

    def run(self, buffers: list) -> Any:
        device = self.device
        buffers += [s.buffer if s.device is device else s.on(device) for s in self.slots]
        outs = self.compiled.execute(buffers)
        n = len(self.out_specs)
        for slot, b in zip(self.writes, outs[n:]):
            slot.buffer = b
        result = wrap(outs, self.out_specs, device)
        if self.out_tree is tree.LEAF:
            return result[0]
        return tree.unflatten(self.out_tree, result)


def _record(bound: Bound, specs: list[Spec], in_tree: Any) -> tuple[Graph, Frame, Any]:
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
    try:
        with tracing(None):
            graph, _, _ = trace_flat(flat, specs, name=name)
    except BaseException:
        # variables made for a model that failed to trace go again: the store is as it was
        for frame in frames:
            for path in frame.created:
                bound.store.slots.pop(path, None)
        raise
    graph = simplify(Graph(graph.inputs, graph.outputs, None, None, graph.name))
    return graph, frames[0], out_trees[0]
