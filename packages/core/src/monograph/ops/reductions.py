"""Reductions over axes."""

from __future__ import annotations

import numpy as np

from ..op import op
from ._infer import reduction
from ._samples import shaped
from .structural import broadcast_in_dim


def spread(g, x, axes):
    """A reduced array back over the axes it was reduced along."""
    dims = tuple(i for i in range(x.ndim) if i not in axes)
    return broadcast_in_dim(g, shape=x.shape, dims=dims)


_samples = shaped((2, 3), (2, 3, 2), (), (0, 3), attrs=[{"axes": (0,)}, {"axes": (0, 2)}, {"axes": ()}, {"axes": (0,)}])


@op(
    infer=reduction("numeric"),
    vjp=lambda g, y, x, *, axes: (spread(g, x, axes),),
    samples=_samples,
    dtypes=("float", "complex", "int", "uint"),
)
def reduce_sum(x, *, axes):
    """Sum over ``axes``, in the operand's dtype; of nothing it is 0."""
    return np.sum(x, axis=axes, dtype=x.dtype)
