"""Custom calls that are well known, and CHLO's larger operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.errors import ArgumentError

from .._steps import Lacking, known
from .constants import dtype
from .control import top_k
from .interpret import RULES, Step, rule

CALLS: dict[str, Callable[..., Any]] = {}  # by call_target_name


def call(*names: str) -> Callable[[Callable], Callable]:
    """Register what a custom call of these targets does."""

    def register(fn: Callable) -> Callable:
        CALLS.update(dict.fromkeys(names, fn))
        return fn

    return register


@rule("stablehlo.custom_call")
def _custom_call(step: Step, *xs: Any) -> Any:
    return CALLS[target(step.op)](step, *xs)


def target(op: Any) -> str:
    """What a custom call calls."""
    return str(op.attributes.get("call_target_name", ""))


@call(
    "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement",
    "LayoutConstraint", "xla.sdy.FuncResultSharding", "MoveToHost", "MoveToDevice",
)  # fmt: skip
def _same(step: Step, *xs: Any) -> Any:
    """Where a value lives, which a graph does not say."""
    return list(xs)


RULES["sdy.sharding_constraint"] = _same


@call("shape_assertion")
def _shape_assertion(step: Step, holds: Any, *values: Any) -> Any:
    if known(holds) and not bool(holds):
        said = str(step.get("error_message", "the shapes do not fit"))
        for i, v in enumerate(values):
            said = said.replace(f"{{{i}}}", str(int(v)) if known(v) else "?")
        raise ArgumentError(said)
    return []


@call("mhlo.topk")
def _mhlo_topk(step: Step, x: Any) -> Any:
    return top_k(x, int(step.op.types[0].shape[-1]))


def _client(name: str) -> Callable:
    return lambda step, *xs: RULES[f"chlo.{name}"](step, *xs)


for _name in ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "erf", "sinh", "tan"]:
    CALLS[f"mhlo.{_name}"] = _client(_name)


@rule("stablehlo.rng_bit_generator")
def _rng_bit_generator(step: Step, state: Any) -> Any:
    """Threefry-2x32 as XLA counts: ``state uint64[2]`` is a key and the first counter.

    A counter gives two words. They lie side by side along the first axis of even length, else the
    longest, where the last may be left over.
    """
    t = step.op.types[1]
    d, to = dtype(t.element), t.shape or (1,)
    axis = next((i for i, n in enumerate(to) if n % 2 == 0), to.index(max(to)))
    half = to if d.bits == 64 else [-(-n // 2) if i == axis else n for i, n in enumerate(to)]
    blocks = math.prod(half)
    key, first = (ops.reshape(state[i], shape=()) for i in (0, 1))
    low, high = _halves(first + mg.arange(blocks, dtype="uint64"))
    words = ops.threefry_2x32(mg.stack(_halves(key)), low, high)
    if d.bits == 64:
        bits = _join(*words)
    else:
        pairs = mg.stack([ops.reshape(w, shape=half) for w in words], axis=axis + 1)
        wide = ops.reshape(pairs, shape=[2 * n if i == axis else n for i, n in enumerate(half)])
        bits = mg.astype(wide[tuple(slice(n) for n in to)], f"uint{d.bits}")
    made = ops.bitcast_convert(ops.reshape(bits, shape=t.shape), dtype=d)
    return [mg.stack([key, first + np.uint64(blocks)]), made]


def _halves(x: Any) -> list[Any]:
    """Low and high words of uint64."""
    high = ops.shift_right_logical(x, mg.full_like(x, 32))
    return [mg.astype(x & mg.full_like(x, 0xFFFFFFFF), "uint32"), mg.astype(high, "uint32")]


def _join(low: Any, high: Any) -> Any:
    wide = mg.astype(high, "uint64")
    return ops.shift_left(wide, mg.full_like(wide, 32)) | mg.astype(low, "uint64")


# ---- CHLO


@rule("chlo.polygamma")
def _polygamma(step: Step, n: Any, x: Any) -> Any:
    order = _one_number(n)
    if order is None or order < 0 or order % 1:
        raise Lacking("polygamma is supported for one order that is a constant")
    return ops.polygamma(x, n=int(order)) if order else ops.digamma(x)


def _one_number(x: Any) -> float | None:
    """The number that all elements of a value are, where that is known."""
    while not known(x) and x.node.op.name in ("broadcast_in_dim", "reshape", "convert"):
        x = x.node.inputs[0]
    if not known(x):
        if x.node.op.name != "constant":
            return None
        x = x.node.attrs["value"].array
    found = np.unique(x)
    return float(found[0]) if found.size == 1 else None


@rule("chlo.mulhi")
def _mulhi(step: Step, a: Any, b: Any) -> Any:
    """The upper half of a product."""
    d = mg.Spec.of(a).dtype
    if d.bits < 64:
        wide = f"{d.kind}{2 * d.bits}"
        product = mg.astype(a, wide) * mg.astype(b, wide)
        shift = ops.shift_right_arithmetic if d.kind == "int" else ops.shift_right_logical
        return mg.astype(shift(product, mg.full_like(product, d.bits)), d)
    u = [ops.bitcast_convert(v, dtype="uint64") for v in (a, b)]
    (al, ah), (bl, bh) = ([mg.astype(h, "uint64") for h in _halves(v)] for v in u)
    half = lambda v: mg.astype(_halves(v)[1], "uint64")  # noqa: E731
    low = lambda v: mg.astype(_halves(v)[0], "uint64")  # noqa: E731
    middle = ah * bl + half(al * bl)
    other = al * bh + low(middle)
    high = ah * bh + half(middle) + half(other)
    if d.kind == "int":  # a negative factor was read as 2**64 more
        zero = mg.zeros_like(high)
        high = high - mg.where(a < 0, u[1], zero) - mg.where(b < 0, u[0], zero)
    return ops.bitcast_convert(high, dtype=d)


@rule("chlo.scan")
def _scan(step: Step, *operands: Any) -> Any:
    """A loop over one axis; the last ``n`` operands are the carry."""
    axis = int(step.get("dimension"))
    sizes = step.get("operandSegmentSizes") or []
    n = int(sizes[0]) if sizes else len(operands) // 2
    xs = [mg.moveaxis(x, axis, 0) for x in operands[:n]]

    def body(carry: Any, x: Any) -> Any:
        out = step.region()(*x, *carry)
        k = len(out) - len(carry)
        return list(out[k:]), tuple(out[:k])

    carry, ys = mg.scan(body, list(operands[n:]), tuple(xs), reverse=bool(step.get("is_reverse")))
    return [*(mg.moveaxis(y, 0, axis) for y in ys), *carry]
