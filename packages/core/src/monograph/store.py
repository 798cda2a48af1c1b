"""Variables by path: `Store` keeps them, `Scope` names them, `Store.bind` makes them state.

A model is a function of a scope and its inputs. While it is traced, the variables it asks for
become inputs of the graph, and those it assigns become extra outputs; the compiled call feeds the
store's buffers in and takes the new ones back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .engine import Device, engine as use_engine, resolve
from .errors import VariableError
from .spec import Spec
from .tensor import Tensor
from .tracing import tracing

if TYPE_CHECKING:
    from .bound import Bound

Init = Callable[[Any, tuple, Any], Any]  # (key uint32[2], shape, dtype) -> array


class Given(NamedTuple):
    """In the place of an initializer: a value that is there already."""

    array: Any


class Slot:
    """One variable's place in a store: its spec, the buffer that holds it now, and what made it.

    While a `Pack` holds it, it has no buffer and no device of its own.
    """

    __slots__ = ("path", "spec", "trainable", "buffer", "device", "init", "pack", "settled")

    def __init__(self, path: str, value: Tensor, trainable: bool):
        self.path, self.spec, self.trainable = path, value.spec, trainable
        self.buffer: Any = value.buffer
        self.device: Any = value.device  # both None in a pack
        self.init: Init | float | None = None  # of one that was given its value
        self.pack: Any = None  # its `Pack`, if it is in one
        self.settled = False  # whether it is decided if there is one

    def alone(self) -> Slot:
        """Itself, once its buffer is its own."""
        if self.device is None:
            self.pack.take_apart()
        return self

    def on(self, device: Device) -> Any:
        """The buffer on ``device``; it moves there for good."""
        if self.alone().device is not device:
            self.buffer, self.device = device.engine.put(self.array(), device), device
        return self.buffer

    def write(self, value: Tensor) -> None:
        """A copy of ``value``, on the device where the variable is."""
        self.buffer = self.alone().device.engine.put(value.numpy(), self.device)

    def array(self) -> np.ndarray:
        """The numbers in the engine's own memory where they can be: to look at, not to keep."""
        if self.device is None:
            return self.pack.array(self)
        return self.device.engine.get(self.buffer)

    def read(self) -> Tensor:
        """A copy, so that a later donated update cannot pull it away."""
        device: Any = self.device or (self.pack and self.pack.device)
        return Tensor(device.engine.put(self.array(), device), self.spec, device)


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
        found.write(new)

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
        if value.engine != "numpy":  # whose buffers nobody writes to; others' may be donated
            own = value.device.engine.put(value.numpy(), value.device)
            value = Tensor(own, value.spec, value.device)
        self.slots[path] = Slot(path, value, trainable)

    def spec(self, path: str) -> Spec:
        """A variable's shape and dtype, without reading it."""
        return self._slot(path).spec

    @property
    def trainable(self) -> list[str]:
        """Paths of the variables that gradients are for, sorted."""
        return [p for p in self if self.slots[p].trainable]

    def numpy(self) -> dict[str, np.ndarray]:
        """Every variable as a NumPy array of its own."""
        return {p: np.array(s.array()) for p, s in sorted(self.slots.items())}

    def reset(self, seed: int) -> None:
        """Every variable at the first value that ``seed`` gives it; what is compiled stays.

        So a model is trained from many seeds and compiled once.

        Raises:
            VariableError: variables that were given their values have no other; all are named.

        >>> import monograph as mg
        >>> store = mg.Store(seed=0)
        >>> draw = lambda key, shape, dtype: mg.random.normal(key, shape, dtype)
        >>> call = store.bind(lambda scope: scope.parameter("w", (), draw))
        >>> first = call().item()
        >>> store.reset(seed=1)
        >>> call().item() == mg.Store(seed=1).bind(call.model)().item() != first
        True
        """
        if given := [p for p in self if self.slots[p].init is None]:
            raise VariableError(
                f"{', '.join(given)}: no initializer made them, so no seed does; assign them"
            )
        self.seed = seed
        for path, slot in self.slots.items():
            slot.write(self.first(path, slot.spec, slot.init))  # type: ignore[arg-type]

    def copy(self) -> Store:
        """A store of its own with the same values."""
        out = Store(self.seed)
        for path, slot in self.slots.items():
            out.add(path, slot.read(), slot.trainable)
        return out

    def first(self, path: str, spec: Spec, init: Init | Given | float) -> Tensor:
        """A variable's first value: given, of its initializer, or filled with a number."""
        # on the reference engine: the same numbers whichever engine trains them
        with tracing(None), use_engine("numpy"):
            if isinstance(init, Given):  # no key, which takes longer to make than this
                return Tensor.over(init.array, spec.dtype)
            if callable(init):
                return Tensor.of(init(self.key(path), spec.shape, spec.dtype))
            return Tensor.of(np.full(spec.shape, init, spec.dtype.numpy))

    def key(self, path: str) -> Any:
        """The random key of a path: the seed folded with the path's checksum."""
        import zlib

        from . import random

        return random.fold_in(random.key(self.seed), zlib.crc32(path.encode()))

    def bind(
        self, model: Callable, engine: Any = None, *, donate_argnums: Iterable[int] | int = (),
        **static: Any,
    ) -> Bound:  # fmt: skip
        """``model(scope, *args)`` as a compiled function whose state is this store.

        Args:
            model: a function of a `Scope` and arrays.
            engine: where to run; None follows `mg.engine`.
            donate_argnums: arguments of the model, counted without the scope, whose memory the
                engine may take, as in `mg.jit`: what is handed on from call to call.
            static: keyword arguments handed to the model as Python values (``training=True``).
        """
        from .bound import Bound  # which needs Store

        return Bound(self, model, engine, static, donate_argnums)


class Outline(Store):
    """A store for looking at a model of any size: specs, and zeros that take no memory.

    >>> import monograph as mg
    >>> def model(scope, x):
    ...     return x @ scope.parameter("w", (1_000_000, 1_000_000))
    >>> outline = mg.Outline()
    >>> graph = outline.bind(model).trace(mg.Spec((1, 1_000_000)))
    >>> outline.spec("w")
    float32[1000000,1000000]
    """

    def first(self, path: str, spec: Spec, init: Init | Given | float) -> Tensor:
        """Zeros: one number, seen everywhere."""
        try:
            zero = np.broadcast_to(np.zeros((), spec.dtype.numpy), spec.shape)
        except ValueError as e:
            raise VariableError(f"variable {path!r}, {spec}, is larger than any memory") from e
        return Tensor(zero, spec, resolve("numpy"))


def variables(model: Callable, *args: Any, **static: Any) -> dict[str, Spec]:
    """Shape and dtype of every variable that a model asks for, by path; none is made.

    Args:
        model: a function of a `Scope` and arrays.
        args: its inputs, or specs of them.
        static: as of `Store.bind`.

    >>> import monograph as mg
    >>> mg.variables(lambda scope, x: x @ scope.parameter("w", (10**9, 10**9)), mg.Spec((1, 10**9)))
    {'w': float32[1000000000,1000000000]}
    """
    store = Outline()
    store.bind(model, "numpy", **static).trace(*args)
    return {path: store.spec(path) for path in store}
