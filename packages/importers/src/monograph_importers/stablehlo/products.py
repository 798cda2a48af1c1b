"""Products: dots and convolutions with any dimension numbers, transforms, factorisations."""

from __future__ import annotations

import math
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from .._steps import Lacking
from .constants import dtype, integers, pairs
from .interpret import Step, concrete, rule
from .shapes import shape


def _to(step: Step, *xs: Any) -> list[Any]:
    """The operands in the result's dtype, where that is the wider: it accumulates in that."""
    d = dtype(step.type.element)
    return [x if mg.Spec.of(x).dtype is d else ops.convert(x, dtype=d) for x in xs]


@rule("stablehlo.dot_general")
def _dot_general(step: Step, a: Any, b: Any) -> Any:
    d = step.get("dot_dimension_numbers")
    a, b = _to(step, a, b)
    return ops.dot_general(
        a, b,
        lhs_batching=d.get("lhs_batching_dimensions", []),
        rhs_batching=d.get("rhs_batching_dimensions", []),
        lhs_contracting=d.get("lhs_contracting_dimensions", []),
        rhs_contracting=d.get("rhs_contracting_dimensions", []),
    )  # fmt: skip


@rule("stablehlo.dot")
def _dot(step: Step, a: Any, b: Any) -> Any:
    a, b = _to(step, a, b)
    return ops.dot_general(a, b, lhs_contracting=[len(shape(a)) - 1], rhs_contracting=[0])


@rule("chlo.ragged_dot")
def _ragged_dot(step: Step, a: Any, b: Any, sizes: Any) -> Any:
    """Rows of ``a`` in groups of the given sizes, each times its own part of ``b``; others are 0."""
    d = step.get("ragged_dot_dimension_numbers")
    batch, contracted = (
        d.get("lhs_batching_dimensions", []),
        d.get("lhs_contracting_dimensions", []),
    )
    ragged, groups = d["lhs_ragged_dimensions"][0], d.get("rhs_group_dimensions", [])
    free = [i for i in range(len(shape(a))) if i not in (*batch, *contracted)]
    if ragged not in free or len(groups) != 1:
        raise Lacking("ragged_dot is supported where the groups are of a free axis")
    inside = {
        k: [i - (i > groups[0]) for i in d.get(f"rhs_{k}_dimensions", [])]
        for k in ("batching", "contracting")
    }
    ends = mg.cumulative_sum(sizes, axis=-1)
    total: Any = 0
    for g in range(shape(b)[groups[0]]):
        step.frame.spend(8)
        part = ops.reshape(
            mg.take(b, np.array([g]), axis=groups[0]),
            shape=[n for i, n in enumerate(shape(b)) if i != groups[0]],
        )
        y = ops.dot_general(
            *_to(step, a, part), lhs_batching=batch, lhs_contracting=contracted,
            rhs_batching=inside["batching"], rhs_contracting=inside["contracting"],
        )  # fmt: skip
        to = shape(y)
        rows = ops.iota(shape=to, dtype="int64", axis=len(batch) + free.index(ragged))
        last, size = (
            ops.broadcast_in_dim(
                mg.astype(v[..., g], "int64"), shape=to, dims=tuple(range(len(shape(v)) - 1))
            )
            for v in (ends, sizes)
        )
        total = total + mg.where((rows >= last - size) & (rows < last), y, mg.zeros_like(y))
    return total


@rule("stablehlo.einsum", "stablehlo.unary_einsum")
def _einsum(step: Step, *xs: Any) -> Any:
    return mg.einsum(step.get("einsum_config"), *xs)


@rule("stablehlo.convolution", "stablehlo.dynamic_conv")
def _convolution(step: Step, x: Any, kernel: Any, *padding: Any) -> Any:
    """Axes into our order (channels last), the convolution, axes into theirs."""
    names = step.get("dimension_numbers")
    n = len(names["input"]) - 2
    spatial = [str(i) for i in range(n)]
    out = dtype(step.type.element)
    x, kernel = (ops.convert(v, dtype=out if out.is_inexact else "float64") for v in (x, kernel))
    x = _ordered(x, names["input"], ["b", *spatial, "f"])
    kernel = _ordered(kernel, names["kernel"], [*spatial, "i", "o"])
    turned = [i for i, r in enumerate(step.get("window_reversal") or [False] * n) if r]
    if turned:
        kernel = ops.reverse(kernel, axes=turned)
    attrs = {
        "strides": integers(step.get("window_strides") or [1] * n),
        "padding": pairs(concrete(padding[0], "a padding").reshape(-1), n) if padding
        else pairs(step.get("padding"), n),
        "lhs_dilation": integers(step.get("lhs_dilation") or [1] * n),
        "rhs_dilation": integers(step.get("rhs_dilation") or [1] * n),
    }  # fmt: skip
    groups, batches = int(step.get("feature_group_count")), int(step.get("batch_group_count"))
    if batches > 1:  # each group of examples has its own part of the kernel
        parts = zip(mg.split(x, batches, axis=0), mg.split(kernel, batches, axis=-1))
        y = mg.concat([ops.convolution(a, k, **attrs) for a, k in parts], axis=-1)
    else:
        y = ops.convolution(x, kernel, **attrs, feature_groups=groups)
    y = _ordered(y, ["b", *spatial, "f"], names["output"])
    return y if mg.Spec.of(y).dtype is out else ops.convert(y, dtype=out)


def _ordered(x: Any, now: list[str], then: list[str]) -> Any:
    return x if now == then else ops.transpose(x, permutation=[now.index(a) for a in then])


@rule("stablehlo.fft")
def _fft(step: Step, x: Any) -> Any:
    lengths = integers(step.get("fft_length"))
    if math.prod(shape(x)) == 0 or 0 in lengths:
        return mg.zeros([n or 0 for n in step.type.shape], dtype=dtype(step.type.element))
    return ops.fft(x, fft_type=step.get("fft_type").value, fft_length=lengths)


def _in_full(fn: Any) -> Any:
    """Of 16-bit floats in 32 bits: no factorisation computes in less."""

    def run(step: Step, *xs: Any) -> Any:
        d = mg.Spec.of(xs[0]).dtype
        if d.bits > 16:
            return fn(step, *xs)
        return ops.convert(fn(step, *(ops.convert(x, dtype="float32") for x in xs)), dtype=d)

    return run


@rule("stablehlo.cholesky")
@_in_full
def _cholesky(step: Step, x: Any) -> Any:
    lower = bool(step.get("lower", False))
    factor = ops.cholesky(hermitian(x, lower))
    return factor if lower else adjoint(factor)


def adjoint(x: Any) -> Any:
    """The conjugate transpose of the last two axes."""
    return mg.conj(mg.matrix_transpose(x))


def hermitian(x: Any, lower: bool) -> Any:
    """The matrix of which one triangle is given: ours read both."""
    x = mg.tril(x) if lower else adjoint(mg.triu(x))
    return x + adjoint(mg.tril(x, k=-1))


@rule("stablehlo.triangular_solve")
@_in_full
def _triangular_solve(step: Step, a: Any, b: Any) -> Any:
    return ops.triangular_solve(
        a, b, left_side=bool(step.get("left_side")), lower=bool(step.get("lower")),
        unit_diagonal=bool(step.get("unit_diagonal")), transpose_a=step.get("transpose_a").value,
    )  # fmt: skip


# ---- batch normalisation (one axis is the channels')


def _moments(step: Step, x: Any) -> tuple[tuple[int, ...], Any, float]:
    axis = int(step.get("feature_index"))
    rest = tuple(i for i in range(len(shape(x))) if i != axis)
    spread = lambda v: ops.broadcast_in_dim(v, shape=shape(x), dims=(axis,))  # noqa: E731
    return rest, spread, float(step.get("epsilon"))


@rule("stablehlo.batch_norm_inference")
def _batch_norm_inference(
    step: Step, x: Any, scale: Any, offset: Any, mean: Any, variance: Any
) -> Any:
    _, spread, epsilon = _moments(step, x)
    return (x - spread(mean)) * mg.rsqrt(spread(variance) + epsilon) * spread(scale) + spread(
        offset
    )


@rule("stablehlo.batch_norm_training")
def _batch_norm_training(step: Step, x: Any, scale: Any, offset: Any) -> Any:
    rest, _, _ = _moments(step, x)
    mean, variance = mg.mean(x, axis=rest), mg.var(x, axis=rest)
    return [_batch_norm_inference(step, x, scale, offset, mean, variance), mean, variance]


@rule("stablehlo.batch_norm_grad")
def _batch_norm_grad(step: Step, x: Any, scale: Any, mean: Any, variance: Any, g: Any) -> Any:
    rest, spread, epsilon = _moments(step, x)
    n = math.prod(shape(x)) // max(1, shape(scale)[0])
    centred, inverse = x - spread(mean), mg.rsqrt(variance + epsilon)
    g_scale = mg.sum(g * centred, axis=rest) * inverse
    g_offset = mg.sum(g, axis=rest)
    g_x = spread(scale * inverse / n) * (
        n * g - spread(g_offset) - centred * spread(g_scale * inverse)
    )
    return [g_x, g_scale, g_offset]
