"""Functions that stand between Keras's layers: ``keras.ops`` in a functional model, ``tf.`` in Keras 2's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph_layers.activations import ACTIVATIONS, elu, leaky_relu


def _reduced(fn: Callable) -> Callable:
    return lambda x, axis=None, keepdims=False: fn(x, axis=axis, keepdims=keepdims)


def _item(x: Any, key: Any) -> Any:
    return x[tuple(key) if isinstance(key, (list, tuple)) else key]


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    a = mg.matrix_transpose(a) if transpose_a else a
    return a @ (mg.matrix_transpose(b) if transpose_b else b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Absolute": mg.abs, "Abs": mg.abs, "Add": lambda x, y: x + y, "Subtract": lambda x, y: x - y,
    "Multiply": lambda x, y: x * y, "Divide": lambda x, y: x / y, "TrueDivide": lambda x, y: x / y,
    "FloorDivide": lambda x, y: x // y, "Mod": lambda x, y: x % y, "Power": lambda x, y: x**y,
    "Negative": lambda x: -x, "Matmul": _matmul, "Exp": mg.exp, "Expm1": mg.expm1, "Log": mg.log,
    "Log1p": mg.log1p, "Sqrt": mg.sqrt, "Rsqrt": mg.rsqrt, "Square": mg.square, "Sin": mg.sin,
    "Cos": mg.cos, "Tanh": mg.tanh, "Sign": mg.sign, "Floor": mg.floor, "Ceil": mg.ceil,
    "Round": mg.round, "Maximum": mg.maximum, "Minimum": mg.minimum, "Erf": mg.erf,
    "Equal": lambda x, y: x == y, "NotEqual": lambda x, y: x != y, "Less": lambda x, y: x < y,
    "Greater": lambda x, y: x > y, "LessEqual": lambda x, y: x <= y,
    "GreaterEqual": lambda x, y: x >= y, "LogicalAnd": mg.logical_and, "LogicalOr": mg.logical_or,
    "LogicalNot": mg.logical_not, "Where": mg.where, "Clip": lambda x, x_min, x_max: mg.clip(x, x_min, x_max),
    "Mean": _reduced(mg.mean), "Sum": _reduced(mg.sum), "Max": _reduced(mg.max),
    "Min": _reduced(mg.min), "Prod": _reduced(mg.prod), "All": _reduced(mg.all), "Any": _reduced(mg.any),
    "Var": _reduced(mg.var), "Std": _reduced(mg.std),
    "Argmax": lambda x, axis=None, keepdims=False: mg.argmax(x, axis=axis, keepdims=keepdims),
    "Argmin": lambda x, axis=None, keepdims=False: mg.argmin(x, axis=axis, keepdims=keepdims),
    "Reshape": lambda x, newshape: mg.reshape(x, tuple(newshape)),
    "Transpose": lambda x, axes=None: mg.permute_dims(x, axes or tuple(range(x.ndim))[::-1]),
    "ExpandDims": lambda x, axis: mg.expand_dims(x, axis=axis),
    "Squeeze": lambda x, axis=None: mg.squeeze(x, axis=tuple(n for n, k in enumerate(x.shape) if k == 1) if axis is None else axis),
    "Concatenate": lambda xs, axis=-1: mg.concat(list(xs), axis=axis),
    "Stack": lambda xs, axis=0: mg.stack(list(xs), axis=axis),
    "Split": lambda x, indices_or_sections, axis=0: mg.split(x, indices_or_sections, axis=axis),
    "Flip": lambda x, axis=None: mg.flip(x, axis=axis), "Repeat": lambda x, repeats, axis=None: mg.repeat(x, repeats, axis=axis),
    "Tile": lambda x, repeats: mg.tile(x, repeats), "Take": lambda x, indices, axis=None: mg.take(x, indices, axis=axis),
    "BroadcastTo": lambda x, shape: mg.broadcast_to(x, tuple(shape)),
    "Cast": lambda x, dtype: mg.astype(x, dtype), "GetItem": _item,
    "Einsum": lambda *xs, subscripts: mg.einsum(subscripts, *xs),
    "StopGradient": mg.stop_gradient, "OnesLike": mg.ones_like, "ZerosLike": mg.zeros_like,
    "Softmax": lambda x, axis=-1: mg.softmax(x, axis=axis),
    "LogSoftmax": lambda x, axis=-1: mg.log_softmax(x, axis=axis),
    "Gelu": lambda x, approximate=True: mg.gelu(x, approximate=approximate),
    "LeakyRelu": lambda x, negative_slope=0.2: leaky_relu(x, negative_slope),
    "Elu": lambda x, alpha=1.0: elu(x, alpha),
    **{
        "".join(part.title() for part in name.split("_")): ACTIVATIONS[name]
        for name in ("relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "selu", "hard_sigmoid", "hard_silu")
    },
}  # fmt: skip
"""Operations of Keras 3 by class; what a config says besides goes in by name."""

OLD: dict[str, Callable[..., Any]] = {
    "math.add": FUNCTIONS["Add"], "__operators__.add": FUNCTIONS["Add"],
    "math.subtract": FUNCTIONS["Subtract"], "math.multiply": FUNCTIONS["Multiply"],
    "math.truediv": FUNCTIONS["Divide"], "math.divide": FUNCTIONS["Divide"],
    "math.pow": FUNCTIONS["Power"], "math.negative": FUNCTIONS["Negative"],
    "math.maximum": lambda x, y: mg.maximum(x, y), "math.minimum": lambda x, y: mg.minimum(x, y), "math.exp": mg.exp, "math.log": mg.log,
    "math.sqrt": mg.sqrt, "math.rsqrt": mg.rsqrt, "math.square": mg.square, "math.abs": mg.abs,
    "math.tanh": mg.tanh, "math.sigmoid": mg.sigmoid, "nn.relu": mg.relu, "nn.silu": mg.silu,
    "nn.gelu": lambda x, approximate=False: mg.gelu(x, approximate=approximate),
    "nn.softmax": lambda logits, axis=-1: mg.softmax(logits, axis=axis),
    "math.reduce_mean": _reduced(mg.mean), "math.reduce_sum": _reduced(mg.sum),
    "math.reduce_max": _reduced(mg.max), "math.reduce_min": _reduced(mg.min),
    "linalg.matmul": _matmul, "reshape": lambda x, shape: mg.reshape(x, tuple(shape)),
    "expand_dims": lambda x, axis: mg.expand_dims(x, axis=axis), "stop_gradient": mg.stop_gradient,
    "concat": lambda *xs, axis: mg.concat(xs, axis=axis),
    "stack": lambda *xs, axis=0: mg.stack(xs, axis=axis),
    "transpose": lambda x, perm=None, conjugate=False: FUNCTIONS["Transpose"](x, perm),
    "cast": lambda x, dtype: mg.astype(x, dtype), "__operators__.getitem": lambda x, slice_spec: _item(x, slice_spec),
}  # fmt: skip
"""Functions of TensorFlow by the names that Keras 2 writes."""


def find(name: str, config: dict[str, Any]) -> Callable[..., Any] | None:
    """The function of an operation, None where there is none."""
    if name in ("TFOpLambda", "SlicingOpLambda"):
        name = str(config.get("function")).removeprefix("tf.").removeprefix("compat.v1.")
        return OLD.get(name)
    return FUNCTIONS.get(name)


def options(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What a config adds to the arguments of the call."""
    kept = ("name", "trainable", *(("dtype",) if name != "Cast" else ()), "function", "indices")
    return {k: v for k, v in config.items() if k not in kept and v is not None}
