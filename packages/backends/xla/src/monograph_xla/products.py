"""Matrix products; convolution and its gradients, channels last: three ways, chosen by shape.

A 1x1 convolution is a matrix product. A depthwise one is, on the CPU, one multiply-add per kernel
place, which XLA fuses into a single loop. All others are XLA's own, on the CPU in float32 for 16-bit
floats: so it sums them anyway, and converts them twice. Gradients are linear transposes, which jax
derives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .halves import HALF, in_float32

# Beyond this many kernel places the graph grows faster than the gain.
_PLACES = 64


def dot(
    a: Any,
    b: Any,
    *,
    lhs_batching: Sequence[int],
    rhs_batching: Sequence[int],
    lhs_contracting: Sequence[int],
    rhs_contracting: Sequence[int],
) -> Any:
    """`dot_general`; 16-bit floats are summed in float32."""
    numbers = ((lhs_contracting, rhs_contracting), (lhs_batching, rhs_batching))
    if a.dtype not in HALF:
        return lax.dot_general(a, b, numbers, precision=lax.Precision.HIGHEST)
    # more exact, and for bfloat16 about twice as fast on the CPU
    product = partial(lax.dot_general, preferred_element_type=jnp.float32)
    n = len(lhs_batching)
    if a.dtype == jnp.bfloat16 and _across(a, lhs_batching, lhs_contracting):
        turned = ((n + 1,), rhs_contracting), (lhs_batching, rhs_batching)
        out = lax.platform_dependent(
            a, b, cpu=lambda a, b: product(_turned(a), b, turned),
            default=lambda a, b: product(a, b, numbers),
        )  # fmt: skip
    else:
        out = product(a, b, numbers)
    return out.astype(a.dtype)


def _across(a: Any, batching: Sequence[int], contracting: Sequence[int]) -> bool:
    """Whether ``a`` is ``[*batch, contracted, free]``: XLA's CPU backend multiplies that in float32."""
    n = a.ndim - 2
    return tuple(batching) == tuple(range(n)) and tuple(contracting) == (n,) and a.shape[-1] > 1


def _turned(a: Any) -> Any:
    """The last two axes exchanged, in two pieces: a whole transpose XLA would take back."""
    half = a.shape[-1] // 2
    pieces = (a[..., :half], a[..., half:])
    return jnp.concatenate([jnp.swapaxes(x, -1, -2) for x in pieces], -2)


_product = partial(dot, lhs_batching=(), rhs_batching=())


def _is_product(kernel_shape: Sequence[int], a: dict[str, Any]) -> bool:
    n = len(a["strides"])
    ones = (*a["strides"], *a["lhs_dilation"], *kernel_shape[:n], a["feature_groups"])
    return all(i == 1 for i in ones) and not any(p for pair in a["padding"] for p in pair)


def _windowed(
    x: Any,
    kernel: Any,
    *,
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_groups: int,
) -> Any:
    space = "".join(map(str, range(len(strides))))
    dims = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, lhs_dilation, rhs_dilation, dims, feature_groups,
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


def _spread(x: Any, padding: Any, lhs_dilation: Any) -> Any:
    """``x`` in float32 at least, padded and dilated."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    edges = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation)]
    return lax.pad(x.astype(wide), np.zeros((), wide), [(0, 0, 0), *edges, (0, 0, 0)])


def _shifts(
    x_shape: Sequence[int], window: Sequence[int], strides: Any, rhs_dilation: Any
) -> tuple[list[int], list[tuple]]:
    """The result's spatial shape; per place of the window, where the inputs of all results lie."""
    reach = [(k - 1) * r + 1 for k, r in zip(window, rhs_dilation)]
    sizes = [(m - w) // s + 1 for m, w, s in zip(x_shape, reach, strides)]
    out = []
    for place in itertools.product(*map(range, window)):
        first = [i * r for i, r in zip(place, rhs_dilation)]
        last = [i + (m - 1) * s + 1 for i, m, s in zip(first, sizes, strides)]
        out.append((place, tuple(map(slice, first, last, strides))))
    return sizes, out


def _shifted(
    x: Any,
    kernel: Any,
    *,
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_groups: int,
) -> Any:
    """A depthwise convolution as the sum over kernel places of ``x``, shifted, times a vector."""
    n, dtype = len(strides), x.dtype
    x = _spread(x, padding, lhs_dilation)
    kernel = kernel.astype(x.dtype).reshape(*kernel.shape[:n], x.shape[-1], -1)
    sizes, shifts = _shifts(x.shape[1:-1], kernel.shape[:n], strides, rhs_dilation)
    terms = [x[:, *where, :, None] * kernel[place] for place, where in shifts]
    return sum(terms[1:], terms[0]).reshape(x.shape[0], *sizes, -1).astype(dtype)


def _shifted_kernel_grad(
    x: Any,
    g: Any,
    *,
    kernel_shape: Sequence[int],
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_groups: int,
) -> Any:
    """The cotangent of `_shifted`'s kernel, an example at a time.

    XLA's sum over all axes but the last walks memory in strides; elementwise sums over the batch do
    not, and stay in the cache: a seventh of the time.
    """
    n, dtype = len(strides), x.dtype
    x = _spread(x, padding, lhs_dilation)
    sizes, shifts = _shifts(x.shape[1:-1], kernel_shape[:n], strides, rhs_dilation)
    g = g.astype(x.dtype).reshape(x.shape[0], *sizes, x.shape[-1], -1)

    def add(sums: tuple, example: tuple) -> tuple:
        one, cotangent = example
        parts = [one[*where, :, None] * cotangent for _, where in shifts]
        return tuple(s + p for s, p in zip(sums, parts)), None

    start = tuple(jnp.zeros(g.shape[1:], x.dtype) for _ in shifts)
    sums, _ = lax.scan(add, start, (x, g))
    space = tuple(range(n))
    return jnp.stack([s.sum(space) for s in sums]).reshape(kernel_shape).astype(dtype)


def _shifted_input_grad(
    g: Any,
    kernel: Any,
    *,
    input_shape: Sequence[int],
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_groups: int,
) -> Any:
    """The cotangent of `_shifted`'s ``x`` where that is not dilated: a convolution with the kernel turned.

    Transposed by jax it is a sum of padded arrays; all gradients together took three times as long.
    """
    n = len(strides)
    edges = []
    for m, out, k, s, r, (low, _) in zip(
        input_shape[1:], g.shape[1:], kernel.shape, strides, rhs_dilation, padding
    ):
        before = (k - 1) * r - low
        edges.append((before, m + (k - 1) * r - before - ((out - 1) * s + 1)))
    return _shifted(
        g, jnp.flip(kernel, tuple(range(n))), strides=(1,) * n, padding=edges, lhs_dilation=strides,
        rhs_dilation=rhs_dilation, feature_groups=feature_groups,
    )  # fmt: skip


def _run(
    make: Callable, a: Any, b: Any, x_shape: Sequence[int], kernel_shape: Sequence[int],
    attrs: dict[str, Any], shifted: Callable | None = None,
) -> Any:  # fmt: skip
    """``make(way)(a, b)`` with the way to convolve that suits the shapes and the platform.

    ``shifted`` replaces ``make`` of `_shifted`.
    """
    plain = make(partial(_windowed, **attrs))
    depthwise = 1 < x_shape[-1] == attrs["feature_groups"]
    empty = 0 in (*a.shape, *b.shape, *x_shape, *kernel_shape)
    if depthwise and not empty and math.prod(kernel_shape[:-2]) <= _PLACES:
        way: Callable = shifted or make(partial(_shifted, **attrs))
    elif a.dtype in HALF:
        way = make(partial(in_float32(_windowed), **attrs))
    else:
        return plain(a, b)
    return lax.platform_dependent(a, b, cpu=way, default=plain)


def convolution(x: Any, kernel: Any, **attrs: Any) -> Any:
    """``x [batch, *spatial, in]`` by ``kernel [*spatial, in / groups, out]``."""
    if _is_product(kernel.shape, attrs):
        flat = kernel.reshape(kernel.shape[-2:])
        return _product(x, flat, lhs_contracting=(x.ndim - 1,), rhs_contracting=(0,))
    return _run(lambda way: way, x, kernel, x.shape, kernel.shape, attrs)


def input_grad(g: Any, kernel: Any, *, input_shape: Sequence[int], **attrs: Any) -> Any:
    """The cotangent of ``x`` from that of the result."""
    if _is_product(kernel.shape, attrs):
        flat = kernel.reshape(kernel.shape[-2:])
        return _product(g, flat, lhs_contracting=(g.ndim - 1,), rhs_contracting=(1,))
    x = jax.ShapeDtypeStruct(tuple(input_shape), g.dtype)

    def make(way: Callable) -> Callable:
        return lambda g, k: jax.linear_transpose(lambda v: way(v, k), x)(g)[0]

    shifted = None
    if g.shape[-1] == input_shape[-1] and all(d == 1 for d in attrs["lhs_dilation"]):
        shifted = partial(_shifted_input_grad, input_shape=input_shape, **attrs)
    return _run(make, g, kernel, input_shape, kernel.shape, attrs, shifted)


def kernel_grad(x: Any, g: Any, *, kernel_shape: Sequence[int], **attrs: Any) -> Any:
    """The cotangent of ``kernel`` from that of the result."""
    if _is_product(kernel_shape, attrs):
        rest = tuple(range(x.ndim - 1))
        return _product(x, g, lhs_contracting=rest, rhs_contracting=rest).reshape(kernel_shape)
    kernel = jax.ShapeDtypeStruct(tuple(kernel_shape), x.dtype)

    def make(way: Callable) -> Callable:
        return lambda x, g: jax.linear_transpose(lambda v: way(x, v), kernel)(g)[0]

    shifted = partial(_shifted_kernel_grad, kernel_shape=kernel_shape, **attrs)
    return _run(make, x, g, x.shape, kernel_shape, attrs, shifted)
