"""Trees of JAX by path: ``layers[0].weight`` is ``"layers/0/weight"``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


def name_of(path: Any) -> str:
    """A key path as a name; what is no letter of a name is left out."""
    parts = []
    for key in path:
        for kind in ("name", "key", "idx"):
            if hasattr(key, kind):
                parts.append(str(getattr(key, kind)))
                break
    return "/".join(p for part in parts for p in part.split("/") if p not in ("", "~"))


class Leaf(NamedTuple):
    """One array of a tree: its path, its numbers, and the kind of random key that they are, if one."""

    name: str
    array: Any
    key: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


def leaf(name: str, x: Any) -> Leaf:
    """A leaf of anything array-like, in the width that JAX gives it."""
    import jax

    if _is_key(x):
        impl = jax.random.key_impl(x) if not isinstance(x, jax.ShapeDtypeStruct) else None
        data = (
            jax.random.key_data(x) if impl is not None
            else jax.eval_shape(jax.random.key_data, x)
        )  # fmt: skip
        return Leaf(name, data, impl or "threefry2x32")
    if isinstance(x, jax.ShapeDtypeStruct):
        return Leaf(name, x)
    if isinstance(x, jax.Array):
        return Leaf(name, x)
    array = np.asarray(x)
    return Leaf(name, array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False))


def _is_key(x: Any) -> bool:
    import jax

    return hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def wrapped(x: Any, of: Leaf) -> Any:
    """The value inside a JAX function: a typed key where the leaf is one."""
    import jax

    return x if of.key is None else jax.random.wrap_key_data(x, impl=of.key)


def unwrapped(x: Any) -> Any:
    """The numbers of a typed key; any other value as it is."""
    import jax

    return jax.random.key_data(x) if _is_key(x) else x


def numpy(x: Any) -> np.ndarray:
    """An array's own memory where that can be read, never to be written."""
    array = np.asarray(x)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array
