"""Patterns: what a rule looks for, written as a function.

    lambda op, x: op.log(op.exp(x))

``op.NAME(...)`` is a node of that operation, the function's other parameters are wildcards. A pattern
matches a value by walking from it towards the inputs; names are bound on the way, and where
operations commute or alternatives are given, every way is tried.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import dtype as as_dtype
from ..errors import GraphError
from ..graph import Value
from ..op import Op, _freeze, all_ops, get
from ..tracing import user_source
from .constants import is_all, known

Bound = dict[str, Any]

# names of the array API for operations that StableHLO calls otherwise
ALIASES = {
    "astype": "convert", "cos": "cosine", "exp": "exponential", "expm1": "exponential_minus_one",
    "log1p": "log_plus_one", "matmul": "dot_general", "max": "reduce_max", "min": "reduce_min",
    "negative": "negate", "permute_dims": "transpose", "pow": "power", "prod": "reduce_prod",
    "round": "round_nearest_even", "sigmoid": "logistic", "sin": "sine", "sum": "reduce_sum",
    "where": "select",
}  # fmt: skip

COMMUTATIVE = frozenset(("add", "multiply", "maximum", "minimum", "and", "or", "xor"))


def commutes(op: Op, attrs: dict[str, Any]) -> bool:
    """Whether the two operands of such a node may change places without a bit of difference."""
    return op.name in COMMUTATIVE or (op.name == "compare" and attrs["direction"] in ("EQ", "NE"))


class Pattern:
    """What a value may look like. Arithmetic on patterns makes patterns: ``x * 2.0 + y``."""

    roots: frozenset[str] | None = None

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        """Every way in which ``v`` fits, as the names bound so far and by it."""
        raise NotImplementedError

    def names(self) -> set[str]:
        """What it captures."""
        return set()

    def __add__(self, other: Any) -> Pattern:
        return op.add(self, other)

    def __radd__(self, other: Any) -> Pattern:
        return op.add(other, self)

    def __sub__(self, other: Any) -> Pattern:
        return op.subtract(self, other)

    def __rsub__(self, other: Any) -> Pattern:
        return op.subtract(other, self)

    def __mul__(self, other: Any) -> Pattern:
        return op.multiply(self, other)

    def __rmul__(self, other: Any) -> Pattern:
        return op.multiply(other, self)

    def __truediv__(self, other: Any) -> Pattern:
        return op.divide(self, other)

    def __rtruediv__(self, other: Any) -> Pattern:
        return op.divide(other, self)

    def __pow__(self, other: Any) -> Pattern:
        return op.power(self, other)

    def __neg__(self) -> Pattern:
        return op.negate(self)


class Wildcard(Pattern):
    """Any value; the same one wherever the name stands again."""

    def __init__(self, name: str):
        self.name = name

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        found = bound.get(self.name)
        if found is None:
            yield {**bound, self.name: v}
        elif found is v:
            yield bound

    def names(self) -> set[str]:
        return {self.name}

    def __repr__(self) -> str:
        return self.name


class Number(Pattern):
    """A constant whose every element is one number, to the bit (0.0 is not -0.0) or to ``rtol``."""

    def __init__(self, value: Any, rtol: float = 0.0):
        self.value, self.rtol = value, rtol

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        x = known(v)
        if x is not None and is_all(x, self.value, self.rtol):
            yield bound

    def __repr__(self) -> str:
        return repr(self.value)


class Constant(Pattern):
    """Any constant, captured as its NumPy array."""

    def __init__(self, name: str):
        self.name = name

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        x = known(v)
        if x is None:
            return
        found = bound.get(self.name)
        if found is None:
            yield {**bound, self.name: x}
        elif found.dtype == x.dtype and found.shape == x.shape and found.tobytes() == x.tobytes():
            yield bound

    def names(self) -> set[str]:
        return {self.name}

    def __repr__(self) -> str:
        return f"constant({self.name!r})"


class AnyOf(Pattern):
    """What one of several patterns matches."""

    def __init__(self, options: Sequence[Pattern]):
        self.options = tuple(options)
        roots = [p.roots for p in options]
        if None not in roots:
            self.roots = frozenset[str]().union(*[r for r in roots if r is not None])

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        for p in self.options:
            yield from p.match(v, bound)

    def names(self) -> set[str]:
        return set().union(*[p.names() for p in self.options])

    def __repr__(self) -> str:
        return f"any_of({', '.join(map(repr, self.options))})"


class Attr:
    """An attribute of whatever value, captured; equal where the name stands again."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"attr({self.name!r})"


_UNBOUND = object()


class Apply(Pattern):
    """A node of one operation. Attributes that are not mentioned may have any value."""

    def __init__(self, op: Op, operands: Sequence[Pattern], attrs: dict[str, Any], index: int = -1):
        self.op, self.operands, self.attrs, self.index = op, tuple(operands), attrs, index
        self.roots = frozenset((op.name,))

    def __getitem__(self, index: int) -> Apply:
        """One result of an operation that yields several: ``op.layer_norm(x, s, b)[0]``."""
        if not self.op.multi:
            raise GraphError(f"{user_source()}: {self.op.name} yields one value; leave [...] off")
        return Apply(self.op, self.operands, self.attrs, index)

    def match(self, v: Value, bound: Bound) -> Iterator[Bound]:
        node = v.node
        if node.op is self.op and v.index == max(self.index, 0):
            yield from self.match_node(node.attrs, node.inputs, bound)

    def match_node(
        self, attrs: dict[str, Any], inputs: Sequence[Value], bound: Bound
    ) -> Iterator[Bound]:
        """As `match`, for a node of this operation that need not exist yet."""
        if len(inputs) != len(self.operands):
            return
        for name, want in self.attrs.items():
            if isinstance(want, Attr):
                found = bound.get(want.name, _UNBOUND)
                if found is _UNBOUND:
                    bound = {**bound, want.name: attrs[name]}
                    continue
                want = found
            if attrs[name] != want:
                return
        yield from _all(self.operands, inputs, bound)
        if len(inputs) == 2 and inputs[0] is not inputs[1] and commutes(self.op, attrs):
            yield from _all(self.operands, inputs[::-1], bound)

    def names(self) -> set[str]:
        captured = {a.name for a in self.attrs.values() if isinstance(a, Attr)}
        return captured.union(*[p.names() for p in self.operands])

    def __repr__(self) -> str:
        args = [*map(repr, self.operands), *[f"{k}={v!r}" for k, v in self.attrs.items()]]
        return f"{self.op.name}({', '.join(args)})" + (f"[{self.index}]" if self.index >= 0 else "")


def _all(patterns: Sequence[Pattern], values: Sequence[Value], bound: Bound) -> Iterator[Bound]:
    if not patterns:
        yield bound
        return
    for b in patterns[0].match(values[0], bound):
        yield from _all(patterns[1:], values[1:], b)


class Builder:
    """The first argument of a pattern function: makes a pattern node of every operation's name.

    >>> op.log(op.exp(Wildcard("x")))
    log(exponential(x))
    """

    def __getattr__(self, name: str) -> Callable[..., Apply]:
        if name.startswith("__"):
            raise AttributeError(name)
        wanted = name.rstrip("_")
        wanted = ALIASES.get(wanted, wanted)
        try:
            found = get(wanted)
        except GraphError:
            names = [*ALIASES, *[o.name for o in all_ops()]]
            close = difflib.get_close_matches(name, names, 4) or [n for n in names if wanted in n]
            hint = f"; close are {', '.join(close)}" if close else ""
            raise GraphError(
                f"{user_source()}: no operation is named {name!r}{hint}. "
                f"python -m monograph ops lists them"
            ) from None
        return lambda *operands, **attrs: _apply(found, operands, attrs)

    def attr(self, name: str) -> Attr:
        """Capture an attribute: ``op.reduce_sum(x, axes=op.attr("axes"))``."""
        return Attr(name)

    def constant(self, what: Any, rtol: float = 0.0) -> Pattern:
        """A number: a constant all of whose elements are that. A name: any constant, captured."""
        if isinstance(what, str):
            return Constant(what)
        if not isinstance(what, (bool, int, float, complex, np.generic)):
            raise GraphError(
                f"{user_source()}: op.constant takes a number, or a name to capture any constant "
                f"under; got {type(what).__name__}"
            )
        return Number(what, rtol)

    def any_of(self, *options: Any) -> Pattern:
        """Alternatives; a name that only some of them bind is None where it is not bound."""
        return AnyOf([_operand(p, "any_of") for p in options])


op = Builder()


def _operand(x: Any, of: str) -> Pattern:
    if isinstance(x, Apply) and x.op.multi and x.index < 0 and of != "any_of":
        raise GraphError(
            f"{user_source()}: {x.op.name} yields several values; say which {of} reads, such as "
            f"op.{x.op.name}(...)[0]"
        )
    if isinstance(x, Pattern):
        return x
    if isinstance(x, (bool, int, float, complex, np.generic)):
        return Number(x)
    raise GraphError(
        f"{user_source()}: an operand of {of} in a pattern is a pattern or a number, not "
        f"{type(x).__name__}"
    )


def _apply(op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> Apply:
    n, least = len(operands), len(op.operands)
    if n != least and not (op.variadic and n >= least):
        raise GraphError(
            f"{user_source()}: {op.name} takes operands ({', '.join(op.operands)}"
            f"{', ...' if op.variadic else ''}), the pattern gives {n}"
        )
    if not attrs.keys() <= op.defaults.keys():
        raise GraphError(
            f"{user_source()}: {op.name} has no attribute "
            f"{', '.join(attrs.keys() - op.defaults.keys())}; it has "
            f"{', '.join(op.defaults) or 'none'}"
        )
    fixed = {
        k: a if isinstance(a, Attr) else as_dtype(a) if k == "dtype" else _freeze(a)
        for k, a in attrs.items()
    }
    return Apply(op, [_operand(x, op.name) for x in operands], fixed)


def build(fn: Callable[..., Any]) -> Pattern:
    """The pattern that a pattern function describes.

    Raises:
        GraphError: it is not rooted in an operation, or a parameter of it stands nowhere.

    >>> build(lambda op, x, y: op.add(x, op.negate(y)))
    add(x, negate(y))
    """
    names = list(inspect.signature(fn).parameters)[1:]
    pattern = fn(op, *[Wildcard(n) for n in names])
    where = _line_of(fn)
    if not isinstance(pattern, Pattern) or pattern.roots is None:
        raise GraphError(
            f"{where}: a pattern is rooted in an operation, such as op.exp(x); this one is "
            f"{pattern!r}"
        )
    if any(p.index >= 0 for p in _roots(pattern)):
        raise GraphError(
            f"{where}: a pattern's root is a whole node; leave the [...] off and return a value per "
            f"result"
        )
    absent = [n for n in names if n not in pattern.names()]
    if absent:
        raise GraphError(f"{where}: {', '.join(absent)} stands nowhere in the pattern {pattern!r}")
    return pattern


def _roots(p: Pattern) -> list[Apply]:
    if isinstance(p, AnyOf):
        return [a for o in p.options for a in _roots(o)]
    return [p] if isinstance(p, Apply) else []


def _line_of(fn: Any) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else str(user_source())
