"""The table: op -> torch. A string is source text; a function ``(node, device) -> callable`` makes
what the generated line calls, or a constant tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monograph import ops
from monograph.op import constant

from .collectives import COLLECTIVES

_HALF = (torch.float16, torch.bfloat16)


def dtype_of(spec: Any) -> torch.dtype:
    """torch's dtype of a spec."""
    return getattr(torch, spec.dtype.name)


def call(fn: Callable) -> Callable:
    """A lowering that calls ``fn(*tensors, **attributes)``."""
    return lambda node, device: (lambda *xs, a=node.attrs: fn(*xs, **a)) if node.attrs else fn


def wide_unsigned(fn: Callable) -> Callable:
    """uint16/32/64 lack most of torch's kernels: compute in a signed type that has the bits."""
    lanes = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}

    def lower(node: Any, device: Any) -> Callable:
        attrs = node.attrs
        dtypes = [dtype_of(v.spec) for v in node.inputs]
        if not any(d in lanes for d in dtypes):
            return (lambda *xs: fn(*xs, **attrs)) if attrs else fn
        outs = [dtype_of(v.spec) for v in node.outputs]

        def run(*xs: Any) -> Any:
            wide = [_to_lane(x, lanes.get(x.dtype)) for x in xs]
            got = fn(*wide, **attrs)
            many = got if isinstance(got, (tuple, list)) else (got,)
            back = [_from_lane(y, d) for y, d in zip(many, outs)]
            return tuple(back) if isinstance(got, (tuple, list)) else back[0]

        return run

    return lower


def _to_lane(x: torch.Tensor, lane: torch.dtype | None) -> torch.Tensor:
    if lane is None:
        return x
    return x.view(torch.int64) if x.dtype == torch.uint64 else x.to(lane)


def _from_lane(y: torch.Tensor, d: torch.dtype) -> torch.Tensor:
    if y.dtype == d:
        return y
    return y.contiguous().view(torch.uint64) if d == torch.uint64 else y.to(d)


_FLIP = -(2**63)


def ordered(fn: Callable) -> Callable:
    """As `wide_unsigned`, for order-sensitive ops: uint64 is shifted so that int64 order agrees."""
    plain = wide_unsigned(fn)

    def lower(node: Any, device: Any) -> Callable:
        flagged = [v.dtype.name == "uint64" for v in node.inputs]
        if not any(flagged):
            return plain(node, device)
        attrs, outs = node.attrs, [dtype_of(v.spec) for v in node.outputs]

        def run(*xs: Any) -> Any:
            wide = [x.view(torch.int64) ^ _FLIP if f else x for x, f in zip(xs, flagged)]
            got = fn(*wide, **attrs)
            many = got if isinstance(got, (tuple, list)) else (got,)
            back = [(y ^ _FLIP).view(d) if d == torch.uint64 else y for y, d in zip(many, outs)]
            return tuple(back) if isinstance(got, (tuple, list)) else back[0]

        return run

    return lower


def _constant(node: Any, device: torch.device) -> torch.Tensor:
    array = np.array(node.attrs["value"].array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def _convert(node: Any, device: Any) -> Callable:
    (source,), target = node.inputs, node.attrs["dtype"]
    out, src = dtype_of(node.outputs[0].spec), source.dtype
    if target.kind == "bool":
        return lambda x: _signed(x) != 0
    if src.is_complex and not target.is_complex:
        return lambda x: _saturate(x.real, target, out) if target.is_integer else x.real.to(out)
    if src.is_float and target.is_integer:
        return lambda x: _saturate(x, target, out)
    if src.name == "uint64" and target.is_inexact:
        # torch reads uint64's top bit as a sign: halve, convert, double
        return lambda x: _uint64_to_float(x).to(out)
    if src.is_integer and target.is_integer:
        return lambda x: _wrap(x, out)
    return lambda x: x.to(out)


def _signed(x: torch.Tensor) -> torch.Tensor:
    return (
        x.view(torch.int64)
        if x.dtype == torch.uint64
        else x.to(torch.int64)
        if x.dtype in (torch.uint16, torch.uint32)
        else x
    )


def _uint64_to_float(x: torch.Tensor) -> torch.Tensor:
    s = x.view(torch.int64)
    half = ((s >> 1) & 0x7FFFFFFFFFFFFFFF) | (s & 1)
    return torch.where(s < 0, half.to(torch.float64) * 2, s.to(torch.float64))


def _wrap(x: torch.Tensor, out: torch.dtype) -> torch.Tensor:
    x = _signed(x)
    if out == torch.uint64:
        return x.to(torch.int64).contiguous().view(torch.uint64)
    if out in (torch.uint16, torch.uint32):
        return (x.to(torch.int64) & (0xFFFF if out == torch.uint16 else 0xFFFFFFFF)).to(out)
    return x.to(out)


def _saturate(x: torch.Tensor, target: Any, out: torch.dtype) -> torch.Tensor:
    info = np.iinfo(target.numpy)
    w = torch.nan_to_num(
        x.to(torch.float64), nan=0.0, posinf=float("inf"), neginf=float("-inf")
    ).trunc()
    high, low = w >= float(info.max), w <= float(info.min)
    if target.name == "uint64":
        half = torch.where(high | low, 0, torch.where(w >= 2.0**63, w - 2.0**63, w)).to(torch.int64)
        inner = torch.where((w >= 2.0**63) & ~high, half ^ _FLIP, half)
        return torch.where(high, -1, torch.where(low, 0, inner)).view(torch.uint64)
    y = torch.where(high | low, 0, w).to(torch.int64)
    return torch.where(high, int(info.max), torch.where(low, int(info.min), y)).to(out)


def _unsigned_divmod(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quotient and remainder of int64 read as unsigned (Hacker's Delight 9-3)."""
    big = b < 0
    safe = torch.where(big | (b == 0), 1, b)
    q = torch.div(((a >> 1) & 0x7FFFFFFFFFFFFFFF), safe, rounding_mode="trunc") << 1
    r = a - q * safe
    over = (r ^ _FLIP) >= (safe ^ _FLIP)
    q, r = torch.where(over, q + 1, q), torch.where(over, r - safe, r)
    at_least = (a ^ _FLIP) >= (b ^ _FLIP)
    q = torch.where(big, at_least.to(torch.int64), q)
    r = torch.where(big, torch.where(at_least, a - b, a), r)
    return torch.where(b == 0, -1, q), torch.where(b == 0, a, r)


def _divide(node: Any, device: Any) -> Any:
    d = node.inputs[0].dtype
    if not d.is_integer:
        return torch.div
    if d.name == "uint64":
        return lambda a, b: _unsigned_divmod(a.view(torch.int64), b.view(torch.int64))[0].view(
            torch.uint64
        )
    return wide_unsigned(_int_divide)(node, device)


def _int_divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # the lowest by -1 traps in hardware: negate instead, which wraps to the lowest
    safe = (
        torch.where((b == 0) | (b == -1), torch.ones_like(b), b)
        if a.dtype != torch.uint8
        else torch.where(b == 0, 1, b)
    )
    q = torch.div(a, safe, rounding_mode="trunc")
    if a.dtype == torch.uint8:
        return torch.where(b == 0, torch.full_like(q, 255), q)
    return torch.where(b == 0, torch.full_like(q, -1), torch.where(b == -1, -a, q))


def _remainder(node: Any, device: Any) -> Any:
    d = node.inputs[0].dtype
    if not d.is_integer:
        return torch.fmod
    if d.name == "uint64":
        return lambda a, b: _unsigned_divmod(a.view(torch.int64), b.view(torch.int64))[1].view(
            torch.uint64
        )
    return wide_unsigned(_int_remainder)(node, device)


def _int_remainder(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    unit = (b == 0) | (b == -1) if a.dtype != torch.uint8 else b == 0
    r = torch.fmod(a, torch.where(unit, torch.ones_like(b), b))
    return torch.where(b == 0, a, torch.where(unit, torch.zeros_like(r), r))


def _sign(x: torch.Tensor) -> torch.Tensor:
    if x.is_complex():
        return torch.sgn(x)
    return torch.where(torch.isnan(x), x, torch.sign(x)) if x.is_floating_point() else torch.sign(x)


def _sign_of(node: Any, device: Any) -> Callable:
    if node.inputs[0].dtype.kind == "uint":
        out = dtype_of(node.outputs[0].spec)
        return lambda x: (_signed(x) != 0).to(out)
    return _sign


def _abs(x: torch.Tensor) -> torch.Tensor:
    return torch.abs(x) if x.dtype not in (torch.uint16, torch.uint32, torch.uint64) else x


def _shifted(fn: Callable) -> Callable:
    def lower(node: Any, device: Any) -> Callable:
        bits, out = node.inputs[0].dtype.bits, dtype_of(node.outputs[0].spec)

        def run(a: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            a64, n64 = _signed(a).to(torch.int64), _signed(n).to(torch.int64)
            return _wrap(fn(a64, n64, (n64 < 0) | (n64 >= bits), bits), out)

        return run

    return lower


def _mask(a: torch.Tensor, bits: int) -> torch.Tensor:
    return a if bits == 64 else a & ((1 << bits) - 1)


def _shl(a: Any, n: Any, outside: Any, bits: int) -> Any:
    return torch.where(outside, 0, a << torch.where(outside, 0, n))


def _shrl(a: Any, n: Any, outside: Any, bits: int) -> Any:
    k = torch.where(outside, 0, n)
    low = _mask(a, bits) >> k
    if bits == 64:  # the arithmetic shift drags the sign in: clear what came
        low = torch.where(
            k > 0, low & ~(torch.full_like(a, -1) << (64 - torch.clamp(k, min=1))), low
        )
    return torch.where(outside, 0, low)


def _shra(a: Any, n: Any, outside: Any, bits: int) -> Any:
    # the sign bit of the type, not of the lane
    low = _mask(a, bits)
    signed = low if bits == 64 else torch.where(low >= 1 << (bits - 1), low - (1 << bits), low)
    return signed >> torch.where(outside, bits - 1, n)


def _popcnt(node: Any, device: Any) -> Callable:
    bits, out = node.inputs[0].dtype.bits, dtype_of(node.outputs[0].spec)

    def run(x: torch.Tensor) -> torch.Tensor:
        v = _signed(x).to(torch.int64)
        return _wrap(sum(((v >> i) & 1) for i in range(bits)), out)

    return run


def _clz(node: Any, device: Any) -> Callable:
    bits, out = node.inputs[0].dtype.bits, dtype_of(node.outputs[0].spec)

    def run(x: torch.Tensor) -> torch.Tensor:
        v = _signed(x).to(torch.int64)
        zeros = torch.full_like(v, bits)
        for i in range(bits):
            zeros = torch.where(((v >> i) & 1) == 1, bits - 1 - i, zeros)
        return _wrap(zeros, out)

    return run


_CMP = {
    "EQ": torch.eq,
    "NE": torch.ne,
    "LT": torch.lt,
    "LE": torch.le,
    "GT": torch.gt,
    "GE": torch.ge,
}


def _compare(node: Any, device: Any) -> Callable:
    fn, name = _CMP[node.attrs["direction"]], node.inputs[0].dtype.name
    if name == "uint64":
        return lambda a, b: fn(a.view(torch.int64) ^ _FLIP, b.view(torch.int64) ^ _FLIP)
    if name in ("uint16", "uint32"):
        return lambda a, b: fn(a.to(torch.int64), b.to(torch.int64))
    return fn


def _reduce(fn: Callable) -> Callable:
    def lower(x: torch.Tensor, *, axes: tuple[int, ...]) -> torch.Tensor:
        return fn(x, axes) if axes else x.clone()

    return lower


def _prod(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    for a in sorted(axes, reverse=True):
        x = torch.prod(x, a, dtype=x.dtype)
    return x


def _extreme(fn: Callable, kind: str) -> Callable:
    def reduce(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        if any(x.shape[a] == 0 for a in axes):
            shape = [n for i, n in enumerate(x.shape) if i not in axes]
            return torch.full(shape, _identity(x.dtype, kind), dtype=x.dtype, device=x.device)
        return fn(x, axes)

    return _reduce(reduce)


def _identity(d: torch.dtype, kind: str) -> Any:
    if d.is_floating_point:
        return float("-inf") if kind == "max" else float("inf")
    info = torch.iinfo(d)
    return info.min if kind == "max" else info.max


def _cum(fn: Callable) -> Callable:
    def lower(x: torch.Tensor, *, axis: int, reverse: bool) -> torch.Tensor:
        y = fn(x.flip(axis) if reverse else x, axis)
        return y.flip(axis) if reverse else y

    return lower


def _pad(
    x: torch.Tensor, value: torch.Tensor, *, low: Any, high: Any, interior: Any
) -> torch.Tensor:
    spread = [n + max(n - 1, 0) * k for n, k in zip(x.shape, interior)]
    size = [n + max(a, 0) + max(b, 0) for n, a, b in zip(spread, low, high)]
    out = value.expand(size).clone() if size else x.clone()
    if not size:
        return out
    put = tuple(slice(max(a, 0), max(a, 0) + n, k + 1) for n, a, k in zip(spread, low, interior))
    out[put] = x
    return out[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in zip(size, low, high))]


def _slice(x: torch.Tensor, *, start: Any, limit: Any, strides: Any) -> torch.Tensor:
    return x[tuple(slice(a, b, s) for a, b, s in zip(start, limit, strides))]


def _broadcast(x: torch.Tensor, *, shape: Any, dims: Any) -> torch.Tensor:
    inner = [1] * len(shape)
    for i, d in enumerate(dims):
        inner[d] = x.shape[i]
    return x.reshape(inner).expand(shape)


def _iota(node: Any, device: torch.device) -> torch.Tensor:
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    line = torch.arange(shape[axis], device=device).to(dtype_of(node.outputs[0].spec))
    return line.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)


def _dot(node: Any, device: Any) -> Callable:
    a = node.attrs
    lb, rb, lc, rc = (
        a[k] for k in ("lhs_batching", "rhs_batching", "lhs_contracting", "rhs_contracting")
    )
    x, y = node.inputs
    lf = [i for i in range(x.ndim) if i not in (*lb, *lc)]
    rf = [i for i in range(y.ndim) if i not in (*rb, *rc)]
    batch = [x.shape[i] for i in lb]
    m, n = [x.shape[i] for i in lf], [y.shape[i] for i in rf]
    k, out = [x.shape[i] for i in lc], node.outputs[0].shape
    lane = None if x.dtype.is_inexact else torch.int64
    half = x.dtype.name == "float16" and device.type == "cpu"
    if not batch and x.ndim == y.ndim == 2 and not lane and not half:
        if (lc, rc) == ((1,), (0,)):
            return torch.mm
        return lambda p, q, i=lc[0], j=rc[0]: torch.mm(
            p if i == 1 else p.t(), q if j == 0 else q.t()
        )
    size = [int(np.prod(s, dtype=np.int64)) for s in (batch, m, k, n)]

    def run(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        d = p.dtype
        if lane:
            p, q = _signed(p).to(lane), _signed(q).to(lane)
        elif half:
            p, q = p.float(), q.float()
        p = p.permute((*lb, *lf, *lc)).reshape(size[0], size[1], size[2])
        q = q.permute((*rb, *rc, *rf)).reshape(size[0], size[2], size[3])
        r = torch.bmm(p, q) if batch else torch.mm(p[0], q[0])
        return (_wrap(r, d) if lane else r.to(d)).reshape(out)

    return run


# ---- convolution: channels last at the surface is torch's channels_last memory, no copies made


def _first(x: torch.Tensor) -> torch.Tensor:
    """[batch, *spatial, channels] as [batch, channels, *spatial], a view."""
    return x.movedim(-1, 1)


def _kernel_first(k: torch.Tensor) -> torch.Tensor:
    """[*spatial, in, out] as [out, in, *spatial], a view."""
    n = k.ndim - 2
    return k.permute(n + 1, n, *range(n))


def _widen(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype == torch.float16 and x.device.type == "cpu" else x


def _prepared(x: torch.Tensor, a: Any) -> tuple[torch.Tensor, list[int]]:
    """``x`` channels first with zeros put in, and the symmetric padding left to the kernel."""
    p = a["padding"]
    symmetric = all(lo == hi >= 0 for lo, hi in p) and all(d == 1 for d in a["lhs_dilation"])
    if symmetric:
        return _first(x), [lo for lo, _ in p]
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    edge = {"low": [0, *[lo for lo, _ in p], 0], "high": [0, *[hi for _, hi in p], 0]}
    return _first(_pad(x, zero, interior=[0, *[d - 1 for d in a["lhs_dilation"]], 0], **edge)), [
        0
    ] * len(p)


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _convolution(x: torch.Tensor, k: torch.Tensor, **a: Any) -> torch.Tensor:
    d, n = x.dtype, x.ndim - 2
    if n == 0:
        a = _unit(a)
        return _convolution(x[:, None], k[None], **a)[:, 0]
    wide, pad = _prepared(_widen(x), a)
    y = _CONV[n](
        wide,
        _kernel_first(_widen(k)),
        None,
        a["strides"],
        pad,
        a["rhs_dilation"],
        a["feature_groups"],
    )
    return y.movedim(1, -1).to(d)


def _unit(a: dict[str, Any]) -> dict[str, Any]:
    one = {"strides": (1,), "padding": ((0, 0),), "lhs_dilation": (1,), "rhs_dilation": (1,)}
    return {**a, **one}


def _backward(
    g: torch.Tensor, x: torch.Tensor, k: torch.Tensor, a: Any, which: int
) -> torch.Tensor:
    """aten's convolution_backward on prepared ``x``: gradient 0 is the input's, 1 the kernel's."""
    wide, pad = _prepared(x, a)
    mask = [which == 0, which == 1, False]
    n = len(a["strides"])
    out = torch.ops.aten.convolution_backward(
        _first(g), wide, _kernel_first(k), None, list(a["strides"]), pad, list(a["rhs_dilation"]),
        False, [0] * n, a["feature_groups"], mask,
    )  # fmt: skip
    return out[which]


def _input_grad(g: torch.Tensor, k: torch.Tensor, *, input_shape: Any, **a: Any) -> torch.Tensor:
    n = len(a["strides"])
    if n == 0:
        shape = (input_shape[0], 1, input_shape[1])
        return _input_grad(g[:, None], k[None], input_shape=shape, **_unit(a))[:, 0]
    if 0 in input_shape or g.numel() == 0:
        return torch.zeros(input_shape, dtype=g.dtype, device=g.device)
    d = g.dtype
    g, k = _widen(g), _widen(k)
    x = torch.zeros(input_shape, dtype=g.dtype, device=g.device)
    dx = _backward(g, x, k, a, 0).movedim(1, -1)
    if tuple(dx.shape) != tuple(input_shape):  # undo the zeros that were put in
        p = a["padding"]
        zero = torch.zeros((), dtype=g.dtype, device=g.device)
        low, high = [0, *[-lo for lo, _ in p], 0], [0, *[-hi for _, hi in p], 0]
        dx = _pad(dx, zero, low=low, high=high, interior=[0] * dx.ndim)
        dx = dx[(slice(None), *[slice(None, None, s) for s in a["lhs_dilation"]])]
    return dx.to(d)


def _kernel_grad(x: torch.Tensor, g: torch.Tensor, *, kernel_shape: Any, **a: Any) -> torch.Tensor:
    n = len(a["strides"])
    if n == 0:
        return _kernel_grad(x[:, None], g[:, None], kernel_shape=(1, *kernel_shape), **_unit(a))[0]
    if x.numel() == 0 or g.numel() == 0:
        return torch.zeros(kernel_shape, dtype=g.dtype, device=g.device)
    d = g.dtype
    x, g = _widen(x), _widen(g)
    k = torch.zeros(kernel_shape, dtype=g.dtype, device=g.device)
    dk = _backward(g, x, k, a, 1)
    return dk.permute(*range(2, n + 2), 1, 0).to(d)


# ---- windows


def _parts(
    x: torch.Tensor, fill: Any, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> torch.Tensor:
    """Every window's elements as a last axis ``[*windows, window size]``; a view of padded ``x``."""
    value = torch.full((), fill, dtype=x.dtype, device=x.device)
    padded = (
        _pad(
            x,
            value,
            low=[p[0] for p in padding],
            high=[p[1] for p in padding],
            interior=[b - 1 for b in base],
        )
        if x.ndim
        else x
    )
    for axis, (w, s, r) in enumerate(zip(window, strides, dilation)):
        reach = (w - 1) * r + 1
        if padded.shape[axis] < reach:
            empty = [*padded.shape, w]
            empty[axis] = 0
            padded = padded.new_empty(empty)
        else:
            padded = padded.unfold(axis, reach, s)[..., ::r]
    return padded.flatten(x.ndim)


def _window(kind: str) -> Callable:
    def lower(
        x: torch.Tensor,
        *,
        window: Any,
        strides: Any,
        padding: Any,
        base_dilation: Any,
        window_dilation: Any,
    ) -> torch.Tensor:
        pooled = _pool2d(kind, x, window, strides, padding, base_dilation, window_dilation)
        if pooled is not None:
            return pooled
        fill = 0 if kind == "sum" else _identity(x.dtype, kind)
        parts = _parts(x, fill, window, strides, padding, base_dilation, window_dilation)
        if kind == "sum":
            return parts.sum(-1, dtype=x.dtype)
        return parts.amax(-1) if kind == "max" else parts.amin(-1)

    return lower


def _pool2d(
    kind: str, x: torch.Tensor, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> Any:
    """torch's own pooling where it fits: images, windows over height and width."""
    fits = (
        kind == "max" and x.ndim == 4 and x.is_floating_point() and x.numel() > 0
        and window[0] == window[3] == strides[0] == strides[3] == 1
        and all(b == 1 for b in (*base, *dilation))
        and all(p == (0, 0) for p in (padding[0], padding[3]))
        and all(lo == hi and 2 * lo <= w for (lo, hi), w in zip(padding[1:3], window[1:3]))
    )  # fmt: skip
    if not fits:
        return None
    return F.max_pool2d(_first(x), window[1:3], strides[1:3], [p[0] for p in padding[1:3]]).movedim(
        1, -1
    )


def _chosen(x: torch.Tensor, window: Any, strides: Any, padding: Any, kind: str) -> torch.Tensor:
    """Flat index into ``x`` of each window's first extreme; -1 where it is padding."""
    ones = (1,) * x.ndim
    parts = _parts(x, _identity(x.dtype, kind), window, strides, padding, ones, ones)
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    where = _parts(places, -1, window, strides, padding, ones, ones)
    best = parts.argmax(-1, keepdim=True) if kind == "max" else parts.argmin(-1, keepdim=True)
    return where.gather(-1, best)[..., 0]


def _select_and_scatter(
    x: torch.Tensor, source: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind).reshape(-1)
    ok = at >= 0
    out = torch.zeros(x.numel(), dtype=source.dtype, device=x.device)
    return out.index_add_(0, at.clamp(min=0), torch.where(ok, source.reshape(-1), 0)).reshape(
        x.shape
    )


def _select_and_gather(
    x: torch.Tensor, t: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind)
    return torch.where(at >= 0, t.reshape(-1)[at.clamp(min=0)], 0)


# ---- indexing


def _clamped(starts: Any, shape: Any, sizes: Any) -> list[int]:
    return [min(max(int(s), 0), n - m) for s, n, m in zip(starts, shape, sizes)]


def _dynamic_slice(x: torch.Tensor, *starts: Any, sizes: Any) -> torch.Tensor:
    at = _clamped(starts, x.shape, sizes)
    return x[tuple(slice(a, a + m) for a, m in zip(at, sizes))]


def _dynamic_update_slice(x: torch.Tensor, update: torch.Tensor, *starts: Any) -> torch.Tensor:
    out, at = x.clone(), _clamped(starts, x.shape, update.shape)
    out[tuple(slice(a, a + m) for a, m in zip(at, update.shape))] = update
    return out


def _without(n: int, *drop: Any) -> list[int]:
    gone = {a for axes in drop for a in axes}
    return [i for i in range(n) if i not in gone]


def _starts(
    x: Any, indices: torch.Tensor, index_map: Any, ivd: int, batching: Any, index_batching: Any
) -> list[Any]:
    vectors = indices[..., None] if ivd == indices.ndim else indices.movedim(ivd, -1)
    vectors = _signed(vectors).to(torch.int64)
    shape = vectors.shape[:-1]
    out: list[Any] = [torch.zeros(shape, dtype=torch.int64, device=x.device) for _ in range(x.ndim)]
    for k, axis in enumerate(index_map):
        out[axis] = vectors[..., k]
    for a, b in zip(batching, index_batching):
        b = b - (b > ivd)
        line = torch.arange(shape[b], device=x.device)
        out[a] = line.reshape([-1 if i == b else 1 for i in range(len(shape))]).expand(shape)
    return out


def _positions(starts: list[Any], sizes: Any) -> list[torch.Tensor]:
    n, out = len(sizes), []
    for axis, (s, m) in enumerate(zip(starts, sizes)):
        offset = torch.arange(m, device=s.device).reshape(
            [-1 if i == axis else 1 for i in range(n)]
        )
        out.append(s.reshape(*s.shape, *[1] * n) + offset)
    return out


def _gather(x: torch.Tensor, indices: torch.Tensor, **a: Any) -> torch.Tensor:
    sizes, dropped = a["slice_sizes"], (*a["collapsed_slice_dims"], *a["operand_batching_dims"])
    starts = _starts(
        x, indices, a["start_index_map"], a["index_vector_dim"], a["operand_batching_dims"],
        a["start_indices_batching_dims"],
    )  # fmt: skip
    starts = [s.clamp(0, n - m) for s, n, m in zip(starts, x.shape, sizes)]
    batch = starts[0].ndim if starts else 0
    rows = (
        a["collapsed_slice_dims"] == a["start_index_map"] == (0,) and not a["operand_batching_dims"]
        and tuple(sizes[1:]) == tuple(x.shape[1:])
    )  # fmt: skip
    if rows:  # whole rows: index_select is many times faster than fancy indexing
        got = x.index_select(0, starts[0].reshape(-1)).reshape(*starts[0].shape, *x.shape[1:])
    else:
        got = x[tuple(_positions(starts, sizes))]
        got = got.reshape(*got.shape[:batch], *[sizes[i] for i in _without(x.ndim, dropped)])
    places = [*_without(got.ndim, a["offset_dims"]), *a["offset_dims"]]
    return got.permute(*[int(i) for i in np.argsort(places)]) if got.ndim else got


_REDUCE = {"multiply": "prod", "minimum": "amin", "maximum": "amax"}


def _scatter(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, *, kind: str, **a: Any
) -> torch.Tensor:
    sizes = [1] * x.ndim
    window = _without(x.ndim, a["inserted_window_dims"], a["input_batching_dims"])
    for axis, u in zip(window, a["update_window_dims"]):
        sizes[axis] = updates.shape[u]
    starts = _starts(
        x, indices, a["scatter_dims_to_operand_dims"], a["index_vector_dim"], a["input_batching_dims"],
        a["scatter_indices_batching_dims"],
    )  # fmt: skip
    batch = starts[0].shape
    order = [*_without(updates.ndim, a["update_window_dims"]), *a["update_window_dims"]]
    values = updates.permute(*order).reshape(*batch, *sizes)
    fits = torch.ones(batch, dtype=torch.bool, device=x.device)
    for s, n, m in zip(starts, x.shape, sizes):
        fits = fits & (s >= 0) & (s + m <= n)
    flat = torch.zeros((1,) * values.ndim, dtype=torch.int64, device=x.device)
    for p, n in zip(_positions(starts, sizes), x.shape):
        flat = flat * n + p
    keep = fits.reshape(*batch, *[1] * x.ndim).expand(values.shape).reshape(-1)
    at, values = flat.expand(values.shape).reshape(-1)[keep], values.reshape(-1)[keep]
    out = x.reshape(-1).clone()
    if kind == "update":
        out[at] = values
    elif kind == "add":
        out.index_add_(0, at, values)
    else:
        out.scatter_reduce_(0, at, values, _REDUCE[kind])
    return out.reshape(x.shape)


def _scatter_by_kind(node: Any, device: Any) -> Callable:
    by_order = node.attrs["kind"] in ("minimum", "maximum")
    return (ordered if by_order else wide_unsigned)(_scatter)(node, device)


def _sort_key(x: torch.Tensor) -> torch.Tensor:
    return x + 0.0 if x.is_floating_point() else x  # -0 and 0 are equal


def _sort(
    *xs: torch.Tensor, axis: int, num_keys: int, descending: bool
) -> tuple[torch.Tensor, ...]:
    order = None
    for key in xs[:num_keys][::-1]:
        key = _sort_key(key)
        key = key if order is None else key.gather(axis, order)
        step = torch.sort(key, dim=axis, stable=True, descending=descending)[1]
        order = step if order is None else order.gather(axis, step)
    assert order is not None
    return tuple(x.gather(axis, order) for x in xs)


def _top_k(x: torch.Tensor, *, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.sort(_sort_key(x), dim=-1, stable=True, descending=True)[1][..., :k]
    return x.gather(-1, order), order


# ---- control


def _sub(graph: Any, device: Any) -> Callable:
    from .codegen import generate

    return generate(graph, device)


def _case(node: Any, device: Any) -> Callable:
    runs = [_sub(b, device) for b in node.attrs["branches"]]

    def run(index: torch.Tensor, *xs: torch.Tensor) -> Any:
        i = int(index)
        return runs[i if 0 <= i < len(runs) else -1](*xs)

    return run


def _while(node: Any, device: Any) -> Callable:
    cond, body, n = (
        _sub(node.attrs["cond"], device),
        _sub(node.attrs["body"], device),
        node.attrs["num_carry"],
    )

    def run(*xs: torch.Tensor) -> Any:
        carry, rest = xs[:n], xs[n:]
        while bool(cond(*carry, *rest)[0]):
            carry = body(*carry, *rest)
        return tuple(carry)

    return run


def _scan(node: Any, device: Any) -> Callable:
    a = node.attrs
    body, nc, nk = _sub(a["body"], device), a["num_consts"], a["num_carry"]
    outs = [v.spec for v in node.outputs[nk:]]

    def run(*xs: torch.Tensor) -> Any:
        consts, carry, rest = xs[:nc], xs[nc : nc + nk], xs[nc + nk :]
        stacked = [torch.empty(s.shape, dtype=dtype_of(s), device=device) for s in outs]
        ys = len(stacked) - (nk if a["history"] else 0)
        for i in range(a["length"])[:: -1 if a["reverse"] else 1]:
            for h, c in zip(stacked[ys:], carry):
                h[i] = c
            got = body(*consts, *carry, *[x[i] for x in rest])
            carry = got[:nk]
            for s, y in zip(stacked, got[nk:]):
                s[i] = y
        return (*carry, *stacked)

    return run


# ---- composites that torch has natively


def _layer_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> Any:
    # torch rounds the statistics of 16-bit rows to 16 bits; the record keeps them in float32
    w, s, b = (v.float() if x.dtype in _HALF else v for v in (x, scale, bias))
    y, mean, rstd = torch.native_layer_norm(w, [x.shape[-1]], s, b, epsilon)
    return y.to(x.dtype), mean[..., 0], rstd[..., 0]


def _layer_norm_backward(g: Any, x: Any, scale: Any, mean: Any, rstd: Any) -> Any:
    mean, rstd = (v.to(x.dtype) if x.dtype in _HALF and x.is_cpu else v for v in (mean, rstd))
    # the bias itself is not read, only that there is one
    return torch.ops.aten.native_layer_norm_backward(
        g, x, [x.shape[-1]], mean[..., None], rstd[..., None], scale, scale, [True, True, True]
    )


def _fused_adam(node: Any, device: Any) -> Any:
    a = node.attrs
    n, fused = (
        a["count"],
        getattr(torch, "_fused_adamw_" if a["weight_decay"] else "_fused_adam_", None),
    )
    if fused is None or any(v.dtype.name not in ("float32", "float64") for v in node.outputs):
        return _adam_foreach(a)

    def run(lr: torch.Tensor, step: torch.Tensor, *xs: torch.Tensor) -> Any:
        p, g, m, v = ([x.contiguous() for x in xs[i * n : (i + 1) * n]] for i in range(4))
        p, m, v = ([x.clone() for x in part] for part in (p, m, v))
        steps = [step.to(torch.float32).clone() for _ in range(n)]
        fused(
            p, g, m, v, [], steps, lr=lr.item(), beta1=a["beta1"], beta2=a["beta2"],
            weight_decay=a["weight_decay"], eps=a["epsilon"], amsgrad=False, maximize=False,
        )  # fmt: skip
        return (*p, *m, *v)

    return run


def _adam_foreach(a: Any) -> Callable:
    n, b1, b2 = a["count"], a["beta1"], a["beta2"]

    def run(lr: torch.Tensor, step: torch.Tensor, *xs: torch.Tensor) -> Any:
        p, g, m, v = (xs[i * n : (i + 1) * n] for i in range(4))
        t, rate = float(step), float(lr)
        m = [x * b1 + y * (1 - b1) for x, y in zip(m, g)]
        v = [x * b2 + y * y * (1 - b2) for x, y in zip(v, g)]
        c1, c2 = 1 - b1**t, (1 - b2**t) ** 0.5
        p = [x * (1 - rate * a["weight_decay"]) for x in p]
        p = [x - rate / c1 * (y / (z.sqrt() / c2 + a["epsilon"])) for x, y, z in zip(p, m, v)]
        return (*p, *m, *v)

    return run


LOWER: dict[Any, Any] = {
    constant: _constant, ops.iota: _iota,
    ops.alias: "{0}", ops.stop_gradient: "{0}",
    ops.reshape: "{0}.reshape({shape})", ops.transpose: "{0}.permute({permutation})",
    ops.broadcast_in_dim: call(_broadcast), ops.convert: _convert,
    # arithmetic
    ops.add: wide_unsigned(torch.add), ops.subtract: wide_unsigned(torch.sub),
    ops.multiply: wide_unsigned(torch.mul), ops.divide: _divide, ops.remainder: _remainder,
    ops.negate: wide_unsigned(torch.neg), ops.power: "torch.pow({0}, {1})",
    ops.maximum: ordered(torch.maximum), ops.minimum: ordered(torch.minimum),
    ops.atan2: "torch.atan2({0}, {1})", ops.nextafter: "torch.nextafter({0}, {1})",
    ops.abs_: call(_abs), ops.sign: _sign_of,
    # transcendental
    **{
        op: f"torch.{name}({{0}})"
        for op, name in {
            ops.exponential: "exp", ops.exponential_minus_one: "expm1", ops.log: "log",
            ops.log_plus_one: "log1p", ops.sqrt: "sqrt", ops.rsqrt: "rsqrt", ops.sine: "sin",
            ops.cosine: "cos", ops.tan: "tan", ops.asin: "asin", ops.acos: "acos", ops.atan: "atan",
            ops.sinh: "sinh", ops.cosh: "cosh", ops.tanh: "tanh", ops.asinh: "asinh",
            ops.acosh: "acosh", ops.atanh: "atanh", ops.logistic: "sigmoid", ops.erf: "erf",
            ops.erfc: "erfc", ops.erf_inv: "erfinv", ops.lgamma: "lgamma", ops.digamma: "digamma",
            ops.floor: "floor", ops.ceil: "ceil", ops.trunc: "trunc", ops.is_finite: "isfinite",
            ops.round_nearest_even: "round", ops.not_: "bitwise_not", ops.real: "real",
            ops.imag: "imag", ops.complex_: "complex",
        }.items()
    },
    ops.complex_: "torch.complex({0}, {1})", ops.conj: "torch.conj({0})",
    ops.cbrt: lambda node, device: lambda x: torch.sign(x) * torch.abs(x).pow(1 / 3),
    ops.polygamma: "torch.polygamma({n}, {0})",
    ops.round_nearest_afz: lambda node, device: lambda x: x.trunc() + torch.where(
        (x - x.trunc()).abs() >= 0.5, torch.sign(x), 0
    ).to(x.dtype),
    # bits and choice
    ops.and_: wide_unsigned(torch.bitwise_and), ops.or_: wide_unsigned(torch.bitwise_or),
    ops.xor: wide_unsigned(torch.bitwise_xor), ops.not_: wide_unsigned(torch.bitwise_not),
    ops.shift_left: _shifted(_shl), ops.shift_right_logical: _shifted(_shrl),
    ops.shift_right_arithmetic: _shifted(_shra), ops.popcnt: _popcnt, ops.count_leading_zeros: _clz,
    ops.compare: _compare, ops.select: wide_unsigned(torch.where),
    ops.clamp: ordered(lambda low, x, high: torch.minimum(torch.maximum(x, low), high)),
    ops.bitcast_convert: "{0}.contiguous().view({dtype})",
    # reductions
    ops.reduce_sum: wide_unsigned(_reduce(lambda x, axes: torch.sum(x, axes, dtype=x.dtype))),
    ops.reduce_prod: wide_unsigned(_reduce(_prod)),
    ops.reduce_max: ordered(_extreme(torch.amax, "max")),
    ops.reduce_min: ordered(_extreme(torch.amin, "min")),
    ops.reduce_and: call(_reduce(torch.all)), ops.reduce_or: call(_reduce(torch.any)),
    ops.argmax: ordered(lambda x, *, axis: torch.argmax(x, axis)),
    ops.argmin: ordered(lambda x, *, axis: torch.argmin(x, axis)),
    ops.cumsum: wide_unsigned(_cum(lambda x, axis: torch.cumsum(x, axis, dtype=x.dtype))),
    ops.cumprod: wide_unsigned(_cum(lambda x, axis: torch.cumprod(x, axis, dtype=x.dtype))),
    ops.cummax: ordered(_cum(lambda x, axis: torch.cummax(x, axis)[0])),
    ops.cummin: ordered(_cum(lambda x, axis: torch.cummin(x, axis)[0])),
    # shape
    ops.slice_: call(_slice), ops.pad: wide_unsigned(_pad),
    ops.concatenate: "torch.cat(({args},), {axis})", ops.reverse: wide_unsigned(lambda x, *, axes: torch.flip(x, axes)),
    ops.optimization_barrier: "({args},)",
    # products
    ops.dot_general: _dot, ops.convolution: call(_convolution),
    ops.convolution_input_grad: call(_input_grad), ops.convolution_kernel_grad: call(_kernel_grad),
    # windows
    ops.reduce_window_sum: wide_unsigned(_window("sum")), ops.reduce_window_max: ordered(_window("max")),
    ops.reduce_window_min: ordered(_window("min")), ops.select_and_scatter: call(_select_and_scatter),
    ops.select_and_gather: call(_select_and_gather),
    # indexing
    ops.dynamic_slice: call(_dynamic_slice), ops.dynamic_update_slice: wide_unsigned(_dynamic_update_slice),
    ops.gather: wide_unsigned(_gather), ops.scatter: _scatter_by_kind, ops.sort: ordered(_sort),
    ops.top_k: ordered(_top_k),
    # control
    ops.case: _case, ops.while_: _while, ops.scan: _scan,
    # composites
    ops.softmax: "torch.softmax({0}, {axis})", ops.log_softmax: "torch.log_softmax({0}, {axis})",
    ops.softmax_backward: "torch.ops.aten._softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.log_softmax_backward: "torch.ops.aten._log_softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.gelu: lambda node, device: lambda x, how="tanh" if node.attrs["approximate"] else "none": F.gelu(
        x, approximate=how
    ),
    ops.gelu_backward: lambda node, device: (
        lambda g, x, how="tanh" if node.attrs["approximate"] else "none": torch.ops.aten.gelu_backward(
            g, x, approximate=how
        )
    ),
    ops.silu: lambda node, device: F.silu, ops.silu_backward: "torch.ops.aten.silu_backward({0}, {1})",
    ops.layer_norm: call(_layer_norm), ops.layer_norm_backward: call(_layer_norm_backward),
    ops.adam_update: _fused_adam,
    **COLLECTIVES,
}  # fmt: skip
