"""The engine interface, and choosing one: ``name[:device[,device...]]``, or ``auto``.

An engine turns a `Graph` into something callable and moves arrays in and out. Its table ``LOWER``
maps ops to whatever its `compile` makes of them; what it can do is *derived* from that table.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import plugins
from .dtypes import DType
from .errors import EngineError, MonographError, PluginError, UnsupportedOp
from .graph import Graph
from .op import Op

if TYPE_CHECKING:
    from .tensor import Tensor

Buffer = Any  # whatever the engine holds an array in
Executable = Callable[..., Sequence[Buffer]]


class Device:
    """One place an engine computes on, e.g. ``torch:cuda:0``. Unique per place: compare with `is`.

    Attributes:
        engine: whose it is.
        kind, index: ``cpu``, ``cuda``, and which of them.
        handle: the engine's own object for it.
    """

    __slots__ = ("engine", "kind", "index", "handle")

    def __init__(self, engine: Engine, kind: str, index: int = 0, handle: Any = None):
        self.engine, self.kind, self.index, self.handle = engine, kind, index, handle

    def __str__(self) -> str:
        return f"{self.engine.name}:{self.kind}:{self.index}"

    def __repr__(self) -> str:
        return f"Device({str(self)!r})"


class Options(NamedTuple):
    """What a caller may ask of `Engine.compile`.

    Attributes:
        device: where to run.
        donate: input positions whose buffers the executable may overwrite or free.
        steady: input positions that are likely to be the same buffers in every call: variables that the
            program only reads. An engine may compute in advance what follows from them.
    """

    device: Device
    donate: tuple[int, ...] = ()
    steady: tuple[int, ...] = ()


class Engine:
    """Base of engines. A subclass sets `name`, `LOWER`, `devices` and the four methods.

    Attributes:
        name: as in ``mg.jit(f).on(name)``.
        LOWER: op -> lowering; what an entry looks like is the engine's own business. A
            `monograph.outside.Table` also answers for ops that were written outside core.
        unsupported_dtypes: names of dtypes it cannot hold.
        libraries: distributions whose versions decide how fast it is.
        rewrites: whether a program may put new numbers into a donated buffer and hand that one out: then
            the same buffer does not mean the same numbers.
    """

    name: str = ""
    LOWER: Mapping[Op, Any] = {}
    unsupported_dtypes: frozenset[str] = frozenset()
    libraries: tuple[str, ...] = ()
    rewrites: bool = False

    @property
    def devices(self) -> tuple[Device, ...]:
        """Every device, the default one first."""
        raise NotImplementedError(f"engine {self.name!r} does not say which devices it has")

    def compile(self, graph: Graph, options: Options) -> Executable:
        """Make ``graph`` callable: ``executable(*buffers) -> sequence of buffers``.

        Inputs that are faster in another arrangement of the same numbers may be named in an attribute
        ``arranges`` of it, ``{position: buffer -> buffer}``: a store keeps its variables so.
        """
        raise NotImplementedError(f"engine {self.name!r} cannot compile")

    def put(self, array: np.ndarray, device: Device) -> Buffer:
        """A buffer with a *copy* of ``array``: the caller may change his array afterwards."""
        raise NotImplementedError(f"engine {self.name!r} cannot take arrays in")

    def feed(self, array: np.ndarray, device: Device) -> Any:
        """What an executable takes in place of a buffer, for one call: again a *copy*.

        For engines whose executables take host arrays faster than `put` makes a buffer.
        """
        return self.put(array, device)

    def get(self, buffer: Buffer) -> np.ndarray:
        """The buffer's numbers; a read-only view is fine. Waits for them if need be."""
        raise NotImplementedError(f"engine {self.name!r} cannot give arrays out")

    def dlpack(self, buffer: Buffer) -> Any:
        """An object with ``__dlpack__`` for the buffer: its own memory, not to be written to."""
        return self.get(buffer)

    def borrow(self, x: Tensor, device: Device) -> Buffer:
        """A buffer over the memory of ``x``, a tensor of another engine, for one call.

        Nobody writes to it: executables leave inputs alone that are not donated, and their results
        share no memory with them. What cannot be shared (another device, an alignment or a dtype
        that is refused) is copied; this default always copies.
        """
        return self.put(x.numpy(), device)

    def wait(self, buffers: Sequence[Buffer]) -> None:
        """Return once the buffers are computed; for engines that work ahead."""

    def explain(self, error: BaseException) -> BaseException:
        """What lies behind an exception of the engine's own: that of an op's body, or itself."""
        return error

    def supports(self, op: Op) -> bool:
        """Whether it runs ``op`` natively."""
        return op in self.LOWER

    def supports_dtype(self, d: DType) -> bool:
        return d.name not in self.unsupported_dtypes

    def packs(self, device: Device) -> bool:
        """Whether calls get faster when small variables are handed over in one array (`Pack`)."""
        return False

    def prepare(self, graph: Graph, device: Device | None = None) -> Graph:
        """The graph in ops this engine has: composites it lacks are replaced by their bodies.

        On a CPU (``device``; None is the default one), a composite that the engine does not list
        becomes its native twin where it has one.

        Raises:
            UnsupportedOp: lists every op that is missing.
            EngineError: a dtype it cannot hold, or a collective over more than one device.
        """
        from .rewrite import common_subexpressions, decompose, prune

        on_cpu = (device or self.devices[0]).kind == "cpu"
        out, missing = decompose(graph, self.supports, native=on_cpu)
        if missing:
            raise UnsupportedOp(self.name, missing)
        if not all(self.supports(n.op) for n in graph.nodes):
            # of bodies: what a gradient's shares with its forward op's, and what nobody reads
            out = common_subexpressions(prune(out))
        for node in graph.walk():
            if "axis_name" in node.attrs and node.attrs["size"] > 1:
                raise EngineError(
                    f"{node.source}: {node.op.name} runs over {node.attrs['size']} devices of mesh "
                    f"axis {node.attrs['axis_name']!r}; a graph compiled by itself runs on one"
                )
        for v in (*graph.inputs, *(o for n in graph.nodes for o in n.outputs)):
            if not self.supports_dtype(v.dtype):
                raise EngineError(
                    f"{v.node.source or 'input'}: engine {self.name!r} has no dtype {v.dtype}; "
                    f"convert with .astype() or use another engine"
                )
        return out

    def device(self, text: str = "") -> Device:
        """The device named ``kind``, ``kind:index`` or nothing (the default)."""
        kind, _, index = text.partition(":")
        for d in self.devices:
            if kind in ("", d.kind) and index in ("", str(d.index)):
                return d
        raise EngineError(
            f"engine {self.name!r} has no device {text!r}; it has "
            f"{', '.join(f'{d.kind}:{d.index}' for d in self.devices)}"
        )

    def __repr__(self) -> str:
        return f"<engine {self.name}>"


# Automatic selection goes down this list, then by name; NumPy is always there.
PREFERENCE = ("xla", "torch")

_engines: dict[str, Engine] = {}
_selected: ContextVar[Device | None] = ContextVar("monograph_engine", default=None)
_default: dict[str, Device] = {}
# engines and devices are compared with `is`: two threads must not each make one of a name
_starting = threading.RLock()


def get_engine(name: str) -> Engine:
    """The engine of that name, loaded if need be. Raises `EngineError` or `PluginError`."""
    found = _engines.get(name)
    if found is not None:
        return found
    if name == "numpy":
        from .numpy_engine import NumpyEngine

        made: Engine = NumpyEngine()
    elif name == "auto":
        from .auto import Auto

        made = Auto()
    else:
        try:
            made = plugins.load("monograph.engines", name)()
        except PluginError as e:
            raise EngineError(f"engine {name!r} cannot be used: {e}") from e
        except MonographError:
            raise
        except Exception as e:
            raise EngineError(f"engine {name!r} failed to start: {type(e).__name__}: {e}") from e
    return _engines.setdefault(name, made)


def resolve(what: Any = None) -> Device:
    """The device meant by an engine string, an `Engine`, a `Device`, or None for the default."""
    if what is None:
        found = _selected.get()
        return found if found is not None else _process_default()
    if isinstance(what, Device):
        return what
    with _starting:
        if isinstance(what, Engine):
            return what.devices[0]
        if isinstance(what, str):
            name, _, device = what.partition(":")
            return get_engine(name).device(device)
    raise EngineError(f"an engine is named by a string such as 'xla' or 'torch:cpu', not {what!r}")


def _process_default() -> Device:
    named = os.environ.get("MONOGRAPH_ENGINE", "")
    found = _default.get(named)
    if found is None:
        found = _default[named] = resolve(named) if named else _automatic()
    return found


def _automatic() -> Device:
    """The first engine that works; broken ones are passed over (the doctor shows them)."""
    installed = plugins.names("monograph.engines")
    for name in PREFERENCE:
        if name in installed:
            with contextlib.suppress(MonographError):
                return resolve(name)
    return resolve("numpy")


def failed(device: Device, doing: str, cause: Exception) -> BaseException:
    """What to raise for an exception of the engine's own, its cause set."""
    from .tracing import user_source

    behind = device.engine.explain(cause)
    if not isinstance(behind, Exception) or isinstance(behind, MonographError):
        return behind
    error = EngineError(
        f"{user_source()}: engine {device.engine.name!r} failed {doing} on {device}: "
        f"{type(cause).__name__}: {str(cause)[:2000]}"
    )
    error.__cause__ = cause
    return error


@contextlib.contextmanager
def engine(what: Any) -> Iterator[Device]:
    """Use another engine inside a ``with`` block.

    It holds for this thread or task; a thread started inside does not take it along (start it with
    ``contextvars.copy_context().run`` if it should).

    >>> import monograph as mg
    >>> with mg.engine("numpy") as device:
    ...     print(device)
    numpy:cpu:0
    """
    device = resolve(what)
    token = _selected.set(device)
    try:
        yield device
    finally:
        _selected.reset(token)


class EngineInfo(NamedTuple):
    """One row of `engines`: an engine, and whether it works here."""

    name: str
    ok: bool
    devices: tuple[str, ...] = ()
    ops: int = 0
    problem: str = ""


def engines() -> list[EngineInfo]:
    """What is installed, each loaded and tried on a small graph.

    >>> import monograph as mg
    >>> [e.ok for e in mg.engines() if e.name == "numpy"]
    [True]
    """
    return [_examine(n) for n in ("numpy", *plugins.names("monograph.engines")) if n]


def _examine(name: str) -> EngineInfo:
    from .spec import Spec
    from .tracing import trace

    try:
        e = get_engine(name)
        x = np.arange(3, dtype="float32")
        run = e.compile(e.prepare(trace(lambda v: v + v, Spec.of(x))), Options(e.devices[0]))
        got = e.get(run(e.put(x, e.devices[0]))[0])
        if not np.array_equal(got, x + x):
            return EngineInfo(name, False, problem=f"x + x gave {got} for {x}")
        return EngineInfo(name, True, tuple(str(d) for d in e.devices), len(e.LOWER))
    except Exception as e:  # the doctor reports any illness
        return EngineInfo(name, False, problem=str(e))
