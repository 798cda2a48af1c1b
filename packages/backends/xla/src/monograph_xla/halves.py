"""16-bit floats: sums of many are kept in float32 and rounded once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

HALF = (jnp.bfloat16, jnp.float16)


def in_float32(fn: Callable) -> Callable:
    """``fn(*operands, **attributes)``, its 16-bit operands and result in float32 in between."""

    @functools.wraps(fn)
    def lower(*xs: Any, **attrs: Any) -> Any:
        dtype = xs[0].dtype
        if dtype not in HALF:
            return fn(*xs, **attrs)
        wide = [x.astype(jnp.float32) if x.dtype == dtype else x for x in xs]
        return fn(*wide, **attrs).astype(dtype)

    return lower
