"""Keras's layers by class: how ours computes it, which variables it has, what becomes of a mask."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.activations import ACTIVATIONS

Variables = Sequence[tuple[str, str]]
"""Where each variable of a layer lies in a ``.keras`` file, and its name, below the layer; "" if it is not used."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        scope: the layer's.
        config: what the file says of it.
        inputs: arrays, in the order of the arguments.
        masks: of each input, bools ``[batch, time]`` or None.
        options: the call's other arguments.
        training: whether the model is to be trained.
        specs: shape and dtype of the layer's variables by name.
        old: whether Keras 2 wrote the file.
    """

    scope: Any
    config: Mapping[str, Any]
    inputs: Sequence[Any]
    masks: Sequence[Any] = (None,)
    options: Mapping[str, Any] = field(default_factory=dict)
    training: bool = False
    specs: Mapping[str, mg.Spec] = field(default_factory=dict)
    old: bool = False

    @property
    def x(self) -> Any:
        """The first input."""
        return self.inputs[0]

    @property
    def mask(self) -> Any:
        """That of the first input, or the one given in the call."""
        given = self.options.get("mask")
        return self.masks[0] if given is None else given

    def __getitem__(self, key: str) -> Any:
        """An option of the layer; activations as functions, lists as tuples."""
        value = self.config.get(key)
        if key == "training":
            return self.training
        if key == "mask":
            return self.mask
        return activation(value, self.old) if key in ACTIVATED else _tuples(value)

    def some(self, keys: str) -> dict[str, Any]:
        """Those options of which the file says something."""
        always = ("training", "mask")
        return {k: self[k] for k in keys.split() if k in always or self.config.get(k) is not None}

    def variable(self, name: str) -> Any:
        """A parameter of the shape it has in the file."""
        return self.scope.parameter(name, self.specs[name].shape, dtype=self.specs[name].dtype)


@dataclass(frozen=True)
class Layer:
    """A class of layers.

    Attributes:
        run: gives the result of a call.
        variables: those of a layer with this config.
        mask: what becomes of the mask: ``(call, result) -> mask``; by default there is none after it.
        needs: what of a config is missing here, as text.
    """

    run: Callable[[Call], Any]
    variables: Callable[[Mapping[str, Any]], Variables] = lambda config: ()
    mask: Callable[[Call, Any], Any] = lambda call, y: None
    needs: Callable[[Mapping[str, Any]], Sequence[str]] = lambda config: ()


ACTIVATED = ("activation", "recurrent_activation")


AS_FUNCTIONS = "ReLU", "LeakyReLU", "ELU", "Softmax"
"""Layers that may be given as another layer's activation."""


def activation(value: Any, old: bool = False) -> Callable[[Any], Any] | None:
    """The function that a config names; None where ours lacks it, and where it is code.

    >>> activation("relu").__name__, activation({"class_name": "function", "config": "elu"}).__name__
    ('relu', 'elu')
    >>> activation({"class_name": "__lambda__", "config": {"value": "4wEA"}}) is None
    True
    """
    if isinstance(value, dict):
        kind, config = value.get("class_name"), value.get("config")
        if kind in AS_FUNCTIONS and isinstance(config, dict):
            return lambda x: LAYERS[kind].run(Call(None, config, [x], old=old))
        value = config if isinstance(config, str) else "code"
    if value == "hard_sigmoid" and old:
        return lambda x: mg.clip(0.2 * x + 0.5, 0.0, 1.0)  # Keras 3 has PyTorch's
    return ACTIVATIONS.get("linear" if value is None else str(value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# ---- how rows are written


_OPTIONAL = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""Variables that a layer may do without, and the option that says so."""


def _own(names: str) -> Callable[[Mapping[str, Any]], Variables]:
    """The layer's own variables, in the order of their making."""

    def variables(config: Mapping[str, Any]) -> Variables:
        kept = [n for n in names.split() if config.get(_OPTIONAL.get(n, ""), True)]
        return [(f"vars/{i}", n) for i, n in enumerate(kept)]

    return variables


def _same(call: Call, y: Any) -> Any:
    return call.mask


def _either(call: Call, y: Any) -> Any:
    """Of several inputs: where any of them counts, if all have masks."""
    if any(m is None for m in call.masks):
        return None
    return functools.reduce(mg.logical_or, call.masks)


def _to(
    fn: Callable, args: str = "", options: str = "", names: str = "", mask: Any = None,
    **needs: Any,
) -> Layer:  # fmt: skip
    """``fn(scope, x, *args, **options)``, all of them keys of the config."""
    run = lambda c: fn(c.scope, c.x, *[c[k] for k in args.split()], **c.some(options))  # noqa: E731
    return Layer(run, _own(names), mask or (lambda call, y: None), **needs)


def _plain(fn: Callable, options: str = "", mask: Any = _same, **names: str) -> Layer:
    """``fn(x, **options)``, without variables; ``ours="theirs"`` where an option has another name."""

    def run(c: Call) -> Any:
        renamed = {
            ours: c[theirs] for ours, theirs in names.items() if c.config.get(theirs) is not None
        }
        return fn(c.x, **c.some(options), **renamed)

    return Layer(run, mask=mask)


def _merge(fn: Callable[[Any, Any], Any]) -> Layer:
    return Layer(lambda c: functools.reduce(fn, c.inputs), mask=_either)


# ---- layers that are more than a line


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


def _cell(kind: str) -> Callable[[Mapping[str, Any]], Variables]:
    """Variables of a recurrent layer: they are its cell's."""
    own = _own("kernel recurrent_kernel bias")
    return lambda config: [(f"cell/{at}", f"{kind}_cell/{n}") for at, n in own(config)]


RECURRENT = {"LSTM": nn.lstm, "GRU": nn.gru, "SimpleRNN": nn.simple_rnn}
_RECURRENT = (
    "activation recurrent_activation use_bias unit_forget_bias dropout recurrent_dropout "
    "return_sequences return_state training mask"
)


def _kind(name: str) -> str:
    return {"SimpleRNN": "simple_rnn"}.get(name, name.lower())


def _recurrent_options(c: Call, name: str) -> dict[str, Any]:
    options = c.some(_RECURRENT)
    if name == "GRU":  # Keras had no such option before it had the other way
        options["reset_after"] = c.config.get("reset_after", not c.old)
    if name != "LSTM":
        options.pop("unit_forget_bias", None)
    if name == "SimpleRNN":
        options.pop("recurrent_activation", None)
    state = c.options.get("initial_state")
    state = list(c.inputs[1:]) if state is None else state
    return options | ({"initial_state": state} if state else {})


def _recurrent(name: str) -> Layer:
    def run(c: Call) -> Any:
        more = c.some("go_backwards zero_output_for_mask")
        scope = c.scope / f"{_kind(name)}_cell"
        return RECURRENT[name](scope, c.x, c["units"], **_recurrent_options(c, name), **more)

    return Layer(run, _cell(_kind(name)), lambda c, y: c.mask if c["return_sequences"] else None)


def _halves(config: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The class that goes both ways, and the names of its two layers."""
    inner = config["layer"]
    name = inner["config"]["name"].removeprefix("forward_")
    return inner["class_name"], {side: f"{side}_{name}" for side in ("forward", "backward")}


def _both(config: Mapping[str, Any]) -> Variables:
    kind, names = _halves(config)
    inner = _cell(_kind(kind))(config["layer"]["config"])
    return [
        (f"{side}_layer/{at}", f"{name}/{n}") for side, name in names.items() for at, n in inner
    ]


def _bidirectional(c: Call) -> Any:
    kind, names = _halves(c.config)
    inside = Call(
        c.scope, c.config["layer"]["config"], c.inputs, c.masks, c.options, c.training, old=c.old
    )

    def one(scope: mg.Scope, x: Any, units: int, **options: Any) -> Any:
        side = names[scope.path.rpartition("/")[2]]
        return RECURRENT[kind](c.scope / side / f"{_kind(kind)}_cell", x, units, **options)

    options = _recurrent_options(inside, kind)
    y = nn.bidirectional(c.scope, c.x, one, inside["units"], merge_mode=c["merge_mode"], **options)
    return y


def _wrapped(config: Mapping[str, Any]) -> Sequence[str]:
    """What a layer lacks that is in another one's config."""
    inner = config["layer"]
    name = class_of(inner)
    return [f"of {name}{': ' if why else ''}{why}" for why in problems(name, inner["config"])]


def _bidirectional_needs(config: Mapping[str, Any]) -> Sequence[str]:
    name = class_of(config["layer"])
    return _wrapped(config) if name in RECURRENT else [f"of {name}"]


def _time_variables(config: Mapping[str, Any]) -> Variables:
    inner = config["layer"]
    made = LAYERS[inner["class_name"]].variables(inner["config"])
    return [(f"layer/{at}", f"{inner['config']['name']}/{n}") for at, n in made]


def _time_distributed(c: Call) -> Any:
    """Times are examples."""
    inner = c.config["layer"]
    name, head = inner["config"]["name"], c.x.shape[:2]
    flat = mg.reshape(c.x, (math.prod(head), *c.x.shape[2:]))
    specs = {n.removeprefix(f"{name}/"): s for n, s in c.specs.items()}
    call = Call(
        c.scope / name, inner["config"], [flat], training=c.training, specs=specs, old=c.old
    )
    y = LAYERS[inner["class_name"]].run(call)
    return mg.reshape(y, (*head, *y.shape[1:]))


_PROJECTIONS = {
    "query_dense": "query", "key_dense": "key", "value_dense": "value",
    "gate_dense": "gate", "output_dense": "attention_output",
}  # fmt: skip


def _heads(config: Mapping[str, Any], mark: str = "") -> Variables:
    own = _own("kernel bias")(config)
    return [
        (f"{mark}{at}/{a}", f"{name}/{n}")
        for at, name in _PROJECTIONS.items()
        if name != "gate" or config.get("use_gate")
        for a, n in own
    ]


def _multi_head(c: Call, **options: Any) -> Any:
    names = ("query", "value", "key")
    given = dict(zip(names, c.inputs)) | {n: c.options[n] for n in names if n in c.options}
    for name in ("attention_mask", "use_causal_mask", "return_attention_scores"):
        if c.options.get(name) is not None:
            options[name] = c.options[name]
    masks = [c.options.get("value_mask"), c.options.get("key_mask"), *c.masks[1:]]
    seen = [m for m in masks if m is not None]
    if seen:
        options["key_mask"] = functools.reduce(mg.logical_and, seen)
    options |= c.some("value_dim dropout use_bias use_gate output_shape sliding_window training")
    return nn.multi_head_attention(c.scope, given.pop("query"), **given, **options)


def _axes(config: Mapping[str, Any]) -> Sequence[str]:
    return () if config.get("attention_axes") in (None, 1, [1]) else ["attention_axes other than 1"]


def _attend(fn: Callable, options: str) -> Callable[[Call], Any]:
    def run(c: Call) -> Any:
        named = {
            k: c.options[k]
            for k in ("use_causal_mask", "return_attention_scores")
            if c.options.get(k)
        }
        key_mask = c.masks[1] if len(c.masks) > 1 else None
        return fn(c.scope, *c.inputs, key_mask=key_mask, **c.some(options), **named)

    return run


def _scales(config: Mapping[str, Any]) -> Variables:
    names = ["scale"] if config.get("use_scale") else []
    names += ["concat_score_weight"] if config.get("score_mode") == "concat" else []
    return [(f"vars/{i}", n) for i, n in enumerate(names)]


def _einsum_dense(c: Call) -> Any:
    y = mg.einsum(c["equation"], c.x, c.variable("kernel"))
    return c["activation"](y + c.variable("bias") if "bias" in c.specs else y)


def _embedding(c: Call) -> Any:
    ids = c.x if c.x.dtype.is_integer else mg.astype(c.x, "int32")
    spec = c.specs["embeddings"]
    return nn.embedding(c.scope, ids, c["input_dim"], c["output_dim"], dtype=spec.dtype)


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


def _average_over_time(c: Call) -> Any:
    if c.mask is None:
        return nn.global_average_pooling1d(c.scope, c.x, **c.some("keepdims"))
    kept = mg.astype(c.mask, c.x.dtype)[..., None]
    keepdims = bool(c["keepdims"])
    total = mg.sum(c.x * kept, axis=1, keepdims=keepdims)
    return total / mg.sum(kept, axis=1, keepdims=keepdims)


def _softmax(c: Call) -> Any:
    axis = c["axis"] if isinstance(c["axis"], int) else c["axis"][0]
    mask = c.options.get("mask") if len(c.inputs) < 2 else c.inputs[1]
    x = c.x if mask is None else mg.where(mask, c.x, -math.inf)
    return mg.softmax(x, axis=axis)


def _masking(c: Call) -> Any:
    return mg.where(_counts(c)[..., None], c.x, 0.0)


def _counts(c: Call, y: Any = None) -> Any:
    return mg.any(c.x != (c["mask_value"] or 0.0), axis=-1)


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


LAYERS: dict[str, Layer] = {
    "Dense": _to(nn.dense, "units", "activation use_bias", "kernel bias", _same),
    "EinsumDense": Layer(
        _einsum_dense,
        lambda config: [(f"vars/{i}", n) for i, n in enumerate(("kernel", "bias")[: 1 + bool(config.get("bias_axes"))])],
    ),
    "Embedding": Layer(
        _embedding, _own("embeddings"), lambda c, y: c.x != 0 if c["mask_zero"] else None
    ),
    "Activation": Layer(lambda c: c["activation"](c.x), mask=_same),
    "Identity": _plain(lambda x: x), "ActivityRegularization": _plain(lambda x: x),
    "ReLU": _plain(nn.activations.relu, "max_value negative_slope threshold"),
    "LeakyReLU": _plain(nn.activations.leaky_relu, "negative_slope", negative_slope="alpha"),
    "ELU": _plain(nn.activations.elu, "alpha"),
    "ThresholdedReLU": _plain(functools.partial(nn.activations.threshold, default_value=0.0), threshold="theta"),
    "Softmax": Layer(_softmax, mask=_same),
    "PReLU": _to(nn.prelu, "", "shared_axes", "alpha", _same),
    # convolutions
    **_ranks("Conv{}D", _to(nn.conv, "filters kernel_size", _CONV, "kernel bias")),
    **_ranks("Conv{}DTranspose", _to(nn.conv_transpose, "filters kernel_size", f"{_CONV} output_padding", "kernel bias")),
    **_ranks("DepthwiseConv{}D", _to(nn.depthwise_conv, "kernel_size", _DEPTHWISE, "kernel bias")),
    **_ranks("SeparableConv{}D", _to(nn.separable_conv, "filters kernel_size", _DEPTHWISE, "depthwise_kernel pointwise_kernel bias")),
    # pooling, and what moves elements
    **_ranks("MaxPooling{}D", _to(nn.max_pooling, "pool_size", _POOL)),
    **_ranks("AveragePooling{}D", _to(nn.average_pooling, "pool_size", _POOL)),
    **_ranks("GlobalMaxPooling{}D", _to(nn.global_max_pooling, "", "keepdims")),
    **_ranks("GlobalAveragePooling{}D", _to(nn.global_average_pooling, "", "keepdims")),
    "GlobalAveragePooling1D": Layer(_average_over_time),
    **_ranks("AdaptiveMaxPooling{}D", _to(nn.adaptive_max_pooling, "output_size")),
    **_ranks("AdaptiveAveragePooling{}D", _to(nn.adaptive_average_pooling, "output_size")),
    **_ranks("UpSampling{}D", _to(nn.up_sampling, "size", "interpolation")),
    **_ranks("ZeroPadding{}D", _to(nn.zero_padding, "padding")),
    **_ranks("Cropping{}D", _to(nn.cropping, "cropping")),
    "Resizing": _to(nn.resizing, "height width", "interpolation antialias"),
    "Flatten": _to(nn.flatten), "Reshape": Layer(_reshape),
    "Permute": Layer(lambda c: mg.permute_dims(c.x, (0, *c["dims"]))),
    "RepeatVector": Layer(lambda c: mg.repeat(c.x[:, None], c["n"], axis=1)),
    # normalisation and regularisation
    "BatchNormalization": Layer(_batch_norm, _own("gamma beta moving_mean moving_variance"), _same),
    "LayerNormalization": _to(nn.layer_norm, "", "axis epsilon scale center", "gamma beta", _same),
    "GroupNormalization": Layer(_group_norm, _own("gamma beta"), _same),
    "RMSNormalization": _to(nn.rms_norm, "", "axis epsilon", "scale"),
    "UnitNormalization": _to(nn.unit_norm, "", "axis", "", _same),
    "Normalization": Layer(_normalization, _normalization_variables, _same),
    "Rescaling": Layer(lambda c: c.x * c["scale"] + c["offset"], mask=_same),
    "Dropout": _to(nn.dropout, "rate", "noise_shape training", "", _same),
    "AlphaDropout": _to(nn.alpha_dropout, "rate", "noise_shape training", "", _same),
    "GaussianDropout": _to(nn.gaussian_dropout, "rate", "training", "", _same),
    "GaussianNoise": _to(nn.gaussian_noise, "stddev", "training", "", _same),
    **_ranks("SpatialDropout{}D", _to(nn.spatial_dropout, "rate", "training", "", _same)),
    # of keras.applications
    "LayerScale": Layer(lambda c: c.x * c.variable("gamma"), _own("gamma")),
    "StochasticDepth": _to(nn.drop_path, "drop_path_rate", "training"),
    "CustomScaleLayer": Layer(lambda c: c.inputs[0] + c.inputs[1] * c["scale"]),
    # several inputs
    "Add": _merge(lambda a, b: a + b), "Subtract": _merge(lambda a, b: a - b),
    "Multiply": _merge(lambda a, b: a * b), "Maximum": _merge(mg.maximum),
    "Minimum": _merge(mg.minimum),
    "Average": Layer(lambda c: sum(c.inputs[1:], c.inputs[0]) / len(c.inputs), mask=_either),
    "Concatenate": Layer(lambda c: mg.concat(list(c.inputs), axis=c["axis"]), mask=_either),
    "Dot": Layer(_dot),
    # sequences
    **{name: _recurrent(name) for name in RECURRENT},
    "Bidirectional": Layer(
        _bidirectional, _both, lambda c, y: c.mask if c.config["layer"]["config"].get("return_sequences") else None,
        _bidirectional_needs,
    ),
    "TimeDistributed": Layer(_time_distributed, _time_variables, _same, _wrapped),
    "Masking": Layer(_masking, mask=_counts),
    "MultiHeadAttention": Layer(
        lambda c: _multi_head(c, num_heads=c["num_heads"], key_dim=c["key_dim"]), _heads, _same, _axes
    ),
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), Layer(
        lambda c: _multi_head(
            c, num_heads=c["num_query_heads"], num_key_value_heads=c["num_key_value_heads"], key_dim=c["head_dim"],
        ), functools.partial(_heads, mark="_"), _same,
    )),
    "Attention": Layer(_attend(nn.attention, "use_scale score_mode dropout training"), _scales, _same),
    "AdditiveAttention": Layer(_attend(nn.additive_attention, "use_scale dropout training"), _scales, _same),
}  # fmt: skip
"""A line per class of layers."""

REFUSED: dict[str, Any] = {
    "data_format": "channels_first", "stateful": True, "rms_scaling": True, "renorm": True,
    "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True, "lora_enabled": True,
}  # fmt: skip
"""Values of options that no layer of ours has."""


def class_of(data: Mapping[str, Any]) -> str:
    """A layer's class; one that is not Keras's own with where it is from, so that it is no other's.

    >>> class_of({"class_name": "Dense", "module": "mine", "registered_name": "mine>Dense"})
    'mine>Dense'
    """
    name, module = str(data["class_name"]), str(data.get("module") or "keras")
    if module.partition(".")[0] in ("keras", "tf_keras", "tensorflow"):
        return name
    return str(data.get("registered_name") or f"{module}.{name}")


def problems(name: str, config: Mapping[str, Any]) -> list[str]:
    """Why a layer of this class and config cannot be run; ``[""]`` where it is not known at all."""
    if name not in LAYERS:
        return [""]
    found = [f"{k}={v!r}" for k, v in REFUSED.items() if config.get(k) == v]
    for key in ACTIVATED:
        if activation(config.get(key)) is None:
            found.append(f"{key}={config[key]!r:.60}")
    policy = config.get("dtype")
    policy = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
    if isinstance(policy, str) and ("mixed" in policy or "_from_" in policy):
        found.append(f"dtype={policy!r}")
    return found + list(LAYERS[name].needs(config))
