"""The NumPy engine: runs each op's own reference. Slow, simple, and what the others must agree with.

Random bits alone it draws faster than by the op's body: first values are made here for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import blocks, ops
from .engine import Device, Engine, Executable, Options
from .graph import Graph, Node
from .op import Op, all_ops
from .outside import call

QUICK: Mapping[Op, Any] = {
    ops.random_bits: blocks.random_bits,
    ops.threefry_2x32: blocks.threefry_2x32,
}
"""Composites that do not run their body."""


class NumpyEngine(Engine):
    """Every primitive, on the CPU, through its record's reference."""

    name = "numpy"

    @property
    def LOWER(self) -> Mapping[Op, Any]:  # type: ignore[override]
        return {**{op: op.reference for op in all_ops() if op.reference is not None}, **QUICK}

    def supports(self, op: Op) -> bool:
        return op.reference is not None or op in QUICK

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        return (Device(self, "cpu"),)

    def compile(self, graph: Graph, options: Options) -> Executable:
        def run(*buffers: np.ndarray) -> Sequence[np.ndarray]:
            return evaluate(graph, buffers)

        return run

    def put(self, array: np.ndarray, device: Device) -> np.ndarray:
        return _frozen(np.array(array, copy=True, order="C"))

    def get(self, buffer: np.ndarray) -> np.ndarray:
        return buffer


def evaluate(graph: Graph, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a graph of primitives on NumPy arrays; ops with bodies (loops) call this in turn."""
    with np.errstate(all="ignore"):
        return [_frozen(x) for x in graph.replay(args, execute)]


# these move elements, so that where the elements lie does not matter to them
_MOVES = frozenset(("alias", "broadcast_in_dim", "reshape", "reverse", "slice", "transpose"))


def execute(node: Node, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One node: the reference, with 16-bit floats computed in float32, cast to the inferred spec.

    Operands that are views are laid out anew: NumPy sums and loops in the order of memory, and a
    result shall depend on the operands' values alone, to the last bit.
    """
    op = node.op
    if op.outside:
        return call(op, xs, node.attrs, node.inputs, node.outputs, node.source)
    if op.name not in _MOVES:
        xs = [np.asarray(x, order="C") for x in xs]
    if not op.bits:
        xs = [_widen(x, v.dtype) for x, v in zip(xs, node.inputs)]
    out = (op.reference or QUICK[op])(*xs, **node.attrs)
    outs = out if op.multi else (out,)
    return [np.asarray(y, dtype=v.dtype.numpy) for y, v in zip(outs, node.outputs)]


def _widen(x: np.ndarray, d: Any) -> np.ndarray:
    return x if d.compute is d else np.asarray(x, dtype=d.compute.numpy)


def _frozen(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.flags.writeable:
        x = x.view()
        x.setflags(write=False)
    return x
