"""The primitives and composites, one record each. Engines key their tables by these.

>>> from monograph import ops
>>> ops.reduce_sum.__doc__.splitlines()[0]
"Sum over ``axes``, in the operand's dtype; of nothing it is 0."
"""

from typing import Any

from ..op import all_ops
from . import (
    activations,
    arithmetic,
    attentions,
    collectives,
    complexes,
    control,
    convolutions,
    finite,
    fourier,
    indexing,
    linalg,
    linear,
    logic,
    losses,
    normalization,
    random,
    recurrent,
    reductions,
    rounding,
    shape,
    sorting,
    structural,
    systems,
    transcendental,
    updates,
    windows,
)
from ._build import eye, full, literal, ones_like, zeros_like

__all__ = ["eye", "full", "literal", "ones_like", "zeros_like"]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"monograph.ops has no op {name!r}; python -m monograph ops lists them")


globals().update({op.__wrapped__.__name__: op for op in all_ops()})
