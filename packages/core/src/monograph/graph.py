"""The representation: `Node`, `Value`, `Graph`. Immutable once made.

A node applies an op to values and yields values; a graph is what lies between some inputs and some
outputs. Nodes are numbered as they are made and an input is always older than its user, so sorting
by number *is* the topological order and dead code never enters a graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .array import Array
from .dtypes import DType
from .errors import GraphError, TraceError
from .spec import Spec

if TYPE_CHECKING:
    from .cost import Cost
    from .op import Op
    from .tracing import Trace
    from .transforms import Split

_numbers = itertools.count()


class Source(NamedTuple):
    """Where in the user's program a node was asked for.

    Attributes:
        scope: path of the layer's scope it was recorded in, empty outside layers.
        backward: a gradient rule recorded it; the line is that of the operation differentiated.
        of: that line, where the rule is the user's own code and the line is the rule's.
    """

    file: str
    line: int
    function: str
    scope: str = ""
    backward: bool = False
    of: Source | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Literal:
    """A constant array as an attribute: read-only, compared and hashed by content."""

    __slots__ = ("array", "_digest")

    def __init__(self, array: np.ndarray):
        # a copy in row-major order: nobody else can write to it
        self.array = np.array(array, order="C", copy=True)
        self.array.setflags(write=False)
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        if self._digest is None:
            import hashlib

            h = hashlib.blake2b(digest_size=16)
            h.update(f"{self.array.dtype.str}{self.array.dtype.name}{self.array.shape}".encode())
            h.update(self.array.tobytes())
            self._digest = h.digest()
        return self._digest

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Literal) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        if self.array.size <= 8:
            return repr(self.array.tolist())
        return f"<{self.array.nbytes} bytes>"


class Node:
    """One application of an op.

    Attributes:
        op: the `Op` record.
        inputs: the values it reads.
        attrs: static attributes by name, all hashable.
        outputs: the values it yields.
        source: the user's line that asked for it, if known.
        trace: the recording it belongs to.
        id: creation number; inputs always have smaller ones.
    """

    __slots__ = ("op", "inputs", "attrs", "outputs", "source", "trace", "id", "__weakref__")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: dict[str, Any],
        specs: Iterable[Spec],
        source: Source | None = None,
        trace: Trace | None = None,
    ):
        self.op, self.inputs, self.attrs, self.source, self.trace = op, inputs, attrs, source, trace
        self.id = next(_numbers)
        self.outputs = tuple([Value(self, i, s) for i, s in enumerate(specs)])

    def __repr__(self) -> str:
        from .text import node_text

        return node_text(self)


class Value(Array):
    """One output of a node: what a traced function's variables are.

    It has a spec but no number yet, so ``if value:`` or ``float(value)`` cannot work; they raise
    `TraceError` with what to use instead.
    """

    __slots__ = ("node", "index", "spec", "__weakref__")

    def __init__(self, node: Node, index: int, spec: Spec):
        self.node, self.index, self.spec = node, index, spec

    @property
    def trace(self) -> Trace | None:
        return self.node.trace

    @property
    def device(self) -> str:
        """A graph value lives on no device yet."""
        return "graph"

    def __repr__(self) -> str:
        return f"Value({self.spec}, {self.node.op.name}" + (
            f", at {self.node.source})" if self.node.source else ")"
        )

    def _no_number(self, what: str, instead: str) -> Any:
        from .tracing import user_source

        node = self.node
        made = f"from {node.op.name} at {node.source}"
        if node.op.name == "parameter":  # an argument has no line
            made = f"argument {node.attrs['name']}"
        raise TraceError(
            f"{user_source()}: {what} needs a number, but this {self.spec} ({made}) has none while "
            f"the function is being traced. {instead}"
        )

    def __bool__(self) -> bool:
        return self._no_number(
            "a Python condition",
            "Use mg.where or mg.cond, or name the argument in static_argnames.",
        )

    def __int__(self) -> int:
        return self._no_number("int()", "Use .astype('int64'), or name it in static_argnames.")

    def __index__(self) -> int:
        return self._no_number(
            "an index or size", "Sizes are static: use .shape, or static_argnames."
        )

    def __float__(self) -> float:
        return self._no_number("float()", "Keep it an array, or return it from the function.")

    def __complex__(self) -> complex:
        return self._no_number("complex()", "Keep it an array, or return it from the function.")

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._no_number("NumPy", "Use monograph's function of the same name instead.")

    def item(self) -> Any:
        return self._no_number(".item()", "Return the value from the function instead.")

    numpy = tolist = item


class Graph:
    """A computation: values that come in, values that go out, and the nodes between.

    Attributes:
        inputs: values of `parameter` nodes, in call order.
        outputs: values computed.
        nodes: every node the outputs need, inputs' own excluded, in topological order.
        in_tree, out_tree: how the user's arguments and results nest (`monograph.tree`).
        name: for people.
    """

    __slots__ = (
        "inputs",
        "outputs",
        "nodes",
        "in_tree",
        "out_tree",
        "name",
        "_fingerprint",
        "_last",
    )

    def __init__(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        in_tree: Any = None,
        out_tree: Any = None,
        name: str = "main",
    ):
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.in_tree, self.out_tree, self.name = in_tree, out_tree, name
        self._fingerprint: str | None = None
        self._last: dict[Node, list[Value]] | None = None
        params = {v.node for v in self.inputs}
        self.nodes = tuple(n for n in ancestors(self.outputs) if n not in params)
        for n in self.nodes:
            if n.op.name == "parameter":
                raise GraphError(
                    f"graph {name!r} reads {n.outputs[0]!r}, which is not among its inputs"
                )

    @property
    def input_specs(self) -> tuple[Spec, ...]:
        return tuple(v.spec for v in self.inputs)

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        return tuple(v.spec for v in self.outputs)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(v.node.attrs["name"] for v in self.inputs)

    def replay(self, args: Sequence[Any], execute: Callable[[Node, list], Sequence[Any]]) -> list:
        """Walk the graph with ``execute(node, inputs) -> outputs`` over values of any kind.

        The one interpreter: inlining, the NumPy engine, XLA's lowering and analyses all use it.
        Values are dropped after their last use.
        """
        if len(args) != len(self.inputs):
            raise GraphError(
                f"graph {self.name!r} takes {len(self.inputs)} inputs, got {len(args)}"
            )
        env: dict[Value, Any] = dict(zip(self.inputs, args))
        last = self.last_uses()
        for node in self.nodes:
            outs = execute(node, [env[v] for v in node.inputs])
            env.update(zip(node.outputs, outs))
            for v in last.get(node, ()):
                env.pop(v, None)
        return [env[v] for v in self.outputs]

    def last_uses(self) -> dict[Node, list[Value]]:
        """Per node the values that nobody reads after it and that are no outputs."""
        if self._last is not None:
            return self._last
        keep, seen = set(self.outputs), set()
        last: dict[Node, list[Value]] = {}
        for node in reversed(self.nodes):
            for v in (*node.inputs, *node.outputs):
                if v not in keep and v not in seen:
                    seen.add(v)
                    last.setdefault(node, []).append(v)
        self._last = last
        return last

    def subgraphs(self) -> Iterable[Graph]:
        """Graphs held in the attributes of nodes (branches, loop bodies), not recursively."""
        for node in self.nodes:
            yield from attr_graphs(node.attrs)

    def walk(self) -> Iterable[Node]:
        """Every node, those of nested graphs included."""
        for node in self.nodes:
            yield node
            for g in attr_graphs(node.attrs):
                yield from g.walk()

    @property
    def fingerprint(self) -> str:
        """A hash of what is computed: ops, attributes, wiring, specs. Names and lines do not count."""
        if self._fingerprint is None:
            import hashlib

            h = hashlib.sha256()
            index = {v: i for i, v in enumerate(self.inputs)}
            h.update(repr(self.input_specs).encode())
            for node in self.nodes:
                attrs = [(k, _attr_key(a)) for k, a in sorted(node.attrs.items())]
                ins = [index[v] for v in node.inputs]
                name = f"{node.op.name}#{node.op.edition}" if node.op.edition else node.op.name
                h.update(f"{name}{ins}{attrs}{[v.spec for v in node.outputs]}".encode())
                for v in node.outputs:
                    index[v] = len(index)
            h.update(repr([index[v] for v in self.outputs]).encode())
            self._fingerprint = h.hexdigest()
        return self._fingerprint

    def __eq__(self, other: Any) -> bool:
        return self is other or (isinstance(other, Graph) and self.fingerprint == other.fingerprint)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        ins, outs = ", ".join(map(repr, self.input_specs)), ", ".join(map(repr, self.output_specs))
        return f"Graph({self.name}: ({ins}) -> ({outs}), {len(self.nodes)} nodes)"

    def __str__(self) -> str:
        from .text import graph_text

        return graph_text(self)

    def dot(self, mark: Collection[Node] = ()) -> str:
        """The graph in Graphviz's DOT language, clustered by scope and coloured by cost."""
        from .dot import graph_dot

        return graph_dot(self, mark)

    def svg(self, path: Any = None, mark: Collection[Node] = ()) -> str:
        """The graph drawn by Graphviz as SVG, also written to ``path`` if one is given.

        Raises:
            MonographError: Graphviz is not installed; says how to install it.
        """
        from .dot import graph_svg

        return graph_svg(self, path, mark)

    def html(self, mark: Collection[Node] = ()) -> str:
        """The graph as a self-contained page: a folded tree by scope with shapes, cost, lines.

        Args:
            mark: nodes to point out, which nested graphs may hold.
        """
        from .html import graph_html

        return graph_html(self, mark)

    _repr_html_ = html

    def split(self, cuts: Sequence[Any]) -> Split:
        """Take the graph apart; see `monograph.transforms.split`."""
        from .transforms import split

        return split(self, cuts)

    def replace(self, changes: Mapping[Value, Any]) -> Graph:
        """Replace values by others; see `monograph.transforms.replace`."""
        from .transforms import replace

        return replace(self, changes)

    def inline(self, ops: Iterable[Op | str] | Op | str | None = None) -> Graph:
        """Composites in terms of primitives; see `monograph.transforms.inline`."""
        from .transforms import inline

        return inline(self, ops)

    def extract(self, what: Any) -> Graph:
        """The graph that computes these values or nodes; see `monograph.transforms.extract`."""
        from .transforms import extract

        return extract(self, what)

    def map_ops(self, fn: Callable[[Node, list[Value]], Any]) -> Graph:
        """Substitute operations one by one; see `monograph.transforms.map_ops`."""
        from .transforms import map_ops

        return map_ops(self, fn)

    def cost(self) -> Cost:
        """Floating-point operations, bytes moved and memory needed, per op and per source line.

        >>> import monograph as mg
        >>> mg.trace(lambda x, w: x @ w, mg.Spec((2, 3)), mg.Spec((3, 5))).cost()
        Cost(main: flops=60, bytes=124, peak=124)
        """
        from .cost import Cost

        return Cost(self)

    def verify(self) -> Graph:
        """Check every rule of the representation; returns itself. Raises `GraphError`."""
        from .verify import verify

        return verify(self)

    def transform(self, *passes: Any) -> Graph:
        """The graph after these passes, in order; see `monograph.transforms.apply`."""
        from .transforms import apply

        return apply(self, passes)

    def save(self, path: Any) -> None:
        """Write to one file: JSON, raw constants, checksum; no pickle. See `Graph.load`."""
        from .files import save_graph

        save_graph(self, path)

    @staticmethod
    def load(path: Any) -> Graph:
        """Read what `save` wrote. Raises `FileFormatError` on a truncated or altered file."""
        from .files import load_graph

        return load_graph(path)

    def compile(self, engine: Any = None, **options: Any) -> Any:
        """Make it runnable: ``exe = graph.compile("xla"); exe(x)``."""
        from .compiled import Compiled

        return Compiled(self, engine, **options)


def ancestors(values: Iterable[Value], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """Every node the values need, oldest first; the search does not go past ``stop(node)``."""
    seen: set[Node] = set()
    todo = [v.node for v in values]
    while todo:
        node = todo.pop()
        if node in seen or (stop is not None and stop(node)):
            continue
        seen.add(node)
        todo.extend([v.node for v in node.inputs])
    return sorted(seen, key=lambda n: n.id)


def attr_graphs(attrs: dict[str, Any]) -> Iterable[Graph]:
    """The graphs among attribute values, singly or in tuples."""
    for a in attrs.values():
        if isinstance(a, Graph):
            yield a
        elif isinstance(a, tuple):
            yield from (g for g in a if isinstance(g, Graph))


def _attr_key(a: Any) -> Any:
    if isinstance(a, Graph):
        return a.fingerprint
    if isinstance(a, Literal):
        return a.digest.hex()
    if isinstance(a, DType):
        return a.name
    if isinstance(a, tuple):
        return tuple(_attr_key(x) for x in a)
    # a callable (custom_vjp's backward) never changes what the forward graph computes
    return getattr(a, "__qualname__", repr(a)) if callable(a) else repr(a)
