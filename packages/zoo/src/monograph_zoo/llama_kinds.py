"""Hugging Face's classes of Llama's kind, each a configuration of `monograph_zoo.llama`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from ._decoding import text
from ._rotary import frequencies
from .architectures import Architecture, Maybe, activation, architectures
from .llamas import llama

SLIDING, FULL = "sliding_attention", "full_attention"

Config = Mapping[str, Any]


def _kinds(config: Config, layers: int, every: int | None) -> list[str]:
    """Whether each layer sees a window: as the configuration says, or all but every n-th."""
    n = config.get("num_hidden_layers", layers)
    every = every and config.get("sliding_window_pattern", every)
    kinds = config.get("layer_types")
    if kinds is None:
        if not isinstance(n, int) or not 0 < n <= 10_000:
            raise ValueError(f"num_hidden_layers={n!r} is no number of layers")
        if every is not None and (type(every) is not int or every < 1):
            raise ValueError(f"sliding_window_pattern={every!r} must be at least 1")
        return [FULL if every is None or (i + 1) % every == 0 else SLIDING for i in range(n)]
    if not isinstance(kinds, list) or len(kinds) != n or not {SLIDING, FULL}.issuperset(kinds):
        raise ValueError(f"layer_types must give {SLIDING!r} or {FULL!r} for each of {n} layers")
    return kinds


def _window(config: Config, default: int | None) -> int | None:
    window = config.get("sliding_window", default)
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f"sliding_window={window!r} must be at least 1")
    return window


def _windows(config: Config, layers: int, every: int | None, default: int) -> list[int | None]:
    """The window of each layer."""
    window = _window(config, default)
    return [window if kind == SLIDING else None for kind in _kinds(config, layers, every)]


def _qwen_windows(config: Config) -> Any:
    """Qwen's last layers see a window, where one is asked for."""
    window = _window(config, 4096) if config.get("use_sliding_window", False) else None
    if window is None:
        return None
    if config.get("layer_types") is None:
        first, kinds = config.get("max_window_layers", 28), _kinds(config, 32, None)
        if type(first) is not int:
            raise ValueError(f"max_window_layers={first!r} is no number of layers")
        return [window if i >= first else None for i in range(len(kinds))]
    return _windows(config, 32, None, window)


def _rotary(config: Config, theta: float = 10_000.0) -> dict[str, Any]:
    """``rope_parameters``, or what older files have in its place."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise ValueError(f"rope_parameters must be an object, not {found!r}")
    rotary = {"rope_theta": config.get("rope_theta", theta), **found}
    rotary["rope_type"] = rotary.get("rope_type") or rotary.get("type") or "default"
    rotary.pop("type", None)
    frequencies(rotary, 2)  # raises for what is wrong with it
    return rotary


def _rotary_by_kind(config: Config) -> list[dict[str, Any]]:
    """Gemma 3's layers with a window have rotary positions of their own."""
    found = config.get("rope_parameters") or {}
    if not isinstance(found, dict):
        raise ValueError(f"rope_parameters must be an object, not {found!r}")
    if FULL in found:
        kinds = {k: _rotary({"rope_parameters": found.get(k)}) for k in (FULL, SLIDING)}
    else:
        near = {"rope_theta": config.get("rope_local_base_freq", 10_000.0)}
        kinds = {FULL: _rotary(config, 1_000_000.0), SLIDING: near}
    return [kinds[kind] for kind in _kinds(config, 26, 6)]


def _options(
    vocabulary: int, features: int, inner: int, layers: int, heads: int,
    kv_heads: int | None = None, key_dim: int | None = None, tied: bool = False, **more: Any,
) -> dict[str, tuple]:  # fmt: skip
    """The options that all have, by the class's own defaults, and more."""
    return {
        "vocabulary": ("vocab_size", vocabulary),
        "features": ("hidden_size", features),
        "inner": ("intermediate_size", inner),
        "layers": ("num_hidden_layers", layers),
        "heads": ("num_attention_heads", heads),
        "kv_heads": ("num_key_value_heads", Maybe(8, kv_heads)),
        "key_dim": ("head_dim", Maybe(64, key_dim)),
        "epsilon": ("rms_norm_eps", 1e-6),
        "activation": ("hidden_act", "silu", activation),
        "rotary": (None, {}, _rotary),
        "tied": ("tie_word_embeddings", tied),
        **more,
    }


_BIASES: dict[str, Any] = {
    "qkv_bias": ("attention_bias", False),
    "output_bias": ("attention_bias", False),
}
_GEMMA: dict[str, Any] = {"embedding_scale": ("hidden_size", 3072, math.sqrt), **_BIASES}
_GEMMA_2: dict[str, Any] = {
    "activation": ("hidden_activation", "gelu_pytorch_tanh", activation),
    "attention_scale": ("query_pre_attn_scalar", 256, lambda n: n**-0.5),
    "attention_cap": ("attn_logit_softcapping", Maybe(50.0)),
    "logits_cap": ("final_logit_softcapping", Maybe(30.0)),
    **_GEMMA,
}


def _gemma_activation(name: str) -> Any:
    """Gemma's first files say "gelu", and were made with its approximation."""
    return activation("gelu_pytorch_tanh" if name == "gelu" else name)


KINDS: dict[str, tuple[dict[str, Any], dict[str, tuple]]] = {
    "Llama": (
        {},
        _options(32_000, 4096, 11_008, 32, 32, feed_forward_bias=("mlp_bias", False), **_BIASES),
    ),
    "Mistral": (
        {},
        _options(
            32_000, 4096, 14_336, 32, 32, 8, window=(None, {}, lambda c: _window(c, 4096))
        ),
    ),
    "Qwen2": (
        {"qkv_bias": True},
        _options(151_936, 4096, 22_016, 32, 32, 32, window=(None, {}, _qwen_windows)),
    ),
    "Qwen3": (
        {"query_norm": True},
        _options(
            151_936, 4096, 22_016, 32, 32, 32, 128, window=(None, {}, _qwen_windows), **_BIASES
        ),
    ),
    "Gemma": (
        {"norm_offset": 1.0},
        _options(
            256_000, 3072, 24_576, 28, 16, 16, 256, True,
            activation=("hidden_act", "gelu_pytorch_tanh", _gemma_activation), **_GEMMA,
        ),
    ),
    "Gemma2": (
        {"norm_offset": 1.0, "post_norms": True},
        _options(
            256_000, 2304, 9216, 26, 8, 4, 256, True,
            window=(None, {}, lambda c: _windows(c, 26, 2, 4096)), **_GEMMA_2,
        ),
    ),
    "Gemma3": (
        {"norm_offset": 1.0, "post_norms": True, "query_norm": True},
        _options(
            262_208, 2304, 9216, 26, 8, 4, 256, True, rotary=(None, {}, _rotary_by_kind),
            window=(None, {}, lambda c: _windows(c, 26, 6, 4096)), **_GEMMA_2,
        ),
    ),
}  # fmt: skip
"""What each has that others have not, and its options."""


def _architecture(kind: str, is_whole: bool) -> Architecture:
    fixed, options = KINDS[kind]
    sandwich = fixed.get("post_norms")
    before = "pre_feedforward" if sandwich else "post_attention"
    return Architecture(
        functools.partial(llama, include_top=is_whole, **fixed), text,
        options=options,
        fixed={"use_bidirectional_attention": (False, None)},
        outputs=("logits" if is_whole else "last_hidden_state",),
        rules=(
            (r"^logits/", "lm_head/"),
            (r"^(?!lm_head)", "model/" if is_whole else ""),
            (r"block(\d+)/", r"layers/<\1-1>/"),
            (r"embedding/", "embed_tokens/"),
            (r"attention_norm/", "input_layernorm/"),
            (r"attention_post_norm/", "post_attention_layernorm/"),
            (r"feed_forward_norm/", f"{before}_layernorm/"),
            (r"feed_forward_post_norm/", "post_feedforward_layernorm/"),
            (r"attention/(query|key)_norm/", r"self_attn/\1_norm/"),
            (r"attention/(query|key|value|output)/", r"self_attn/\1_proj/"),
            (r"feed_forward/(\w+)/", r"mlp/\1_proj/"),
            (r"(?<=/)(q|k|v|o)(?:uery|ey|alue|utput)_(?=proj/|norm/)", r"\1_"),
        ),
        tied={"lm_head.weight": "model.embed_tokens.weight"} if is_whole else {},
    )  # fmt: skip


architectures |= {
    name: _architecture(kind, is_whole)
    for kind in KINDS
    for name, is_whole in ((f"{kind}ForCausalLM", True), (f"{kind}Model", False))
}
architectures["Gemma3TextModel"] = architectures.pop("Gemma3Model")
