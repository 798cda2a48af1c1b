"""Control flow inside a graph: `cond`, `switch`, `while_loop`, `scan`, `fori_loop`; `checkpoint`
and `custom_vjp`. Functions may close over outer values.

Called on concrete tensors outside any trace, each is compiled and run at once.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import ops, tree
from .errors import ArgumentError, DTypeError
from .graph import Graph, Node, Value
from .jit import jit
from .rewrite import simplify
from .spec import Spec
from .tracing import as_value, current, in_rule, trace_flat, user_source


def _compiled_when_eager(fn: Callable) -> Callable:
    """Run a control-flow function under `jit` when no trace is open; functions stay static."""

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            return fn(*args, **kwargs)
        is_fn = [_is_code(a) for a in args]
        arrays = tuple(a for a, f in zip(args, is_fn) if not f)

        def run(*xs: Any) -> Any:
            given = iter(xs)
            return fn(*[a if f else next(given) for a, f in zip(args, is_fn)], **kwargs)

        return jit(run)(*arrays)

    return wrapped


def _is_code(x: Any) -> bool:
    return callable(x) or (isinstance(x, (tuple, list)) and bool(x) and all(map(callable, x)))


def _values(x: Any) -> tuple[list[Value], Any]:
    leaves, treedef = tree.flatten(x)
    return [as_value(v) for v in leaves], treedef


def _close(fns: Sequence[Callable], specs: Sequence[Spec], names: Sequence[str]) -> Any:
    """Trace functions of flat values; all take the same extra inputs: the union of captures."""
    traced = [trace_flat(fn, specs, name=name) for fn, name in zip(fns, names)]
    union = list(dict.fromkeys(v for _, _, captured in traced for v in captured))
    if union:
        wider = [*specs, *[v.spec for v in union]]
        n, place = len(specs), {v: i for i, v in enumerate(union)}

        def widen(graph: Graph, captured: list[Value]) -> Graph:
            from .tracing import inline, tracing

            where = [place[v] for v in captured]
            with tracing(None):
                return trace_flat(
                    lambda *xs: tuple(inline(graph, [*xs[:n], *[xs[n + i] for i in where]])),
                    wider, name=graph.name,
                )[0]  # fmt: skip

        graphs = [widen(g, c) for g, _, c in traced]
    else:
        graphs = [g for g, _, _ in traced]
    return [simplify(g) for g in graphs], [t for _, t, _ in traced], union


def _match(what: str, got: Any, want: Any) -> None:
    if got != want:
        raise ArgumentError(
            f"{user_source()}: {what} returns {tree.describe(got)}, expected {tree.describe(want)}"
        )


@_compiled_when_eager
def switch(index: Any, branches: Sequence[Callable], *operands: Any) -> Any:
    """``branches[index](*operands)``; an index out of range is clamped to the last branch.

    All branches return the same structure and specs. Differentiable.
    """
    values, treedef = _values(operands)
    flat = [lambda *xs, b=b: b(*tree.unflatten(treedef, xs)) for b in branches]
    names = [getattr(b, "__name__", "branch") for b in branches]
    graphs, trees, union = _close(flat, [v.spec for v in values], names)
    for i, t in enumerate(trees[1:], 1):
        _match(f"branch {i} of cond/switch", t, trees[0])
    out = ops.case(as_value(index), *values, *union, branches=tuple(graphs))
    return tree.unflatten(trees[0], out)


def predicate(pred: Any) -> Any:
    """``pred``, once it is sure that it is a 0-d bool; else a DTypeError."""
    spec = Spec.of(pred)
    if spec.shape or spec.dtype.kind != "bool":
        raise DTypeError(
            f"{user_source()}: cond needs a 0-d bool, got {spec}; use mg.any or mg.all"
        )
    return pred


def cond(pred: Any, true_fn: Callable, false_fn: Callable, *operands: Any) -> Any:
    """``true_fn(*operands)`` if ``pred`` else ``false_fn(*operands)``; only one runs.

    Args:
        pred: a 0-d bool.
        true_fn, false_fn: return the same structure, shapes and dtypes; may close over values.

    Raises:
        ArgumentError: the two return different structures or specs.
        DTypeError: ``pred`` is no 0-d bool.

    >>> import monograph as mg
    >>> f = mg.jit(lambda x: cond(x.sum() > 0, lambda v: v * 2, lambda v: -v, x))
    >>> f(mg.tensor([-1.0, 0.5])).tolist()
    [1.0, -0.5]
    """
    return _cond(predicate(pred), true_fn, false_fn, *operands)


@_compiled_when_eager
def _cond(pred: Any, true_fn: Callable, false_fn: Callable, *operands: Any) -> Any:
    return switch(pred, (false_fn, true_fn), *operands)


@_compiled_when_eager
def while_loop(cond_fn: Callable, body_fn: Callable, init: Any) -> Any:
    """Repeat ``init = body_fn(init)`` while ``cond_fn(init)`` is true.

    The carry keeps its structure and specs. Not differentiable; use `scan` for that.

    >>> import monograph as mg
    >>> while_loop(lambda i: i < 10, lambda i: i * 2, mg.tensor(3)).item()
    12
    """
    values, treedef = _values(init)
    flat = [
        lambda *xs: cond_fn(tree.unflatten(treedef, xs)),
        lambda *xs: body_fn(tree.unflatten(treedef, xs)),
    ]
    (c, b), (_, out_tree), union = _close(flat, [v.spec for v in values], ["cond", "body"])
    _match("the body of while_loop", out_tree, treedef)
    out = ops.while_(*values, *union, cond=c, body=b, num_carry=len(values))
    return tree.unflatten(treedef, out)


@_compiled_when_eager
def scan(
    body: Callable, init: Any, xs: Any = None, *, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """A loop with a carry: ``carry, y = body(carry, x)`` for each slice ``x`` of ``xs``.

    Args:
        body: ``(carry, x) -> (carry, y)``; may close over values.
        init: the first carry, any tree; the carry keeps its structure and specs.
        xs: a tree of arrays ``[length, ...]``, or None (then ``length`` is needed).
        reverse: from the last slice to the first.

    Returns:
        The last carry and the ``y``, stacked ``[length, ...]``. Differentiable.

    >>> import monograph as mg
    >>> total, sums = scan(lambda c, x: (c + x, c + x), mg.tensor(0.0), mg.tensor([1.0, 2.0, 3.0]))
    >>> total.item(), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    carry, carry_tree = _values(init)
    scanned, xs_tree = _values(xs)
    lengths = {v.shape[0] if v.shape else None for v in scanned} | ({length} - {None})
    if len(lengths) != 1 or None in lengths:
        raise ArgumentError(
            f"{user_source()}: scan needs one length; the first axes of xs and length= give "
            f"{sorted(map(str, lengths)) or 'none'}"
        )
    n = lengths.pop()
    specs = [*[v.spec for v in carry], *[v.spec.with_(v.shape[1:]) for v in scanned]]
    y_tree: list[Any] = []

    def flat(*values: Value) -> Any:
        c = tree.unflatten(carry_tree, values[: len(carry)])
        out = body(c, tree.unflatten(xs_tree, values[len(carry) :]))
        if not isinstance(out, tuple) or len(out) != 2:
            raise ArgumentError(
                f"{user_source()}: the body of scan returns (carry, y), got {type(out).__name__}"
            )
        new, got_tree = tree.flatten(out[0])
        _match("the body of scan: the carry", got_tree, carry_tree)
        for i, (a, b) in enumerate(zip(new, carry)):
            if Spec.of(a) is not b.spec:
                raise ArgumentError(
                    f"{user_source()}: the body of scan changes leaf {i} of the carry from {b.spec} to "
                    f"{Spec.of(a)}; it must stay (convert the first carry, or the result)"
                )
        ys, t = tree.flatten(out[1])
        y_tree[:] = [t]
        return (*new, *ys)

    graph, _, captured = trace_flat(flat, specs, name=getattr(body, "__name__", "body"))
    # captures come last in the trace, constants come first in the op
    k = len(specs)
    graph = simplify(Graph([*graph.inputs[k:], *graph.inputs[:k]], graph.outputs, name=graph.name))
    out = ops.scan(
        *captured, *carry, *scanned, body=graph, num_consts=len(captured), num_carry=len(carry),
        length=n, reverse=reverse,
    )  # fmt: skip
    ys = out[len(carry) : len(graph.outputs)]
    return tree.unflatten(carry_tree, out[: len(carry)]), tree.unflatten(y_tree[0], ys)


def fori_loop(lower: int, upper: int, body: Callable, init: Any) -> Any:
    """``for i in range(lower, upper): init = body(i, init)``, with static bounds; differentiable.

    >>> import monograph as mg
    >>> fori_loop(0, 3, lambda i, c: c + i, mg.tensor(10)).item()
    13
    """
    from .api.creation import arange

    steps = arange(lower, max(lower, upper))
    return scan(lambda c, i: (body(i, c), ()), init, steps)[0]


def checkpoint(
    fn: Callable | None = None, policy: Callable[[Node], bool] | None = None
) -> Callable:
    """``fn``, whose inner values are computed again for the gradient instead of being kept.

    Rematerialisation (Chen et al. 2016, "Training deep nets with sublinear memory cost"): less
    memory for one more forward pass, or for a part of one.

    Args:
        fn: any function of arrays; left out, the result is a decorator.
        policy: ``node -> bool``, says which inner results are kept all the same; None keeps none.
            `monograph.transforms.policies` has some, such as ``save_products``. Composites (an
            attention, a softmax) are one node.

    >>> import monograph as mg
    >>> mg.grad(checkpoint(lambda x: x * x * x))(mg.tensor(2.0)).item()
    12.0
    """
    if fn is None:
        return functools.partial(checkpoint, policy=policy)
    if policy is not None and not callable(policy):
        raise ArgumentError(
            f"{user_source()}: the policy of checkpoint is a function node -> bool, not {policy!r}"
        )

    @functools.wraps(fn)
    @_compiled_when_eager
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        values, treedef = _values((args, kwargs))

        def flat(*xs: Value) -> Any:
            a, k = tree.unflatten(treedef, xs)
            return fn(*a, **k)

        (body,), trees, union = _close(
            [flat], [v.spec for v in values], [getattr(fn, "__name__", "fn")]
        )
        n = len(body.outputs)
        kept = [
            v
            for node in body.nodes
            if node.inputs and policy and policy(node)
            for v in node.outputs
        ]
        body = Graph(body.inputs, [*body.outputs, *kept], name=body.name)
        out = ops.checkpoint_call(*values, *union, body=body, kept=len(kept))
        return tree.unflatten(trees[0], out[:n])

    return wrapped


class custom_vjp:
    """A function with a gradient of your own, declared as in JAX.

    Differentiated twice, ``bwd`` is differentiated as written, and where the output itself is used the
    rule applies again (as PyTorch's `torch.autograd.Function`, unlike JAX).

    >>> import monograph as mg
    >>> @mg.custom_vjp
    ... def clipped(x):
    ...     return x * 1.0
    >>> clipped.defvjp(lambda x: (x * 1.0, None), lambda res, g: (mg.clip(g, -1.0, 1.0),))
    >>> mg.grad(lambda x: 5.0 * clipped(x))(mg.tensor(2.0)).item()
    1.0
    """

    def __init__(self, fn: Callable):
        functools.update_wrapper(self, fn, updated=())
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.fn = fn
        self.fwd: Callable | None = None
        self.bwd: Callable | None = None

    def defvjp(self, fwd: Callable, bwd: Callable) -> None:
        """Set the rule.

        Args:
            fwd: ``(*args) -> (output, residuals)``; it also computes the function's value.
            bwd: ``(residuals, cotangent of the output) -> tuple of cotangents``, one per argument
                (None for zero).
        """
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    @property
    def _call(self) -> Callable:
        return _compiled_when_eager(self._record)

    def _record(self, *args: Any) -> Any:
        if self.fwd is None or self.bwd is None:
            raise ArgumentError(
                f"{user_source()}: custom_vjp {self.__name__} has no rule; call .defvjp(fwd, bwd)"
            )
        values, treedef = _values(args)
        trees: list[Any] = []

        def flat(*xs: Value) -> Any:
            pair = self.fwd(*tree.unflatten(treedef, xs))  # type: ignore[misc]
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ArgumentError(
                    f"{user_source()}: fwd of custom_vjp {self.__name__} returns (output, residuals), "
                    f"got {type(pair).__name__}"
                )
            out, res = pair
            (outs, out_tree), (ress, res_tree) = tree.flatten(out), tree.flatten(res)
            trees[:] = [out_tree, res_tree, len(outs), len(ress)]
            return (*outs, *ress)

        (graph,), _, union = _close([flat], [v.spec for v in values], [self.__name__])
        out_tree, res_tree, n_out, n_res = trees

        def bwd(res: Sequence[Value], gs: Sequence[Value], xs: Sequence[Value]) -> Sequence[Any]:
            given = tree.unflatten(res_tree, res), tree.unflatten(out_tree, gs)
            own = not getattr(self.bwd, "__module__", "monograph").startswith("monograph")
            with in_rule() if own else contextlib.nullcontext():
                got = self.bwd(*given)  # type: ignore[misc]
            if got is None:  # a forgotten return, not a gradient of zero
                raise ArgumentError(
                    f"{user_source()}: bwd of custom_vjp {self.__name__} returns None; it returns a "
                    f"tuple of cotangents, with None in it for zero"
                )
            got = got if isinstance(got, tuple) else (got,)
            if len(got) != len(args):
                raise ArgumentError(
                    f"{user_source()}: bwd of custom_vjp {self.__name__} returns {len(got)} "
                    f"cotangents for {len(args)} arguments"
                )
            grads: list[Any] = []
            for a, c in zip(args, got):
                n = len(tree.leaves(a))
                leaves = [None] * n if c is None else [as_value(v) for v in tree.leaves(c)]
                if len(leaves) != n:
                    raise ArgumentError(
                        f"{user_source()}: bwd of custom_vjp {self.__name__}: a cotangent has "
                        f"{len(leaves)} leaves, its argument {n}"
                    )
                grads.extend(leaves)
            for i, (c, x) in enumerate(zip(grads, xs)):
                if c is not None and c.spec is not x.spec:
                    raise ArgumentError(
                        f"{user_source()}: bwd of custom_vjp {self.__name__}: cotangent {i} is "
                        f"{c.spec}, the argument is {x.spec}"
                    )
            return [*grads, *[None] * (len(xs) - len(grads))]

        out = ops.custom_vjp_call(*values, *union, body=graph, bwd=bwd, num_residuals=n_res)
        return tree.unflatten(out_tree, out[:n_out])
