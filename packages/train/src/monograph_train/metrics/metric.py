"""`Metric`: sums over a batch, and the number they come to; so batches and devices merge by adding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from ..losses._pair import wide

State = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A number measured over many batches.

    Attributes:
        name: under which it is reported.
        measure: ``(y_true, y_pred, sample_weight=None) -> {name: array}``, *sums* over the batch.
            The states of batches, or of devices, are added.
        result: ``state -> array``, the value that summed states come to.

    >>> import monograph as mg
    >>> error = mean(lambda y_true, y_pred: mg.abs(y_true - y_pred), name="error")
    >>> first = error.measure(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 0.0]))
    >>> second = error.measure(mg.tensor([0.0]), mg.tensor([4.0]))
    >>> error.result(merge(first, second)).item()
    2.0
    """

    name: str
    measure: Callable[..., dict[str, Any]]
    result: Callable[[State], Any]


def merge(a: State, b: State) -> dict[str, Any]:
    """The state of two batches together."""
    return {k: a[k] + b[k] for k in a}


def weights(sample_weight: Any, shape: tuple[int, ...], dtype: Any) -> mg.Array:
    """Weights of ``shape``, from None (all 1) or weights of its first axes, such as ``[batch]``.

    Raises:
        ShapeError: they are not weights of the samples.
    """
    if sample_weight is None:
        return mg.ones(shape, dtype=dtype)
    w = mg.astype(mg.asarray(sample_weight), dtype)
    if w.ndim == len(shape) + 1 and w.shape[-1] == 1:
        w = w[..., 0]
    if w.shape != shape[: w.ndim]:
        raise at_user_line(
            ShapeError(
                f"sample_weight has shape {w.shape}; it needs one per sample of {shape}: the shape's "
                f"first axes"
            )
        )
    return mg.broadcast_to(mg.reshape(w, (*w.shape, *(1,) * (len(shape) - w.ndim))), shape)


def mean(fn: Callable, name: str | None = None, after: Callable = lambda x: x) -> Metric:
    """The weighted mean of a function that gives a number per sample, such as any loss.

    Args:
        fn: ``(y_true, y_pred) -> [batch, ...]``.
        name: the function's own by default.
        after: applied to the mean, such as a root.
    """

    def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        each = wide(fn(y_true, y_pred))
        w = weights(sample_weight, each.shape, each.dtype)
        return {"total": mg.sum(each * w), "count": mg.sum(w)}

    return Metric(
        name or name_of(fn), measure, lambda state: after(ratio(state["total"], state["count"]))
    )


def name_of(fn: Callable) -> str:
    """A function's name, through `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)


def as_metric(x: Metric | Callable) -> Metric:
    """A metric of a metric, or of a function ``(y_true, y_pred) -> one number per sample``.

    Raises:
        ArgumentError: it is neither.
    """
    if isinstance(x, Metric):
        return x
    if not callable(x):
        raise ArgumentError(f"a metric is a Metric or a function of y_true and y_pred, not {x!r}")
    return mean(x)


def ratio(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where ``b`` is 0."""
    return mg.where(b == 0, 0.0, a / mg.where(b == 0, 1.0, b))
