"""Random numbers from explicit keys: ``key = mg.random.key(0)``; the same key, the same numbers.

Names are those of `jax.random`, and so are the numbers (Threefry, partitionable): bit for bit those of
`key`, `split`, `fold_in`, `bits`, `uniform`, `randint` and `permutation`. The others agree to the last
places of logarithm and error function: NumPy and PyTorch are right to 1 ulp where XLA's normal numbers are
off by up to 50. Every engine draws from the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import ops
from .api._common import cast
from .api.creation import asarray
from .api.elementwise import floating
from .api.indexing import take
from .api.manipulation import unstack
from .api.searching import argmax
from .dtypes import dtype as as_dtype, int32, uint32, uint64
from .errors import ArgumentError, DTypeError
from .spec import as_shape


def key(seed: int) -> Any:
    """A key ``uint32[2]`` from an integer seed.

    >>> key(1).tolist()
    [0, 1]
    """
    seed = int(seed) & 0xFFFFFFFFFFFFFFFF
    return ops.literal(np.array([seed >> 32, seed & 0xFFFFFFFF], "uint32"))


def split(key: Any, num: int = 2) -> Any:
    """``num`` new keys ``uint32[num, 2]``; do not use ``key`` again."""
    words = ops.random_bits(key, shape=(num,), dtype=uint64)
    return _pair(words)


def fold_in(key: Any, data: Any) -> Any:
    """A new key from a key and an integer of 32 bits, which may be a step counter being traced.

    >>> fold_in(key(0), 7).shape
    (2,)
    """
    if isinstance(data, int):
        data = np.asarray([data & 0xFFFFFFFF], "uint32")
    low = ops.convert(ops.reshape(asarray(data), shape=(1,)), dtype=uint32)
    return ops.concatenate(*ops.threefry_2x32(key, ops.zeros_like(low), low), axis=0)


def _pair(words: Any) -> Any:
    """The high and low halves of uint64 as a last axis of two uint32."""
    n = words.shape[0]
    high = ops.shift_right_logical(words, ops.full(32, words.spec))
    halves = [ops.reshape(ops.convert(w, dtype=uint32), shape=(n, 1)) for w in (high, words)]
    return ops.concatenate(*halves, axis=1)


def bits(key: Any, shape: Sequence[int] = (), dtype: Any = "uint32") -> Any:
    """Uniform random bits, uint32 or uint64."""
    return ops.random_bits(key, shape=as_shape(shape), dtype=dtype)


def uniform(
    key: Any,
    shape: Sequence[int] = (),
    dtype: Any = "float32",
    minval: float = 0.0,
    maxval: float = 1.0,
) -> Any:
    """Uniform in ``[minval, maxval)``; of float32 or float64.

    A 16-bit float is rounded from float32, which may bring it to ``maxval``.

    >>> uniform(key(0), (2,)).shape
    (2,)
    """
    d, shape = as_dtype(dtype), as_shape(shape)
    if not d.is_float:
        raise DTypeError(f"uniform draws floats, not {d}; use randint")
    work = d.compute
    wide = work.bits == 64
    raw = ops.random_bits(key, shape=shape, dtype=uint64 if wide else uint32)
    # random mantissa under the exponent of 1.0 gives [1, 2)
    keep, one = (12, 0x3FF0000000000000) if wide else (9, 0x3F800000)
    mantissa = ops.shift_right_logical(raw, ops.full(keep, raw.spec))
    out = ops.bitcast_convert(ops.or_(mantissa, ops.full(one, raw.spec)), dtype=work) - 1.0
    if (minval, maxval) != (0, 1):  # three passes that would change nothing there
        low = np.asarray(minval, work.numpy)
        span = np.asarray(maxval, work.numpy) - low
        out = ops.maximum(out * float(span) + float(low), ops.full(low, out.spec))
    return cast(out, d)


def normal(key: Any, shape: Sequence[int] = (), dtype: Any = "float32") -> Any:
    """Standard normal numbers, by the inverse of the error function."""
    d = as_dtype(dtype)
    work = d.compute
    low = float(np.nextafter(np.asarray(-1, work.numpy), np.asarray(0, work.numpy)))
    u = uniform(key, shape, work, low, 1.0)
    out = ops.erf_inv(u) * math.sqrt(2)
    return cast(out, d)


def truncated_normal(
    key: Any, lower: float, upper: float, shape: Sequence[int] = (), dtype: Any = "float32"
) -> Any:
    """Standard normal numbers within ``[lower, upper]``."""
    d = as_dtype(dtype)
    work = d.compute
    a, b = (math.erf(v / math.sqrt(2)) for v in (lower, upper))
    out = ops.erf_inv(uniform(key, shape, work, a, b)) * math.sqrt(2)
    kind = work.numpy.type
    low, high = np.nextafter(kind(lower), kind(np.inf)), np.nextafter(kind(upper), kind(-np.inf))
    out = ops.clamp(ops.full(low, out.spec), out, ops.full(high, out.spec))
    return cast(out, d)


def randint(key: Any, shape: Sequence[int], minval: int, maxval: int, dtype: Any = "int32") -> Any:
    """Integers in ``[minval, maxval)``, drawn from twice as many bits as the dtype has, at least 64.

    The bias is below ``(maxval - minval) / 2**bits``. ``maxval`` may lie one past the dtype's largest.

    Raises:
        ArgumentError: the range is empty, or the dtype cannot hold it.
        DTypeError: the dtype is no integer.

    >>> bool((randint(key(0), (100,), -3, 3) < 3).all())
    True
    """
    d, shape = as_dtype(dtype), as_shape(shape)
    if not d.is_integer:
        raise DTypeError(f"randint draws integers, not {d}; use uniform")
    info = np.iinfo(d.numpy)
    if not info.min <= minval < maxval <= info.max + 1:
        raise ArgumentError(
            f"randint needs {info.min} <= minval < maxval <= {info.max + 1} for {d}, got {minval} and "
            f"{maxval}"
        )
    word = uint64 if d.bits == 64 else uint32
    width, span = word.bits, maxval - minval
    high, low = (bits(k, shape, word) for k in _keys(key))
    # (high * 2**width + low) % span in words of that width
    unit = (2 ** (width // 2) % span) ** 2 % 2**width % span
    by = ops.full(span % 2**width, high.spec)  # all of a word's values: 0, which leaves x as it is
    high, low = ops.remainder(high, by), ops.remainder(low, by)
    offset = ops.remainder(ops.add(ops.multiply(high, ops.full(unit, high.spec)), low), by)
    work = d if d.bits >= 32 else int32
    out = ops.add(ops.convert(offset, dtype=work), ops.full(minval, offset.spec.with_(dtype=work)))
    return cast(out, d)


def _keys(key: Any) -> tuple[Any, ...]:
    return unstack(split(key))


def bernoulli(key: Any, p: float = 0.5, shape: Sequence[int] = ()) -> Any:
    """True with probability ``p``."""
    u = uniform(key, shape)
    return ops.compare(u, ops.full(p, u.spec), direction="LT")


def gumbel(key: Any, shape: Sequence[int] = (), dtype: Any = "float32") -> Any:
    """Standard Gumbel numbers, ``-log(-log(u))``."""
    d = as_dtype(dtype)
    work = d.compute
    u = uniform(key, shape, work, float(np.finfo(work.numpy).tiny), 1.0)
    out = -ops.log(-ops.log(u))
    return cast(out, d)


def exponential(key: Any, shape: Sequence[int] = (), dtype: Any = "float32") -> Any:
    """Exponential numbers of rate 1, ``-log(1 - u)``."""
    d = as_dtype(dtype)
    return cast(-ops.log_plus_one(-uniform(key, shape, d.compute)), d)


def categorical(key: Any, logits: Any, axis: int = -1) -> Any:
    """Indices drawn with probabilities ``softmax(logits)`` (the Gumbel-max trick)."""
    logits = floating(logits)
    return argmax(logits + gumbel(key, logits.shape, logits.dtype), axis=axis)


def permutation(key: Any, x: Any, axis: int = 0) -> Any:
    """``0 .. x-1`` in random order, as int32 ``[x]``; of an array, its slices along ``axis``.

    Sorted by 32 random bits, often enough that ties do not show.

    >>> sorted(permutation(key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    if not isinstance(x, int):
        x = asarray(x)
        return take(x, permutation(key, x.shape[axis]), axis=axis)
    order = ops.iota(shape=(x,), dtype=int32, axis=0)
    for _ in range(math.ceil(3 * math.log(max(1, x)) / math.log(2**32 - 1))):
        key, used = _keys(key)
        order = ops.sort(bits(used, (x,)), order, axis=0)[1]
    return order
