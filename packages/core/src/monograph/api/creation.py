"""Making arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import default_complex, default_float, default_int, dtype as as_dtype
from ..errors import ArgumentError
from ..graph import Value
from ..spec import Spec, as_shape
from ..tensor import Tensor, as_numpy
from ..tracing import _current, as_value, at_user_line
from ._common import asarray as _asarray, broadcast_shape, broadcast_to, cast, promote
from .elementwise import floating


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Array:
    """An array of ``obj``: numbers, nested lists, NumPy, DLPack.

    Args:
        dtype: None keeps the dtype of an array; Python floats become float32, ints int64.
        copy: arrays are immutable, so False is refused only where it would alias others' memory.

    >>> asarray([1.0, 2.0]).shape
    (2,)
    """
    if copy is False and not isinstance(obj, Array):
        raise at_user_line(
            ArgumentError("asarray always copies what others may change; copy=False cannot be")
        )
    if isinstance(obj, Array):
        return _placed(obj if dtype is None else cast(obj, as_dtype(dtype)), device)
    if isinstance(obj, (list, tuple)) and _traced(obj):
        return _stacked(obj, dtype)
    return _at_home(as_numpy(obj, dtype), device)  # at once: float32 in between would lose digits


def _traced(x: Any) -> bool:
    """Whether nested lists hold a value that is being traced."""
    return any(_traced(i) for i in x) if isinstance(x, (list, tuple)) else isinstance(x, Value)


def _stacked(obj: Any, dtype: Any) -> Array:
    from .manipulation import stack

    x = stack([_stacked(i, dtype) if isinstance(i, (list, tuple)) else i for i in obj])
    return x if dtype is None else cast(x, as_dtype(dtype))


def _at_home(numbers: np.ndarray, device: Any) -> Array:
    return as_value(numbers) if _current.get() is not None else Tensor.of(numbers, None, device)


def _placed(x: Array, device: Any) -> Array:
    return x.on(device) if device is not None and isinstance(x, Tensor) else x


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """``fill_value`` in every element."""
    d = Spec.of(fill_value).dtype if dtype is None else as_dtype(dtype)
    if isinstance(fill_value, Array):
        return _placed(broadcast_to(cast(fill_value, d), as_shape(shape)), device)
    return _placed(ops.full(fill_value, Spec(as_shape(shape), d)), device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """All zeros; float32 unless told otherwise."""
    return full(shape, 0, dtype=default_float if dtype is None else dtype, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """All ones; float32 unless told otherwise."""
    return full(shape, 1, dtype=default_float if dtype is None else dtype, device=device)


empty = zeros


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """``fill_value`` in the shape (and dtype) of ``x``."""
    x = _asarray(x)
    return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=device)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros in the shape (and dtype) of ``x``."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones in the shape (and dtype) of ``x``."""
    return full_like(x, 1, dtype=dtype, device=device)


empty_like = zeros_like


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Array:
    """Evenly spaced numbers in ``[start, stop)``; ``arange(n)`` counts from 0."""
    if stop is None:
        start, stop = 0, start
    start, stop, step = (v.item() if isinstance(v, Tensor) else v for v in (start, stop, step))
    whole = all(isinstance(v, (int, np.integer)) for v in (start, stop, step))
    if not step:
        raise at_user_line(ArgumentError("arange needs a step that is not 0"))
    d = (default_int if whole else default_float) if dtype is None else as_dtype(dtype)
    n = len(range(start, stop, step)) if whole else max(0, math.ceil((stop - start) / step))
    end = start + n * step
    if not whole:
        line = start + step * np.arange(n)
    elif max(abs(start), abs(end)) < 2**63:
        line = np.arange(start, end, step, dtype=np.int64)
    else:  # unsigned ones; a float64 would round them
        line = np.asarray(range(start, end, step))
    return _at_home(line.astype(d.numpy), device)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Array:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, along a new first axis if they are arrays.

    >>> linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if isinstance(start, Array) or isinstance(stop, Array):  # which may be traced
        a, b = map(floating, promote(start, stop))
        d = a.dtype if dtype is None else as_dtype(dtype)
        ndim = max(a.ndim, b.ndim)
        steps = np.linspace(0, 1, num, endpoint=endpoint).reshape(num, *[1] * ndim)
        part = _at_home(steps.astype(a.dtype.real.numpy), device)
        return cast(a * (1 - part) + b * part, d)
    line = np.linspace(start, stop, num, endpoint=endpoint)
    if dtype is None:
        dtype = default_complex if np.iscomplexobj(line) else default_float
    return _at_home(line.astype(as_dtype(dtype).numpy), device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Array:
    """Ones on diagonal ``k``, zeros elsewhere."""
    d = default_float if dtype is None else as_dtype(dtype)
    return _at_home(np.eye(n_rows, n_cols, k, d.numpy), device)


def _triangle(x: Any, k: int, keep: Any) -> Array:
    x = _asarray(x)
    mask = broadcast_to(ops.literal(keep(np.ones(x.shape[-2:], bool), k)), x.shape)
    return ops.select(mask, x, ops.zeros_like(x))


def tril(x: Any, /, *, k: int = 0) -> Array:
    """The lower triangle of the last two axes."""
    return _triangle(x, k, np.tril)


def triu(x: Any, /, *, k: int = 0) -> Array:
    """The upper triangle of the last two axes."""
    return _triangle(x, k, np.triu)


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Array]:
    """Coordinate arrays of a grid from its axes."""
    xs = [_asarray(a) for a in arrays]
    n = len(xs)
    place = list(range(n))
    if indexing == "xy" and n > 1:
        place[:2] = [1, 0]
    lifted = [
        ops.reshape(x, shape=tuple(x.size if i == p else 1 for i in range(n)))
        for x, p in zip(xs, place)
    ]
    shape = broadcast_shape(*[x.shape for x in lifted])
    return [broadcast_to(x, shape) for x in lifted]


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """A tensor of anything with ``__dlpack__``; the numbers are copied, unless they are a tensor's.

    Raises:
        ArgumentError: ``copy=False`` on somebody else's memory, which they might change.
    """
    if isinstance(x, Array):
        return _placed(x, device)
    if copy is False:
        raise at_user_line(
            ArgumentError("from_dlpack copies: a Tensor never aliases others' memory")
        )
    return _at_home(as_numpy(np.from_dlpack(x)), device)
