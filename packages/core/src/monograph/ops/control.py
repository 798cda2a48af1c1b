"""Branches, loops and calls of nested graphs.

A nested graph takes everything it reads as an input: values of the enclosing function that a branch
or body closes over are passed along as operands (`monograph.control` arranges that).
"""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError, DTypeError
from ..op import NOT_DIFFERENTIABLE, Sample, composite, op
from ..spec import Spec
from ._build import added, full


def _outputs_agree(what, got, want):
    if len(got) != len(want):
        raise ArgumentError(f"{what} returns {len(got)} arrays, expected {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        if g is not w:
            raise ArgumentError(f"{what} returns {g} at place {i}, expected {w}")


def _takes(what, graph, specs):
    _outputs_agree(f"the caller of {what}", specs, graph.input_specs)


def _evaluate(graph, xs):
    from ..numpy_engine import evaluate

    return evaluate(graph, xs)


def _pull(graph, primals, gs, known=()):
    """Cotangents of ``primals`` through ``graph``; None is zero.

    Its values are computed again in the current trace, but for those that ``known`` holds.
    """
    from ..autodiff import pullback
    from ..tracing import apply

    known = {**dict(known), **dict(zip(graph.inputs, primals))}
    for node in graph.nodes:
        if not all(v in known for v in node.outputs):
            outs = apply(node, [known[v] for v in node.inputs])
            known.update((v, x) for v, x in zip(node.outputs, outs) if v not in known)
    return pullback(graph, known, gs)


def trace_closed(fn, specs, name):
    """``fn`` as a nested graph, which may read its inputs only."""
    from ..rewrite import simplify
    from ..tracing import trace_flat

    graph, _, captured = trace_flat(fn, specs, name=name)
    if captured:
        raise ArgumentError(f"{name} reads {len(captured)} values that are not its inputs")
    return simplify(graph)


def _smooth(values):
    return [i for i, v in enumerate(values) if v.dtype.is_inexact]


def _or_zero(gs, specs):
    return tuple(full(0, s) if g is None else g for g, s in zip(gs, specs))


# ---- case


def _case(index, *operands, branches):
    if index.shape or not (index.dtype.is_integer or index.dtype.kind == "bool"):
        raise DTypeError(f"the branch index is {index}; needs a 0-d integer or bool")
    for i, b in enumerate(branches):
        _takes(f"branch {i}", b, operands)
        _outputs_agree(f"branch {i}", b.output_specs, branches[0].output_specs)
    return branches[0].output_specs


def _case_vjp(g, y, index, *operands, branches):
    # each branch's pullback runs its own forward again: only the branch taken costs anything
    live, smooth = [i for i, c in enumerate(g) if c is not None], _smooth(operands)
    n, specs = len(operands), [v.spec for v in operands]
    g_live = [g[i] for i in live]

    def pullback(branch):
        def run(*args):
            gs = [None] * len(y)
            for i, c in zip(live, args[n:]):
                gs[i] = c
            got = _pull(branch, args[:n], gs)
            return _or_zero([got[i] for i in smooth], [specs[i] for i in smooth])

        return trace_closed(run, [*specs, *[c.spec for c in g_live]], f"{branch.name}_vjp")

    out = case(index, *operands, *g_live, branches=tuple(pullback(b) for b in branches))
    grads = dict(zip(smooth, out))
    return (None, *[grads.get(i) for i in range(n)])


def _case_samples(d, rng):
    spec = Spec((3,), d)
    up = trace_closed(lambda x: x * x, [spec], "square")
    down = trace_closed(lambda x: x + x, [spec], "double")
    x = rng.uniform(0.5, 2, (3,)).astype(d.numpy)
    for i in (-1, 0, 1, 7):
        yield Sample((np.asarray(i, "int32"), x), {"branches": (up, down)})


@op(infer=_case, vjp=_case_vjp, samples=_case_samples, multi=True)
def case(index, *operands, branches):
    """Run one of several graphs (StableHLO case): ``branches[index]``, the last if out of range.

    A bool index picks branch 0 for false and 1 for true.
    """
    i = int(index)
    return tuple(_evaluate(branches[i if 0 <= i < len(branches) else -1], operands))


# ---- while


def _while(*operands, cond, body, num_carry):
    _takes("cond", cond, operands)
    _takes("body", body, operands)
    _outputs_agree("body", body.output_specs, operands[:num_carry])
    if (
        len(cond.output_specs) != 1
        or cond.output_specs[0].shape
        or cond.output_specs[0].dtype.kind != "bool"
    ):
        raise DTypeError(f"cond returns {cond.output_specs}; needs one 0-d bool")
    return tuple(operands[:num_carry])


def _while_samples(d, rng):
    specs = [Spec((), "int32"), Spec((3,), d), Spec((), "int32")]
    from .logic import compare

    cond = trace_closed(lambda i, x, n: compare(i, n, direction="LT"), specs, "cond")
    body = trace_closed(lambda i, x, n: (i + 1, x + x), specs, "body")
    x = rng.uniform(-1, 1, (3,)).astype(d.numpy)
    for n in (0, 3):
        operands = (np.asarray(0, "int32"), x, np.asarray(n, "int32"))
        yield Sample(operands, {"cond": cond, "body": body, "num_carry": 2}, grad=False)


@op(infer=_while, vjp=NOT_DIFFERENTIABLE, samples=_while_samples, multi=True)
def while_(*operands, cond, body, num_carry):
    """Repeat ``body`` while ``cond`` holds (StableHLO while).

    ``operands`` are the carry and then what the graphs read besides; both graphs take all of them
    and ``body`` returns the next carry. It has no gradient, since the number of turns is unknown:
    use `scan` where one is needed.
    """
    carry, rest = list(operands[:num_carry]), operands[num_carry:]
    while bool(_evaluate(cond, [*carry, *rest])[0]):
        carry = _evaluate(body, [*carry, *rest])
    return tuple(carry)


# ---- scan


def _scan(*operands, body, num_consts, num_carry, length, reverse, history):
    k = num_consts + num_carry
    carry, xs = operands[num_consts:k], operands[k:]
    for i, x in enumerate(xs):
        if not x.shape or x.shape[0] != length:
            raise ArgumentError(
                f"scanned input {i} is {x}; its first axis must have length {length}"
            )
    _takes("the body", body, [*operands[:k], *[x.with_(x.shape[1:]) for x in xs]])
    _outputs_agree("the body", body.output_specs[:num_carry], carry)
    ys = [y.with_((length, *y.shape)) for y in body.output_specs[num_carry:]]
    kept = [c.with_((length, *c.shape)) for c in carry] if history else []
    return (*carry, *ys, *kept)


def _scan_vjp(g, y, *operands, body, num_consts, num_carry, length, reverse, history):
    if not history:  # pruned before anybody asked for a gradient: run it again
        attrs = {"num_consts": num_consts, "num_carry": num_carry, "length": length}
        y = scan(*operands, body=body, reverse=reverse, history=True, **attrs)
        g = (*g, *[None] * (len(y) - len(g)))
    # backward in time: the carry is the cotangents of the carry and of the constants so far; the
    # body's forward runs again from the carry that the history kept
    k = num_consts + num_carry
    consts, xs = operands[:num_consts], operands[k:]
    past = y[len(y) - num_carry :]
    s_const, s_carry, s_xs = (_smooth(v) for v in (consts, operands[num_consts:k], xs))
    ys = y[num_carry : len(y) - num_carry]
    s_ys = [i for i in range(len(ys)) if g[num_carry + i] is not None]
    s_hist = [i for i in s_carry if g[len(y) - num_carry + i] is not None]
    g_carry = _or_zero([g[i] for i in s_carry], [y[i].spec for i in s_carry])
    g_ys = [g[num_carry + i] for i in s_ys]
    g_hist = [g[len(y) - num_carry + i] for i in s_hist]
    smooth = [*s_const, *[num_consts + i for i in s_carry], *[k + i for i in s_xs]]
    n_c, n_k = len(s_const), len(s_carry)

    def step(*args):
        const, rest = args[:num_consts], args[num_consts:]
        g_const, rest = rest[:n_c], rest[n_c:]
        g_now, rest = rest[:n_k], rest[n_k:]
        before, rest = rest[:num_carry], rest[num_carry:]
        x, rest = rest[: len(xs)], rest[len(xs) :]
        gy, gh = rest[: len(s_ys)], rest[len(s_ys) :]
        gs = [None] * len(body.outputs)
        for i, c in zip(s_carry, g_now):
            gs[i] = c
        for i, c in zip(s_ys, gy):
            gs[num_carry + i] = c
        primals = (*const, *before, *x)
        pulled = _pull(body, primals, gs)
        got = _or_zero([pulled[i] for i in smooth], [primals[i].spec for i in smooth])
        add_const = tuple(a + b for a, b in zip(g_const, got[:n_c]))
        pushed = dict(zip(s_hist, gh))
        to_carry = tuple(
            c + pushed[i] if i in pushed else c for i, c in zip(s_carry, got[n_c : n_c + n_k])
        )
        return (*add_const, *to_carry, *got[n_c + n_k :])

    scanned = [*past, *xs, *g_ys, *g_hist]
    first = [*[full(0, consts[i].spec) for i in s_const], *g_carry]
    specs = [
        *[v.spec for v in (*consts, *first)],
        *[v.spec.with_(v.shape[1:]) for v in scanned],
    ]
    turn, late = _without_products(
        trace_closed(step, specs, f"{body.name}_vjp"), num_consts, n_c, n_k
    )
    out = scan(
        *consts, *[x for i, x in enumerate(first) if i not in late], *scanned,
        body=turn, num_consts=num_consts, num_carry=n_c + n_k - len(late), length=length,
        reverse=not reverse,
    )  # fmt: skip
    grads = dict(zip([at for i, at in enumerate(smooth) if i not in late], out))
    stacks = dict(zip(turn.inputs[num_consts + n_c + n_k - len(late) :], scanned))
    stacks |= zip(turn.outputs, out)
    for i, product in late.items():
        grads[smooth[i]] = _over_all_turns(product, *[stacks[v] for v in product.inputs])
    return tuple(grads.get(i) for i in range(len(operands)))


def _without_products(turn, num_consts, n_c, n_k):
    """A loop's backward turn without the products that it only adds up, and these, by place.

    The gradient of a constant that is multiplied in each turn is a sum of products, which is one product
    over all turns where the factors of all of them are kept anyway, as what the turns are given or as
    their results: a third less time for an LSTM, whose turns else add up the whole of its kernel.
    """
    from collections import Counter

    from ..graph import Graph
    from .arithmetic import add
    from .linear import dot_general

    consts, carries = turn.inputs[:num_consts], turn.inputs[num_consts:][: n_c + n_k]
    scanned, outputs = turn.inputs[num_consts + n_c + n_k :], turn.outputs
    uses = Counter([*outputs, *[v for node in turn.nodes for v in node.inputs]])
    late, kept = {}, {*scanned, *outputs[n_c + n_k :]}
    for i in range(n_c):
        node = outputs[i].node
        terms = [v for v in node.inputs if v is not carries[i]]
        if node.op is not add or len(terms) != 1 or uses[carries[i]] != 1 or uses[outputs[i]] != 1:
            continue
        product = terms[0].node
        is_product = product.op is dot_general and not product.attrs["lhs_batching"]
        if is_product and all(v in kept for v in product.inputs):
            late[i] = product
    rest = [v for i, v in enumerate(carries) if i not in late]
    made = [v for i, v in enumerate(outputs) if i not in late]
    return Graph([*consts, *rest, *scanned], made, None, None, turn.name), late


def _over_all_turns(product, lhs, rhs):
    from ..tracing import source_of
    from .linear import dot_general

    left, right = (
        (0, *[axis + 1 for axis in product.attrs[f"{side}_contracting"]]) for side in ("lhs", "rhs")
    )
    with source_of(product, backward=True):
        return dot_general(
            lhs, rhs, lhs_batching=(), rhs_batching=(), lhs_contracting=left, rhs_contracting=right
        )


def _scan_prune(node, xs, live):
    """Drop stacked outputs that nobody reads; the history usually."""
    from ..graph import Graph

    a = node.attrs
    n, body = a["num_carry"], a["body"]
    ys = len(body.outputs) - n
    keep = [i for i in range(ys) if live[n + i]]
    history = any(live[n + ys :])
    if len(keep) == ys and history == a["history"]:
        return None
    outs = [*body.outputs[:n], *[body.outputs[n + i] for i in keep]]
    small = Graph(body.inputs, outs, name=body.name)
    got = scan(*xs, **{**a, "body": small, "history": history})
    kept = iter(got[n:])
    stacked = [next(kept) if live[n + i] else None for i in range(ys)]
    past = list(kept) if history else [None] * (len(live) - n - ys)
    result = [*got[:n], *stacked, *past]
    # nobody reads the holes; they only keep the places
    return [full(0, v.spec) if x is None else x for x, v in zip(result, node.outputs)]


def _scan_samples(d, rng):
    def draw(*shape):
        return rng.uniform(-1, 1, shape).astype(d.numpy)

    specs = [Spec((), d), Spec((2,), d), Spec((2,), d)]
    body = trace_closed(lambda w, c, x: (c * w + x, c * x), specs, "step")
    for n, reverse in ((3, False), (2, True), (0, False)):
        attrs = {"body": body, "num_consts": 1, "num_carry": 1, "length": n, "reverse": reverse}
        yield Sample((draw(), draw(2), draw(n, 2)), attrs)


@op(infer=_scan, vjp=_scan_vjp, samples=_scan_samples, multi=True, prune=_scan_prune)
def scan(*operands, body, num_consts, num_carry, length, reverse=False, history=True):
    """A loop over the first axis of some inputs, with a carry.

    ``operands`` are constants, first carry, and scanned inputs ``[length, ...]``;
    ``body(constants, carry, slices) -> carry, slices of outputs``. Yields the last carry, the
    stacked outputs ``[length, ...]``, and with ``history`` the carry before each step, stacked
    (the gradient needs it; dropped from a graph where none was asked). With ``reverse`` it runs
    from the last slice to the first; stacked arrays keep the inputs' order.
    """
    k = num_consts + num_carry
    consts, carry, xs = operands[:num_consts], list(operands[num_consts:k]), operands[k:]
    specs = [v.spec for v in body.outputs]
    ys = [np.zeros((length, *s.shape), s.dtype.numpy) for s in specs[num_carry:]]
    past = [np.zeros((length, *s.shape), s.dtype.numpy) for s in specs[:num_carry]]
    for i in range(length)[:: -1 if reverse else 1]:
        for h, c in zip(past, carry):
            h[i] = c
        out = _evaluate(body, [*consts, *carry, *[x[i] for x in xs]])
        carry = out[:num_carry]
        for y, v in zip(ys, out[num_carry:]):
            y[i] = v
    return (*carry, *ys, *(past if history else ()))


# ---- calls


def _no_samples(d, rng):
    return ()


def _checkpoint_vjp(g, y, *xs, body, kept):
    from .shape import optimization_barrier

    n = len(y) - kept
    known = dict(zip(body.outputs[n:], y[n:]))
    again = [node for node in body.nodes if not all(v in known for v in node.outputs)]
    read = {v for node in again for v in node.inputs}
    # the barrier keeps the second forward apart from the first: it is computed again, not kept,
    # and not before the cotangents are there
    start = [v for v in known if v in read]
    held = iter(
        optimization_barrier(*xs, *[known[v] for v in start], *[c for c in g if c is not None])
    )
    again_xs = [next(held) for _ in xs]
    known.update((v, next(held)) for v in start)
    return tuple(
        _pull(body, again_xs, [None if c is None else next(held) for c in g], known.items())
    )


@composite(
    infer=lambda *xs, body, kept: body.output_specs,
    vjp=_checkpoint_vjp,
    samples=_no_samples,
    multi=True,
)
def checkpoint_call(*xs, body, kept=0):
    """A graph whose inner values are computed again for the gradient instead of being kept.

    Its last ``kept`` outputs are inner values that are kept all the same.
    """
    from ..tracing import inline

    return tuple(inline(body, xs))


def _custom_vjp(g, y, *xs, body, bwd, num_residuals):
    n = len(y) - num_residuals
    grads = []
    if any(c is not None for c in g[:n]):
        full_g = [full(0, v.spec) if c is None else c for c, v in zip(g[:n], y)]
        grads.append(bwd(y[n:], full_g, xs))
    if any(c is not None for c in g[n:]):  # a second derivative: what the rule kept, as computed
        grads.append(_pull(body, xs, [*[None] * n, *g[n:]]))
    return tuple(added(*cs) for cs in zip(*grads))


@composite(
    infer=lambda *xs, body, bwd, num_residuals: body.output_specs,
    vjp=_custom_vjp,
    samples=_no_samples,
    multi=True,
)
def custom_vjp_call(*xs, body, bwd, num_residuals):
    """A graph with a gradient of the user's own; its last outputs are what that gradient needs."""
    from ..tracing import inline

    return tuple(inline(body, xs))
