"""Random numbers from explicit keys: ``key = mg.random.key(0)``; the same key, the same numbers.

Names are those of `jax.random`; so are the bits of `key`, `split`, `bits` and `uniform` (Threefry,
partitionable). Every engine gives the same bits, and the same numbers up to the last place of its
logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import api, ops
from .dtypes import dtype as as_dtype, float32, int32, uint32, uint64
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


def fold_in(key: Any, data: int) -> Any:
    """A new key from a key and an integer."""
    salt = ops.literal(np.array([0, int(data) & 0xFFFFFFFF], "uint32"))
    mixed = ops.xor(key, salt)
    return ops.reshape(_pair(ops.random_bits(mixed, shape=(1,), dtype=uint64)), shape=(2,))


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
    """Uniform in ``[minval, maxval)``; float32, float64, or a 16-bit float (drawn as float32).

    >>> uniform(key(0), (2,)).shape
    (2,)
    """
    d, shape = as_dtype(dtype), as_shape(shape)
    if not d.is_float:
        raise DTypeError(f"uniform draws floats, not {d}; use randint")
    work = d if d.bits >= 32 else float32
    wide = work.bits == 64
    raw = ops.random_bits(key, shape=shape, dtype=uint64 if wide else uint32)
    # random mantissa under the exponent of 1.0 gives [1, 2)
    keep, one = (12, 0x3FF0000000000000) if wide else (9, 0x3F800000)
    mantissa = ops.shift_right_logical(raw, ops.full(keep, raw.spec))
    unit = ops.bitcast_convert(ops.or_(mantissa, ops.full(one, raw.spec)), dtype=work) - 1.0
    low = np.asarray(minval, work.numpy)
    span = np.asarray(maxval, work.numpy) - low
    scaled = unit * float(span) + float(low)
    out = ops.maximum(scaled, ops.full(low, scaled.spec))
    return out if d is work else ops.convert(out, dtype=d)


def normal(key: Any, shape: Sequence[int] = (), dtype: Any = "float32") -> Any:
    """Standard normal numbers, by the inverse of the error function."""
    d = as_dtype(dtype)
    work = d if d.bits >= 32 else float32
    low = float(np.nextafter(np.asarray(-1, work.numpy), np.asarray(0, work.numpy)))
    u = uniform(key, shape, work, low, 1.0)
    out = ops.erf_inv(u) * math.sqrt(2)
    return out if d is work else ops.convert(out, dtype=d)


def truncated_normal(
    key: Any, lower: float, upper: float, shape: Sequence[int] = (), dtype: Any = "float32"
) -> Any:
    """Standard normal numbers within ``[lower, upper]``."""
    d = as_dtype(dtype)
    work = d if d.bits >= 32 else float32
    a, b = (math.erf(v / math.sqrt(2)) for v in (lower, upper))
    out = ops.erf_inv(uniform(key, shape, work, a, b)) * math.sqrt(2)
    kind = work.numpy.type
    low, high = np.nextafter(kind(lower), kind(np.inf)), np.nextafter(kind(upper), kind(-np.inf))
    out = ops.clamp(ops.full(low, out.spec), out, ops.full(high, out.spec))
    return out if d is work else ops.convert(out, dtype=d)


def randint(key: Any, shape: Sequence[int], minval: int, maxval: int, dtype: Any = "int32") -> Any:
    """Integers in ``[minval, maxval)``; the bias is below ``(maxval - minval) / 2**64``."""
    if not minval < maxval:
        raise ArgumentError(f"randint needs minval < maxval, got {minval} and {maxval}")
    raw = ops.random_bits(key, shape=as_shape(shape), dtype=uint64)
    rest = ops.remainder(raw, ops.full(maxval - minval, raw.spec))
    d = as_dtype(dtype)
    return ops.convert(rest, dtype=d) + minval


def bernoulli(key: Any, p: float = 0.5, shape: Sequence[int] = ()) -> Any:
    """True with probability ``p``."""
    u = uniform(key, shape)
    return ops.compare(u, ops.full(p, u.spec), direction="LT")


def categorical(key: Any, logits: Any, axis: int = -1) -> Any:
    """Indices drawn with probabilities ``softmax(logits)`` (the Gumbel-max trick)."""
    u = uniform(key, logits.shape, logits.dtype, float(np.finfo("float32").tiny), 1.0)
    return api.argmax(logits - ops.log(-ops.log(u)), axis=axis)


def permutation(key: Any, n: int) -> Any:
    """``0 .. n-1`` in random order, as int32 ``[n]``."""
    tag = ops.random_bits(key, shape=(n,), dtype=uint64)
    place = ops.iota(shape=(n,), dtype=int32, axis=0)
    return ops.sort(tag, place, axis=0)[1]
