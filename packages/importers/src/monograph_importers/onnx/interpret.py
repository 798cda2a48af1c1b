"""Running a model's steps while we trace: values that are known stay NumPy arrays, others are recorded."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, MonographError, ShapeError
from monograph.tracing import at, at_user_line, current, tracing

from .._steps import WRONG, Lacking, eagerly, known
from .parts import Body, Reference, Step, Taker
from .tensors import code

LONGEST = 2**18  # steps that a trace takes, loops that are written out and functions included
FOLDED = 2**23  # numbers computed while tracing; what would be more is recorded


def all_known(x: Any) -> bool:
    """Whether a value, or each of a sequence, is there while tracing."""
    return all(map(all_known, x)) if isinstance(x, list) else x is None or known(x)


def _size(x: Any) -> int:
    return sum(map(_size, x)) if isinstance(x, list) else 1 if x is None else max(np.size(x), 1)


def most(xs: Sequence[Any]) -> int:
    """More numbers than an operator makes of known inputs, unless it is told a shape: see `sized`."""
    return math.prod(sorted(map(_size, xs))[-2:])


class Recorded(Exception):
    """What is to be made is too large to be made while tracing."""


@functools.cache
def _memory() -> int:
    """Bytes of this machine's memory: no array that a model can make is larger."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**37


def sized(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that a model computed, once it is sure that it can be, here and now.

    Raises:
        ShapeError: a negative axis, or more elements than this machine has bytes.
        Recorded: the array is not to be made while tracing.
    """
    out = tuple(int(n) for n in shape)
    if any(n < 0 for n in out) or math.prod(out) > _memory():
        raise at_user_line(ShapeError(f"the model asks for an array of shape {out}"))
    if math.prod(out) > FOLDED and current() is None:
        raise Recorded
    return out


class Run:
    """One trace of a model.

    Args:
        taker: makes bodies that depend on types.
        scope: has the variables.
        weights: the variables' shapes and kinds by path.
        state: paths of variables that no gradient step may change.
    """

    def __init__(
        self, taker: Taker, scope: mg.Scope, weights: Mapping[str, np.ndarray], state: set[str]
    ):
        self.taker, self.scope, self.weights, self.state = taker, scope, weights, state
        self.trace, self.made = current(), dict[str, Any]()
        self.left, self.steps = FOLDED, LONGEST

    def weight(self, path: str) -> Any:
        """A variable's value, asked for once, also where a branch asks for it first."""
        if path not in self.made:
            a = self.weights[path]
            with tracing(self.trace):
                self.made[path] = (
                    self.scope.variable(path, a.shape, dtype=a.dtype).value if path in self.state
                    else self.scope.parameter(path, a.shape, dtype=a.dtype)
                )  # fmt: skip
        return self.made[path]

    def body(
        self, body: Body, inputs: Sequence[Any], outer: Mapping[str, Any],
        attributes: Mapping[str, Any] | None = None,
    ) -> list[Any]:  # fmt: skip
        """The outputs of a graph or function.

        Args:
            outer: values by name that the graph may read besides its inputs.
            attributes: of the function.
        """
        env = {**outer, **body.constants, **dict(zip(body.inputs, inputs))}
        env.update({name: self.weight(path) for name, path in body.weights.items()})
        for step in body.steps:
            with at(step.source):
                outs = self.step(step, env, body.opsets, {**body.defaults, **(attributes or {})})
            env.update({n: y for n, y in zip(step.outputs, outs) if n})
        return [env.get(n) for n in body.outputs]

    def step(self, step: Step, env: dict, opsets: dict[str, int], given: Mapping[str, Any]) -> Any:
        """The outputs of one node.

        Raises:
            MonographError: at the node's place.
        """
        try:
            return self.compute(step, env, opsets, given)
        except MonographError as e:
            raise _named(e, step) from e.__cause__
        except WRONG as e:
            what = f"{step.runs_by} does not take these inputs ({type(e).__name__}: {e})"
            raise _named(ArgumentError(what), step) from e

    def compute(
        self, step: Step, env: dict, opsets: dict[str, int], given: Mapping[str, Any]
    ) -> Any:
        """The same, with errors as they come."""
        xs = [env[n] if n else None for n in step.inputs]
        attributes = {
            k: given.get(v.name) if isinstance(v, Reference) else v
            for k, v in step.attributes.items()
        }
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.steps -= 1
        if self.steps < 0:
            raise ArgumentError(f"the model takes more than {LONGEST:,} steps for these inputs")
        if step.rule is not None and step.rule.fn is not None:
            outs = self.rule(step, xs, attributes, env)
            if outs is not NotImplemented:
                return outs
        function = step.function or self.taker.typed_body(step, opsets, [_type(x) for x in xs])
        if function is None:
            raise Lacking(f"nothing runs {step.runs_by} for {[str(_type(x)) for x in xs]}")
        return self.body(
            function, [*xs, *[None] * (len(function.inputs) - len(xs))], {}, attributes
        )

    def rule(self, step: Step, xs: list, attributes: dict, env: dict) -> Any:
        """What the node's rule gives."""
        rule = step.rule
        assert rule is not None and rule.fn is not None
        for i in rule.known:
            if i < len(xs) and not all_known(xs[i]):
                raise Lacking(f"its input {step.inputs[i]!r} decides a shape and depends on data")
        if "outputs" in rule.special:
            attributes["outputs"] = len(step.outputs)
        if "step" in rule.special:
            attributes["step"] = Inside(self, env)
            out = rule.fn(*xs, **attributes)
        elif all(map(all_known, xs)) and most(xs) <= self.left:
            try:
                out = eagerly(rule.fn, *xs, **attributes)
                self.left -= _size(list(out) if isinstance(out, tuple) else out)
            except Recorded:
                out = rule.fn(*xs, **attributes)
        else:
            out = rule.fn(*xs, **attributes)
        if out is NotImplemented:
            return out
        outs = out if isinstance(out, tuple) else (out,)
        for y in outs:
            if isinstance(y, mg.Array) and y.nbytes > _memory():
                raise ShapeError(f"the model makes an array of shape {y.shape}, {y.nbytes:,} bytes")
        return outs


class Inside:
    """What a rule may ask of the trace it runs in."""

    def __init__(self, run: Run, env: Mapping[str, Any]):
        self._run, self._env = run, env

    def body(self, body: Body, *inputs: Any) -> list[Any]:
        """The outputs of a graph among the attributes."""
        return self._run.body(body, inputs, self._env)

    def key(self, seed: float | None) -> Any:
        """A random key: of the seed, or the next of the store's."""
        if seed is not None:
            return mg.random.key(int(np.float32(seed).view(np.uint32)))
        return self._run.scope.key()


def _named(e: MonographError, step: Step) -> MonographError:
    """The error with the node's place and name; what is inside of a function keeps its own."""
    at_user_line(e)
    if not hasattr(e, "_onnx"):
        e._onnx = True  # type: ignore[attr-defined]
        e.args = (f"{e.args[0]} (in {step.runs_by}, node {step.name!r})", *e.args[1:])
    return e


def _type(x: Any) -> Any:
    """The `TypeProto` of a value."""
    import onnx.helper as h

    if x is None:
        return h.make_optional_type_proto(h.make_tensor_type_proto(1, None))
    if isinstance(x, list):
        return h.make_sequence_type_proto(_type(x[0]) if x else h.make_tensor_type_proto(1, None))
    return h.make_tensor_type_proto(code(x), list(x.shape))
