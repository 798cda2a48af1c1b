"""A complete third-party engine for Monograph, to copy.

It runs graphs with NumPy and counts how often each op ran. Two ops have lowerings of their own, the
rest falls back to the reference that every op record carries, so the table stays short while an
engine grows: replace one line at a time, and run ``python -m monograph.testing example``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from monograph import Engine, Graph, ops
from monograph.engine import Device, Executable, Options
from monograph.op import all_ops
from monograph.outside import Table, call

MONOGRAPH_API_VERSION = 1

# Yours: one line per op, (arrays, attributes) -> array, or a tuple where the op yields several.
OWN = {
    ops.add: lambda a, b: a + b,
    ops.tanh: lambda x: np.tanh(x),
}


class ExampleEngine(Engine):
    """NumPy with a counter."""

    name = "example"

    def __init__(self) -> None:
        core = [op for op in all_ops() if op.reference is not None and not op.outside]
        # ops from outside core are answered for one by one: see `call` in compile
        self.LOWER = Table(self.name, {op: op.reference for op in core} | OWN, host=lambda op: call)
        self.counts: Counter[str] = Counter()

    @cached_property
    def devices(self) -> tuple[Device, ...]:  # type: ignore[override]
        return (Device(self, "cpu"),)

    def compile(self, graph: Graph, options: Options) -> Executable:
        def execute(node: Any, xs: list[Any]) -> Sequence[Any]:
            self.counts[node.op.name] += 1
            if self.LOWER[node.op] is call:  # the op's own NumPy body, its results checked
                return call(node.op, xs, node.attrs, node.inputs, node.outputs, node.source)
            if not node.op.bits:  # 16-bit floats are computed in float32
                xs = [x.astype(v.dtype.compute.numpy) for x, v in zip(xs, node.inputs)]
            out = self.LOWER[node.op](*xs, **node.attrs)
            outs = out if node.op.multi else (out,)
            return [np.asarray(y, v.dtype.numpy) for y, v in zip(outs, node.outputs)]

        def run(*buffers: Any) -> Sequence[Any]:
            with np.errstate(all="ignore"):
                return graph.replay(buffers, execute)

        return run

    def put(self, array: np.ndarray, device: Device) -> np.ndarray:
        return np.array(array, copy=True, order="C")  # a copy: the caller may change his

    def get(self, buffer: np.ndarray) -> np.ndarray:
        return buffer


def engine() -> ExampleEngine:
    """What the entry point names."""
    return ExampleEngine()
