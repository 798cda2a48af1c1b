"""Spatial layers against Keras's, weights copied over: results, and gradients of inputs and weights.

Keras runs on PyTorch, in float64, so that autograd gives the gradients and the reference has no
rounding of its own. Where Keras-on-PyTorch is not Keras (padded averages) or Keras has no such layer,
PyTorch and jax are the reference.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import re
import warnings

import jax
import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
import torch
import torch.nn.functional as F

keras = pytest.importorskip("keras", reason="the reference is Keras")

ENGINES = ("xla", "torch")
TOLERANCE = 1e-5  # of the largest magnitude: sums of some hundred float32 products
SHAPES = {1: (2, 9, 4), 2: (2, 9, 6, 4), 3: (2, 5, 6, 7, 4)}

# layer (its {} is 1d, 2d, 3d), positional arguments, options: the same for Keras
EVERY_RANK = [
    ("conv{}", (6, 3), {}),
    ("conv{}", (6, 3), dict(padding="same", strides=2, activation="tanh")),
    ("conv{}", (6, 4), dict(padding="same", strides=3, use_bias=False)),
    ("conv{}", (6, 2), dict(padding="same", dilation_rate=2, groups=2)),
    ("conv{}_transpose", (5, 3), {}),
    ("conv{}_transpose", (5, 2), dict(strides=3)),
    ("conv{}_transpose", (5, 3), dict(strides=2, padding="same")),
    ("conv{}_transpose", (5, 4), dict(strides=2, padding="same", activation="relu")),
    ("conv{}_transpose", (5, 2), dict(strides=3, padding="same", use_bias=False)),
    ("conv{}_transpose", (5, 3), dict(strides=2, padding="same", output_padding=1)),
    ("conv{}_transpose", (5, 4), dict(strides=3, padding="same", output_padding=0)),
    ("conv{}_transpose", (5, 3), dict(strides=2, output_padding=1)),
    ("conv{}_transpose", (5, 3), dict(dilation_rate=2, padding="same")),
    ("max_pooling{}", (), {}),
    ("max_pooling{}", (3,), dict(strides=2)),
    ("max_pooling{}", (3,), dict(strides=1, padding="same")),
    ("max_pooling{}", (2,), dict(strides=3, padding="same")),
    ("average_pooling{}", (2,), {}),
    ("average_pooling{}", (3,), dict(strides=2)),
    ("global_max_pooling{}", (), {}),
    ("global_max_pooling{}", (), dict(keepdims=True)),
    ("global_average_pooling{}", (), {}),
    ("global_average_pooling{}", (), dict(keepdims=True)),
    ("adaptive_max_pooling{}", (3,), {}),
    ("adaptive_max_pooling{}", (4,), {}),
    ("adaptive_average_pooling{}", (3,), {}),
    ("adaptive_average_pooling{}", (4,), {}),
    ("up_sampling{}", (), {}),
    ("up_sampling{}", (3,), {}),
    ("zero_padding{}", (), {}),
    ("zero_padding{}", (2,), {}),
    ("cropping{}", (1,), {}),
]
ONE_RANK = [
    ("conv1d", (6, 3), dict(padding="causal", dilation_rate=2)),
    ("conv2d", (6, (3, 2)), dict(strides=(1, 2))),
    ("depthwise_conv1d", (3,), {}),
    ("depthwise_conv1d", (4,), dict(padding="same", depth_multiplier=3, strides=2)),
    ("depthwise_conv2d", (3,), dict(depth_multiplier=2, activation="relu")),
    ("depthwise_conv2d", ((3, 2),), dict(padding="same", strides=2, use_bias=False)),
    ("depthwise_conv2d", (3,), dict(padding="same", dilation_rate=2)),
    ("separable_conv1d", (5, 3), {}),
    ("separable_conv1d", (5, 4), dict(padding="same", depth_multiplier=2, strides=2)),
    ("separable_conv2d", (5, 3), dict(depth_multiplier=2, activation="tanh")),
    ("separable_conv2d", (5, (3, 2)), dict(padding="same", strides=2, use_bias=False)),
    ("separable_conv2d", (5, 3), dict(padding="same", dilation_rate=2)),
    ("conv2d_transpose", (5, (3, 2)), dict(strides=(2, 3), padding="same")),
    ("max_pooling2d", ((3, 2),), dict(strides=(2, 1))),
    ("adaptive_average_pooling2d", ((4, 1),), {}),
    ("up_sampling2d", ((2, 3),), dict(interpolation="nearest")),
    ("up_sampling2d", ((2, 3),), dict(interpolation="bilinear")),
    ("zero_padding1d", ((1, 2),), {}),
    ("zero_padding2d", (((1, 0), (2, 3)),), {}),
    ("zero_padding2d", ((1, 2),), {}),
    ("cropping1d", ((0, 2),), {}),
    ("cropping2d", (((1, 0), (0, 2)),), {}),
    ("cropping3d", ((1, 0, 2),), {}),
    ("resizing", (5, 7), {}),
    ("resizing", (18, 4), dict(interpolation="nearest")),
    ("resizing", (4, 5), dict(interpolation="bilinear", antialias=True)),
    ("flatten", (), {}),
]
CASES = [
    (name.format(f"{n}d"), n, args, options) for name, args, options in EVERY_RANK for n in SHAPES
] + [(row[0], int((re.search(r"\d", row[0]) or [2])[0]), *row[1:]) for row in ONE_RANK]


def described(case):
    name, _, args, options = case
    return f"{name}{args}" + "".join(f"-{k}={v}" for k, v in options.items())


def keras_name(name):
    """``conv2d_transpose`` -> ``Conv2DTranspose``."""
    return re.sub(r"(\d)d", r"\1D", "".join(p[0].upper() + p[1:] for p in name.split("_")))


def close(got, want, what):
    assert got.shape == want.shape, what
    atol = TOLERANCE * max(1.0, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=what)


def by_keras(case, x):
    """Weights by name, the output, a cotangent, and the gradients of the weights and the input."""
    name, _, args, options = case
    layer = getattr(keras.layers, keras_name(name))(*args, **options, dtype="float64")
    with warnings.catch_warnings():  # of PyTorch: even kernels with padding "same" may copy
        warnings.filterwarnings("ignore", message="Using padding='same'")
        layer.build(x.shape)
        rng = np.random.default_rng(1)
        layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
        held = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        y = layer(held)
    return reference(held, y, {w.name: w.value for w in layer.weights})


def reference(x, y, weights):
    """What ours is compared with, of PyTorch's tensors."""
    g = np.random.default_rng(2).normal(size=y.shape)
    names = list(weights)
    grads = torch.autograd.grad(y, [x, *(weights[n] for n in names)], torch.tensor(g))
    values = {n: weights[n].detach().numpy() for n in names}
    return values, y.detach().numpy(), g, dict(zip(["x", *names], [v.numpy() for v in grads]))


def check(ours, engine, x, values, y, g, grads):
    """Our output and gradients, from float32 copies of the same numbers, against the reference."""
    store = mg.Store()
    for name, value in values.items():
        store.add(name, value.astype("float32"))
    store.add("x", x)

    def model(scope, cotangent):
        def loss():
            out = ours(scope, scope.read("x"))
            return mg.sum(out * cotangent), out

        (_, out), got = scope.value_and_grad(loss, has_aux=True)()
        return out, got

    out, got = store.bind(model, engine)(g.astype("float32"))
    close(out.numpy(), y, "output")
    assert set(got) == set(grads)
    for name, want in grads.items():
        close(got[name].numpy(), want, f"gradient of {name}")


def drawn(n):
    return np.random.default_rng(0).normal(size=SHAPES[n]).astype("float32")


@pytest.mark.parametrize("case", CASES, ids=described)
def test_results_and_gradients_are_those_of_keras(case):
    name, n, args, options = case
    x = drawn(n)
    wanted = by_keras(case, x)
    for engine in ENGINES:
        check(lambda s, v: getattr(nn, name)(s, v, *args, **options), engine, x, *wanted)


def first(x):
    """Channels first, as PyTorch has them."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


# ours, and PyTorch's function of channels-first images
BY_TORCH = {
    "padded averages leave padding out": (
        lambda s, x: nn.average_pooling2d(s, x, 3, strides=2, padding=1),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "padded maxima": (
        lambda s, x: nn.max_pooling2d(s, x, 3, strides=2, padding=1),
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "adaptive averages to more elements": (
        lambda s, x: nn.adaptive_average_pooling2d(s, x, (13, 4)),
        lambda x: F.adaptive_avg_pool2d(x, (13, 4)),
    ),
    "adaptive maxima to more elements": (
        lambda s, x: nn.adaptive_max_pooling2d(s, x, (13, 4)),
        lambda x: F.adaptive_max_pool2d(x, (13, 4)),
    ),
}


@pytest.mark.parametrize("what", BY_TORCH)
def test_results_and_gradients_are_those_of_pytorch(what):
    ours, theirs = BY_TORCH[what]
    x = drawn(2)
    held = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    wanted = reference(held, last(theirs(first(held))), {})
    for engine in ENGINES:
        check(ours, engine, x, *wanted)


TRANSPOSED = [
    dict(strides=2, padding=1, output_padding=1),
    dict(strides=(3, 2), padding=(0, 1), groups=2),
    dict(strides=2, padding=1, dilation_rate=2, groups=4, output_padding=(1, 0)),
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
def test_numbers_as_padding_of_a_transpose_are_those_of_pytorch(options):
    x, groups = drawn(2), options.get("groups", 1)
    held = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    rng = np.random.default_rng(1)
    kernel = torch.tensor(rng.normal(size=(3, 3, 8 // groups, 4)), requires_grad=True)
    theirs = {"stride" if k == "strides" else k: v for k, v in options.items()}
    theirs["dilation"] = theirs.pop("dilation_rate", 1)
    y = last(F.conv_transpose2d(first(held), kernel.permute(3, 2, 0, 1), **theirs))
    wanted = reference(held, y, {"kernel": kernel})
    ours = lambda s, v: nn.conv2d_transpose(s, v, 8, 3, use_bias=False, **options)
    for engine in ENGINES:
        check(ours, engine, x, *wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", SHAPES)
def test_same_padding_does_not_count_in_averages_at_either_end(engine, n):
    x = drawn(n)
    window, strides = (1, *(3,) * n, 1), (1, *(2,) * n, 1)
    sums = lambda v: jax.lax.reduce_window(v, 0.0, jax.lax.add, window, strides, "SAME")
    y = mg.Store().bind(lambda s, v: nn.average_pooling(s, v, 3, strides=2, padding="same"), engine)
    close(y(x).numpy(), np.asarray(sums(x) / sums(np.ones_like(x))), "output")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("size", [(4, 13), (27, 2)])
def test_resizing_is_that_of_jax(engine, antialias, method, size):
    x = drawn(2)
    shape = (x.shape[0], *size, x.shape[-1])
    theirs = {"bilinear": "linear", "bicubic": "cubic"}.get(method, method)
    with jax.enable_x64(True):
        want = jax.image.resize(x.astype("float64"), shape, theirs, antialias=antialias)
    options = dict(interpolation=method, antialias=antialias)
    got = mg.Store().bind(lambda s, v: nn.resizing(s, v, *size, **options), engine)(x)
    close(got.numpy(), np.asarray(want), "output")


@pytest.mark.parametrize("engine", ENGINES)
def test_resized_integers_are_rounded_and_stay_in_range(engine):
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    layer = lambda s, v: nn.resizing(s, v, 20, 5, interpolation="bicubic")
    exact = mg.Store().bind(layer, "numpy")(x.astype("float64")).numpy()
    assert exact.max() > 256 and exact.min() < -1  # so that the limits matter
    got = mg.Store().bind(layer, engine)(x)
    assert got.dtype is mg.uint8
    assert np.abs(got.numpy() - np.clip(exact, 0, 255)).max() < 0.5 + 1e-3


def test_penalties_on_separable_kernels_are_those_of_keras():
    options = dict(depthwise_regularizer=0.1, pointwise_regularizer=0.2, bias_regularizer=0.3)
    theirs = {k: keras.regularizers.L2(rate) for k, rate in options.items()}
    layer = keras.layers.SeparableConv2D(5, 3, **theirs)
    x = drawn(2)
    layer.build(x.shape)
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.weights])
    store = mg.Store()
    for w in layer.weights:
        store.add(w.name, w.value.detach().numpy())

    def penalty(scope, v):
        nn.separable_conv2d(
            scope, v, 5, 3, **{k: nn.regularizers.l2(rate) for k, rate in options.items()}
        )
        return sum(scope.losses)

    got = store.bind(penalty, "numpy")(x).item()
    assert got == pytest.approx(sum(loss.item() for loss in layer.losses), rel=1e-5) and got > 1


MISTAKES = [
    (lambda s, x: nn.conv1d(s / "a", x, 4, 3), r"conv1d 'a': needs \[batch, steps, channels\]"),
    (lambda s, x: nn.conv3d(s, x, 4, 3), r"conv3d: needs \[batch, depth, height, width, channels"),
    (lambda s, x: nn.conv2d_transpose(s, x, 4, 3, groups=3), "groups=3 must divide the 4 input"),
    (lambda s, x: nn.conv2d_transpose(s, x, 4, 3, padding="full"), "neither 'same', 'valid' nor"),
    (lambda s, x: nn.max_pooling2d(s, x, (2, 2, 2)), "or 2 of them, one per spatial axis"),
    (lambda s, x: nn.cropping2d(s, x, ((9, 0), 1)), r"9 \+ 0 leave nothing of axis 1"),
    (lambda s, x: nn.zero_padding2d(s, x, (1, 2, 3)), "for each of the 2 spatial axes"),
    (lambda s, x: nn.resizing(s, x, 2, 2, interpolation="area"), "is none of nearest, bilinear"),
    (lambda s, x: nn.up_sampling2d(s, x, 2, interpolation="area"), "is none of nearest, bilinear"),
]


@pytest.mark.parametrize("layer, words", MISTAKES)
def test_mistakes_name_the_layer_and_what_it_needs(layer, words):
    with pytest.raises((mg.errors.ShapeError, mg.errors.ArgumentError), match=words) as caught:
        mg.Store().bind(layer, "numpy")(drawn(2))
    assert "test_layers_spatial_keras.py" in str(caught.value)


def test_fixed_ranks_are_called_as_the_layer_and_documented():
    for name in (n for n in nn.__all__ if re.search(r"\dd", n)):
        layer, general = getattr(nn, name), getattr(nn, re.sub(r"\dd", "", name))
        assert layer.__name__ == name and layer.__wrapped__ is general
        assert general.__doc__ in layer.__doc__
