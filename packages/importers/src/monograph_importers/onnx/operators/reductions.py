"""Operators that combine the elements of axes, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph import ops

from ..rules import rule
from .shapes import ints


def _reduction(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of a function ``(x, axis, keepdims)``: axes as an input or an attribute."""

    def reduce(
        x: Any,
        at: Any = None,
        *,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Any:
        x = mg.asarray(x)
        chosen = axes if at is None else ints(at)
        if not chosen:
            if noop_with_empty_axes:
                return fn(x, axis=(), keepdims=True)
            chosen = range(x.ndim)
        return mg.astype(fn(x, axis=tuple(chosen), keepdims=bool(keepdims)), x.dtype)

    return reduce


def _log_sum(x: Any, **kw: Any) -> Any:
    return mg.log(mg.sum(x, **kw))


def _mean(x: Any, *, axis: Any, **kw: Any) -> Any:
    if x.dtype.is_float:
        return mg.mean(x, axis=axis, **kw)
    count = math.prod(x.shape[a] for a in axis)
    return mg.trunc(mg.sum(mg.astype(x, "float64"), axis=axis, **kw) / count)


def _extreme(op: Callable[..., Any], logic: Callable[..., Any]) -> Callable[..., Any]:
    """The largest or smallest, of nothing too; of bools whether any or all are true."""

    def extreme(x: Any, *, axis: Any, keepdims: bool) -> Any:
        if x.dtype is mg.bool:
            return logic(x, axis=axis, keepdims=keepdims)
        axes = [a % x.ndim for a in axis]
        out = op(x, axes=axes)
        return (
            mg.reshape(out, [1 if a in axes else n for a, n in enumerate(x.shape)])
            if keepdims
            else out
        )

    return extreme


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": mg.sum, "ReduceProd": mg.prod, "ReduceMean": _mean, "ReduceMax": _extreme(ops.reduce_max, mg.any),
    "ReduceMin": _extreme(ops.reduce_min, mg.all), "ReduceLogSum": _log_sum, "ReduceLogSumExp": mg.logsumexp,
    "ReduceL1": lambda x, **kw: mg.sum(mg.abs(x), **kw),
    "ReduceL2": lambda x, **kw: mg.sqrt(mg.sum(mg.square(x), **kw)),
    "ReduceSumSquare": lambda x, **kw: mg.sum(mg.square(x), **kw),
}  # fmt: skip
for _name, _fn in _REDUCTIONS.items():
    rule(_name, known=(1,))(_reduction(_fn))


def _flat(fn: Callable[[Any], Any]) -> Callable[..., Any]:
    """Before version 13: along all axes from ``axis`` on, as one."""

    def old(x: Any, *, axis: int = 1) -> Any:
        x = mg.asarray(x)
        at = axis % x.ndim if x.ndim else 0
        rows = math.prod(x.shape[:at])
        return mg.reshape(fn(mg.reshape(x, (rows, x.size // max(rows, 1)))), x.shape)

    return old


def _hardmax(x: Any, axis: int = -1) -> Any:
    x = mg.asarray(x)
    hot = mg.one_hot(mg.argmax(x, axis=axis), x.shape[axis], dtype=x.dtype)
    return mg.moveaxis(hot, -1, axis)


def _with_axis(fn: Callable[..., Any]) -> Callable[..., Any]:
    def new(x: Any, *, axis: int = -1) -> Any:
        return fn(x, axis=axis)

    return new


for _name, _fn in {
    "Softmax": mg.softmax,
    "LogSoftmax": mg.log_softmax,
    "Hardmax": _hardmax,
}.items():
    rule(_name, since=13)(_with_axis(_fn))
    rule(_name)(_flat(_fn))
