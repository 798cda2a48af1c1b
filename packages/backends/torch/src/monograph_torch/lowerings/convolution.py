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
    if {*itertools.chain(*a["padding"])} == {0} and {*a["lhs_dilation"]} == {1}:
        return x
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
    if max(low + high) > 0:
        x = pad(x, x.new_zeros(()), low=[0, *low, 0], high=[0, *high, 0], interior=[0] * x.ndim)
        low, high = [0 for _ in low], [0 for _ in high]
    parts = [slice(-m, n + k, d) for m, n, k, d in zip(low, x.shape[1:-1], high, a["lhs_dilation"])]
    return x[(slice(None), *parts)]


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
    if sizes := _as_product(node, device):
        return _product(node, *sizes)
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
    return Spread(run, node)


@fast_half
def _input_grad(node: Any, device: Any) -> str | Callable:
    a, shape = node.attrs, node.attrs["input_shape"]
    if not _native(node):
        return _summed(_input_by_position, a)
    if sizes := _as_product(node, device):
        return _input_product(node, *sizes)
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
    if sizes := _as_product(node, device):
        return _kernel_product(node, *sizes)
    plain, backward = _symmetric(a), _backward(a, _symmetric(a), 1)
    lies = (shape[-1], *shape[:-1])  # as `outputs_first`, or torch copies what nobody reads

    def run(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return backward(g, x, g.new_empty(lies).movedim(0, -1))

    return run if plain else Spread(run, node)


class Spread:
    """A lowering that takes its first operand with zeros put in; see `monograph_torch.peepholes`.

    Attributes:
        run: it, of the operand as it is then.
        like: what says how the operand is spread.
        wide: its shape then.
    """

    def __init__(self, run: Callable, node: Any):
        self.run, self.attrs = run, node.attrs
        self.like = node.attrs["padding"], node.attrs["lhs_dilation"]
        self.wide = _wide_shape(node.inputs[0].shape, node.attrs)

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.run(_spread(x, self.attrs), y)

    def kept(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and the operand spread, for another that takes it so."""
        x = _spread(x, self.attrs)
        return self.run(x, y), x


# ---- as one product of matrices: kernels of one pixel, which torch's convolution leaves to BLAS on one
# thread, and small images of many channels, over which oneDNN takes up to ten times as long


def _as_product(node: Any, device: Any) -> tuple[int, int, int] | None:
    """Pixels of the result, entries of a patch and channels of the result, where a product is better."""
    a, by_kernel = node.attrs, node.op is ops.convolution_kernel_grad
    *kernel, i, o = a["kernel_shape"] if by_kernel else node.inputs[1].shape
    out = {ops.convolution: node.outputs[0], ops.convolution_input_grad: node.inputs[0]}
    rows = math.prod(out.get(node.op, node.inputs[1]).shape[:-1])
    few = rows <= 2 * max(i, o) if by_kernel else 2 * rows <= max(i, o)
    known = node.inputs[0].dtype.name in ("float32", *SLOW) and a["feature_groups"] == 1
    sizes = rows, math.prod(kernel) * i, o
    fits = known and (few or _is_bare(a, kernel)) and onednn.pays(device, *sizes)
    return sizes if fits else None


def _is_bare(a: Any, kernel: Any) -> bool:
    """Whether the patches are the image itself."""
    edges = {*itertools.chain(*a["padding"])}
    return {*kernel, *a["strides"], *a["lhs_dilation"]} == {1} and edges == {0}


def _patches(x: torch.Tensor, kernel: Any, out: Any, a: Any) -> torch.Tensor:
    """``[pixels of the result, entries of a patch]``, copied together."""
    x = _spread(x, a)
    first, *inner, last = x.stride()
    moves = [p * s for p, s in zip(inner, a["strides"])]
    within = [p * r for p, r in zip(inner, a["rhs_dilation"])]
    sizes = (x.shape[0], *out, *kernel, x.shape[-1])
    patches = x.as_strided(sizes, (first, *moves, *within, last))
    # of one image even the matrix may be a view, in which rows overlap
    return patches.reshape(-1, math.prod(kernel) * x.shape[-1]).contiguous()


def _product(node: Any, rows: int, entries: int, o: int) -> str | Callable:
    a, (_, *out, _), kernel = node.attrs, node.outputs[0].shape, node.inputs[1].shape[:-2]
    shape = node.outputs[0].shape
    if _is_bare(a, kernel):
        x = f"{{0}}.reshape({rows}, {entries})"
        return f"onednn.mm({x}, {{1}}.reshape({entries}, {o})).view({shape})"
    return lambda x, k: onednn.mm(_patches(x, kernel, out, a), k.reshape(entries, o)).view(shape)


def _input_product(node: Any, rows: int, entries: int, o: int) -> str | Callable:
    a, shape, (_, *out, _), kernel = (
        node.attrs, node.outputs[0].shape, node.inputs[0].shape, node.inputs[1].shape,
    )  # fmt: skip
    if _is_bare(a, kernel[:-2]):
        g = f"{{0}}.reshape({rows}, {o})"
        return f"onednn.mm({g}, {{1}}.reshape({entries}, {o}).t()).view({shape})"
    places = list(_positions(kernel, out, a))

    def run(g: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        patches = onednn.mm(g.reshape(rows, o), k.reshape(entries, o).t())
        patches = patches.view(shape[0], *out, *kernel[:-1])
        wide = g.new_zeros(_wide_shape(shape, a))
        for at, part in places:
            wide[part] += patches[(..., *at, slice(None))]
        return _gathered(wide, shape, a)

    return run


def _kernel_product(node: Any, rows: int, entries: int, o: int) -> str | Callable:
    a, shape, (_, *out, _) = node.attrs, node.attrs["kernel_shape"], node.inputs[1].shape
    kernel, i = shape[:-2], shape[-2]
    if not _is_bare(a, kernel):

        def product(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            patches = _patches(x, kernel, out, a)
            return onednn.mm(g.reshape(rows, o).t(), patches).t().view(shape)

        return product
    images = next((n for n in IMAGES if rows % n == 0), None)
    if rows <= 2 * max(i, o) or not images or len(kernel) != 2:
        g, x = f"{{1}}.reshape({rows}, {o})", f"{{0}}.reshape({rows}, {i})"
        return f"onednn.mm({g}.t(), {x}).t().view({shape})"
    backward = _backward(a, True, 1)

    def run(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:  # a copy for the product takes more
        x, g = (v.reshape(images, -1, 1, v.shape[-1]) for v in (x, g))
        return backward(g, x, g.new_empty((o, 1, 1, i)).movedim(0, -1))

    return run


IMAGES = range(16, 65)
"""So many in a row make torch take oneDNN for kernels of one pixel, on one thread too."""


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
