"""Random programs out of the op records' own samples: what passes and engines are tried on.

A step takes an op and one of its samples, and feeds it values made before, converted and cut to the
sample's specs; so every op and attribute takes part with no code per op. A program runs as it grows,
on NumPy: a step whose numbers are not finite, or large, is not taken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from .. import control, ops
from ..array import Array
from ..dtypes import dtype
from ..engine import engine
from ..errors import MonographError
from ..graph import Graph
from ..op import Op, core_ops
from ..spec import Spec
from ..tensor import Tensor, tensor
from ..tracing import trace
from .oracles import dtypes_of, samples_of

Choose = Callable[[int], int]  # n -> a number in [0, n): a generator's draw, or hypothesis'
DTYPES = ("float64",) * 6 + ("int32", "bool", "int64", "complex128", "float32", "uint8")
LARGEST, LONGEST = 1e3, 2048
# results that are arbitrary to a sign, a basis or a rounding: no two engines need agree on them;
# complex 0 to a power within rounding of 0 is 0, 1 or NaN; atan2 hangs on the sign of zeros
UNSTABLE = frozenset(("atan2", "bitcast_convert", "eigh", "svd", "qr", "lu", "power complex128"))
# operands that are the sample's own: Adam's step counts from 1; how often a loop turns
GIVEN = {"adam_update": (1,), "while": (0, 2)}


@functools.cache
def templates(kind: str) -> tuple[tuple[Op, tuple[Any, ...]], ...]:
    """Ops with the samples of a dtype that hold finite numbers only."""
    found = []
    for op in core_ops():
        if not {op.name, f"{op.name} {kind}"}.isdisjoint(UNSTABLE) or not op.samples:
            continue
        if dtype(kind) not in dtypes_of(op):
            continue
        kept = [s for s in samples_of(op, kind) if all(map(_finite, s.operands))]
        if kept:
            found.append((op, tuple(kept)))
    return tuple(found)


def _finite(x: Any) -> bool:
    if x.dtype.kind not in "fc":
        return x.dtype.kind in "iub" and x.size <= LONGEST
    return x.size <= LONGEST and bool(np.isfinite(x).all() and (np.abs(x) < LARGEST).all())


class Program:
    """A random function of arrays: call it with ``*inputs``, eagerly or traced.

    Attributes:
        inputs: NumPy arrays to run it on.
        steps: ``(*values so far) -> values``, each with a readable repr.
        outputs: places among all values.
    """

    def __init__(self, inputs: Sequence[np.ndarray]):
        self.inputs = list(inputs)
        self.steps: list[Any] = []
        self.outputs: list[int] = []
        self.__name__ = "program"

    def __call__(self, *xs: Any) -> tuple[Any, ...]:
        values = [x if isinstance(x, Array) else tensor(x) for x in xs]
        for step in self.steps:
            values.extend(step(values))
        return tuple(values[i] for i in self.outputs)

    def graph(self) -> Graph:
        """The program, traced."""
        return trace(self, *map(Spec.of, self.inputs))

    def __repr__(self) -> str:
        lines = [f"  v{i} = {Spec.of(x)}" for i, x in enumerate(self.inputs)]
        at = len(lines)
        for step in self.steps:
            names = ", ".join(f"v{at + i}" for i in range(step.count))
            lines.append(f"  {names} = {step}")
            at += step.count
        returned = ", ".join(f"v{i}" for i in self.outputs)
        return "\n".join(["program:", *lines, f"  return {returned}"])


class Step:
    """An op on values so far, or on the sample's own operands where ``places`` has None."""

    def __init__(self, op: Op, sample: Any, places: Sequence[int | None]):
        self.op, self.sample, self.places, self.count = op, sample, places, 0

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        operands = [
            tensor(x) if p is None else fitted(values[p], Spec.of(x))
            for p, x in zip(self.places, self.sample.operands)
        ]
        out = self.op(*operands, **self.sample.attrs)
        return out if self.op.multi else (out,)

    def __repr__(self) -> str:
        args = [
            f"{Spec.of(x)} given" if p is None else f"v{p} as {Spec.of(x)}"
            for p, x in zip(self.places, self.sample.operands)
        ]
        return f"{self.op.name}({', '.join(args)}, {self.sample.attrs})"


class Nested:
    """Control flow around a smaller program, whose inputs are values so far."""

    def __init__(self, kind: str, inner: Program, places: Sequence[int], turns: int):
        self.kind, self.inner, self.places, self.turns, self.count = kind, inner, places, turns, 0

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        xs = [values[p] for p in self.places]
        return _NESTED[self.kind](self.inner, xs, self.turns)

    def __repr__(self) -> str:
        inner = repr(self.inner).replace("\n", "\n    ")
        read = ", ".join(f"v{p}" for p in self.places)
        return f"{self.kind}({read}, turns={self.turns}) of\n    {inner}"


def _bounded(x: Any, spec: Spec) -> Any:
    """The next carry: of the first one's spec, and of a size that turns do not add to."""
    x = fitted(x, spec)
    return ops.sine(x) if spec.dtype.is_float else x


def _scan(f: Program, xs: Sequence[Any], turns: int) -> Sequence[Any]:
    def turn(carry: Any, _: Any) -> Any:
        out = f(carry, *xs[1:])
        return _bounded(out[0], carry.spec), out[-1]

    return control.scan(turn, xs[0], length=turns)


def _while(f: Program, xs: Sequence[Any], turns: int) -> Sequence[Any]:
    def turn(state: Any) -> Any:
        i, carry = state
        return i + 1, _bounded(f(carry, *xs[1:])[0], carry.spec)

    return control.while_loop(lambda s: s[0] < turns, turn, (tensor(0), xs[0]))[1:]


def _cond(f: Program, xs: Sequence[Any], turns: int) -> Sequence[Any]:
    pred = fitted(xs[-1], Spec((), "bool"))
    spec = xs[0].spec
    return [
        control.cond(
            pred, lambda *v: _bounded(f(*v)[0], spec), lambda *v: _bounded(v[0], spec), *xs
        )
    ]


def _checkpoint(f: Program, xs: Sequence[Any], turns: int) -> Sequence[Any]:
    return control.checkpoint(f)(*xs)


_NESTED = {"scan": _scan, "while": _while, "cond": _cond, "checkpoint": _checkpoint}


def fitted(x: Any, spec: Spec) -> Any:
    """``x`` converted, cut or repeated, and reshaped to ``spec``."""
    if x.spec.dtype is not spec.dtype:
        x = ops.convert(x, dtype=spec.dtype)
    if x.spec is spec:
        return x
    flat = ops.reshape(x, shape=(x.spec.size,))
    n, m = x.spec.size, spec.size
    if n == 0 and m:
        return ops.full(1, spec)
    if n < m:
        flat = ops.concatenate(*[flat] * -(-m // n), axis=0)
    flat = ops.slice_(flat, start=(0,), limit=(m,), strides=(1,))
    return ops.reshape(flat, shape=spec.shape)


def random_program(
    choose: Choose, steps: int = 12, nested: bool = True, without: Collection[str] = ()
) -> Program:
    """A program of about that many steps.

    Args:
        choose: ``n -> a number below n``, all that is random here.
        nested: with loops and branches around smaller programs.
        without: names of ops that take no part, such as those an engine is known to fail.

    >>> rng = np.random.default_rng(0)
    >>> p = random_program(lambda n: int(rng.integers(n)), steps=3)
    >>> len(p.steps), len(p.graph().outputs) == len(p.outputs)
    (3, True)
    """
    inputs = [
        (np.arange(1, 7).reshape(2, 3) / (choose(7) + 2)).astype("float64"),
        np.cos(np.arange(4.0) * (choose(5) + 1)),
        np.arange(3, dtype="int32") - choose(3),
    ]
    program = Program(inputs)
    with engine("numpy"):
        values = [tensor(x) for x in inputs]
        _grow(program, values, choose, steps, nested, without)
    return program


def _grow(
    program: Program,
    values: list,
    choose: Choose,
    steps: int,
    nested: bool,
    without: Collection[str],
) -> None:
    tries = 0
    while len(program.steps) < steps and tries < 6 * steps:
        tries += 1
        inner = nested and choose(6) == 0
        step = (_nested_step if inner else _step)(values, choose, without)
        if step is None:
            continue
        try:
            out = list(step(values))
        except MonographError:
            continue  # such as a matrix that is not positive definite
        if not all(_finite(x.numpy()) for x in out):
            continue
        step.count = len(out)
        program.steps.append(step)
        values += out
    read = {p for s in program.steps for p in s.places if p is not None}
    program.outputs = [i for i in range(len(program.inputs), len(values)) if i not in read]
    program.outputs = program.outputs or [0]


def _step(values: Sequence[Tensor], choose: Choose, without: Collection[str]) -> Step | None:
    found = templates(DTYPES[choose(len(DTYPES))])
    op, samples = found[choose(len(found))]
    if op.name in without:
        return None
    sample = samples[choose(len(samples))]
    places: list[int | None] = []
    for i, x in enumerate(sample.operands):
        # positions and counts make sense as given; numbers come from what was computed
        own = choose(4) == 0 if x.dtype.kind in "fc" else choose(4) != 0
        own = own or i in GIVEN.get(op.name, ())
        places.append(None if own else choose(len(values)))
    return Step(op, sample, places)


def _nested_step(
    values: Sequence[Tensor], choose: Choose, without: Collection[str]
) -> Nested | None:
    kind = tuple(_NESTED)[choose(len(_NESTED))]
    places = [choose(len(values)) for _ in range(1 + choose(3))]
    inner = Program([values[p].numpy() for p in places])
    _grow(inner, [values[p] for p in places], choose, 1 + choose(4), False, without)
    return Nested(kind, inner, places, choose(4)) if inner.steps else None
