"""Values that are the same whatever the inputs: seen through broadcasts, and computed beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Value

LIMIT = 4096
"""Elements an array may have to be computed beforehand."""

SEEN_THROUGH = frozenset(("broadcast_in_dim", "convert", "reshape"))


def known(v: Value) -> np.ndarray | None:
    """The array that a value always is, or None; a broadcast stays a view of what it repeats.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: x + 2.0, mg.Spec((1000, 1000)))
    >>> two = known(g.nodes[-1].inputs[1])
    >>> two.shape, two.strides
    ((1000, 1000), (0, 0))
    """
    chain = []
    while v.node.op.name in SEEN_THROUGH:
        chain.append(v.node)
        v = v.node.inputs[0]
    if v.node.op.name != "constant":
        return None
    x = v.node.attrs["value"].array
    for node in reversed(chain):
        moved = node.op.name == "broadcast_in_dim"
        one = None if moved else uniform(x)
        if one is not None:
            if node.op.name == "convert":
                one = _reference(node, one)
            x = np.broadcast_to(one, node.outputs[0].shape)
        elif moved or x.size <= LIMIT:
            x = _reference(node, x)
        else:
            return None
    return x


def _reference(node: Any, x: np.ndarray) -> np.ndarray:
    from ..numpy_engine import execute

    with np.errstate(all="ignore"):
        return execute(node, [x])[0]


def uniform(x: np.ndarray) -> np.ndarray | None:
    """The one element (0-d) that an array repeats, or None; it looks at strides, not at elements."""
    if x.size and not any(s for s, n in zip(x.strides, x.shape) if n > 1):
        return x[(0,) * x.ndim]
    return None


def is_all(x: np.ndarray, value: Any, rtol: float = 0.0) -> bool:
    """Whether every element of ``x`` is ``value`` rounded to its dtype, to the bit or to ``rtol``."""
    want = _cast(value, x.dtype)
    if want is None:
        return False
    one = uniform(x)
    x = x if one is None else one
    if not rtol:
        # bits: 0.0 and -0.0 differ, NaN is itself; the first element decides nearly always
        return bool((_bits(x.flat[:1]) == _bits(want)).all() and (_bits(x) == _bits(want)).all())
    wide = np.complex128 if np.iscomplexobj(want) else np.float64
    return bool(np.isclose(x.astype(wide), wide(value), rtol=rtol, atol=0.0).all())


def _bits(x: np.ndarray) -> np.ndarray:
    """``[elements, bytes of one]``"""
    return np.ascontiguousarray(x).reshape(-1, 1).view(np.uint8)


def _cast(value: Any, d: np.dtype) -> np.ndarray | None:
    from ..dtypes import dtype

    kind, given = dtype(d).kind, np.asarray(value)
    if (kind == "bool") != (given.dtype.kind == "b"):
        return None
    if given.dtype.kind == "c" and kind != "complex":
        return None
    with np.errstate(all="ignore"):
        want = given.astype(d)
    if kind in ("int", "uint") and want != given:  # 1.5 or 300 is no number of this dtype
        return None
    return want
