"""What a graph costs: floating-point operations, bytes moved, memory needed.

A multiplication and an addition count as two. Products and convolutions are counted exactly, an
elementwise operation or reduction as one per element, moving data as nothing; XLA and PyTorch count
so too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .graph import Graph, Node, attr_graphs


def _dot(node: Node) -> int:
    contracted = [node.inputs[0].shape[a] for a in node.attrs["lhs_contracting"]]
    return 2 * node.outputs[0].size * math.prod(contracted)


def _convolution(result: Any, kernel_shape: tuple[int, ...]) -> int:
    return 2 * result.size * math.prod(kernel_shape[:-1])


def _largest(node: Node) -> int:
    return max((v.size for v in (*node.inputs, *node.outputs)), default=0)


FLOPS: dict[str, Callable[[Node], int]] = {
    "dot_general": _dot,
    "convolution": lambda n: _convolution(n.outputs[0], n.inputs[1].shape),
    "convolution_input_grad": lambda n: _convolution(n.inputs[0], n.inputs[1].shape),
    "convolution_kernel_grad": lambda n: _convolution(n.inputs[1], n.attrs["kernel_shape"]),
    "reduce_window_sum": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "reduce_window_max": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "reduce_window_min": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "cholesky": lambda n: n.inputs[0].size * n.inputs[0].shape[-1] // 3,
    "lu": lambda n: 2 * n.inputs[0].size * min(n.inputs[0].shape[-2:]) // 3,
    "triangular_solve": lambda n: n.outputs[0].size * n.inputs[0].shape[-1],
    "scan": lambda n: n.attrs["length"] * flops(n.attrs["body"]),
    "while": lambda n: flops(n.attrs["cond"]) + flops(n.attrs["body"]),  # once: who knows how often
    "case": lambda n: max(flops(g) for g in n.attrs["branches"]),
}
"""Operations that do not cost one per element."""

# fmt: off
FREE = frozenset((
    "alias", "all_gather", "all_to_all", "allow_nonfinite", "bitcast_convert", "broadcast_in_dim",
    "check_finite", "collective_broadcast", "concatenate", "constant", "convert", "copy_into",
    "dynamic_slice",
    "dynamic_update_slice", "gather", "iota", "optimization_barrier", "pad", "parameter",
    "random_bits", "replica_id", "reshape", "reverse", "select", "slice", "sort", "stop_gradient",
    "threefry_2x32", "top_k", "transpose",
))
# fmt: on
"""Operations that move data or draw bits."""

STILL = frozenset(
    ("alias", "constant", "optimization_barrier", "parameter", "reshape", "stop_gradient")
)
"""Operations that do not even move data."""


def flops(what: Graph | Node) -> int:
    """Floating-point operations of a graph or of one node.

    >>> import monograph as mg
    >>> from monograph.cost import flops
    >>> flops(mg.trace(lambda x, w: x @ w, mg.Spec((2, 3)), mg.Spec((3, 5))))
    60
    """
    if isinstance(what, Graph):
        return sum(flops(node) for node in what.nodes)
    op = what.op
    if op.name in FREE:
        return 0
    if op.name in FLOPS:
        return FLOPS[op.name](what)
    inner = what.attrs.get("body")
    if isinstance(inner, Graph):
        return flops(inner)
    if op.is_composite:
        return flops(op.body_graph([v.spec for v in what.inputs], what.attrs))
    return _largest(what)


def moved_bytes(node: Node) -> int:
    """Bytes that one operation reads and writes when nothing is fused with it."""
    if node.op.name in STILL:
        return 0
    return sum(v.spec.nbytes for v in (*node.inputs, *node.outputs))


def walk_costs(graph: Graph, times: int = 1) -> Iterator[tuple[Node, int]]:
    """Every node that runs, those of nested graphs included, and how often.

    A loop's body counts once per turn (a ``while`` once), of branches only the dearest.
    """
    for node in graph.nodes:
        inner = list(attr_graphs(node.attrs))
        if node.op.name == "case":
            inner = [max(inner, key=flops)]
        turns = node.attrs["length"] if node.op.name == "scan" else 1
        if not inner:
            yield node, times
        for g in inner:
            yield from walk_costs(g, times * turns)


class Row(NamedTuple):
    """One line of a cost table: ``runs`` nodes that share a `key`."""

    key: str
    runs: int
    flops: int
    bytes: int


KEYS: dict[str, Callable[[Node], str]] = {
    "op": lambda n: n.op.name,
    "line": lambda n: str(n.source or "?"),
    "scope": lambda n: (n.source and n.source.scope) or "-",
}
"""What a cost table can be sorted into."""


class Cost:
    """What a graph costs; made by `Graph.cost`.

    Attributes:
        flops: floating-point operations; loops count per turn, of branches the dearest.
        bytes: read and written by each operation for itself; engines that fuse move less.
        peak: estimated bytes in use at once (`monograph.liveness.peak_bytes`).
        inputs, outputs, constants: bytes of these.
    """

    def __init__(self, graph: Graph):
        from .liveness import constant_bytes, peak_bytes

        self.name = graph.name
        self.costs = [(n, k, k * flops(n), k * moved_bytes(n)) for n, k in walk_costs(graph)]
        self.flops = sum(c[2] for c in self.costs)
        self.bytes = sum(c[3] for c in self.costs)
        self.peak = peak_bytes(graph)
        self.inputs = sum(v.spec.nbytes for v in graph.inputs)
        self.outputs = sum(v.spec.nbytes for v in graph.outputs)
        self.constants = constant_bytes(graph)

    def rows(self, by: str = "op") -> list[Row]:
        """The cost per ``"op"``, per source ``"line"`` or per layer's ``"scope"``, dearest first.

        Raises:
            ArgumentError: ``by`` is none of these.
        """
        if by not in KEYS:
            from .errors import ArgumentError
            from .tracing import at_user_line

            raise at_user_line(
                ArgumentError(f"by={by!r}: a cost table is by {', '.join(map(repr, KEYS))}")
            )
        found: dict[str, list[int]] = {}
        for node, times, n_flops, n_bytes in self.costs:
            row = found.setdefault(KEYS[by](node), [0, 0, 0])
            for i, n in enumerate((times, n_flops, n_bytes)):
                row[i] += n
        rows = [Row(key, *row) for key, row in found.items()]
        return sorted(rows, key=lambda r: (r.flops, r.bytes), reverse=True)

    def table(self, by: str = "op", limit: int | None = 20) -> str:
        """The `rows` as text, at most ``limit`` of them."""
        rows = self.rows(by)
        shown = rows[:limit]
        width = max([len(by), 5, *(len(r.key) for r in shown)])
        lines = [f"{by:{width}}  {'runs':>6}  {'flops':>9}  {'share':>5}  {'bytes':>9}"]
        for r in shown:
            lines.append(
                f"{r.key:{width}}  {r.runs:6}  {number(r.flops):>9}  "
                f"{r.flops / max(self.flops, 1):5.0%}  {number(r.bytes):>8}B"
            )
        if len(rows) > len(shown):
            lines.append(f"... and {len(rows) - len(shown)} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{what} {number(n)}B"
            for what, n in (
                ("inputs", self.inputs), ("outputs", self.outputs), ("constants", self.constants),
            )
        )  # fmt: skip
        head = (
            f"{self.name}: {number(self.flops)}FLOP, moves {number(self.bytes)}B, peak about "
            f"{number(self.peak)}B ({sizes})"
        )
        return f"{head}\n\n{self.table('op')}\n\n{self.table('line')}"

    def __repr__(self) -> str:
        return f"Cost({self.name}: flops={self.flops}, bytes={self.bytes}, peak={self.peak})"


def number(n: float) -> str:
    """``n`` with three digits and a decimal prefix: ``1.23 G``."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if n < 999.5 or prefix == "P":
            return f"{n:.3g} {prefix}"
        n /= 1000
    raise AssertionError
