"""Monograph: one graph, every engine."""

from . import dtypes, ops, tree
from .api import operators as _operators
from .array import Array
from .autodiff import backward, grad, hessian, jacobian, jvp, value_and_grad, vjp
from .engine import Engine, engine, engines
from .graph import Graph
from .jit import jit
from .spec import Spec
from .tensor import Tensor, tensor
from .tracing import trace
