"""Reductions, softmax, running sums, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg

from ._types import axes, axis, cast, floating


def _over(fn: Callable) -> Callable:
    """A reduction over axes, after a change of dtype."""

    def rule(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        return fn(cast(x, dtype), axis=axes(dim, x.ndim), keepdims=keepdim)

    return rule


def _whole(fn: Callable) -> Callable:
    return lambda x, *, dtype=None: fn(cast(x, dtype))


def _summed(fn: Callable, dtype: Any) -> Callable:
    """Sums and products keep a dtype that was asked for; integers are int64 otherwise."""
    d = "int64" if dtype is None else dtype
    return lambda x, **kw: fn(cast(x, d) if dtype or not x.dtype.is_inexact else x, **kw)


def _accumulate(fn: Callable) -> Callable:
    def rule(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        out = _summed(fn, dtype)(x, axis=axes(dim, x.ndim), keepdims=keepdim)
        return cast(out, dtype or ("int64" if not x.dtype.is_inexact else None))

    return rule


_sum, _prod = _accumulate(mg.sum), _accumulate(mg.prod)


def _running(fn: Callable) -> Callable:
    def rule(x: Any, dim: int, *, dtype: Any = None) -> Any:
        if not x.ndim:
            return cast(x, dtype or (None if x.dtype.is_inexact else "int64"))
        return _summed(lambda v: fn(v, axis=axis(dim, x.ndim)), dtype)(x)

    return rule


def _extreme(reduce: Callable, at: Callable) -> Callable:
    """The extreme along one axis, and where it is."""

    def rule(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
        if not x.ndim:
            return x, mg.zeros((), dtype="int64")
        d = axis(dim, x.ndim)
        place = at(cast(x, "int8") if x.dtype.kind == "bool" else x, axis=d, keepdims=True)
        value = mg.take_along_axis(x, place, axis=d)
        return (value, place) if keepdim else (mg.squeeze(value, d), mg.squeeze(place, d))

    return rule


def _where_extreme(at: Callable) -> Callable:
    def rule(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if not x.ndim:
            return mg.zeros((), dtype="int64")
        return at(x, axis=None if dim is None else axis(dim, x.ndim), keepdims=keepdim)

    return rule


def _var(x: Any, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    c = 1 if correction is None else correction
    return mg.var(x, axis=axes(dim, x.ndim), correction=c, keepdims=keepdim)


def _std(*args: Any, **kwargs: Any) -> Any:
    return mg.sqrt(_var(*args, **kwargs))


def _unbiased(fn: Callable) -> Callable:
    def rule(x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
        return fn(x, dim, correction=int(unbiased), keepdim=keepdim)

    return rule


def _with_mean(fn: Callable) -> Callable:
    def rule(x: Any, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Any:
        middle = mg.mean(x, axis=axes(dim, x.ndim), keepdims=keepdim)
        return fn(x, dim, *args, keepdim=keepdim, **kwargs), middle

    return rule


def _softmax(fn: Callable) -> Callable:
    def rule(x: Any, dim: int, half_to_float: Any = False, dtype: Any = None) -> Any:
        wanted = half_to_float if isinstance(half_to_float, str) else dtype
        x = floating(cast(x, "float32" if half_to_float is True else wanted))
        return fn(x, axis=dim) if x.ndim else fn(mg.reshape(x, (1,)), axis=0).reshape(())

    return rule


def _norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    over: dict[str, Any]
    x, over = cast(x, dtype), {"axis": axes(dim, x.ndim), "keepdims": keepdim}
    size = mg.abs(floating(x))
    if ord in (math.inf, -math.inf):
        return (mg.max if ord > 0 else mg.min)(size, **over)
    if ord == 0:
        return mg.sum(cast(size != 0, size.dtype), **over)
    if ord == 2:
        return _root(mg.sum(size * size, **over), mg.sqrt)
    return mg.sum(size, **over) if ord == 1 else mg.pow(mg.sum(mg.pow(size, ord), **over), 1 / ord)


def _root(s: Any, fn: Callable) -> Any:
    # no pole in the gradient where all is 0, as in torch
    return mg.where(s == 0, 0.0, fn(mg.where(s == 0, 1.0, s)))


def _frobenius(
    x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    return _norm(x, 2 if p is None else p, dim, keepdim, dtype=dtype)


def _sort(x: Any, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    if not x.ndim:
        return x, mg.zeros((), dtype="int64")
    d = axis(dim, x.ndim)
    keys = cast(x, "int8") if x.dtype.kind == "bool" else x
    place = mg.ops.iota(shape=x.shape, dtype="int64", axis=d)
    values, order = mg.ops.sort(keys, place, axis=d, num_keys=1, descending=descending)
    return cast(values, x.dtype), order


def _topk(
    x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Any, Any]:
    if not x.ndim:
        return x, mg.zeros((), dtype="int64")
    d = axis(dim, x.ndim)
    if largest and x.dtype.kind != "bool":
        out = mg.top_k(mg.moveaxis(x, d, -1), k)
        return tuple(mg.moveaxis(v, -1, d) for v in out)  # type: ignore[return-value]
    part = (*[slice(None)] * d, slice(k))
    values, order = _sort(x, d, largest)
    return values[part], order[part]


def _stable(x: Any, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    return _sort(x, dim, descending)


def _logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    return mg.logsumexp(floating(x), axis=axes(dim, x.ndim), keepdims=keepdim)


def _count_nonzero(x: Any, dim: Any = None) -> Any:
    return mg.count_nonzero(x, axis=axes(dim, x.ndim))


def _aminmax(x: Any, *, dim: Any = None, keepdim: bool = False) -> tuple[Any, Any]:
    over: dict[str, Any] = {"axis": axes(dim, x.ndim), "keepdims": keepdim}
    return mg.min(x, **over), mg.max(x, **over)


RULES: dict[str, Callable] = {
    "_log_softmax": _softmax(mg.log_softmax), "_softmax": _softmax(mg.softmax), "all": _over(mg.all),
    "amax": _over(mg.max), "amin": _over(mg.min), "aminmax": _aminmax, "any": _over(mg.any),
    "argmax": _where_extreme(mg.argmax), "argmin": _where_extreme(mg.argmin),
    "argsort": lambda x, dim=-1, descending=False: _sort(x, dim, descending)[1],
    "argsort.stable": lambda x, **kw: _stable(x, **kw)[1], "count_nonzero": _count_nonzero,
    "cumprod": _running(mg.cumulative_prod), "cumsum": _running(mg.cumulative_sum),
    "linalg_vector_norm": _norm, "log_softmax": _softmax(mg.log_softmax), "logsumexp": _logsumexp,
    "max.default": _whole(mg.max), "max.dim": _extreme(mg.max, mg.argmax), "mean": _over(mg.mean),
    "mean.default": _whole(mg.mean), "min.default": _whole(mg.min),
    "min.dim": _extreme(mg.min, mg.argmin), "norm": _frobenius, "linalg_norm": _norm, "prod": _prod,
    "sort": _sort, "sort.stable": _stable, "softmax": _softmax(mg.softmax),
    "std.correction": _std, "std.dim": _unbiased(_std), "std_mean.correction": _with_mean(_std),
    "std": lambda x, unbiased=True: _std(x, correction=int(unbiased)), "sum": _sum, "topk": _topk,
    "var.correction": _var, "var.dim": _unbiased(_var), "var_mean.correction": _with_mean(_var),
    "var_mean.dim": lambda x, dim, unbiased=True, keepdim=False: _with_mean(_var)(
        x, dim, correction=int(unbiased), keepdim=keepdim),
    "var": lambda x, unbiased=True: _var(x, correction=int(unbiased)),
}  # fmt: skip
