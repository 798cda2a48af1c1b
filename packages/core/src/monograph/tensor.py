"""`Tensor`: a concrete array on some engine. Immutable, and never an alias of anyone's memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .array import Array
from .dtypes import dtype as as_dtype
from .engine import Buffer, Device, failed, resolve
from .errors import ArgumentError, DTypeError, MonographError
from .spec import Spec

_new = object.__new__


class Tensor(Array):
    """An array with numbers. Make one with `mg.tensor`; operations on it run at once.

    Attributes:
        spec: shape and dtype.
        device: where the numbers are; `engine` is its engine's name.
    """

    __slots__ = ("buffer", "spec", "_device", "__weakref__")

    def __init__(self, buffer: Buffer, spec: Spec, device: Device):
        self.buffer, self.spec, self._device = buffer, spec, device

    @staticmethod
    def of(x: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """A tensor of anything array-like; its numbers are copied."""
        from .eager import home

        if isinstance(x, Tensor):
            made = x if device is None else x.on(device)
            return made if dtype is None else made.astype(dtype)  # type: ignore[return-value]
        array = as_numpy(x, dtype)
        where = home() if device is None else resolve(device)
        return Tensor(where.engine.put(array, where), Spec(array.shape, array.dtype), where)

    @staticmethod
    def over(array: Any, dtype: Any = None) -> Tensor:
        """A tensor of the NumPy engine over memory nobody writes to; writable arrays are copied."""
        device = resolve("numpy")
        f = array.flags if isinstance(array, np.ndarray) else None
        if f is None or f.writeable or not f.aligned:
            return Tensor.of(array, dtype, device)
        d = as_dtype(array.dtype if dtype is None else dtype)
        array = np.asarray(array, d.numpy)
        array.setflags(write=False)
        return Tensor(array, Spec(array.shape, d), device)

    @property
    def device(self) -> Device:
        """The device that holds it."""
        return self._device

    @property
    def engine(self) -> str:
        """The name of the engine that holds it."""
        return self._device.engine.name

    def on(self, device: Any) -> Tensor:
        """This tensor on another engine or device (itself when it is there)."""
        where = device if type(device) is Device else resolve(device)
        if where is self._device:
            return self
        return Tensor(where.engine.put(self.numpy(), where), self.spec, where)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """The array API's name for `on`."""
        if stream is not None:
            raise ArgumentError("to_device: streams are the engine's business; leave stream=None")
        return self.on(device)

    def numpy(self) -> np.ndarray:
        """The numbers as a read-only NumPy array. Copy it to change it."""
        try:
            out = self._device.engine.get(self.buffer)
        except MonographError:
            raise
        except Exception as e:  # what an engine that works ahead finds out only now
            raise failed(self._device, f"to hand out a {self.spec}", e)  # noqa: B904
        if out.flags.writeable:
            out = out.view()
            out.setflags(write=False)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = self.numpy()
        if dtype is not None and out.dtype != dtype:
            if copy is False:
                raise ArgumentError(
                    f"{self.spec} as {dtype} needs a copy, and copy=False forbids it"
                )
            return out.astype(dtype)
        return out.copy() if copy else out

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        """Hand over a *copy*: a consumer may write to what it gets, and this must not change.

        With ``copy=False`` it gets the memory itself marked read-only, which takes DLPack 1.0.

        Raises:
            BufferError: ``copy=False`` to a consumer that cannot be told not to write, or a
                device other than the host.
        """
        del stream
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(
                f"DLPack hands out host memory, not device {dl_device}; use .to_device"
            )
        version = {} if max_version is None else {"max_version": max_version}
        if copy is not False:
            return np.array(self.numpy(), copy=True).__dlpack__(**version)
        if max_version is None or max_version < (1, 0):
            raise BufferError(
                "a Tensor is immutable: without a copy it needs DLPack 1.0, which can say read-only"
            )
        return self.numpy().__dlpack__(**version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU: what __dlpack__ hands out is on the host

    def item(self) -> bool | int | float | complex:
        """The number of a one-element tensor."""
        if self.size != 1:
            raise ArgumentError(f"item() needs one element; this is {self.spec}")
        return self.numpy().reshape(()).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.numpy().tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())  # type: ignore[arg-type]

    def __float__(self) -> float:
        return float(self.item())  # type: ignore[arg-type]

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if not self.dtype.is_integer or self.ndim:
            raise DTypeError(f"only a 0-d integer tensor can be an index; this is {self.spec}")
        return int(self.item())  # type: ignore[arg-type]

    def __format__(self, spec: str) -> str:
        """``f"{loss:.3f}"`` of a one-element tensor; without a format, its repr."""
        return format(self.item(), spec) if spec else repr(self)

    def __repr__(self) -> str:
        if self.buffer is None:
            return f"tensor(<donated>, {self.spec})"
        array = self.numpy()
        text = np.array2string(
            array if array.dtype.kind != "V" else array.astype("float32"),
            separator=", ", prefix="tensor(", threshold=200, edgeitems=3, precision=5,
        )  # fmt: skip
        note = f"{self.spec}, {self._device}"
        if self.dtype.is_inexact and self.size:
            finite = int(np.isfinite(array).sum())
            note += f", {'all' if finite == self.size else f'{finite} of {self.size}'} finite"
        return f"tensor({text}, {note})"

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("a Tensor is immutable; use mg.where, or x.at[index].set(value)")


def wrap(buffers: Iterable[Buffer], specs: Sequence[Spec], device: Device) -> list[Tensor]:
    """A tensor per buffer; in one go, for half of what the constructor costs each time."""
    out = [_new(Tensor) for _ in specs]
    for x, buffer, spec in zip(out, buffers, specs):
        x.buffer, x.spec, x._device = buffer, spec, device
    return out


def unwrap(xs: Sequence[Any], device: Device) -> tuple[list[Spec], list[Buffer]] | None:
    """Specs and buffers of ``xs`` if they are all tensors on ``device``, else None."""
    if xs and type(xs[0]) is not Tensor:
        return None
    try:
        here = [x._device for x in xs].count(device) == len(xs)
    except AttributeError:  # something else than a tensor
        return None
    return ([x.spec for x in xs], [x.buffer for x in xs]) if here else None


def feed(x: Any, device: Device) -> tuple[Spec, Buffer]:
    """The spec of anything array-like, and what an executable on ``device`` takes for it."""
    if isinstance(x, Tensor):
        return x.spec, x.on(device).buffer
    array = as_numpy(x)
    return Spec(array.shape, array.dtype), device.engine.feed(array, device)


def tensor(x: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor from numbers, nested lists, NumPy, or anything with ``__dlpack__``/``__array__``.

    Python floats become float32 and ints int64; NumPy arrays keep their dtype. The data is copied,
    so later changes to ``x`` do not show.

    Raises:
        DTypeError: no dtype here holds the data (strings, objects).
        ArgumentError: nested lists of uneven lengths.

    >>> tensor([[1.0, 2.0]])
    tensor([[1., 2.]], float32[1,2], numpy:cpu:0, all finite)
    """
    return Tensor.of(x, dtype, device)


def as_numpy(x: Any, dtype: Any = None) -> np.ndarray:
    """Anything array-like as a NumPy array of a known dtype; may alias ``x``."""
    if type(x) is np.ndarray:
        array = x
    elif isinstance(x, Array):
        array = x.__array__()
    elif isinstance(x, (np.ndarray, np.generic)):
        if hasattr(x, "mask"):  # numpy.ma: converting would drop it in silence
            raise ArgumentError("a masked array would lose its mask; use x.filled(value) instead.")
        array = np.asarray(x)
    elif hasattr(x, "__array__"):
        array = _foreign(x)
    elif hasattr(x, "__dlpack__"):
        array = np.from_dlpack(x)
    else:
        array = _nested(x)
        if dtype is None and array.dtype.kind in "fiuc" and array.size == 0:
            array = array.astype("float32")
        elif dtype is None:  # Python numbers take the default widths
            array = array.astype(
                {"f": "float32", "c": "complex64"}.get(array.dtype.kind, array.dtype)
            )
    try:
        found = as_dtype(array.dtype)
    except DTypeError as e:
        known = str(e.args[0]).partition("known here; ")[2]
        raise DTypeError(
            f"{type(x).__name__} of {array.dtype} holds no numbers that can be used here; {known}"
        ) from None
    want = (found if dtype is None else as_dtype(dtype)).numpy
    return array if array.dtype is want else array.astype(want, copy=False)


def _foreign(x: Any) -> np.ndarray:
    try:
        return np.asarray(x.detach() if hasattr(x, "detach") else x)
    except (TypeError, RuntimeError) as e:  # torch: bfloat16, or a device array
        raise DTypeError(f"{type(x).__name__} of {x.dtype} cannot become an array: {e}") from e


def _nested(x: Any) -> np.ndarray:
    def plain(v: Any) -> Any:
        if isinstance(v, (list, tuple)):
            return [plain(i) for i in v]
        return v.numpy() if isinstance(v, Tensor) else v

    try:
        return np.asarray(plain(x))
    except MonographError:
        raise
    except ValueError as e:
        raise ArgumentError(f"nested lists must be even in every axis: {e}") from None
