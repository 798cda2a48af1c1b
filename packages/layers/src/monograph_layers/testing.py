"""One example of every layer, and what generic tests hold each to; engines' authors may run them, too.

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


TOLERANCE = {"float32": 2e-5, "bfloat16": 4e-2, "float16": 5e-3}
"""How near to float64's results a layer's are, by dtype."""


def variables_for(example: Example, dtype: Any = "float32") -> mg.Store:
    """Variables away from their first values, which are zeros and ones too often; floats in ``dtype``."""
    made = mg.Store(seed=3)
    for training in (False, True):
        made.bind(example.model(training, dtype), "numpy").trace(*example.draw(dtype))
    rng = np.random.default_rng(1)
    out = mg.Store(seed=3)
    for path, value in made.numpy().items():
        if made.spec(path).dtype.is_float:
            value = (value + rng.uniform(0.1, 0.5, value.shape)).astype(value.dtype)
        out.add(path, mg.tensor(value), trainable=path in made.trainable)
    return out


def widened(tree: Any) -> Any:
    """A tree with its floats in float64."""
    return mg.tree.map(lambda x: x.astype("float64") if mg.Spec.of(x).dtype.is_float else x, tree)


def copied(store: mg.Store, values: Any = None) -> mg.Store:
    """Another store of the same variables, which hold ``values`` by path; None: their own, in float64."""
    out = mg.Store(seed=store.seed)
    for path, value in (widened(store.numpy()) if values is None else values).items():
        out.add(path, value, trainable=path in store.trainable)
    return out


def check_precision(example: Example, engine: Any, dtype: str, training: bool) -> None:
    """An example's results and new state in ``dtype`` are those of float64, within `TOLERANCE`."""
    store = variables_for(example, dtype)
    exact = copied(store)
    inputs = example.draw(dtype)
    got = store.bind(example.model(training, dtype), engine)(*inputs)
    want = exact.bind(example.model(training, "float64"), "numpy")(*widened(inputs))
    tolerance = TOLERANCE[dtype]
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and (b.dtype is not mg.float64 or a.dtype.name == dtype)
        x, y = a.numpy().astype("float64"), b.numpy().astype("float64")
        largest = tolerance * max(1, np.abs(y).max(initial=0))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=largest)
    for path in store:
        np.testing.assert_allclose(
            store[path].numpy().astype("float64"), exact[path].numpy().astype("float64"),
            rtol=tolerance, atol=tolerance, err_msg=path,
        )  # fmt: skip


def loss_of(example: Example, training: bool) -> Callable:
    """``(scope, *inputs) -> scalar``: a smooth sum of all of an example's floating results."""

    def loss(scope: mg.Scope, *inputs: Any) -> Any:
        out = [y for y in example.model(training, "float64")(scope, *inputs) if y.dtype.is_float]
        return sum(mg.sum(mg.sin(y + 0.5)) for y in out)

    return loss


def check_slopes(example: Example, engine: Any, training: bool) -> None:
    """Gradients of all parameters and inputs are the slopes of `loss_of` in float64."""
    store, rng = copied(variables_for(example)), np.random.default_rng(2)
    inputs = widened(example.draw())
    flat, structure = mg.tree.flatten(inputs)
    floating = [i for i, x in enumerate(flat) if mg.Spec.of(x).dtype is mg.float64]
    start, paths, loss = store.numpy(), store.trainable, loss_of(example, training)
    direction = {p: rng.normal(size=start[p].shape) for p in paths}
    towards = {i: rng.normal(size=flat[i].shape) for i in floating}

    def moved(inputs: Any, by: Callable[[int], Any]) -> Any:
        leaves = mg.tree.leaves(inputs)
        return mg.tree.unflatten(
            structure, [x + by(i) if i in towards else x for i, x in enumerate(leaves)]
        )

    def value(step: float) -> float:
        there = copied(store, start | {p: start[p] + step * direction[p] for p in paths})
        call = there.bind(loss, "numpy")
        return call(*moved(inputs, lambda i: step * towards[i])).item()

    def slope(scope: mg.Scope, *inputs: Any) -> Any:
        for i in floating:
            scope.parameter(f"probe/{i}", flat[i].shape, 0.0, "float64")
        _, grads = scope.value_and_grad(
            lambda: loss(scope, *moved(inputs, lambda i: scope.read(f"probe/{i}")))
        )()
        total = sum(mg.sum(grads[p] * direction[p]) for p in paths if p in grads)
        return total + sum(mg.sum(grads[f"probe/{i}"] * d) for i, d in towards.items())

    got = copied(store, start).bind(slope, engine)(*inputs).item()
    h = 1e-5
    want = (value(h) - value(-h)) / (2 * h)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7 * max(1.0, abs(want)))


class Mixed:
    """What `monograph_dtypes.mixed_bfloat16` is; which tests of layers need not install."""

    param, compute, output = mg.float32, mg.dtypes.dtype("bfloat16"), mg.float32


def check_policy(example: Example, engine: Any, training: bool) -> None:
    """Under a policy an example's variables are kept in its ``param``, and results leave in its ``output``."""
    store = mg.Store(seed=3)
    model = example.model(training)
    out = store.bind(lambda scope, *xs: model(scope.with_policy(Mixed), *xs), engine)(
        *example.draw()
    )
    assert {y.dtype for y in out if y.dtype.is_float} <= {mg.float32}
    assert {store.spec(p).dtype.name for p in store if store.spec(p).dtype.is_float} <= {"float32"}


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
