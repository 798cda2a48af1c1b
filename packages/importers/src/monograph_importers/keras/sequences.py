"""Rows for layers of sequences: recurrent ones, attention, and what makes and takes masks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn

from .rows import LAYERS, Call, Layer, Variables, class_of, held, problems, same_mask


def _cell(kind: str) -> Callable[[Mapping[str, Any]], Variables]:
    """Variables of a recurrent layer: they are its cell's."""
    own = held("kernel recurrent_kernel bias")
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
    return nn.bidirectional(
        c.scope, c.x, one, inside["units"], merge_mode=c["merge_mode"], **options
    )


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


def _heads(config: Mapping[str, Any]) -> Variables:
    own = held("kernel bias")(config)
    return [
        (f"{at}/{a}", f"{name}/{n}")
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
    masks = [c.options.get("value_mask"), c.options.get("key_mask"), *c.all_masks[1:]]
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
        query_mask, key_mask, *_ = (*c.all_masks, None, None)
        y = fn(c.scope, *c.inputs, key_mask=key_mask, **c.some(options), **named)
        if query_mask is None:
            return y
        heads, *scores = y if isinstance(y, tuple) else (y,)
        heads = mg.where(query_mask[..., None], heads, 0.0)
        return (heads, *scores) if scores else heads

    return run


def _scales(config: Mapping[str, Any]) -> Variables:
    names = ["scale"] if config.get("use_scale") else []
    names += ["concat_score_weight"] if config.get("score_mode") == "concat" else []
    return [(f"vars/{i}", n) for i, n in enumerate(names)]


def _average_over_time(c: Call) -> Any:
    if c.mask is None:
        return nn.global_average_pooling1d(c.scope, c.x, **c.some("keepdims"))
    kept = mg.astype(c.mask, c.x.dtype)[..., None]
    keepdims = bool(c["keepdims"])
    total = mg.sum(c.x * kept, axis=1, keepdims=keepdims)
    return total / mg.sum(kept, axis=1, keepdims=keepdims)


def _masking(c: Call) -> Any:
    return mg.where(_counts(c)[..., None], c.x, 0.0)


def _counts(c: Call, y: Any = None) -> Any:
    return mg.any(c.x != (c["mask_value"] or 0.0), axis=-1)


SEQUENCES: dict[str, Layer] = {
    **{name: _recurrent(name) for name in RECURRENT},
    "Bidirectional": Layer(
        _bidirectional, _both, lambda c, y: c.mask if c.config["layer"]["config"].get("return_sequences") else None,
        _bidirectional_needs,
    ),
    "TimeDistributed": Layer(_time_distributed, _time_variables, same_mask, _wrapped),
    "GlobalAveragePooling1D": Layer(_average_over_time),
    "Masking": Layer(_masking, mask=_counts),
    "MultiHeadAttention": Layer(
        lambda c: _multi_head(c, num_heads=c["num_heads"], key_dim=c["key_dim"]), _heads, same_mask, _axes
    ),
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), Layer(
        lambda c: _multi_head(
            c, num_heads=c["num_query_heads"], num_key_value_heads=c["num_key_value_heads"], key_dim=c["head_dim"],
        ), _heads, same_mask,
    )),
    "Attention": Layer(_attend(nn.attention, "use_scale score_mode dropout training"), _scales, same_mask),
    "AdditiveAttention": Layer(_attend(nn.additive_attention, "use_scale dropout training"), _scales, same_mask),
}  # fmt: skip
