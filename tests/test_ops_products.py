"""Products, convolutions and windows against torch in float64 and jax.lax, every attribute drawn."""

import itertools

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from jax import lax
from monograph import ops
from monograph.op import Sample
from monograph.testing.oracles import cases, check


def in_jax(fn):
    """``fn`` on jax arrays with 64-bit types on; NumPy out."""

    def call(*xs, **attrs):
        with jax.enable_x64(True):
            return np.asarray(fn(*map(jax.numpy.asarray, xs), **attrs))

    return call


def dot_general(
    a, b, *, lhs_batching=(), rhs_batching=(), lhs_contracting=(), rhs_contracting=()
):  # fmt: skip
    return lax.dot_general(a, b, ((lhs_contracting, rhs_contracting), (lhs_batching, rhs_batching)))


# ---- convolution, by torch on a zero-stuffed, padded input


def stuffed(x, dilation, padding, value=0):
    """torch's ``x [..., *spatial]`` with ``dilation - 1`` values between elements, then padded."""
    first = x.ndim - len(dilation)
    shape = list(x.shape)
    for i, d in enumerate(dilation):
        shape[first + i] = (x.shape[first + i] - 1) * d + 1 if x.shape[first + i] else 0
    out = torch.full(shape, value, dtype=x.dtype)
    out[(..., *[slice(None, None, d) for d in dilation])] = x
    edges = [p for pair in reversed(padding) for p in pair]
    return torch.nn.functional.pad(out, edges, value=value)


def torch_convolution(
    x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, feature_groups=1
):  # fmt: skip
    n = len(strides)
    x = stuffed(x.movedim(-1, 1), lhs_dilation, padding)
    kernel = kernel.permute(n + 1, n, *range(n))
    if n > 3:  # which torch's own cannot
        parts = zip(x.chunk(feature_groups, 1), kernel.chunk(feature_groups, 0))
        return torch.cat([unfolded(a, k, strides, rhs_dilation) for a, k in parts], -1)
    fn = (torch.conv1d, torch.conv2d, torch.conv3d)[n - 1]
    return fn(x, kernel, None, strides, 0, rhs_dilation, feature_groups).movedim(1, -1)


def unfolded(x, kernel, strides, dilation):
    """The convolution as one product over every window, in any number of dimensions."""
    n = len(strides)
    for i, (k, s, r) in enumerate(zip(kernel.shape[2:], strides, dilation)):
        x = x.unfold(2 + i, (k - 1) * r + 1, s)[..., ::r]
    over = range(2 + n, 2 + 2 * n), range(2, 2 + n)
    return torch.tensordot(x, kernel, ([1, *over[0]], [1, *over[1]]))


def convolution(x, kernel, **attrs):
    return torch_convolution(torch.tensor(x), torch.tensor(kernel), **attrs).numpy()


def input_grad(g, kernel, *, input_shape, **attrs):
    x = torch.zeros(input_shape, dtype=torch.float64, requires_grad=True)
    y = torch_convolution(x, torch.tensor(kernel), **attrs)
    return torch.autograd.grad(y, x, torch.tensor(g))[0].numpy()


def kernel_grad(x, g, *, kernel_shape, **attrs):
    k = torch.zeros(kernel_shape, dtype=torch.float64, requires_grad=True)
    y = torch_convolution(torch.tensor(x), k, **attrs)
    return torch.autograd.grad(y, k, torch.tensor(g))[0].numpy()


# ---- windows, by torch's unfold


def windows(x, fill, *, window, strides, padding, base_dilation, window_dilation):
    """Every window of a torch tensor: ``[*places, *window]``."""
    x = stuffed(x, base_dilation, padding, fill)
    for i, (w, s, r) in enumerate(zip(window, strides, window_dilation)):
        x = x.unfold(i, (w - 1) * r + 1, s)[..., ::r]
    return x


def empty(x, attrs):
    room = [
        ((n - 1) * b + 1 if n else 0) + sum(p) - ((w - 1) * r + 1)
        for n, w, p, b, r in zip(
            x.shape, attrs["window"], attrs["padding"], attrs["base_dilation"],
            attrs["window_dilation"],
        )
    ]  # fmt: skip
    return [m // s + 1 if m >= 0 else 0 for m, s in zip(room, attrs["strides"])]


def reduce_window(fold, fill):
    def call(x, **attrs):
        shape = empty(x, attrs)
        if 0 in shape:
            return np.zeros(shape, x.dtype)
        if x.dtype.kind in "iu":  # Python's integers: torch has no uint16 to uint64
            out = np.empty(shape, object)
            for at in np.ndindex(*shape):
                out[at] = fold_ints(fold, x, at, attrs)
            return out
        parts = windows(torch.tensor(x), fill, **attrs).flatten(x.ndim)
        return {"sum": parts.sum, "max": parts.amax, "min": parts.amin}[fold](-1).numpy()

    return call


def fold_ints(fold, x, at, attrs):
    """One window of Python integers; what lies in the padding or between elements is left out."""
    inside = []
    for offset in itertools.product(*map(range, attrs["window"])):
        place = []
        for a, o, s, p, b, r, n in zip(
            at, offset, attrs["strides"], attrs["padding"], attrs["base_dilation"],
            attrs["window_dilation"], x.shape,
        ):  # fmt: skip
            i = a * s + o * r - p[0]
            place.append(i // b if i % b == 0 and 0 <= i // b < n else None)
        if None not in place:
            inside.append(int(x[tuple(place)]))
    if not inside and fold != "sum":
        return {"max": np.iinfo(x.dtype).min, "min": np.iinfo(x.dtype).max}[fold]
    return {"sum": sum, "max": max, "min": min}[fold](inside)


def select(scatter):
    def call(x, other, *, window, strides, padding, kind):
        ones = (1,) * x.ndim
        attrs = {"window": window, "strides": strides, "padding": padding}
        attrs |= {"base_dilation": ones, "window_dilation": ones}
        out = np.zeros(x.shape if scatter else empty(x, attrs))
        if not x.size or 0 in empty(x, attrs):
            return out
        sign = 1 if kind == "max" else -1
        values = windows(torch.tensor(sign * x), -np.inf, **attrs).flatten(x.ndim)
        places = torch.arange(x.size).reshape(x.shape)
        # argmax takes the first of equals, as StableHLO's select does with GE
        best = values.argmax(-1, keepdim=True)
        at = windows(places, -1, **attrs).flatten(x.ndim).gather(-1, best)[..., 0].numpy()
        if not scatter:
            return other.ravel()[at]
        np.add.at(out.reshape(-1), at.ravel(), other.ravel())
        return out

    return call


def adjugate(a):
    """Transposed cofactors, each a determinant by NumPy."""
    out = np.empty(a.shape, a.dtype)
    for i, j in np.ndindex(a.shape[-2:]):
        minor = np.delete(np.delete(a, i, -2), j, -1)
        out[..., j, i] = (-1) ** (i + j) * np.linalg.det(minor)
    return out


ORACLES = {
    ops.adjugate: adjugate,
    ops.dot_general: in_jax(dot_general),
    ops.convolution: convolution,
    ops.convolution_input_grad: input_grad,
    ops.convolution_kernel_grad: kernel_grad,
    ops.reduce_window_sum: reduce_window("sum", 0),
    ops.reduce_window_max: reduce_window("max", -np.inf),
    ops.reduce_window_min: reduce_window("min", np.inf),
    ops.select_and_scatter: select(True),
    ops.select_and_gather: select(False),
}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_the_records_samples(op):
    # each of jax's samples is a compilation
    found = list(cases(op, ("float64", "complex128", "int32", "uint8")))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, 1e-13, 1e-14)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_drawn_dot_generals(data):
    lengths = st.integers(0, 3)
    batch, contracted, left, right = (data.draw(st.lists(lengths, max_size=2)) for _ in range(4))
    a = data.draw(st.permutations([*enumerate([*batch, *contracted, *left])]))
    b = data.draw(st.permutations([*enumerate([*batch, *contracted, *right])]))
    where = lambda side, first, n: tuple([i for i, _ in side].index(first + k) for k in range(n))
    n, m = len(batch), len(contracted)
    attrs = {
        "lhs_batching": where(a, 0, n), "rhs_batching": where(b, 0, n),
        "lhs_contracting": where(a, n, m), "rhs_contracting": where(b, n, m),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    operands = tuple(rng.normal(size=[length for _, length in side]) for side in (a, b))
    names = lambda side, first: [first + i if i >= n + m else i for i, _ in side]
    rest = [i for i in names(a, 10) if i >= 10], [i for i in names(b, 20) if i >= 20]

    def einsum(x, y, **_):
        args = torch.tensor(x), names(a, 10), torch.tensor(y), names(b, 20)
        return torch.einsum(*args, [*range(n), *rest[0], *rest[1]]).numpy()

    check(ops.dot_general, einsum, Sample(operands, attrs), 1e-13, 1e-14)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_drawn_convolutions_and_their_gradients(data):
    n = data.draw(st.integers(1, 2))
    each = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(n))
    groups = data.draw(st.integers(1, 3))
    inputs, outputs = (groups * data.draw(st.integers(1, 2)) for _ in range(2))
    kernel, size = each(1, 3), each(1, 5)
    attrs = {
        "strides": each(1, 3), "lhs_dilation": each(1, 3), "rhs_dilation": each(1, 3),
        "padding": tuple(zip(each(-1, 3), each(0, 3))), "feature_groups": groups,
    }  # fmt: skip
    spans = zip(size, attrs["lhs_dilation"], attrs["padding"], kernel, attrs["rhs_dilation"])
    room = [(m - 1) * d + 1 + sum(p) - ((k - 1) * r + 1) for m, d, p, k, r in spans]
    if min(room) < 0:
        return  # no output; torch refuses
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *size, inputs))
    k = rng.normal(size=(*kernel, inputs // groups, outputs))
    y = convolution(x, k, **attrs)
    g = rng.normal(size=y.shape)
    for op, sample in (
        (ops.convolution, Sample((x, k), attrs)),
        (ops.convolution_input_grad, Sample((g, k), {**attrs, "input_shape": x.shape})),
        (ops.convolution_kernel_grad, Sample((x, g), {**attrs, "kernel_shape": k.shape})),
    ):
        check(op, ORACLES[op], sample, 1e-12, 1e-13)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_drawn_windows(data):
    n = data.draw(st.integers(1, 3))
    each = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(n))
    shape = each(1, 4)
    attrs = {
        "window": each(1, 3), "strides": each(1, 3), "padding": tuple(zip(each(0, 2), each(0, 2))),
        "base_dilation": each(1, 2), "window_dilation": each(1, 2),
    }  # fmt: skip
    x = np.random.default_rng(2).normal(size=shape)
    for op in (ops.reduce_window_sum, ops.reduce_window_max, ops.reduce_window_min):
        check(op, ORACLES[op], Sample((x,), attrs), 1e-13, 1e-14)
    plain = {k: attrs[k] for k in ("window", "strides")}
    # every window holds an element, else it has nothing to select
    plain["padding"] = tuple(
        (min(a, w - 1), min(b, w - 1)) for (a, b), w in zip(attrs["padding"], attrs["window"])
    )
    shape = empty(x, {**attrs, **plain, "base_dilation": (1,) * n, "window_dilation": (1,) * n})
    for kind in ("max", "min"):
        sample = Sample((x, np.ones(shape)), {**plain, "kind": kind})
        check(ops.select_and_scatter, ORACLES[ops.select_and_scatter], sample)
        sample = Sample((x, x), {**plain, "kind": kind})
        check(ops.select_and_gather, ORACLES[ops.select_and_gather], sample)
