"""Operations from outside core: the lowering they bring, checked, or their NumPy body on the host."""

from __future__ import annotations

import itertools
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from monograph import Spec
from monograph.dtypes import dtype as as_dtype
from monograph.errors import EngineError
from monograph.op import Op
from monograph.outside import Table, blamed, call, fits, listed
from monograph.tracing import user_source

from . import host, native


class Target:
    """What is being compiled for.

    Attributes:
        platform: ``cpu``, ``cuda``.
        pending: one function for each call in the program; whether it may reach Python.
    """

    def __init__(self, platform: str):
        self.platform, self.pending = platform, list[Callable[[], bool]]()


TARGET: ContextVar[Target] = ContextVar("monograph_xla_target")


class Lowerings(Table):
    """The engine's table; what an op from outside brings is checked."""

    def __missing__(self, op: Op) -> Callable:
        entry = super().__missing__(op)
        return partial(_checked, op, entry) if self.engine in op.lower else entry


def _specs(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> tuple[list[Spec], Sequence[Spec]]:
    ins = [Spec(x.shape, x.dtype) for x in xs]
    return ins, op.infer_specs(ins, attrs)


def _checked(op: Op, fn: Callable, *xs: Any, **attrs: Any) -> Any:
    source = user_source()
    try:
        got = fn(*xs, **attrs)
    except Exception as e:
        raise blamed(e, op, "lowering for xla", source)  # noqa: B904  (its cause is set)
    _, outs = _specs(op, xs, attrs)
    made = []
    for y, want in zip(listed(op, got, outs, source), outs):
        y = jnp.asarray(y)
        fits(op, y.shape, as_dtype(y.dtype), want, source)
        made.append(y.astype(want.dtype.numpy))
    return tuple(made) if op.multi else made[0]


# ---- the NumPy body


def on_host(op: Op) -> Callable:
    """A lowering that calls the op's NumPy body; a C function by address."""
    return partial(_on_host, op)


def _on_host(op: Op, *xs: Any, **attrs: Any) -> Any:
    source, (ins, outs), target = user_source(), _specs(op, xs, attrs), TARGET.get()
    if native.callable_natively(op, target.platform):
        got, plan = native.call(op, xs, attrs, ins, source)
        target.pending.append(lambda: not plan.trusted)
        return tuple(got) if op.multi else got[0]
    target.pending.append(lambda: True)

    def body(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            return call(op, arrays, attrs, ins, outs, source)
        except BaseException as e:
            raise _Told(_keep(e)) from None

    if target.platform == "cpu":
        name = f"{op.__module__}.{op.__qualname__} {attrs} {source}"
        got = host.call(body, xs, ins, outs, (op, tuple(attrs.items()), name), name)
    else:
        got = _callback(body, xs, ins, outs)
    return tuple(got) if op.multi else got[0]


# ---- by jax's callback, for devices that are not the CPU


def _callback(
    fn: host.Function, xs: Sequence[Any], ins: Sequence[Spec], outs: Sequence[Spec]
) -> list:
    """`jax.pure_callback`, whose arrays are those of the thread that runs the program, where 64-bit
    types are off: so these travel as twice as many 32-bit lanes."""

    def body(*lanes: Any) -> list[np.ndarray]:
        return [_lanes(y) for y in fn([_from_lanes(np.asarray(x), s) for x, s in zip(lanes, ins)])]

    shapes = [jax.ShapeDtypeStruct(*_lane_spec(s)) for s in outs]
    got = jax.pure_callback(body, shapes, *map(_to_lanes, xs))
    return [_to_wide(y, s) for y, s in zip(got, outs)]


WIDE = frozenset(map(np.dtype, ("int64", "uint64", "float64", "complex128")))


def _lane_spec(s: Spec) -> tuple[tuple[int, ...], Any]:
    d = s.dtype.numpy
    return ((*s.shape, d.itemsize // 4), np.uint32) if d in WIDE else (s.shape, d)


def _to_lanes(x: Any) -> Any:
    if x.dtype not in WIDE:
        return x
    parts = jnp.stack([lax.real(x), lax.imag(x)], -1) if jnp.iscomplexobj(x) else x
    return lax.bitcast_convert_type(parts, jnp.uint32).reshape(*x.shape, x.dtype.itemsize // 4)


def _to_wide(lanes: Any, s: Spec) -> Any:
    if s.dtype.numpy not in WIDE:
        return lanes
    if not s.dtype.is_complex:
        return lax.bitcast_convert_type(lanes, s.dtype.numpy)
    parts = lax.bitcast_convert_type(lanes.reshape(*s.shape, 2, 2), jnp.float64)
    return lax.complex(parts[..., 0], parts[..., 1])


def _lanes(y: np.ndarray) -> np.ndarray:
    return y[..., None].view(np.uint32) if y.dtype in WIDE else y


def _from_lanes(x: np.ndarray, s: Spec) -> np.ndarray:
    if s.dtype.numpy not in WIDE:
        return x
    return np.ascontiguousarray(x).view(s.dtype.numpy).reshape(s.shape)


# ---- programs that call Python


class Waiting:
    """A program that returns when it is done as long as it may call Python, which must not happen while
    the interpreter shuts down: and so what a body raises is raised by the call."""

    def __init__(self, program: Any, pending: Sequence[Callable[[], bool]]):
        self._program, self._pending = program, pending

    def __call__(self, *xs: Any) -> Any:
        ys = self._program(*xs)
        if any(reaches() for reaches in self._pending):
            jax.block_until_ready(ys)
        return ys

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)


# ---- what a body raises

_ids = itertools.count()
_raised: OrderedDict[int, BaseException] = OrderedDict()
_MARK = re.compile(r"monograph exception (\d+)\b")
_FAILED = re.compile(r"monograph op <<(.*?)>>", re.DOTALL)


class _Told(Exception):
    """Raised through XLA in place of the exception that is kept here, under the number it names."""


def _keep(e: BaseException) -> str:
    number = next(_ids)
    _raised[number] = e
    while len(_raised) > 64:
        _raised.popitem(last=False)
    return f"monograph exception {number}"


def explain(error: BaseException) -> BaseException:
    """What a body or a C function said that lies behind an exception of XLA's, or that one itself."""
    text = str(error)
    if found := _MARK.search(text):
        return _raised.get(int(found[1]), error)
    if found := _FAILED.search(text):
        made = EngineError(found[1])
        made.__cause__ = error
        return made
    return error


def _not_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], _Told))


# jax writes what a callback raises to its log; here the user gets it as an exception
logging.getLogger("jax._src.callback").addFilter(_not_ours)
