"""A barrier that holds on the CPU too.

XLA drops ``opt-barrier`` there before it shares equal computations, which undoes rematerialisation
(`jax.checkpoint` saves no memory on the CPU for that reason). A choice whose condition XLA cannot
foresee does hold: ``x if true else 0``, where "true" is computed from an operand's bits. It costs a
pass over the operands where nothing fuses with it.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

_BITS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


def barrier(*xs: Any) -> list[Any]:
    """The operands; none is computed from, or shared, before all of them are there."""
    return lax.platform_dependent(
        *xs, cpu=_chosen, default=lambda *ys: lax.optimization_barrier(ys)
    )


def _chosen(*xs: Any) -> tuple[Any, ...]:
    full = [x for x in xs if x.size]
    if not full:
        return xs
    true = _true(full[0])
    for x in full[1:]:
        true &= _true(x)
    return tuple(lax.select(jnp.broadcast_to(true, x.shape), x, jnp.zeros_like(x)) for x in xs)


def _true(x: Any) -> Any:
    """True, in terms of the bits of the first element."""
    first = lax.slice(x, (0,) * x.ndim, (1,) * x.ndim).reshape(())
    if jnp.iscomplexobj(first):
        first = lax.real(first)
    if first.dtype == jnp.bool_:
        first = first.astype(jnp.uint8)
    bits = lax.bitcast_convert_type(first, _BITS[first.dtype.itemsize])
    return (bits & 1) < 2
