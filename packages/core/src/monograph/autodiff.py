"""Reverse-mode differentiation on the recorded graph; forward mode as its transpose.

`backward` walks the nodes between two sets of values in reverse and asks each op's `vjp` rule, which
records ordinary nodes: so gradients are graphs like any other, of any order, on any engine.

For complex values the gradient is the conjugate one (as in PyTorch): ``x - lr * grad`` descends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import dtypes, ops, tree
from .errors import ArgumentError, DTypeError, GraphError, MonographError, NotDifferentiable
from .graph import Graph, Node, Value, ancestors
from .jit import Jitted, jit
from .op import NOT_DIFFERENTIABLE, ZERO_GRADIENT
from .spec import Spec
from .tracing import as_value, at_user_line, current, source_of, user_source


def backward(
    ys: Sequence[Value], gs: Sequence[Value | None], xs: Sequence[Value]
) -> list[Value | None]:
    """Cotangents of ``xs`` given cotangents ``gs`` of ``ys``; None where nothing flows.

    The general form under `grad` and friends, for values of the current trace.
    """
    if not xs:
        return []
    oldest = min(x.node.id for x in xs)
    return _pull(ancestors(ys, stop=lambda n: n.id < oldest), ys, gs, xs, lambda v: v)


def pullback(
    graph: Graph,
    known: Mapping[Value, Value],
    gs: Sequence[Value | None],
    xs: Sequence[Value] | None = None,
) -> list[Value | None]:
    """Cotangents of a graph's inputs given those of its outputs, without running the graph.

    Args:
        known: per value of the graph the value of the current trace that has its number; however
            they came by it, the gradient flows through ``graph``.
        xs: of which inputs; None means all.
    """
    xs = graph.inputs if xs is None else xs
    return _pull(graph.nodes, graph.outputs, gs, xs, known.__getitem__)


def dependents(nodes: Sequence[Node], xs: Iterable[Value]) -> set[Value]:
    """``xs`` and what a gradient by them flows through."""
    out = set(xs)
    for node in nodes:
        if node.op.vjp is not ZERO_GRADIENT and any(v in out for v in node.inputs):
            out.update(v for v in node.outputs if v.dtype.is_inexact)
    return out


def _pull(
    nodes: Sequence[Node],
    ys: Sequence[Value],
    gs: Sequence[Value | None],
    xs: Sequence[Value],
    number: Callable[[Value], Value],
) -> list[Value | None]:
    """The walk: over ``nodes`` in reverse, with rules that read ``number(value)``."""
    depends = dependents(nodes, [x for x in xs if x.dtype.is_inexact])
    cotangents: dict[Value, Any] = {}

    def add(v: Value, g: Any) -> None:
        cotangents[v] = cotangents[v] + g if v in cotangents else g

    for y, g in zip(ys, gs):
        if g is not None and y in depends:
            add(y, g)
    wanted = set(xs)
    for node in reversed(nodes):
        flow = [cotangents.get(v) if v in wanted else cotangents.pop(v, None) for v in node.outputs]
        if all(g is None for g in flow) or not any(v in depends for v in node.outputs):
            continue
        with source_of(node, backward=True):
            rule = _rule(node, flow, [number(v) for v in node.inputs], number)
            for v, c in zip(node.inputs, rule):
                if c is None or v not in depends:
                    continue
                if getattr(c, "spec", None) is not v.spec:
                    raise _mend(
                        node, f"a cotangent {getattr(c, 'spec', repr(c))} for an input {v.spec}"
                    )
                add(v, c)
    return [cotangents.get(x) for x in xs]


def _rule(node: Node, g: list, inputs: list, number: Callable[[Value], Value]) -> Sequence[Any]:
    op = node.op
    if op.vjp is NOT_DIFFERENTIABLE:
        raise NotDifferentiable(
            f"{node.source}: {op.name} has no gradient. Put mg.stop_gradient around its operand "
            f"if none should flow, or wrap the function in mg.custom_vjp to give one."
        )
    if op.vjp is None:  # a composite: through its body, recomputed
        xs = [ops.alias(v) for v in inputs]
        return backward(
            op.body_graph([v.spec for v in inputs], node.attrs).replay(xs, _here), g, xs
        )
    outputs = tuple([number(v) for v in node.outputs])
    given = (tuple(g), outputs) if op.multi else (g[0], outputs[0])
    try:
        out = op.vjp(*given, *inputs, **node.attrs)
    except MonographError as e:
        raise at_user_line(e) from None
    if not isinstance(out, (tuple, list)):
        raise _mend(node, f"{type(out).__name__}, not a tuple of cotangents")
    if len(out) != len(node.inputs):
        raise _mend(node, f"{len(out)} cotangents for {len(node.inputs)} inputs")
    return out


def _mend(node: Node, gave: str) -> GraphError:
    return GraphError(
        f"{node.source}: the vjp of {node.op.name} gave {gave}; mend the rule in {node.op.__module__}"
    )


def _here(node: Node, xs: list) -> Sequence[Any]:
    """A node of a composite's body, at the line that is current: its own is of who used it first."""
    out = node.op(*xs, **node.attrs)
    return out if node.op.multi else (out,)


def _zeros(spec: Spec) -> Value:
    return ops.full(0, spec)


def _fresh(x: Any, what: str) -> Value:
    """A new name for ``x``, so that only what is computed from it here counts as depending on it."""
    v = as_value(x)
    if not v.dtype.is_inexact:
        raise DTypeError(
            f"{user_source()}: {what} has dtype {v.dtype}; gradients exist for floating-point and "
            f"complex arrays only. Convert it with .astype('float32')."
        )
    return ops.alias(v)


def argument_places(argnums: Any, n: int) -> tuple[int, ...]:
    """``argnums`` of a function of ``n`` positional arguments, counted from the front."""
    nums = tuple(argnums) if isinstance(argnums, Iterable) else (argnums,)
    for i in nums:
        if not -n <= i < n:
            raise ArgumentError(
                f"{user_source()}: argnums={i}, but the function got {n} positional argument(s)"
            )
    return tuple(i % n for i in nums)


def _split(args: Sequence[Any], argnums: Any, what: str) -> tuple[list[Value], list[Any], Any]:
    """Differentiated leaves (fresh), the arguments rebuilt with them, and their structure."""
    given = list(args)
    nums = argument_places(argnums, len(args))
    picked = tuple(args[i] for i in nums)
    leaves, treedef = tree.flatten(picked)
    where = tree.paths(picked)
    fresh = [_fresh(x, f"{what}: argument {p}") for x, p in zip(leaves, where)]
    for i, x in zip(nums, tree.unflatten(treedef, fresh)):
        given[i] = x
    return fresh, given, treedef


def value_and_grad(fn: Callable, argnums: Any = 0, has_aux: bool = False) -> Jitted:
    """A function that returns ``(fn(...), gradient)``.

    Args:
        fn: returns a real scalar; with ``has_aux`` a pair ``(scalar, anything)``.
        argnums: the positional argument(s) to differentiate; pytrees are fine. An int gives the
            gradient in that argument's structure, a tuple a tuple of those.

    Raises:
        DTypeError: a differentiated leaf is no float.
        ShapeError, ArgumentError: ``fn`` does not return a scalar.
        NotDifferentiable: the path goes through an op without a gradient.

    >>> import monograph as mg
    >>> mg.value_and_grad(lambda x: mg.sum(x ** 2))(mg.tensor([1.0, 2.0]))[0].item()
    5.0
    """
    name = getattr(fn, "__name__", "function")

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        xs, given, treedef = _split(args, argnums, f"grad of {name}")
        out = fn(*given, **kwargs)
        y, aux = out if has_aux else (out, None)
        y = as_value(y)
        if y.shape != () or not y.dtype.is_float:
            raise ArgumentError(
                f"{user_source()}: grad of {name} needs a real scalar, but it returned {y.spec}. "
                f"Reduce it first (mg.sum, mg.mean), or use mg.jacobian or mg.vjp."
            )
        grads = _filled(backward([y], [ops.full(1, y.spec)], xs), xs)
        grads = tree.unflatten(treedef, grads)
        grads = grads[0] if isinstance(argnums, int) else grads
        return ((y, aux) if has_aux else y), grads

    return jit(wrapped, engine=getattr(fn, "engine", None))


def _filled(gs: Sequence[Value | None], xs: Sequence[Value]) -> list[Value]:
    return [_zeros(x.spec) if g is None else g for g, x in zip(gs, xs)]


def grad(fn: Callable, argnums: Any = 0, has_aux: bool = False) -> Jitted:
    """The gradient of a scalar function; see `value_and_grad`. With ``has_aux``: ``(grad, aux)``.

    >>> import monograph as mg
    >>> mg.grad(lambda x: mg.sum(x ** 3))(mg.tensor([1.0, 2.0])).tolist()
    [3.0, 12.0]
    """
    both = value_and_grad(fn, argnums, has_aux).fn

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return jit(wrapped, engine=getattr(fn, "engine", None))


def vjp(fn: Callable, *primals: Any) -> tuple[Any, Callable]:
    """``(fn(*primals), pullback)``; ``pullback(cotangents)`` gives a cotangent per primal.

    >>> import monograph as mg
    >>> y, pull = mg.vjp(lambda x: x * x, mg.tensor([3.0]))
    >>> pull(mg.tensor([1.0]))[0].tolist()
    [6.0]
    """
    if current() is None:
        run = jit(lambda primals, g: vjp(fn, *primals)[1](g))
        return jit(fn)(*primals), lambda g: run(primals, g)
    xs, args, treedef = _split(primals, range(len(primals)), "vjp")
    out = fn(*args)
    ys, out_tree = tree.flatten(out)
    ys = [as_value(y) for y in ys]

    def pullback(cotangents: Any) -> Any:
        gs, g_tree = tree.flatten(cotangents)
        _same("cotangents", g_tree, out_tree, gs, ys)
        gs = [as_value(g) for g in gs]
        return tree.unflatten(treedef, _filled(backward(ys, gs, xs), xs))

    return out, pullback


def _same(what: str, got_tree: Any, want_tree: Any, got: list, want: Sequence[Value]) -> None:
    if got_tree != want_tree:
        raise ArgumentError(
            f"{user_source()}: {what} nest as {tree.describe(got_tree)}, expected "
            f"{tree.describe(want_tree)}"
        )
    for i, (g, w) in enumerate(zip(got, want)):
        if Spec.of(g) is not w.spec:
            raise ArgumentError(
                f"{user_source()}: {what}: leaf {i} is {Spec.of(g)}, expected {w.spec}"
            )


def jvp(fn: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``(fn(*primals), directional derivative along tangents)``.

    The transpose of the transpose: `vjp` is linear in its cotangent, so its own vjp is the jvp and
    no op needs a second rule.

    >>> import monograph as mg
    >>> mg.jvp(lambda x: x * x, (mg.tensor([3.0]),), (mg.tensor([2.0]),))[1].tolist()
    [12.0]
    """
    if current() is None:
        return jit(lambda p, t: jvp(fn, p, t))(tuple(primals), tuple(tangents))
    xs, args, treedef = _split(primals, range(len(primals)), "jvp")
    ts, t_tree = tree.flatten(tuple(tangents))
    _same("tangents", t_tree, treedef, ts, xs)
    out = fn(*args)
    leaves, out_tree = tree.flatten(out)
    ys = [as_value(y) for y in leaves]
    smooth = [y for y in ys if y.dtype.is_inexact]
    dummies = [ops.alias(_zeros(y.spec)) for y in smooth]
    pulled = backward(smooth, dummies, xs)
    live = [(p, as_value(t)) for p, t in zip(pulled, ts) if p is not None]
    pushed = iter(backward([p for p, _ in live], [t for _, t in live], dummies))
    dots = [next(pushed) if y.dtype.is_inexact else None for y in ys]
    return out, tree.unflatten(
        out_tree, [_zeros(y.spec) if d is None else d for y, d in zip(ys, dots)]
    )


# rows of a jacobian at once: about as fast as all of them; a loop of single rows took up to 3 times as
# long on XLA, 2 to 30 times on torch, and all at once takes memory for each
_BLOCK = 64


def _rows(y: Value, xs: Sequence[Value]) -> list[Value]:
    """The derivative of each element of ``y`` by each of ``xs``: ``[*y.shape, *x.shape]``."""
    from .batching import vmap
    from .control import scan

    def pull(g: Value) -> tuple:
        return tuple(_filled(backward([y], [g], xs), xs))

    n = y.size
    if n <= _BLOCK:
        basis = ops.reshape(ops.eye(n, y.dtype), shape=(n, *y.shape))
        got = vmap(pull)(basis)
    else:
        count = -(-n // _BLOCK)
        row, column = (ops.iota(shape=(_BLOCK, n), axis=a, dtype="int32") for a in (0, 1))

        def block(carry: tuple, first: Value) -> tuple:
            # made here: all at once would be n * n numbers
            units = ops.compare(row + first, column, direction="EQ")
            basis = ops.reshape(ops.convert(units, dtype=y.dtype), shape=(_BLOCK, *y.shape))
            return carry, vmap(pull)(basis)

        _, got = scan(block, (), ops.literal(np.arange(count) * _BLOCK, dtypes.int32))
        flat = [ops.reshape(r, shape=(count * _BLOCK, *x.shape)) for r, x in zip(got, xs)]
        got = [r[:n] for r in flat]
    return [ops.reshape(r, shape=(*y.shape, *x.shape)) for r, x in zip(got, xs)]


def jacobian(fn: Callable, argnums: Any = 0) -> Jitted:
    """Every output's derivative by every input: shape ``[*output, *input]`` per pair of leaves.

    Up to 64 rows are computed at once, by `vmap`, and more of them block by block in a loop in the
    graph, so that memory stays that of 64 `vjp`.

    >>> import monograph as mg
    >>> mg.jacobian(lambda x: x ** 2)(mg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        xs, given, treedef = _split(args, argnums, "jacobian")
        leaves, out_tree = tree.flatten(fn(*given, **kwargs))
        rows = []
        for y in map(as_value, leaves):
            if y.dtype.is_complex:
                raise DTypeError(f"{user_source()}: jacobian of a complex output; split it first")
            picked = tree.unflatten(treedef, _rows(y, xs))
            rows.append(picked[0] if isinstance(argnums, int) else picked)
        return tree.unflatten(out_tree, rows)

    return jit(wrapped, engine=getattr(fn, "engine", None))


def hessian(fn: Callable, argnums: int = 0) -> Jitted:
    """Second derivatives of a scalar function: the `jacobian` of its `grad`.

    >>> import monograph as mg
    >>> mg.hessian(lambda x: mg.sum(x ** 3))(mg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(fn, argnums).fn, argnums)
