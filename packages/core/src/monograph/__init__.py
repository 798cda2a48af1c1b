"""Monograph: one graph, every engine.

>>> import monograph as mg
>>> mg.grad(lambda x: mg.sum(x ** 2))(mg.tensor([1.0, 2.0])).tolist()
[2.0, 4.0]
"""

import importlib as _importlib
import sys
from typing import Any as _Any

from . import api, dtypes, errors, ops, random, tree
from .api import *
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
from .scope import Scope, Variable
from .spec import Spec
from .store import Outline, Store, variables
from .tensor import Tensor, tensor
from .tracing import trace

__version__ = "0.1.0"
__array_api_version__ = "2024.12"
bool = dtypes.bool_
optimization_barrier = ops.optimization_barrier

__all__ = [
    "Array", "Device", "Engine", "Graph", "NOT_DIFFERENTIABLE", "Op", "Outline", "Sample", "Scope", "Spec",
    "Store", "Tensor", "Variable", "ZERO_GRADIENT", "api", "backward", "bool", "checkpoint",
    "complex64", "complex128", "composite", "cond", "custom_vjp", "dtypes", "engine", "engines",
    "errors", "fft", "float32", "float64", "fori_loop", "grad", "hessian", "int8", "int16", "int32",
    "int64", "jacobian", "jit", "jvp", "linalg", "op", "ops", "optimization_barrier", "random",
    "scan", "switch", "tensor", "trace", "tree", "uint8", "uint16", "uint32", "uint64",
    "value_and_grad", "variables", "vjp", "while_loop",
]  # fmt: skip

# name -> the module below that has it, or is it: imported when first asked for
_LAZY: dict[str, str] = {
    "allow_nonfinite": "examine",
    "check_finite": "examine",
    "compare": "examine",
    "custom_op_from_c": "native",
    "examine": "examine",
    "importing": "importing",
    "load": "importing",
    "load_safetensors": "tensorfile",
    "microbatch": "transforms",
    "nan_guard": "guarding",
    "save_safetensors": "tensorfile",
    "transforms": "transforms",
    "vmap": "batching",
}
__all__ += [*api.__all__, *_LAZY]


def __getattr__(name: str) -> _Any:
    """What is imported late, and dtypes that plug-ins bring, such as ``mg.bfloat16``."""
    if name in _LAZY:
        module = _importlib.import_module(f"{__name__}.{_LAZY[name]}")
        return module if name == _LAZY[name] else getattr(module, name)
    if not name.startswith("_"):
        found = dtypes._TABLE.get(name) or dtypes._from_plugin(name)
        if found is not None:
            return found
    # with name and obj, Python adds "Did you mean ...?"
    message = f"module 'monograph' has no attribute {name!r}"
    raise AttributeError(message, name=name, obj=sys.modules[__name__])
