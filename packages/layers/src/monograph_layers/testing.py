"""One example of every layer: what the generic tests of layers run over, and engines' authors may.

>>> example = EXAMPLES[0]
>>> example.name, [y.shape for y in example.run("numpy")]
('dense', [(2, 3)])
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import monograph as mg
import numpy as np

import monograph_layers as nn


@dataclass(frozen=True)
class Input:
    """A random array: normal floats, integers in ``0 .. below - 1``, or bools (``below=2``)."""

    shape: tuple[int, ...]
    below: int | None = None
    dtype: str = "float"  # "float" stands for the dtype that is being tested

    def draw(self, rng: np.random.Generator, dtype: Any = "float32", empty: bool = False) -> Any:
        """The array; with ``empty`` its first axis has length 0."""
        shape = (0, *self.shape[1:]) if empty else self.shape
        if self.below is not None:
            return rng.integers(0, self.below, shape).astype(self.dtype)
        return rng.normal(size=shape).astype(mg.dtypes.dtype(dtype).numpy)


def floats(*shape: int) -> Input:
    """Normal numbers of the dtype that is being tested."""
    return Input(shape)


def ids(*shape: int, below: int) -> Input:
    """Integers in ``0 .. below - 1``."""
    return Input(shape, below, "int32")


def mask(*shape: int) -> Input:
    """Bools."""
    return Input(shape, 2, "bool")


@dataclass(frozen=True)
class Example:
    """A layer, inputs and options: ``layer(scope, *inputs, **options)``.

    Attributes:
        named: inputs that are given by name, such as masks.
        note: tells examples of one layer apart in the tests' names.
        batched: whether every input's first axis is the batch, so that it may be empty.
        smooth: whether a finite difference can check the gradient (not where it jumps).
    """

    layer: Callable
    inputs: Sequence[Input]
    options: dict[str, Any] = field(default_factory=dict)
    named: dict[str, Input] = field(default_factory=dict)
    note: str = ""
    batched: bool = True
    smooth: bool = True

    @property
    def name(self) -> str:
        """The layer's name, with the note."""
        return self.layer.__name__ + (f"-{self.note}" if self.note else "")

    @property
    def asks_training(self) -> bool:
        """Whether the layer has an option ``training``."""
        return "training" in inspect.signature(self.layer).parameters

    def draw(self, dtype: Any = "float32", empty: bool = False, seed: int = 0) -> tuple:
        """Inputs in the order in which `model` takes them."""
        rng = np.random.default_rng(seed)
        return tuple(i.draw(rng, dtype, empty) for i in (*self.inputs, *self.named.values()))

    def model(self, training: bool = False, dtype: Any = "float32") -> Callable:
        """``(scope, *arrays) -> [output, ...]``; ``training`` and ``dtype`` go to layers that ask."""
        asked = inspect.signature(self.layer).parameters
        given = {"training": training, "dtype": dtype}
        options = {k: v for k, v in given.items() if k in asked} | self.options
        n = len(self.inputs)

        def call(scope: mg.Scope, *arrays: Any) -> list[Any]:
            named = dict(zip(self.named, arrays[n:]))
            return mg.tree.leaves(self.layer(scope / "layer", *arrays[:n], **named, **options))

        return call

    def run(
        self, engine: Any, dtype: Any = "float32", training: bool = False, store: Any = None
    ) -> list[mg.Tensor]:
        """The layer's outputs on one engine."""
        store = mg.Store(seed=0) if store is None else store
        return store.bind(self.model(training, dtype), engine)(*self.draw(dtype))


E = Example
HEADS = dict(num_heads=2, key_dim=4)
EXAMPLES: list[Example] = [
    E(nn.dense, [floats(2, 5)], dict(units=3)),
    E(nn.dense, [floats(2, 3, 4)], dict(units=2, activation="tanh", use_bias=False), note="3d"),
    E(nn.embedding, [ids(2, 3, below=7)], dict(input_dim=7, output_dim=4)),
    E(nn.conv, [floats(2, 7, 3)], dict(channels=4, kernel=3, strides=2)),
    E(nn.conv2d, [floats(2, 6, 5, 4)], dict(channels=6, kernel=(3, 2), padding="same", groups=2)),
    E(
        nn.conv,
        [floats(2, 6, 3)],
        dict(channels=2, kernel=3, dilation_rate=2, padding="causal"),
        note="causal",
    ),
    E(nn.conv_transpose, [floats(2, 4, 3)], dict(channels=5, kernel=3, strides=2, padding="same")),
    E(
        nn.conv_transpose,
        [floats(2, 3, 4, 4)],
        dict(channels=6, kernel=2, strides=(3, 1), groups=2),
        note="gaps",
    ),
    E(nn.depthwise_conv, [floats(2, 5, 6, 3)], dict(kernel=(3, 2), depth_multiplier=2, strides=2)),
    E(
        nn.separable_conv,
        [floats(2, 5, 6, 3)],
        dict(channels=4, kernel=3, padding="same", activation="tanh"),
    ),
    E(nn.max_pooling, [floats(2, 5, 6, 3)], dict(pool_size=3, strides=2, padding="same")),
    E(nn.average_pooling, [floats(2, 5, 6, 3)], dict(pool_size=3, strides=2, padding="same")),
    E(nn.global_max_pooling, [floats(2, 3, 4, 2)]),
    E(nn.global_average_pooling, [floats(2, 3, 4, 2)], dict(keepdims=True)),
    E(nn.adaptive_max_pooling, [floats(2, 7, 6, 2)], dict(output_size=3)),
    E(nn.adaptive_average_pooling, [floats(2, 7, 6, 2)], dict(output_size=3)),
    E(nn.up_sampling, [floats(2, 3, 4, 2)], dict(size=(2, 3))),
    E(
        nn.resizing,
        [floats(2, 5, 4, 2)],
        dict(height=3, width=7, interpolation="bicubic", antialias=True),
    ),
    E(nn.zero_padding, [floats(2, 3, 4, 2)], dict(padding=((1, 0), 2))),
    E(nn.cropping, [floats(2, 5, 4, 2)], dict(cropping=((1, 0), 1))),
    E(nn.flatten, [floats(2, 3, 4, 2)]),
    E(nn.prelu, [floats(2, 4, 3)], dict(shared_axes=(1,))),
    E(nn.batch_norm, [floats(4, 3, 5)]),
    E(nn.batch_norm, [floats(4, 3, 5)], dict(center=False), {"mask": mask(4, 3)}, note="mask"),
    E(nn.layer_norm, [floats(3, 5)]),
    E(nn.layer_norm, [floats(3, 4, 5)], dict(axis=(1, -1), scale=False), note="axes"),
    E(nn.group_norm, [floats(2, 3, 6)], dict(groups=2)),
    E(nn.instance_norm, [floats(2, 4, 3)], dict(scale=True)),
    E(nn.rms_norm, [floats(3, 5)]),
    E(nn.unit_norm, [floats(3, 5)]),
    E(nn.dropout, [floats(4, 6)], dict(rate=0.5)),
    E(nn.spatial_dropout, [floats(4, 3, 6)], dict(rate=0.5)),
    E(nn.drop_path, [floats(4, 3, 2)], dict(rate=0.5)),
    E(nn.alpha_dropout, [floats(4, 6)], dict(rate=0.5)),
    E(nn.gaussian_dropout, [floats(4, 6)], dict(rate=0.5)),
    E(nn.gaussian_noise, [floats(4, 6)], dict(stddev=0.1)),
    E(
        nn.position_embedding,
        [floats(2, 4, 6)],
        dict(sequence_length=5, start_index=1),
        batched=False,
    ),
    E(nn.sine_position_encoding, [floats(2, 4, 6)], dict(start_index=2), batched=False),
    E(nn.rotary_embedding, [floats(2, 4, 3, 6)], dict(max_wavelength=100.0, start_index=2)),
    E(nn.multi_head_attention, [floats(2, 4, 6)], HEADS, {"attention_mask": mask(2, 4, 4)}),
    E(
        nn.multi_head_attention,
        [floats(2, 3, 6), floats(2, 4, 5)],
        HEADS | dict(value_dim=4, use_gate=True, return_attention_scores=True, dropout=0.3),
        note="cross",
    ),
    E(
        nn.multi_head_attention,
        [floats(2, 4, 6)],
        HEADS | dict(num_heads=4, num_key_value_heads=2, rotary=100.0, use_causal_mask=True),
        note="rotary",
    ),
    E(
        nn.multi_head_attention,
        [floats(2, 4, 6)],
        HEADS | dict(relative=True),
        {"key_mask": mask(2, 4)},
        note="relative",
    ),
    E(
        nn.attention,
        [floats(2, 3, 4), floats(2, 3, 4)],
        dict(use_scale=True, use_causal_mask=True, dropout=0.3),
    ),
    E(
        nn.additive_attention,
        [floats(2, 3, 4), floats(2, 5, 4)],
        dict(return_attention_scores=True),
        {"key_mask": mask(2, 5)},
    ),
    E(nn.simple_rnn, [floats(2, 4, 3)], dict(units=5, go_backwards=True, return_sequences=True)),
    E(nn.lstm, [floats(2, 4, 3)], dict(units=5, return_state=True), {"mask": mask(2, 4)}),
    E(nn.gru, [floats(2, 4, 3)], dict(units=5, dropout=0.3, recurrent_dropout=0.3)),
    E(nn.gru, [floats(2, 4, 3)], dict(units=5, reset_after=False), note="reset_before"),
    E(
        nn.bidirectional,
        [floats(2, 4, 3)],
        dict(fn=nn.lstm, units=2, return_sequences=True, return_state=True),
    ),
    E(nn.activity_regularization, [floats(4, 6)], dict(l1=0.1, l2=0.1)),
]
