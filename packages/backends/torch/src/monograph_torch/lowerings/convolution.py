"""Convolution and its gradients: channels last is torch's own channels_last memory, nothing is copied.

torch has kernels for one to three spatial axes. With any other number, and on dtypes they lack, the
kernel's positions are visited one by one: each is a matrix product with a shifted view.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from monograph import ops

from .. import onednn
from .common import HALF, SLOW, fast_half, function
from .shape import pad


def _first(n: int) -> tuple[int, ...]:
    """The permutation [batch, *spatial, channels] -> [batch, channels, *spatial]; a view."""
    return (0, n + 1, *range(1, n + 1))


def _last(n: int) -> tuple[int, ...]:
    """Its inverse."""
    return (0, *range(2, n + 2), 1)


def _kernel_first(n: int) -> tuple[int, ...]:
    """[*spatial, in, out] -> [out, in, *spatial]; a view."""
    return (n + 1, n, *range(n))


def _kernel_last(n: int) -> tuple[int, ...]:
    """Its inverse."""
    return (*range(2, n + 2), 1, 0)


def _symmetric(a: Any) -> bool:
    """Whether torch's kernels pad as asked for."""
    return all(lo == hi >= 0 for lo, hi in a["padding"]) and set(a["lhs_dilation"]) <= {1}


def _spread(x: torch.Tensor, a: Any) -> torch.Tensor:
    """``x`` with its zeros put in: between elements, and at the edges."""
    zero, edges = x.new_zeros(()), a["padding"]
    return pad(
        x, zero, low=[0, *[lo for lo, _ in edges], 0], high=[0, *[hi for _, hi in edges], 0],
        interior=[0, *[d - 1 for d in a["lhs_dilation"]], 0],
    )  # fmt: skip


def _gathered(x: torch.Tensor, input_shape: Any, a: Any) -> torch.Tensor:
    """The transpose of `_spread`: what stands where ``input_shape`` was put."""
    edges, size = a["padding"], input_shape[1:-1]
    wide = [(n - 1) * d + 1 if n else 0 for n, d in zip(size, a["lhs_dilation"])]
    low = [-lo for lo, _ in edges]
    high = [w + lo - n for w, (lo, _), n in zip(wide, edges, x.shape[1:-1])]
    cut = pad(x, x.new_zeros(()), low=[0, *low, 0], high=[0, *high, 0], interior=[0] * x.ndim)
    return cut[(slice(None), *[slice(None, None, d) for d in a["lhs_dilation"]])]


def _native(node: Any) -> bool:
    a, (x, y) = node.attrs, node.inputs
    n, kernel = len(a["strides"]), a.get("kernel_shape", y.shape)
    # oneDNN does not come back from a depthwise bfloat16 kernel of 15 x 15 on 40 x 40
    endless = (
        x.dtype.name == "bfloat16" and a["feature_groups"] > 1 and max(kernel[:-2], default=0) > 13
    )
    return 1 <= n <= 3 and not endless and all(v.size for v in (x, y, *node.outputs))


@fast_half
def _convolution(node: Any, device: Any) -> str | Callable:
    a = node.attrs
    n, groups = len(a["strides"]), a["feature_groups"]
    if not _native(node):
        return _summed(_by_position, a)
    shape = node.inputs[1].shape
    if sizes := _pointwise(node, device):
        rows, i, o = sizes
        result = f".view({node.outputs[0].shape})"
        return f"onednn.mm({{0}}.reshape({rows}, {i}), {{1}}.view({i}, {o})){result}"
    kernel = f"{{1}}.permute({_kernel_first(n)})"
    if n == 2 and shape[:2] == (1, 1):  # the only kernels that gain from another layout
        kernel += ".contiguous(memory_format=torch.channels_last)"
    last = f"{a['rhs_dilation']}, {groups}).permute({_last(n)})"
    if _symmetric(a):
        edges = tuple(lo for lo, _ in a["padding"])
        x = f"{{0}}.permute({_first(n)})"
        return f"torch.conv{n}d({x}, {kernel}, None, {a['strides']}, {edges}, {last}"
    x = f"{{0}}.permute({_first(n)})"
    run = function(f"torch.conv{n}d({x}, {kernel}, None, {a['strides']}, 0, {last}")
    return lambda x, k: run(_spread(x, a), k)


@fast_half
def _input_grad(node: Any, device: Any) -> str | Callable:
    a, shape = node.attrs, node.attrs["input_shape"]
    if not _native(node):
        return _summed(_input_by_position, a)
    if sizes := _pointwise(node, device):
        rows, i, o = sizes
        return f"onednn.mm({{0}}.reshape({rows}, {o}), {{1}}.view({i}, {o}).t()).view({shape})"
    plain = _symmetric(a)
    wide = shape if plain else _wide_shape(shape, a)
    backward = _backward(a, plain, 0)

    def run(g: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        dx = backward(g, g.new_empty(wide), k)  # of the input only the shape is read
        return dx if plain else _gathered(dx, shape, a)

    return run


@fast_half
def _kernel_grad(node: Any, device: Any) -> str | Callable:
    a, shape = node.attrs, node.attrs["kernel_shape"]
    if not _native(node):
        return _summed(_kernel_by_position, a)
    if sizes := _pointwise(node, device):
        return _pointwise_kernel_grad(a, *sizes)
    plain, backward = _symmetric(a), _backward(a, _symmetric(a), 1)
    lies = (shape[-1], *shape[:-1])  # as `outputs_first`, or torch copies what nobody reads

    def run(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return backward(g, x if plain else _spread(x, a), g.new_empty(lies).movedim(0, -1))

    return run


# ---- kernels of one pixel: matrix products, which torch's convolution leaves to BLAS on one thread


def _pointwise(node: Any, device: Any) -> tuple[int, int, int] | None:
    """Pixels, channels in and out, of a convolution that is one product of matrices and better so."""
    a, op = node.attrs, node.op
    image = a["input_shape"] if op is ops.convolution_input_grad else node.inputs[0].shape
    *kernel, i, o = a["kernel_shape"] if op is ops.convolution_kernel_grad else node.inputs[1].shape
    plain = (
        _symmetric(a) and not any(lo for lo, _ in a["padding"]) and {*a["strides"], *kernel} == {1}
    )
    sizes = math.prod(image[:-1]), i, o
    known = node.inputs[0].dtype.name in ("float32", *SLOW)
    fits = plain and known and a["feature_groups"] == 1 and onednn.pays(device, *sizes)
    return sizes if fits else None


def _pointwise_kernel_grad(a: Any, rows: int, i: int, o: int) -> str | Callable:
    """Of many pixels as a convolution of images in a row, else as a product, for which one is copied."""
    shape = a["kernel_shape"]
    images = next((n for n in IMAGES if rows % n == 0), None)
    if rows <= 2 * max(i, o) or not images or len(a["strides"]) != 2:
        product = f"onednn.mm({{1}}.reshape({rows}, {o}).t(), {{0}}.reshape({rows}, {i}))"
        return f"{product}.t().view({shape})"
    backward = _backward(a, True, 1)

    def run(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        x, g = (v.reshape(images, -1, 1, v.shape[-1]) for v in (x, g))
        return backward(g, x, g.new_empty((o, 1, 1, i)).movedim(0, -1))

    return run


IMAGES = range(16, 65)
"""From 16 on torch takes oneDNN for kernels of one pixel, on one thread too."""


def _wide_shape(shape: Any, a: Any) -> tuple[int, ...]:
    inner = [
        ((m - 1) * d + 1 if m else 0) + lo + hi
        for m, d, (lo, hi) in zip(shape[1:-1], a["lhs_dilation"], a["padding"])
    ]
    return (shape[0], *inner, shape[-1])


def _backward(a: Any, plain: bool, which: int) -> Callable:
    """aten's convolution_backward in our layouts: gradient 0 is the input's, 1 the kernel's."""
    n = len(a["strides"])
    first, kernel, back = _first(n), _kernel_first(n), (_last(n), _kernel_last(n))[which]
    edges = [lo for lo, _ in a["padding"]] if plain else [0] * n
    mask = [which == 0, which == 1, False]

    def run(g: torch.Tensor, x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        out = torch.ops.aten.convolution_backward.default(
            g.permute(first), x.permute(first), k.permute(kernel), None, a["strides"], edges,
            a["rhs_dilation"], False, [0] * n, a["feature_groups"], mask,
        )  # fmt: skip
        return out[which].permute(back)

    return run


# ---- any number of axes, one kernel position at a time


def _summed(fn: Callable, a: Any) -> Callable:
    """``fn``, the sum over the positions in float32 at least."""

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return fn(x.float(), y.float(), a).to(x.dtype) if x.dtype in HALF else fn(x, y, a)

    return run


def _positions(kernel: Any, out: Any, a: Any) -> Iterator[tuple[tuple[int, ...], tuple]]:
    """Each place in the kernel, and the part of a spread input that it multiplies."""
    for at in itertools.product(*[range(k) for k in kernel[:-2]]):
        cut = [
            slice(i * r, i * r + (m - 1) * s + 1 if m else i * r, s)
            for i, r, s, m in zip(at, a["rhs_dilation"], a["strides"], out)
        ]
        yield at, (slice(None), *cut)


def _grouped(x: torch.Tensor, groups: int) -> torch.Tensor:
    return x.unflatten(-1, (groups, x.shape[-1] // groups))


def _by_position(x: torch.Tensor, k: torch.Tensor, a: Any) -> torch.Tensor:
    f = a["feature_groups"]
    wide = _spread(x, a)
    size = [
        max((n - (m - 1) * r - 1) // s + 1, 0) if m else 0
        for n, m, r, s in zip(wide.shape[1:-1], k.shape, a["rhs_dilation"], a["strides"])
    ]
    y = x.new_zeros((x.shape[0], *size, f, k.shape[-1] // f))
    for at, part in _positions(k.shape, size, a) if y.numel() else ():
        y += torch.einsum("...fi,ifo->...fo", _grouped(wide[part], f), _grouped(k[at], f))
    return y.flatten(-2)


def _input_by_position(g: torch.Tensor, k: torch.Tensor, a: Any) -> torch.Tensor:
    f, shape = a["feature_groups"], a["input_shape"]
    wide = g.new_zeros(_wide_shape(shape, a))
    for at, part in _positions(k.shape, g.shape[1:-1], a) if g.numel() else ():
        put = torch.einsum("...fo,ifo->...fi", _grouped(g, f), _grouped(k[at], f))
        wide[part] += put.flatten(-2)
    return _gathered(wide, shape, a)


def _kernel_by_position(x: torch.Tensor, g: torch.Tensor, a: Any) -> torch.Tensor:
    f, shape = a["feature_groups"], a["kernel_shape"]
    wide, dk = _spread(x, a), x.new_zeros(shape)
    for at, part in _positions(shape, g.shape[1:-1], a) if g.numel() else ():
        rows = (_grouped(v, f).flatten(0, -3) for v in (wide[part], g))
        dk[at] = torch.einsum("nfi,nfo->ifo", *rows).flatten(-2)
    return dk


# ---- kernels' memory


def outputs_first(kernel: torch.Tensor) -> torch.Tensor:
    """A kernel ``[height, width, in, out]`` whose memory is torch's channels_last; itself where it is so.

    Of another order, oneDNN brings it into this one at each use: up to four times a small convolution.
    """
    w = kernel.permute(_kernel_first(2))
    if w.is_contiguous(memory_format=torch.channels_last):
        return kernel
    return w.contiguous(memory_format=torch.channels_last).permute(_kernel_last(2))


def kernels(graph: Any) -> dict[int, Callable]:
    """Inputs of a graph that its convolutions take as kernels, by position, with how they shall lie."""
    taken = {
        node.inputs[1]
        for node in graph.nodes
        if node.op in (ops.convolution, ops.convolution_input_grad)
        and len(node.attrs["strides"]) == 2 and _native(node)
    }  # fmt: skip
    return {i: outputs_first for i, v in enumerate(graph.inputs) if v in taken}


TABLE: dict[Any, Any] = {
    ops.convolution: _convolution, ops.convolution_input_grad: _input_grad,
    ops.convolution_kernel_grad: _kernel_grad,
}  # fmt: skip
