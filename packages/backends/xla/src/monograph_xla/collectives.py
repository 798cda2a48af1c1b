"""Collectives: named-axis primitives of jax, which `jax.shard_map` gives a meaning; alone, nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from monograph import ops


def _over(fn: Callable) -> Callable:
    """``fn(x, axis_name, **attributes)`` where there are several devices, else ``x`` itself."""

    def lower(x: Any, *, axis_name: str, size: int, **attrs: Any) -> Any:
        return x if size == 1 else fn(x, axis_name, **attrs)

    return lower


def _product(x: Any, name: str) -> Any:
    return jnp.prod(lax.all_gather(x, name), 0, dtype=x.dtype)


_REDUCE = {"add": lax.psum, "multiply": _product, "minimum": lax.pmin, "maximum": lax.pmax}


def _broadcast(x: Any, name: str, *, root: int) -> Any:
    return lax.psum(jnp.where(lax.axis_index(name) == root, x, jnp.zeros_like(x)), name)


COLLECTIVES: dict[Any, Callable] = {
    ops.all_reduce: _over(lambda x, name, *, kind: _REDUCE[kind](x, name)),
    ops.all_gather: _over(lambda x, name, *, axis: lax.all_gather(x, name, axis=axis, tiled=True)),
    ops.reduce_scatter: _over(
        lambda x, name, *, axis: lax.psum_scatter(x, name, scatter_dimension=axis, tiled=True)
    ),
    ops.collective_broadcast: _over(_broadcast),
    ops.all_to_all: _over(
        lambda x, name, *, split_axis, concat_axis: lax.all_to_all(
            x, name, split_axis, concat_axis, tiled=True
        )
    ),
    ops.replica_id: lambda *, axis_name, size: (
        jnp.zeros((), jnp.uint32) if size == 1 else lax.axis_index(axis_name).astype(jnp.uint32)
    ),
}
