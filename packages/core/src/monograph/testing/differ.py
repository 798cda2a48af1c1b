"""Does a graph, rewritten or on another engine, compute what the NumPy reference computes?

Programs amplify rounding, some without bound: a comparison near a tie, a difference near zero. How
much a program does is found by running it again with every result moved by a few roundings; what an
engine differs by beyond that is a defect.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .. import ops
from ..api import finfo
from ..dtypes import DType
from ..graph import Graph, Node, Value
from ..numpy_engine import evaluate
from ..rewrite import copy_node, decompose, map_graphs, rebuild
from ..tensor import tensor
from .distance import same

REPLAYS = 6
PRODUCTS = frozenset(
    ("dot_general", "convolution", "convolution_input_grad", "convolution_kernel_grad")
)
SUMS = PRODUCTS | {"add", "subtract", "reduce_sum", "cumsum", "reduce_window_sum", "fft"}
_NOTHING = tensor([0.0], dtype="float64")


class Trial:
    """A graph, inputs, and what the reference makes of them.

    Args:
        graph: what to try.
        arrays: its inputs.

    >>> import monograph as mg
    >>> trial = Trial(mg.trace(lambda x: x * 3.0, mg.Spec((2,), "float64")), [np.array([1.0, 0.1])])
    >>> trial.problems([np.array([3.0, 0.1 + 0.1 + 0.1])])  # a rounding apart
    []
    >>> trial.problems([np.array([3.0, 0.31])])
    ['output 0, float64[2]: differs by 0.01, roundings account for 7.5e-14']
    """

    def __init__(self, graph: Graph, arrays: Sequence[np.ndarray]):
        self.graph, self.arrays = graph, list(arrays)
        self._plain, missing = decompose(graph, lambda op: op.reference is not None)
        assert not missing
        self.wanted = evaluate(self._plain, self.arrays)

    @cached_property
    def spread(self) -> list[np.ndarray]:
        """Per output how far it moves, elementwise, when every result on the way does by its ulps."""
        rng = np.random.default_rng(0)
        runs = [evaluate(shaken(self._plain, rng), self.arrays) for _ in range(REPLAYS)]
        return [
            np.max([_apart(r[i], want) for r in runs], axis=0) for i, want in enumerate(self.wanted)
        ]

    def problems(
        self, got: Sequence[np.ndarray], exact: bool = False, defined: bool = False
    ) -> list[str]:
        """What is wrong with results; ``exact`` allows no difference at all.

        With ``defined`` nothing is said of results in which the reference has NaN or infinities: a
        derivative where there is none may be anything.
        """
        out = []
        for i, (g, want, v) in enumerate(zip(got, self.wanted, self.graph.outputs)):
            where = f"output {i}, {v.spec}"
            if defined and not exact and want.dtype.kind in "fc" and not np.isfinite(want).all():
                continue
            if g.shape != want.shape or g.dtype != want.dtype:
                out.append(f"{where}: has shape {g.shape} and dtype {g.dtype}")
            elif not same(g, want) and (exact or (found := self._differs(i, g, want, v.dtype))):
                out.append(f"{where}: {'other bits' if exact else found}")
        return out

    def _differs(self, i: int, got: np.ndarray, want: np.ndarray, d: DType) -> str:
        apart = _apart(got, want)
        allowed = 8 * self.spread[i].max(initial=0.0)
        if d.is_inexact:
            size = np.abs(want[np.isfinite(want)]).max(initial=0.0)
            # a rounding of the smallest numbers is the smallest of all
            allowed += 32 * finfo(d).eps * max(size, finfo(d).smallest_normal)
        if apart.max(initial=0.0) <= allowed:
            return ""
        return f"differs by {apart.max():.2g}, roundings account for {allowed:.2g}"


def shaken(graph: Graph, rng: Any) -> Graph:
    """The graph with every floating result, in loops too, moved by some of its ulps.

    Of a sum as much as the largest of its terms has, though the sum be 0; of others in proportion.
    """

    def rewrite(node: Node, xs: list) -> Sequence[Value]:
        nested = {k: map_graphs(a, lambda g: shaken(g, rng)) for k, a in node.attrs.items()}
        return [shake(node, v, xs) for v in copy_node(node, xs, nested)]

    def shake(node: Node, v: Value, xs: list) -> Value:
        if not v.dtype.is_inexact or node.op.name in ("constant", "iota"):
            return v
        moved = rng.uniform(-1, 1, v.shape)
        if v.dtype.is_complex:  # its rounding is one of the whole number: each part feels the other
            moved = moved + 1j * rng.uniform(-1, 1, v.shape)
        moved = moved * 2 * node.op.ulps * finfo(v.dtype).eps
        by = [v] if node.op.name not in SUMS else [_largest(x) for x in xs]
        size = functools.reduce(ops.multiply if node.op.name in PRODUCTS else ops.maximum, by)
        if size is not v:
            size = ops.convert(ops.broadcast_in_dim(size, shape=v.shape, dims=()), dtype=v.dtype)
        return ops.add(v, ops.multiply(size, tensor(moved.astype(v.dtype.numpy))))

    return rebuild(graph, rewrite)


def _largest(x: Value) -> Value:
    """The largest magnitude in ``x``, a real number; 0 of nothing."""
    size = ops.abs_(x) if x.dtype.kind != "bool" else ops.convert(x, dtype="int32")
    size = ops.convert(size, dtype="float64")
    return ops.reduce_max(
        ops.concatenate(ops.reshape(size, shape=(x.spec.size,)), _NOTHING, axis=0), axes=(0,)
    )


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise distances; infinite where one is NaN or they are infinite of different signs."""
    if a.dtype.kind in "iub":
        a, b = a.astype("float64"), b.astype("float64")
    with np.errstate(all="ignore"):
        d = np.abs(a - b)
    d = np.where((a == b) | ((a != a) & (b != b)), 0.0, d)
    return np.where(np.isnan(d), np.inf, d)


def on_engine(graph: Graph, arrays: Sequence[Any], engine: str) -> list[np.ndarray]:
    """The graph's results there, as NumPy arrays."""
    from ..engine import Options, resolve

    device = resolve(engine)
    e = device.engine
    run = e.compile(e.prepare(graph, device), Options(device))
    return [np.asarray(e.get(b)) for b in run(*[e.put(x, device) for x in arrays])]
