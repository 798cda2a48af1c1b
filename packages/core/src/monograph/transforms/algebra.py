"""Seeing what an expression is, however it was written: products in any order, values spread over axes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from ..graph import Value
from .constants import known, uniform
from .exact import inserted


class Product(NamedTuple):
    """``factor`` times values, each to the power 1 or -1."""

    factor: float
    values: list[tuple[Value, int]]

    def without(self, *pairs: tuple[Value, int]) -> list[tuple[Value, int]] | None:
        """The values left when these powers are taken out; None where one is missing."""
        left = list(self.values)
        for v, power in pairs:
            # by identity: == of values would record a comparison
            at = next((i for i, (u, p) in enumerate(left) if u is v and p == power), None)
            if at is None:
                return None
            del left[at]
        return left

    def is_of(self, *values: Value) -> bool:
        """Whether it is ``factor`` times just these."""
        return self.without(*[(v, 1) for v in values]) == []


def number(v: Value) -> float | None:
    """The number a value is throughout, or None."""
    x = known(v)
    one = None if x is None else uniform(x)
    if one is None or one.dtype.kind == "c":
        return None
    return float(one)


# nodes that are looked into: a square of a square of a square ... has a number of factors without end
_MOST = 64


def product(v: Value, stop: Collection[Value] = ()) -> Product:
    """``v`` taken apart into its factors, not further than the values in ``stop``.

    Multiplications, divisions, negations and small powers, in whatever order; axes of length 1 that
    come or go on the way do not matter. What has very many factors is not taken apart to the end.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x, y: 0.5 * -x * (y / 4.0), mg.Spec((3,)), mg.Spec((3,)))
    >>> found = product(g.outputs[0])
    >>> found.factor, found.is_of(*g.inputs)
    (-0.125, True)
    """
    total, values, opened = 1.0, [], 0
    todo, ends = [(v, 1)], set(stop)
    while todo:
        u, power = todo.pop()
        u = u if u in ends else peeled(u)
        n, name = number(u), u.node.op.name
        opened += 1
        if n is not None and (n or power > 0):
            total *= n**power
        elif u in ends or opened > _MOST:
            values.append((u, power))
        elif name == "multiply":
            todo += [(x, power) for x in u.node.inputs]
        elif name == "divide" and u.dtype.is_float:
            todo += [(u.node.inputs[0], power), (u.node.inputs[1], -power)]
        elif name == "negate":
            total = -total
            todo.append((u.node.inputs[0], power))
        elif name == "power" and number(u.node.inputs[1]) in (2.0, 3.0):
            todo += [(u.node.inputs[0], power)] * int(number(u.node.inputs[1]) or 0)
        else:
            values.append((u, power))
    return Product(total, values)


def peeled(v: Value) -> Value:
    """``v`` before axes of length 1 were added or taken away; the same elements in the same order."""
    while v.node.op.name in ("reshape", "broadcast_in_dim") and _same_but_ones(v):
        v = v.node.inputs[0]
    return v


def _same_but_ones(v: Value) -> bool:
    before = [n for n in v.node.inputs[0].shape if n != 1]
    return before == [n for n in v.shape if n != 1]


def placement(v: Value) -> tuple[Value, list[int | None]]:
    """What ``v`` is a broadcast of, and on which axis of ``v`` each of its axes lies.

    >>> import monograph as mg
    >>> g = mg.trace(lambda r: mg.broadcast_to(r[:, None], (3, 4)), mg.Spec((3,)))
    >>> placement(g.outputs[0])[1]
    [0]
    """
    at: list[int | None] = list(range(v.ndim))
    while True:
        node = v.node
        if node.op.name == "broadcast_in_dim":
            at = [at[d] for d in node.attrs["dims"]]
        elif node.op.name == "reshape":
            x = node.inputs[0]
            grown, shrunk = inserted(x.shape, v.shape), inserted(v.shape, x.shape)
            if grown is not None:
                at = [at[p] for p in grown]
            elif shrunk is not None:
                places = dict(zip(shrunk, at))
                at = [places.get(i) for i in range(x.ndim)]
            else:
                return v, at
        else:
            return v, at
        v = node.inputs[0]


def lies_on(v: Value, axes: Sequence[int]) -> Value | None:
    """What ``v`` is a broadcast of, if that varies along ``axes`` only, one after another."""
    core, at = placement(v)
    got = [a for a, n in zip(at, core.shape) if n != 1]
    return core if got == [a for a in axes if v.shape[a] != 1] else None


def close(a: float | None, b: float, v: Value) -> bool:
    """Whether a constant is the number meant: to 4 digits, or as well as its dtype can."""
    eps = {"bfloat16": 2**-8, "float16": 2**-11}.get(v.dtype.name, 0.0)
    return a is not None and bool(np.isclose(a, b, rtol=max(1e-4, 2 * eps), atol=0.0))


def applied(v: Value | None, *names: str) -> tuple[Value, ...]:
    """The operands of the node behind ``v``, if it is one of these operations; else nothing."""
    return v.node.inputs if v is not None and v.node.op.name in names else ()


def both_ways(v: Value, name: str) -> tuple[tuple[Value, ...], ...]:
    """The operands of ``v``, if it is that operation, in both orders."""
    found = applied(v, name)
    return (found, found[::-1]) if found else ()


def after(v: Value, *names: str) -> Value:
    """``v`` before operations such as `stop_gradient` that do not matter here."""
    while v.node.op.name in names:
        v = v.node.inputs[0]
    return v


def reduced(v: Value | None, name: str, axis: int) -> Value | None:
    """``x`` if ``v`` is that reduction of ``x`` along just that axis."""
    if v is None:
        return None
    node = v.node
    if node.op.name == name and node.attrs["axes"] == (axis,):
        return node.inputs[0]
    return None
