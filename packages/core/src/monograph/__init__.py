"""Monograph: one graph, every engine.

>>> import monograph as mg
>>> mg.grad(lambda x: mg.sum(x ** 2))(mg.tensor([1.0, 2.0])).tolist()
[2.0, 4.0]
"""

from math import e, inf, nan, pi
from typing import Any

from . import api, dtypes, errors, ops, random, tree
from .api import fft, linalg, operators as _operators
from .array import Array
from .autodiff import backward, grad, hessian, jacobian, jvp, value_and_grad, vjp
from .control import checkpoint, cond, custom_vjp, fori_loop, scan, switch, while_loop
from .dtypes import (
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .engine import Device, Engine, engine, engines
from .graph import Graph
from .jit import jit
from .op import NOT_DIFFERENTIABLE, ZERO_GRADIENT, Op, Sample, composite, op
from .ops import optimization_barrier, stop_gradient
from .spec import Spec
from .store import Scope, Store, Variable
from .tensor import Tensor, tensor
from .tracing import trace

__version__ = "0.1.0"
__array_api_version__ = "2024.12"
newaxis = None
bool = dtypes.bool_

globals().update(api.PUBLIC)


def __getattr__(name: str) -> Any:
    """Dtypes that plug-ins bring, such as ``mg.bfloat16``."""
    if not name.startswith("_"):
        found = dtypes._TABLE.get(name) or dtypes._from_plugin(name)
        if found is not None:
            return found
    raise AttributeError(f"module 'monograph' has no attribute {name!r}")
