"""Keras's layers by class: how ours computes it, which variables it has, what becomes of a mask."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
import monograph_layers as nn

from .rows import (
    LAYERS,
    Call,
    Layer,
    Variables,
    either_mask,
    function,
    held,
    layer,
    merged,
    same_mask,
)
from .sequences import SEQUENCES


def _channels_last(c: Call, fn: Callable[[Any], Any]) -> Any:
    """``fn`` of the input with the layer's axis last, and that axis back in its place."""
    axis = c["axis"]
    axis = (axis[0] if isinstance(axis, tuple) else -1 if axis is None else axis) % c.x.ndim
    if axis == c.x.ndim - 1:
        return fn(c.x)
    return mg.moveaxis(fn(mg.moveaxis(c.x, axis, -1)), -1, axis)


def _batch_norm(c: Call) -> Any:
    training = c.training and c.config.get("trainable", True)  # frozen ones keep their statistics
    mask = c.mask if training else None
    options = c.some("momentum epsilon scale center")
    return _channels_last(
        c, lambda x: nn.batch_norm(c.scope, x, training=training, mask=mask, **options)
    )


def _group_norm(c: Call) -> Any:
    options = c.some("groups epsilon scale center")
    return _channels_last(c, lambda x: nn.group_norm(c.scope, x, **options))


def _einsum_dense(c: Call) -> Any:
    y = mg.einsum(c["equation"], c.x, c.variable("kernel"))
    return c["activation"](y + c.variable("bias") if "bias" in c.specs else y)


def _embedding(c: Call) -> Any:
    ids = c.x if c.x.dtype.is_integer else mg.astype(c.x, "int32")
    spec = c.specs["embeddings"]
    return nn.embedding(c.scope, ids, c["input_dim"], c["output_dim"], dtype=spec.dtype)


def _joined_mask(c: Call, y: Any) -> Any:
    """Along time, one after another; along another axis, where any of them counts."""
    masks = c.all_masks
    if c["axis"] % y.ndim != 1 or all(m is None for m in masks):
        return either_mask(c, y)
    whole = [
        mg.ones(x.shape[:2], dtype="bool") if m is None else m for x, m in zip(c.inputs, masks)
    ]
    return mg.concat(whole, axis=1)


def _dot(c: Call) -> Any:
    """Products over an axis of each, for each example."""
    axes = c["axes"]
    axes = (axes, axes) if isinstance(axes, int) else axes
    a, b = (mg.moveaxis(x, n, -1) for x, n in zip(c.inputs, axes))
    if c["normalize"]:
        a, b = (nn.unit_norm(c.scope, x) for x in (a, b))
    rows = [mg.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])) for x in (a, b)]
    y = rows[0] @ mg.matrix_transpose(rows[1])
    return mg.reshape(y, (a.shape[0], *(a.shape[1:-1] + b.shape[1:-1] or (1,))))


def _softmax(c: Call) -> Any:
    axis = c["axis"] if isinstance(c["axis"], int) else c["axis"][0]
    mask = c.options.get("mask") if len(c.inputs) < 2 else c.inputs[1]
    x = c.x if mask is None else mg.where(mask, c.x, -math.inf)
    return mg.softmax(x, axis=axis)


def _normalization(c: Call) -> Any:
    names = ("mean", "variance")
    mean: Any
    variance: Any
    if c.specs:
        kept = [c.scope.variable(n, c.specs[n].shape, dtype=c.specs[n].dtype) for n in names]
        mean, variance = (v.value for v in kept)
    else:
        mean, variance = (mg.asarray(c[n], dtype=c.x.dtype) for n in names)
    given = c["axis"]
    kept_axes = {a % c.x.ndim for a in ((given,) if isinstance(given, int) else given or ())}
    shape = [n if a in kept_axes else 1 for a, n in enumerate(c.x.shape)]
    mean, variance = mg.reshape(mean, shape), mg.reshape(variance, shape)
    deviation = mg.maximum(mg.sqrt(variance), 1e-7)
    return c.x * deviation + mean if c["invert"] else (c.x - mean) / deviation


def _normalization_variables(config: Mapping[str, Any]) -> Variables:
    given = config.get("mean") is not None
    # the last one counts examples seen, which nothing asks for
    return [] if given else [(f"vars/{i}", n) for i, n in enumerate(("mean", "variance", ""))]


def _reshape(c: Call) -> Any:
    return mg.reshape(c.x, (c.x.shape[0], *c["target_shape"]))


_CONV = "strides padding dilation_rate groups activation use_bias"
_DEPTHWISE = "strides padding dilation_rate depth_multiplier activation use_bias"
_POOL = "strides padding"


def _ranks(name: str, row: Layer) -> dict[str, Layer]:
    """The row under Keras's names for one, two and three spatial axes."""
    return {name.format(n): row for n in (1, 2, 3)}


LAYERS |= {
    "Dense": layer(nn.dense, "units", "activation use_bias", "kernel bias", same_mask),
    "EinsumDense": Layer(
        _einsum_dense,
        lambda config: [(f"vars/{i}", n) for i, n in enumerate(("kernel", "bias")[: 1 + bool(config.get("bias_axes"))])],
    ),
    "Embedding": Layer(
        _embedding, held("embeddings"), lambda c, y: c.x != 0 if c["mask_zero"] else None
    ),
    "Activation": Layer(lambda c: c["activation"](c.x), mask=same_mask),
    "Identity": function(lambda x: x), "ActivityRegularization": function(lambda x: x),
    "ReLU": function(nn.activations.relu, "max_value negative_slope threshold"),
    "LeakyReLU": function(nn.activations.leaky_relu, "negative_slope", negative_slope="alpha"),
    "ELU": function(nn.activations.elu, "alpha"),
    "ThresholdedReLU": function(functools.partial(nn.activations.threshold, default_value=0.0), threshold="theta"),
    "Softmax": Layer(_softmax, mask=same_mask),
    "PReLU": layer(nn.prelu, "", "shared_axes", "alpha", same_mask),
    # convolutions
    **_ranks("Conv{}D", layer(nn.conv, "filters kernel_size", _CONV, "kernel bias")),
    **_ranks("Conv{}DTranspose", layer(nn.conv_transpose, "filters kernel_size", f"{_CONV} output_padding", "kernel bias")),
    **_ranks("DepthwiseConv{}D", layer(nn.depthwise_conv, "kernel_size", _DEPTHWISE, "kernel bias")),
    **_ranks("SeparableConv{}D", layer(nn.separable_conv, "filters kernel_size", _DEPTHWISE, "depthwise_kernel pointwise_kernel bias")),
    # pooling, and what moves elements
    **_ranks("MaxPooling{}D", layer(nn.max_pooling, "pool_size", _POOL)),
    **_ranks("AveragePooling{}D", layer(nn.average_pooling, "pool_size", _POOL)),
    **_ranks("GlobalMaxPooling{}D", layer(nn.global_max_pooling, "", "keepdims")),
    **_ranks("GlobalAveragePooling{}D", layer(nn.global_average_pooling, "", "keepdims")),
    **_ranks("AdaptiveMaxPooling{}D", layer(nn.adaptive_max_pooling, "output_size")),
    **_ranks("AdaptiveAveragePooling{}D", layer(nn.adaptive_average_pooling, "output_size")),
    **_ranks("UpSampling{}D", layer(nn.up_sampling, "size", "interpolation")),
    **_ranks("ZeroPadding{}D", layer(nn.zero_padding, "padding")),
    **_ranks("Cropping{}D", layer(nn.cropping, "cropping")),
    "Resizing": layer(nn.resizing, "height width", "interpolation antialias"),
    "Flatten": layer(nn.flatten), "Reshape": Layer(_reshape),
    "Permute": Layer(lambda c: mg.permute_dims(c.x, (0, *c["dims"]))),
    "RepeatVector": Layer(lambda c: mg.repeat(c.x[:, None], c["n"], axis=1)),
    # normalisation and regularisation
    "BatchNormalization": Layer(_batch_norm, held("gamma beta moving_mean moving_variance"), same_mask),
    "LayerNormalization": layer(nn.layer_norm, "", "axis epsilon scale center", "gamma beta", same_mask),
    "GroupNormalization": Layer(_group_norm, held("gamma beta"), same_mask),
    "RMSNormalization": layer(nn.rms_norm, "", "axis epsilon", "scale"),
    "UnitNormalization": layer(nn.unit_norm, "", "axis", "", same_mask),
    "Normalization": Layer(_normalization, _normalization_variables, same_mask),
    "Rescaling": Layer(lambda c: c.x * c["scale"] + c["offset"], mask=same_mask),
    "Dropout": layer(nn.dropout, "rate", "noise_shape training", "", same_mask),
    "AlphaDropout": layer(nn.alpha_dropout, "rate", "noise_shape training", "", same_mask),
    "GaussianDropout": layer(nn.gaussian_dropout, "rate", "training", "", same_mask),
    "GaussianNoise": layer(nn.gaussian_noise, "stddev", "training", "", same_mask),
    **_ranks("SpatialDropout{}D", layer(nn.spatial_dropout, "rate", "training", "", same_mask)),
    # of keras.applications
    "LayerScale": Layer(lambda c: c.x * c.variable("gamma"), held("gamma")),
    "StochasticDepth": layer(nn.drop_path, "drop_path_rate", "training"),
    "CustomScaleLayer": Layer(lambda c: c.inputs[0] + c.inputs[1] * c["scale"]),
    # several inputs
    "Add": merged(lambda a, b: a + b), "Subtract": merged(lambda a, b: a - b),
    "Multiply": merged(lambda a, b: a * b), "Maximum": merged(mg.maximum),
    "Minimum": merged(mg.minimum),
    "Average": Layer(lambda c: sum(c.inputs[1:], c.inputs[0]) / len(c.inputs), mask=either_mask),
    "Concatenate": Layer(lambda c: mg.concat(list(c.inputs), axis=c["axis"]), mask=_joined_mask),
    "Dot": Layer(_dot),
    **SEQUENCES,  # global averages over time among them, which may have a mask
}  # fmt: skip
