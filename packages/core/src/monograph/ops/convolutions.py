"""Convolution and its two gradients, channels last, any number of spatial axes.

``x [batch, *spatial, in]``, ``kernel [*spatial, in / groups, out]``, result ``[batch, *spatial, out]``.
The three are linear in each operand and each other's gradients, so they are closed under
differentiation to any order.
"""

from __future__ import annotations

import itertools

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import Sample, op
from ._infer import check_kind
from ._samples import draw
from .complexes import conj_if_complex as c


def _check(x_shape, k_shape, strides, padding, lhs_dilation, rhs_dilation, feature_groups):
    n = len(x_shape) - 2
    if n < 0 or len(k_shape) != n + 2:
        raise ShapeError(
            f"needs x [batch, *spatial, in] and kernel [*spatial, in / groups, out]; got shapes "
            f"{x_shape} and {k_shape}"
        )
    named = {
        "strides": strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
    }
    for name, seq in named.items():
        if len(seq) != n:
            raise ArgumentError(f"{name}={seq} has {len(seq)} entries for {n} spatial axes")
        if name != "padding" and any(s < 1 for s in seq):
            raise ArgumentError(f"{name}={seq}: every entry must be at least 1")
    if k_shape[-2] * feature_groups != x_shape[-1] or k_shape[-1] % feature_groups:
        raise ShapeError(
            f"with feature_groups={feature_groups} a kernel {k_shape} takes "
            f"{k_shape[-2] * feature_groups} input channels and must have a multiple of "
            f"{feature_groups} output channels; x has {x_shape[-1]} channels"
        )
    out = []
    for i in range(n):
        size = (x_shape[1 + i] - 1) * lhs_dilation[i] + 1 if x_shape[1 + i] else 0
        window = (k_shape[i] - 1) * rhs_dilation[i] + 1 if k_shape[i] else 0
        room = size + sum(padding[i]) - window
        out.append(room // strides[i] + 1 if room >= 0 and k_shape[i] else 0)
    return (x_shape[0], *out, k_shape[-1])


def _pair(a, b):
    check_kind(a, "inexact")
    if a.dtype is not b.dtype:
        raise DTypeError(f"the operands have dtypes {a.dtype} and {b.dtype}")


def _conv(x, kernel, **attrs):
    _pair(x, kernel)
    return x.with_(_check(x.shape, kernel.shape, **attrs))


def _input_grad(g, kernel, *, input_shape, **attrs):
    _pair(g, kernel)
    if _check(input_shape, kernel.shape, **attrs) != g.shape:
        raise ShapeError(
            f"a cotangent {g.shape} does not belong to input {input_shape}, kernel {kernel.shape}"
        )
    return g.with_(input_shape)


def _kernel_grad(x, g, *, kernel_shape, **attrs):
    _pair(x, g)
    if _check(x.shape, kernel_shape, **attrs) != g.shape:
        raise ShapeError(
            f"a cotangent {g.shape} does not belong to input {x.shape}, kernel {kernel_shape}"
        )
    return g.with_(kernel_shape)


def _cases(d, rng):
    for x, k, s, p, ld, rd, f in (
        ((2, 5, 4, 2), (3, 2, 2, 3), (1, 1), ((1, 1), (0, 1)), (1, 1), (1, 1), 1),
        ((1, 6, 5, 4), (2, 3, 2, 6), (2, 1), ((0, 1), (2, 0)), (1, 1), (1, 2), 2),
        ((2, 4, 3), (3, 1, 6), (1,), ((1, 1),), (2,), (1,), 3),
        (
            (1, 3, 4, 3, 1),
            (2, 2, 2, 1, 2),
            (1, 2, 1),
            ((0, 0), (1, 1), (0, 1)),
            (1, 1, 1),
            (1, 1, 1),
            1,
        ),
        (
            (1, 2, 3, 2, 3, 2),
            (2, 1, 2, 2, 1, 4),
            (1, 1, 1, 2),
            ((0, 1), (0, 0), (0, 0), (1, 0)),
            (1, 1, 2, 1),
            (1, 1, 1, 1),
            2,
        ),
        ((1, 5, 1), (3, 1, 1), (2,), ((-1, 0),), (1,), (1,), 1),
        ((0, 4, 2), (3, 2, 2), (1,), ((1, 1),), (1,), (1,), 1),
    ):
        attrs = {
            "strides": s,
            "padding": p,
            "lhs_dilation": ld,
            "rhs_dilation": rd,
            "feature_groups": f,
        }
        yield draw(d, rng, x), draw(d, rng, k), draw(d, rng, _check(x, k, **attrs)), attrs


def _windows(x, k_shape, strides, padding, lhs_dilation, rhs_dilation, out_shape):
    """For each kernel position: where it stands, and the view of padded ``x`` it multiplies."""
    n = x.ndim - 2
    padded = _dilate_pad(x, lhs_dilation, padding)
    for at in itertools.product(*[range(k) for k in k_shape[:n]]):
        cut = tuple(
            slice(i * r, i * r + (m - 1) * s + 1 if m else i * r, s)
            for i, r, s, m in zip(at, rhs_dilation, strides, out_shape[1:-1])
        )
        yield at, padded[(slice(None), *cut)]


def _dilate_pad(x, dilation, padding):
    from .shape import pad

    low, high = [0, *[p[0] for p in padding], 0], [0, *[p[1] for p in padding], 0]
    interior = [0, *[k - 1 for k in dilation], 0]
    return pad.reference(x, x.dtype.type(0), low=low, high=high, interior=interior)


def _grouped(x, groups):
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _conv_vjp(g, y, x, kernel, **attrs):
    return (
        convolution_input_grad(g, c(kernel), input_shape=x.shape, **attrs),
        convolution_kernel_grad(c(x), g, kernel_shape=kernel.shape, **attrs),
    )


_DTYPES = ("float",)


@op(
    infer=_conv,
    vjp=_conv_vjp,
    samples=lambda d, rng: (Sample((x, k), a) for x, k, _, a in _cases(d, rng)),
    dtypes=_DTYPES,
    ulps=16,
)
def convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, feature_groups=1):
    """Windows of ``x`` times ``kernel``, summed (StableHLO convolution, channels last, no flip).

    ``padding`` is ``(low, high)`` per spatial axis; ``lhs_dilation`` puts zeros between elements of
    ``x``, ``rhs_dilation`` between those of the kernel.
    """
    f = feature_groups
    shape = _check(x.shape, kernel.shape, strides, padding, lhs_dilation, rhs_dilation, f)
    y = np.zeros((*shape[:-1], f, shape[-1] // f), x.dtype)
    if y.size:
        for at, part in _windows(
            x, kernel.shape, strides, padding, lhs_dilation, rhs_dilation, shape
        ):
            y += np.einsum("...fi,ifo->...fo", _grouped(part, f), _grouped(kernel[at], f))
    return y.reshape(shape)


def _input_grad_vjp(gg, y, g, kernel, *, input_shape, **attrs):
    return (
        convolution(gg, c(kernel), **attrs),
        convolution_kernel_grad(gg, c(g), kernel_shape=kernel.shape, **attrs),
    )


@op(
    infer=_input_grad,
    vjp=_input_grad_vjp,
    samples=lambda d, rng: (
        Sample((g, k), {**a, "input_shape": x.shape}) for x, k, g, a in _cases(d, rng)
    ),
    dtypes=_DTYPES,
    ulps=16,
)
def convolution_input_grad(
    g, kernel, *, input_shape, strides, padding, lhs_dilation, rhs_dilation, feature_groups=1
):
    """The cotangent of `convolution`'s input: its transpose in ``x``."""
    f = feature_groups
    dx = np.zeros(list(input_shape), g.dtype)
    padded = _dilate_pad(dx, lhs_dilation, padding)
    low = [max(-p[0], 0) for p in padding]
    wide = [
        ((n - 1) * k + 1 if n else 0) + max(p[0], 0) + max(p[1], 0)
        for n, k, p in zip(input_shape[1:-1], lhs_dilation, padding)
    ]
    out = np.zeros((input_shape[0], *wide, input_shape[-1]), g.dtype)
    view = out[(slice(None), *[slice(a, a + m) for a, m in zip(low, padded.shape[1:-1])])]
    if g.size:
        gf = _grouped(g, f)
        for at in itertools.product(*[range(k) for k in kernel.shape[:-2]]):
            part = np.einsum("...fo,ifo->...fi", gf, _grouped(kernel[at], f))
            cut = tuple(
                slice(i * r, i * r + (m - 1) * s + 1, s)
                for i, r, s, m in zip(at, rhs_dilation, strides, g.shape[1:-1])
            )
            view[(slice(None), *cut)] += part.reshape(*g.shape[:-1], input_shape[-1])
    keep = tuple(
        slice(max(p[0], 0), max(p[0], 0) + ((n - 1) * k + 1 if n else 0), k)
        for n, k, p in zip(input_shape[1:-1], lhs_dilation, padding)
    )
    return out[(slice(None), *keep)]


def _kernel_grad_vjp(gg, y, x, g, *, kernel_shape, **attrs):
    return (
        convolution_input_grad(c(g), gg, input_shape=x.shape, **attrs),
        convolution(c(x), gg, **attrs),
    )


@op(
    infer=_kernel_grad,
    vjp=_kernel_grad_vjp,
    samples=lambda d, rng: (
        Sample((x, g), {**a, "kernel_shape": k.shape}) for x, k, g, a in _cases(d, rng)
    ),
    dtypes=_DTYPES,
    ulps=16,
)
def convolution_kernel_grad(
    x, g, *, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, feature_groups=1
):
    """The cotangent of `convolution`'s kernel: its transpose in ``kernel``."""
    f = feature_groups
    dk = np.zeros(kernel_shape, x.dtype)
    if g.size:
        gf = _grouped(g, f)
        for at, part in _windows(
            x, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, g.shape
        ):
            rows = [v.reshape(-1, *v.shape[-2:]) for v in (_grouped(part, f), gf)]
            dk[at] = np.einsum("nfi,nfo->ifo", *rows).reshape(kernel_shape[-2:])
    return dk
