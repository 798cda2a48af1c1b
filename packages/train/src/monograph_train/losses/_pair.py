"""What every loss does first: labels and predictions of one dtype and shapes that fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

EPSILON = 1e-7  # Keras's: what keeps logarithms and quotients finite


def wide(x: Any) -> mg.Array:
    """``x`` in a float dtype of 32 bits at least: sums of 16-bit losses lose their digits."""
    x = mg.asarray(x)
    return mg.astype(x, x.dtype.compute if x.dtype.is_float else "float32")


def pair(y_true: Any, y_pred: Any) -> tuple[mg.Array, mg.Array]:
    """Both in the predictions' (wide) dtype.

    Raises:
        ShapeError: their shapes differ: they might broadcast to pairs of samples.
    """
    y_true, y_pred = mg.asarray(y_true), wide(y_pred)
    if y_true.shape != y_pred.shape:
        raise at_user_line(
            ShapeError(
                f"y_true has shape {y_true.shape}, y_pred {y_pred.shape}; they must be the same. "
                f"Take an axis of length 1 away with x[..., 0], or add one with x[..., None]"
            )
        )
    return mg.astype(y_true, y_pred.dtype), y_pred


def mean(x: mg.Array, axis: int = -1) -> mg.Array:
    """The mean along the outputs' axis; of one output per sample, ``[batch]``, itself."""
    return x if x.ndim < 2 else mg.mean(x, axis=axis)


_seen: ContextVar[list[tuple[int, int | None]] | None] = ContextVar("labels seen", default=None)


@contextlib.contextmanager
def labels_seen() -> Iterator[list[tuple[int, int | None]]]:
    """The classes and the ignored one, of each loss that takes class indices meanwhile.

    So the Trainer knows what `check_labels` has to check, whatever function the loss is wrapped in.
    """
    token = _seen.set([])
    try:
        yield _seen.get()  # type: ignore[misc]
    finally:
        _seen.reset(token)


def class_ids(
    y_true: Any, y_pred: Any, axis: int = -1, ignore_class: int | None = None
) -> tuple[mg.Array, mg.Array]:
    """Integer labels ``[...]`` and predictions ``[..., classes]``, the classes moved to the end.

    Raises:
        ShapeError: the labels are not one per row.
        DTypeError: they are no integers.
    """
    y_true, y_pred = mg.asarray(y_true), mg.moveaxis(wide(y_pred), axis, -1)
    if y_true.shape == (*y_pred.shape[:-1], 1):
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise at_user_line(
            ShapeError(
                f"y_true has shape {y_true.shape}; y_pred {y_pred.shape} needs class indices of "
                f"shape {y_pred.shape[:-1]}"
            )
        )
    if not y_true.dtype.is_integer:
        raise at_user_line(
            mg.errors.DTypeError(f"y_true is {y_true.spec}; class indices are integers")
        )
    seen = _seen.get()
    if seen is not None:
        seen.append((y_pred.shape[-1], ignore_class))
    return mg.astype(y_true, "int64"), y_pred


def check_labels(y: Any, classes: int, ignore_class: int | None = None) -> None:
    """Refuse class indices out of range, which a graph would take without a word.

    Args:
        y: integers of any shape, on the host.
        classes: labels are in ``0 .. classes - 1``.
        ignore_class: one more that is allowed.

    Raises:
        ArgumentError: names the first such label, where it is, and the range.

    >>> check_labels(np.array([0, 3, 1]), 3)
    Traceback (most recent call last):
    monograph.errors.ArgumentError: ...: label 3 at index 1 is not in 0 .. 2
    """
    y = np.asarray(y)
    # negative numbers are the largest unsigned ones: one pass, for this runs at every step. argmax, as
    # NumPy's max takes three times as long when other work has emptied the caches
    if not y.size or (u := y.view(f"u{y.itemsize}")).item(u.argmax()) < classes:
        return
    bad = (y < 0) | (y >= classes)
    if ignore_class is not None:
        bad &= y != ignore_class
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" at index {at[0] if len(at) == 1 else at}" if at else ""
        raise at_user_line(ArgumentError(f"label {y[at]}{where} is not in 0 .. {classes - 1}"))
