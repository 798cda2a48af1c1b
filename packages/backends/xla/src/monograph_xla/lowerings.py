"""The table: op -> jax. One line where jax has the op; helpers below where semantics differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from monograph import Graph, ops
from monograph.op import constant
from monograph.tracing import source_of

from .barrier import barrier
from .collectives import COLLECTIVES
from .halves import in_float32
from .linalg import LINALG
from .outside import Lowerings, on_host
from .products import convolution, dot, input_grad, kernel_grad
from .splitting import split


def replay(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Run a graph on jax values: what is traced into XLA."""

    def execute(node: Any, xs: list[Any]) -> Sequence[Any]:
        with source_of(node):
            out = LOWER[node.op](*xs, **node.attrs)
        return out if node.op.multi else (out,)

    return graph.replay(args, execute)


def _int_divide(a: Any, b: Any) -> Any:
    if not jnp.issubdtype(a.dtype, jnp.integer):
        return lax.div(a, b)
    none = b == 0
    return jnp.where(
        none, jnp.asarray(-1).astype(a.dtype), lax.div(a, jnp.where(none, jnp.ones_like(b), b))
    )


def _clz(x: Any) -> Any:
    # XLA folds constants of signed numbers as if they were of 64 bits: clz(-1) came out as -32
    bits = lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    return lax.clz(bits).astype(x.dtype)


def _fft(x: Any, *, fft_type: Any, fft_length: Any) -> Any:
    # XLA on the CPU takes row-major order only, yet lets a reader that wants columns (LAPACK) ask for
    # another; a barrier around a flat array keeps the order
    y = lax.fft(x, fft_type, fft_length)
    return lax.optimization_barrier(y.reshape(-1)).reshape(y.shape)


def _remainder(a: Any, b: Any) -> Any:
    if not jnp.issubdtype(a.dtype, jnp.integer):
        return lax.rem(a, b)
    none = b == 0
    return jnp.where(none, a, lax.rem(a, jnp.where(none, jnp.ones_like(b), b)))


def _convert(x: Any, *, dtype: Any) -> Any:
    if dtype.kind == "bool":
        return x != 0
    if jnp.iscomplexobj(x) and not dtype.is_complex:
        x = lax.real(x)
    if dtype.is_integer and jnp.issubdtype(x.dtype, jnp.floating):
        # XLA leaves out-of-range and NaN to the hardware; the reference saturates, NaN is 0
        info = np.iinfo(dtype.numpy)
        wide = x.astype(jnp.float64)
        # whole already: of constants, XLA's window sums look through the way to integers and back
        whole = jnp.trunc(jnp.where(jnp.isnan(wide), 0.0, wide))
        y = lax.convert_element_type(whole, dtype.numpy)
        low, high = (np.asarray(v, dtype.numpy) for v in (info.min, info.max))
        y = jnp.where(wide >= float(info.max), high, y)
        return jnp.where(wide <= float(info.min), low, y)
    if dtype.kind == "float8":  # float64 too by way of float32: that is the reference's rounding
        x = lax.convert_element_type(x, jnp.float32)
    return lax.convert_element_type(x, dtype.numpy)


def _sign(x: Any) -> Any:
    return jnp.where(x == 0, jnp.zeros_like(x), lax.sign(x)) if jnp.iscomplexobj(x) else lax.sign(x)


_CMP = {"EQ": lax.eq, "NE": lax.ne, "LT": lax.lt, "LE": lax.le, "GT": lax.gt, "GE": lax.ge}


def _nan_first(fn: Callable) -> Callable:
    def lower(x: Any, *, axis: int) -> Any:
        return fn(x, axis=axis).astype(jnp.int64)  # jnp's arg* let NaN win and take the first

    return lower


def _cumulative(fn: Callable) -> Callable:
    return lambda x, *, axis, reverse: fn(x, axis=axis, reverse=reverse)


def _cum_extreme(fn: Callable) -> Callable:
    return lambda x, *, axis, reverse: (
        lax.associative_scan(fn, x, axis=axis, reverse=reverse) if x.size else x
    )


def _identity(dtype: Any, kind: str) -> Any:
    if jnp.issubdtype(dtype, jnp.integer):
        info = np.iinfo(dtype)
        return np.asarray(info.min if kind == "max" else info.max, dtype)
    return np.asarray(-np.inf if kind == "max" else np.inf, dtype)


def _window(kind: str) -> Callable:
    fn = {"sum": lax.add, "max": lax.max, "min": lax.min}[kind]

    def lower(
        x: Any, *, window: Any, strides: Any, padding: Any, base_dilation: Any, window_dilation: Any
    ) -> Any:
        first = np.asarray(0, x.dtype) if kind == "sum" else _identity(x.dtype, kind)
        return lax.reduce_window(
            x, first, fn, window, strides, padding, base_dilation, window_dilation
        )

    return lower


def _pooled(kind: str, **attrs: Any) -> Callable:
    return partial(_window(kind), base_dilation=None, window_dilation=None, **attrs)


def _select_and_scatter(x: Any, source: Any, *, kind: str, **attrs: Any) -> Any:
    # the gradient of pooling is exactly this op; XLA's own select_and_scatter comes out
    return jax.vjp(_pooled(kind, **attrs), x)[1](source)[0]


def _select_and_gather(x: Any, t: Any, *, kind: str, **attrs: Any) -> Any:
    return jax.jvp(_pooled(kind, **attrs), (x,), (t,))[1]


def _gather(x: Any, indices: Any, **a: Any) -> Any:
    numbers = lax.GatherDimensionNumbers(
        offset_dims=a["offset_dims"], collapsed_slice_dims=a["collapsed_slice_dims"],
        start_index_map=a["start_index_map"], operand_batching_dims=a["operand_batching_dims"],
        start_indices_batching_dims=a["start_indices_batching_dims"],
    )  # fmt: skip
    return lax.gather(
        x, _last(indices, a["index_vector_dim"]), numbers, a["slice_sizes"],
        indices_are_sorted=a["indices_are_sorted"], mode=lax.GatherScatterMode.CLIP,
    )  # fmt: skip


def _last(indices: Any, ivd: int) -> Any:
    return indices[..., None] if ivd == indices.ndim else jnp.moveaxis(indices, ivd, -1)


_SCATTER = {
    "update": lax.scatter, "add": in_float32(lax.scatter_add),
    "multiply": in_float32(lax.scatter_mul),
    "minimum": lax.scatter_min, "maximum": lax.scatter_max,
}  # fmt: skip


def _scatter(x: Any, indices: Any, updates: Any, *, kind: str, **a: Any) -> Any:
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=a["update_window_dims"], inserted_window_dims=a["inserted_window_dims"],
        scatter_dims_to_operand_dims=a["scatter_dims_to_operand_dims"],
        operand_batching_dims=a["input_batching_dims"],
        scatter_indices_batching_dims=a["scatter_indices_batching_dims"],
    )  # fmt: skip
    return _SCATTER[kind](
        x, _last(indices, a["index_vector_dim"]), updates, dimension_numbers=numbers,
        indices_are_sorted=a["indices_are_sorted"], unique_indices=a["unique_indices"],
        mode=lax.GatherScatterMode.FILL_OR_DROP,
    )  # fmt: skip


def _sort(*xs: Any, axis: int, num_keys: int, descending: bool) -> Any:
    if not descending:
        return lax.sort(xs, dimension=axis, num_keys=num_keys, is_stable=True)
    # stable and descending: sort from the other end, then turn round
    back = [jnp.flip(x, axis) for x in xs]
    out = lax.sort(tuple(back), dimension=axis, num_keys=num_keys, is_stable=True)
    return tuple(jnp.flip(x, axis) for x in out)


def _top_k(x: Any, *, k: int) -> Any:
    place = lax.broadcasted_iota(jnp.int64, x.shape, x.ndim - 1)
    values, order = _sort(x, place, axis=x.ndim - 1, num_keys=1, descending=True)
    return values[..., :k], order[..., :k]


def _case(index: Any, *operands: Any, branches: tuple[Graph, ...]) -> Any:
    index = index.astype(jnp.int32) if index.dtype == bool else index
    n = len(branches)
    at = jnp.where((index < 0) | (index >= n), n - 1, index).astype(jnp.int32)
    return lax.switch(at, [lambda *xs, b=b: tuple(replay(b, xs)) for b in branches], *operands)


def _while(*operands: Any, cond: Graph, body: Graph, num_carry: int) -> Any:
    rest = operands[num_carry:]
    return lax.while_loop(
        lambda c: replay(cond, [*c, *rest])[0],
        lambda c: tuple(replay(body, [*c, *rest])),
        operands[:num_carry],
    )


def _scan(
    *operands: Any,
    body: Graph,
    num_consts: int,
    num_carry: int,
    length: int,
    reverse: bool,
    history: bool,
) -> Any:
    k = num_consts + num_carry
    consts = operands[:num_consts]

    def step(carry: Any, x: Any) -> Any:
        out = replay(body, [*consts, *carry, *x])
        return tuple(out[:num_carry]), (tuple(out[num_carry:]), carry if history else ())

    carry, (ys, past) = lax.scan(step, operands[num_consts:k], operands[k:], length, reverse)
    return (*carry, *ys, *past)


_ENTRIES: dict[Any, Callable] = {
    constant: lambda *, value: jnp.asarray(value.array),
    ops.alias: lambda x: x, ops.stop_gradient: lambda x: x, ops.allow_nonfinite: lambda x: x,
    ops.check_finite: lambda x, *, name: x, ops.copy_into: lambda x, spare: x,
    ops.reshape: lambda x, *, shape: lax.reshape(x, shape),
    ops.transpose: lambda x, *, permutation: lax.transpose(x, permutation),
    ops.broadcast_in_dim: lambda x, *, shape, dims: lax.broadcast_in_dim(x, shape, dims),
    ops.convert: _convert,
    # arithmetic
    ops.add: lax.add, ops.subtract: lax.sub, ops.multiply: lax.mul, ops.divide: _int_divide,
    ops.remainder: _remainder, ops.negate: lax.neg, ops.power: lax.pow, ops.maximum: lax.max,
    ops.minimum: lax.min, ops.atan2: lax.atan2, ops.nextafter: lax.nextafter, ops.abs_: jnp.abs,
    ops.sign: _sign,
    # transcendental
    ops.exponential: lax.exp, ops.exponential_minus_one: lax.expm1, ops.log: lax.log,
    ops.log_plus_one: lax.log1p, ops.sqrt: lax.sqrt, ops.rsqrt: lax.rsqrt, ops.cbrt: lax.cbrt,
    ops.sine: lax.sin, ops.cosine: lax.cos, ops.tan: lax.tan, ops.asin: lax.asin, ops.acos: lax.acos,
    ops.atan: lax.atan, ops.sinh: lax.sinh, ops.cosh: lax.cosh, ops.tanh: lax.tanh,
    ops.asinh: lax.asinh, ops.acosh: lax.acosh, ops.atanh: lax.atanh, ops.logistic: lax.logistic,
    ops.erf: lax.erf, ops.erfc: lax.erfc, ops.erf_inv: lax.erf_inv, ops.lgamma: lax.lgamma,
    ops.digamma: lax.digamma,
    ops.polygamma: lambda x, *, n: lax.polygamma(jnp.full_like(x, n), x),
    # rounding
    ops.floor: lax.floor, ops.ceil: lax.ceil, ops.trunc: jnp.trunc, ops.is_finite: lax.is_finite,
    ops.round_nearest_even: lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    ops.round_nearest_afz: lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    # bits and choice
    ops.and_: lax.bitwise_and, ops.or_: lax.bitwise_or, ops.xor: lax.bitwise_xor,
    ops.not_: lax.bitwise_not, ops.shift_left: lax.shift_left,
    ops.shift_right_logical: lax.shift_right_logical,
    ops.shift_right_arithmetic: lax.shift_right_arithmetic, ops.popcnt: lax.population_count,
    ops.count_leading_zeros: _clz,
    ops.compare: lambda a, b, *, direction: _CMP[direction](a, b),
    ops.select: lax.select, ops.clamp: lax.clamp,
    ops.bitcast_convert: lambda x, *, dtype: lax.bitcast_convert_type(x, dtype.numpy),
    ops.real: lax.real, ops.imag: lax.imag, ops.conj: lax.conj, ops.complex_: lax.complex,
    # reductions
    ops.reduce_sum: in_float32(lambda x, *, axes: jnp.sum(x, axes, dtype=x.dtype)),
    ops.reduce_prod: in_float32(lambda x, *, axes: jnp.prod(x, axes, dtype=x.dtype)),
    ops.reduce_max: lambda x, *, axes: jnp.max(x, axes, initial=_identity(x.dtype, "max")),
    ops.reduce_min: lambda x, *, axes: jnp.min(x, axes, initial=_identity(x.dtype, "min")),
    ops.reduce_and: lambda x, *, axes: jnp.all(x, axes),
    ops.reduce_or: lambda x, *, axes: jnp.any(x, axes),
    ops.argmax: _nan_first(jnp.argmax), ops.argmin: _nan_first(jnp.argmin),
    ops.cumsum: in_float32(_cumulative(lax.cumsum)),
    ops.cumprod: in_float32(_cumulative(lax.cumprod)),
    ops.cummax: _cum_extreme(lax.max), ops.cummin: _cum_extreme(lax.min),
    # shape
    ops.iota: lambda *, shape, dtype, axis: lax.broadcasted_iota(dtype.numpy, shape, axis),
    ops.slice_: lambda x, *, start, limit, strides: lax.slice(x, start, limit, strides),
    ops.pad: lambda x, v, *, low, high, interior: lax.pad(x, v, list(zip(low, high, interior))),
    ops.concatenate: lambda *xs, axis: lax.concatenate(xs, axis), ops.split: split,
    ops.reverse: lambda x, *, axes: lax.rev(x, axes),
    ops.optimization_barrier: barrier,
    # products
    ops.dot_general: dot, ops.convolution: convolution, ops.convolution_input_grad: input_grad,
    ops.convolution_kernel_grad: kernel_grad,
    ops.fft: _fft,
    # windows
    ops.reduce_window_sum: in_float32(_window("sum")), ops.reduce_window_max: _window("max"),
    ops.reduce_window_min: _window("min"), ops.select_and_scatter: _select_and_scatter,
    ops.select_and_gather: _select_and_gather,
    # indexing
    ops.dynamic_slice: lambda x, *starts, sizes: lax.dynamic_slice(
        x, starts, sizes, allow_negative_indices=False
    ),
    ops.dynamic_update_slice: lambda x, u, *starts: lax.dynamic_update_slice(
        x, u, starts, allow_negative_indices=False
    ),
    ops.gather: _gather, ops.scatter: _scatter, ops.sort: _sort, ops.top_k: _top_k,
    # control
    ops.case: _case, ops.while_: _while, ops.scan: _scan,
    **COLLECTIVES, **LINALG,
}  # fmt: skip

LOWER = Lowerings("xla", _ENTRIES, on_host)
