"""Recording: which trace is open, how a node enters it, and the user's line it came from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import tree
from .array import Array
from .errors import ArgumentError, MonographError, TraceError
from .graph import Graph, Literal, Node, Source, Value
from .op import Op, constant, parameter
from .spec import Spec


class Trace:
    """One recording in progress. Values of an enclosing trace enter as extra inputs (captures)."""

    __slots__ = ("parent", "inputs", "captured", "constants", "open", "name")

    def __init__(self, parent: Trace | None, name: str = "main"):
        self.parent, self.name, self.open = parent, name, True
        self.inputs: list[Value] = []
        self.captured: dict[Value, Value] = {}
        self.constants: dict[int, tuple[Any, Value]] = {}

    def add_input(self, spec: Spec, name: str = "") -> Value:
        node = Node(parameter, (), {"name": name}, (spec,), None, self)
        self.inputs.append(node.outputs[0])
        return node.outputs[0]

    def capture(self, v: Value) -> Value:
        """``v`` as seen from this trace."""
        if v.trace is self:
            return v
        found = self.captured.get(v)
        if found is not None:
            return found
        t = self.parent
        while t is not None and t is not v.trace:
            t = t.parent
        if t is None or not t.open:
            raise TraceError(
                f"{user_source()}: {v!r} belongs to a trace that has ended. A traced function "
                f"may only hand values out by returning them; do not keep them in a global, an "
                f"attribute or a list."
            )
        assert self.parent is not None
        outer = self.parent.capture(v)
        self.captured[v] = found = self.add_input(v.spec, "captured")
        if outer is not v:
            self.captured[outer] = found
        return found

    def literal(self, x: Any) -> Value:
        """A concrete array or number as a constant of this trace; one node per object."""
        found = self.constants.get(id(x))
        if found is not None:
            return found[1]
        array = x.numpy() if isinstance(x, Array) else np.asarray(x)
        spec = Spec.of(x)
        if not isinstance(x, Array) and array.dtype != spec.dtype.numpy:
            array = array.astype(spec.dtype.numpy)
        v = Node(constant, (), {"value": Literal(array)}, (spec,), user_source(), self).outputs[0]
        if not isinstance(x, (bool, int, float, complex)):
            self.constants[id(x)] = (x, v)  # keeps x alive: its id stays its own
        return v


_current: ContextVar[Trace | None] = ContextVar("monograph_trace", default=None)
_source: ContextVar[Source | None] = ContextVar("monograph_source", default=None)
_rule: ContextVar[Source | None] = ContextVar("monograph_rule", default=None)
_scope: ContextVar[str] = ContextVar("monograph_scope", default="")


def current() -> Trace | None:
    """The innermost open trace, or None when operations run eagerly."""
    return _current.get()


@contextmanager
def tracing(t: Trace | None) -> Iterator[Trace | None]:
    """Make ``t`` the current trace; None runs operations eagerly inside a traced function."""
    token = _current.set(t)
    try:
        yield t
    finally:
        _current.reset(token)


@contextmanager
def in_scope(path: str) -> Iterator[None]:
    """Nodes made inside carry this path in their `Source`: what layers do with their scope's."""
    token = _scope.set(path)
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def at(source: Source | None) -> Iterator[None]:
    """Nodes made inside carry this line: what importers do, whose lines are in somebody's file."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


@contextmanager
def source_of(node: Node, backward: bool = False) -> Iterator[None]:
    """Nodes made inside carry this node's line: a backward op points at its forward line."""
    source = node.source
    with at(source._replace(backward=True) if backward and source else source):
        yield


@contextmanager
def in_rule() -> Iterator[None]:
    """Nodes made inside carry the lines of the user's own gradient rule that makes them."""
    forward = _source.get()
    tokens = _source.set(None), _rule.set(forward)
    try:
        yield
    finally:
        _source.reset(tokens[0])
        _rule.reset(tokens[1])


def user_source() -> Source | None:
    """The innermost frame outside Monograph's own packages."""
    found = _source.get()
    if found is not None:
        return found
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("monograph") and not name.startswith(("contextlib", "functools")):
            code = frame.f_code
            here = Source(code.co_filename, frame.f_lineno, code.co_name, _scope.get())
            of = _rule.get()
            return here if of is None else here._replace(scope=of.scope, backward=True, of=of)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def at_user_line(error: MonographError) -> MonographError:
    """The error with the user's file and line in front, once."""
    message = str(error.args[0]) if error.args else ""
    if not _LOCATED.match(message):
        error.args = (f"{user_source()}: {message}", *error.args[1:])
    return error


def at_line(error: MonographError, source: Any) -> MonographError:
    """The error with ``source`` in front, in place of the file and line it had, if any."""
    message = str(error.args[0]) if error.args else ""
    error.args = (f"{source}: {_LOCATED.sub('', message, count=1)}", *error.args[1:])
    return error


def without_line(error: BaseException) -> str:
    """An error's message without the file and line in front, for a table that has them beside it."""
    message = str(error)
    found = _LOCATED.match(message)
    return message[found.end() :] if found else message


_LOCATED = re.compile(r"[^\n]+?:\d+: ")


def record(op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> tuple[Value, ...]:
    """Add a node for ``op`` to the current trace; its spec is inferred and its errors located."""
    t = _current.get()
    assert t is not None  # with no trace open, ops run eagerly
    inputs = []
    for x in operands:
        if type(x) is Value:
            inputs.append(x if x.node.trace is t else t.capture(x))
        else:
            inputs.append(t.literal(x))
    try:
        specs = op.infer_specs([v.spec for v in inputs], attrs)
    except MonographError as e:
        raise at_user_line(e) from None
    return Node(op, tuple(inputs), attrs, specs, user_source(), t).outputs


def apply(node: Node, xs: Sequence[Any]) -> Sequence[Any]:
    """What a node yields for other inputs, recorded in the current trace under the node's line."""
    with source_of(node):
        out = node.op(*xs, **node.attrs)
    return out if isinstance(out, tuple) else (out,)


def inline(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Copy a graph's nodes into the current trace, reading ``args``; returns its outputs there.

    With no trace open it runs eagerly instead.
    """
    return graph.replay(args, apply)


def trace_flat(
    fn: Callable[..., Any], specs: Sequence[Spec], names: Sequence[str] = (), name: str = "main"
) -> tuple[Graph, Any, list[Value]]:
    """Trace ``fn(*values) -> tree of values`` in a trace nested in the current one.

    Returns the graph, the structure of the result, and the outer values captured (in the order of
    the graph's inputs after the given ones).
    """
    t = Trace(_current.get(), name)
    args = [t.add_input(s, names[i] if i < len(names) else f"x{i}") for i, s in enumerate(specs)]
    try:
        with tracing(t):
            out, out_tree = tree.flatten(fn(*args))
            outputs = [as_value(x, t) for x in out]
    finally:
        t.open = False
    parent = t.parent
    captured: dict[Value, Value] = {}
    for outer, inner in t.captured.items():
        captured.setdefault(inner, parent.capture(outer) if parent is not None else outer)
    outer_values = [captured[v] for v in t.inputs[len(specs) :] if v in captured]
    return Graph(t.inputs, outputs, None, out_tree, name), out_tree, outer_values


def argument_names(args: tuple, kwargs: dict[str, Any]) -> list[str]:
    """A readable name per leaf of ``(args, kwargs)``, such as ``arg[0]['w']`` and ``scale``."""
    named = [f"{k}{p}" for k in sorted(kwargs) for p in tree.paths(kwargs[k])]
    return [f"arg{p}" for p in tree.paths(args)] + named


def as_value(x: Any, t: Trace | None = None) -> Value:
    """Anything array-like as a value of the current trace."""
    t = t or _current.get()
    assert t is not None
    if isinstance(x, Value):
        return t.capture(x)
    if isinstance(x, (Array, np.ndarray, np.generic, bool, int, float, complex)) or hasattr(
        x, "__dlpack__"
    ):
        return t.literal(x)
    raise ArgumentError(
        f"{user_source()}: a traced function may return arrays and numbers in tuples, lists and "
        f"dicts; it returned {type(x).__name__}"
    )


def trace(fn: Callable[..., Any], *specs: Any, **kwspecs: Any) -> Graph:
    """Record ``fn`` as a `Graph`.

    Args:
        fn: a function of arrays (in any tuples, lists, dicts) that returns such.
        specs: one `Spec` (or an example array) per leaf of each argument.

    Returns:
        The graph; its inputs are the leaves of ``(specs, kwspecs)`` in order.

    Raises:
        MonographError: whatever the function does wrong, with its own line in front.

    >>> import monograph as mg
    >>> mg.trace(lambda x: mg.sum(x * x), mg.Spec((3,), "float32"))
    Graph(main: (float32[3]) -> (float32[]), 2 nodes)
    """
    from .rewrite import simplify

    leaves, in_tree = tree.flatten_call(specs, kwspecs)

    def flat(*values: Value) -> Any:
        args, kwargs = tree.unflatten(in_tree, values)
        return fn(*args, **kwargs)

    with tracing(None):  # a graph of its own, even when asked for inside a trace
        graph, out_tree, _ = trace_flat(
            flat,
            [Spec.of(x) for x in leaves],
            argument_names(specs, kwspecs),
            getattr(fn, "__name__", "main"),
        )
    name = "main" if graph.name == "<lambda>" else graph.name
    return simplify(Graph(graph.inputs, graph.outputs, in_tree, out_tree, name))
