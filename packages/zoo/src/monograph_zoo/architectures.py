"""The table of Hugging Face's architectures: how a ``config.json`` and its weights become one of our models.

A model is added with one entry, in its own file: ``architectures["BertModel"] = Architecture(...)``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.importing import Input, Unsupported

from ._rename import Rules, renamed


class Layout(NamedTuple):
    """How one of their arrays is held by us, in views.

    Attributes:
        ours: ``(their array, our shape) -> our array``.
        theirs: ``our array -> their array``.
        part: ``(i, n, axis)``: ours is the i-th of n equal parts of theirs along their ``axis``.
    """

    ours: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]
    part: tuple[int, int, int] | None = None


def _channels_last(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``[out, in, *spatial]`` as ``[*spatial, in, out]``, where heads are axes of their own."""
    n = value.ndim
    return value.transpose(*range(2, n), 1, 0).reshape(shape)


def _channels_first(kernel: np.ndarray) -> np.ndarray:
    n = kernel.ndim
    return kernel.transpose(n - 1, n - 2, *range(n - 2))


AS_IS = Layout(lambda value, shape: value.reshape(shape), lambda array: array)
FLAT = Layout(AS_IS.ours, lambda bias: bias.reshape(-1))
KERNEL = Layout(_channels_last, _channels_first)
HEADS = Layout(_channels_last, lambda k: _channels_first(k.reshape(k.shape[0], -1)))
FROM_HEADS = Layout(_channels_last, lambda k: _channels_first(k.reshape(-1, k.shape[-1])))
DEPTHWISE = Layout(
    _channels_last, lambda k: _channels_first(k.reshape(*k.shape[:2], 1, -1))
)  # [height, width, in, multiplier]

Leaves = Sequence[tuple[str, str, Layout]]

PYTORCH: Leaves = (
    (r"attention_output/kernel$", "attention_output/weight", FROM_HEADS),
    (r"(?<![^/])(query|key|value)/kernel$", r"\1/weight", HEADS),
    (r"(?<![^/])depthwise/conv/kernel$", "depthwise/conv/weight", DEPTHWISE),
    (r"(?<![^/])kernel$", "weight", KERNEL),
    (r"(?<![^/])bias$", "bias", FLAT),
    (r"(?<![^/])beta$", "bias", AS_IS),
    (r"(?<![^/])(gamma|scale|embeddings)$", "weight", AS_IS),
    (r"(?<![^/])moving_mean$", "running_mean", AS_IS),
    (r"(?<![^/])moving_variance$", "running_var", AS_IS),
)
"""What our layers call their variables, and PyTorch's modules theirs; the first that matches holds."""

BUFFERS = (r"(^|\.)position_ids$", r"\.num_batches_tracked$", r"\.rotary_emb\.inv_freq$")
"""Names in files that no model of ours needs: they follow from the configuration."""

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": mg.gelu,
    "gelu_fast": lambda x: mg.gelu(x, approximate=True),
    "gelu_new": lambda x: mg.gelu(x, approximate=True),
    "gelu_python": mg.gelu,
    "gelu_pytorch_tanh": lambda x: mg.gelu(x, approximate=True),
    "linear": lambda x: x,
    "quick_gelu": lambda x: x * mg.sigmoid(1.702 * x),
    "relu": mg.relu,
    "relu2": lambda x: mg.square(mg.relu(x)),
    "relu6": mg.relu6,
    "sigmoid": mg.sigmoid,
    "silu": mg.silu,
    "swish": mg.silu,
    "tanh": mg.tanh,
}
"""Hugging Face's names of activations."""


def activation(name: str) -> Callable[[Any], Any]:
    """The activation that a configuration names; raises `LookupError` for one that is missing here."""
    return ACTIVATIONS[name]


LABELS = ("id2label", {"0": "LABEL_0", "1": "LABEL_1"}, len)
"""The option for a number of classes."""


class Maybe(NamedTuple):
    """The default of an option that may be null: a value ``like`` those it has, and the default itself."""

    like: Any
    default: Any = None


@dataclass(frozen=True)
class Architecture:
    """How one of Hugging Face's classes is built here.

    Attributes:
        model: ``(scope, *inputs, **options) -> results``.
        inputs: ``sizes -> inputs``, given what `sizes` names.
        options: our keyword: ``(their key, default, what to make of it)``; the last may be left out.
            The default, theirs, gives the type: an int is at least 1, or 0 where that is the default.
            A key of None is for what is made of several: it is given the whole configuration.
        fixed: their key: the values of an option that the model can do, their default first.
        outputs: names of the results.
        sizes: their key: default, of what the inputs' shapes depend on.
        rules: patterns and templates that turn our paths into their names, with "/" for ".".
        leaves: how variables are called and laid out.
        aliases: patterns and templates that turn other releases' names into those.
        unused: patterns of names in files that the model does not need.
        tied: their name: the other one that it repeats.
    """

    model: Callable[..., Any]
    inputs: Callable[[Mapping[str, Any]], Sequence[Input]]
    options: Mapping[str, tuple] = field(default_factory=dict)
    fixed: Mapping[str, tuple] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    rules: Rules = ()
    leaves: Leaves = PYTORCH
    aliases: Rules = ()
    unused: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)

    def named(self, path: str) -> tuple[str, Layout]:
        """Their name of our variable, and how it is laid out.

        >>> architectures["BertModel"].named("encoder/layer/0/output/dense/kernel")[0]
        'encoder.layer.0.output.dense.weight'
        """
        for pattern, leaf, layout in self.leaves:
            name, found = re.subn(pattern, leaf, path)
            if found:
                return renamed(name, self.rules).replace("/", "."), layout
        return renamed(path, self.rules).replace("/", "."), AS_IS

    def read(
        self, config: Mapping[str, Any], where: str
    ) -> tuple[dict[str, Any], tuple[Input, ...]]:
        """The model's options and inputs by a configuration.

        Raises:
            FileFormatError: lists every value that is no value of its option.
            UnsupportedModel: lists every value that the model cannot do.
        """
        options: dict[str, Any] = {}
        sizes: dict[str, Any] = {}
        ill, lacks = [], []
        rows = [(options, keyword, *row) for keyword, row in self.options.items()]
        rows += [(sizes, key, key, default) for key, default in self.sizes.items()]
        for out, keyword, key, default, *make in rows:
            may_be_null = isinstance(default, Maybe)
            like, default = default if may_be_null else (default, default)
            value = config if key is None else config.get(key, default)
            if isinstance(like, float) and type(value) is int:
                value = float(value)
            is_null = may_be_null and value is None
            if key is not None and not is_null and not _of_kind(value, like):
                ill.append(f"{key} is {_short(value)}, expected something like {like!r}")
                continue
            try:
                out[keyword] = make[0](value) if make else value
            except LookupError:
                lacks.append(Unsupported(f"{key or keyword}={_short(value)}", 1, where))
            except (TypeError, ValueError) as e:
                ill.append(f"{keyword}: {e}" if key is None else f"{key} is {_short(value)}: {e}")
        for key, values in self.fixed.items():
            if (value := config.get(key, values[0])) not in values:
                can = " or ".join(map(repr, values))
                lacks.append(Unsupported(f"{key}={_short(value)}", 1, where, f"only {can}"))
        if ill:
            raise mg.errors.FileFormatError(f"{where}: {'; '.join(ill)}")
        if lacks:
            raise mg.errors.UnsupportedModel(where, lacks)
        return options, tuple(self.inputs(sizes))


def _of_kind(value: Any, like: Any) -> bool:
    if isinstance(like, list):
        return type(value) is list and all(_of_kind(v, like[0]) for v in value)
    if type(value) is not type(like):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is not int or (like > 0) <= value < 2**31


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


architectures: dict[str, Architecture] = {}
"""By the name of the class in transformers, as ``config.json`` has it."""
