"""Policies: in which dtypes a model keeps its variables, computes, and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monograph.dtypes import DType, dtype
from monograph.errors import DTypeError
from monograph.tracing import at_user_line

from .types import bfloat16, float16


@dataclass(frozen=True)
class Policy:
    """What ``scope.with_policy`` hands down to every layer (as Keras's ``DTypePolicy``).

    Attributes:
        param: dtype of the variables that are trained.
        compute: dtype in which layers take their inputs and their variables' values.
        output: dtype of layers' results; None leaves them as they are.

    Given as anything that names a dtype, they are `monograph.dtypes.DType` from then on.

    Raises:
        DTypeError: one of them is no floating dtype that can compute.

    >>> Policy("float32", "bfloat16")
    Policy(param=monograph.float32, compute=monograph.bfloat16, output=None)
    """

    param: Any = "float32"
    compute: Any = "float32"
    output: Any = None

    def __post_init__(self) -> None:
        for name in ("param", "compute", "output"):
            given = getattr(self, name)
            if given is not None or name != "output":
                object.__setattr__(self, name, _floating(name, given))


def _floating(name: str, given: Any) -> DType:
    found = dtype(given)
    if not found.is_float or found.bits < 16:
        raise at_user_line(
            DTypeError(f"a policy's {name} is a float of 16 bits or more, not {found}")
        )
    return found


def policy(name: str) -> Policy:
    """The policy of that name, by Keras's rule.

    A dtype's name keeps and computes in it; ``mixed_`` before it keeps variables in float32.

    >>> policy("mixed_bfloat16") == mixed_bfloat16
    True
    >>> policy("float64")
    Policy(param=monograph.float64, compute=monograph.float64, output=None)
    """
    compute = name.removeprefix("mixed_")
    return Policy("float32" if name != compute else compute, compute)


mixed_bfloat16 = Policy(compute=bfloat16)
"""Variables in float32, layers in bfloat16; needs no loss scaling."""

mixed_float16 = Policy(compute=float16)
"""Variables in float32, layers in float16; train it with a `DynamicLossScale`."""
