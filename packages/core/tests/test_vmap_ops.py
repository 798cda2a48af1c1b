"""vmap over every op record: its own samples in three lanes, against one call per lane.

For all combinations of batched and shared operands, values and gradients, on the NumPy engine.
"""

import itertools

import monograph as mg
import numpy as np
import pytest
from monograph import ops
from monograph.batching import Lanes, leading, loop, rule_of, through_body
from monograph.op import NOT_DIFFERENTIABLE, Sample, core_ops
from monograph.ops import literal
from monograph.spec import Spec
from monograph.testing.distance import distance
from monograph.testing.oracles import dtypes_of, reference, samples_of

LANES = 3
DTYPES = ("float64", "float32", "int32", "uint8", "uint32", "uint64", "bool", "complex128")
OPS = [o for o in core_ops() if o.operands or o.variadic]


def varied(a, lane):
    """Another array of the same kind for each lane: near it if inexact, else of the same values."""
    a = np.asarray(a)
    if lane == 0:
        return a
    if Spec.of(a).dtype.is_inexact:
        with np.errstate(all="ignore"):
            return (a * (1 + lane / 64)).astype(a.dtype)
    if a.ndim:
        return np.roll(a, lane)
    return (
        a ^ bool(lane % 2) if a.dtype == bool else (a + np.asarray(lane, a.dtype)).astype(a.dtype)
    )


def combinations(count):
    """Which operands are batched: all combinations of up to three, else all of them and each alone."""
    if count <= 3:
        return [c for c in itertools.product([True, False], repeat=count) if any(c)]
    return [(True,) * count, *[tuple(i == j for j in range(count)) for i in range(count)]]


def operands(sample, batched):
    """What vmap gets, and what each lane's own call gets."""
    each = [[varied(a, i if b else 0) for a, b in zip(sample.operands, batched)]
            for i in range(LANES)]  # fmt: skip
    stacked = [np.stack(a) if b else a[0] for a, b in zip(zip(*each), batched)]
    return stacked, each


def axes(batched):
    return tuple([0 if b else None for b in batched])


def outputs(op, sample):
    def call(*xs):
        out = op(*xs, **sample.attrs)
        return out if op.multi else (out,)

    return call


def agree(op, got, want, ulps, where):
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        g, w = np.asarray(g), np.asarray(w)
        assert g.shape == w.shape and g.dtype == w.dtype, (op.name, i, g.shape, w.shape, where)
        off = distance(g, w, Spec.of(w).dtype)
        assert off <= ulps, f"{op.name}: output {i} is off by {off:.3g} ulp, {where}"


def cases(op):
    for d in dtypes_of(op):
        if d.name in DTYPES:
            for s in samples_of(op, d):
                for batched in combinations(len(s.operands)):
                    yield s, batched, f"{d.name}, batched {batched}, {s.attrs}"


@pytest.mark.parametrize("op", OPS, ids=lambda o: o.name)
def test_values_are_those_of_one_call_per_lane(op):
    for s, batched, where in cases(op):
        stacked, each = operands(s, batched)
        wants = [reference(op, Sample(tuple(xs), s.attrs)) for xs in each]
        got = mg.vmap(outputs(op, s), axes(batched))(*stacked)
        agree(op, [y.numpy() for y in got], map(np.stack, zip(*wants)), op.ulps, where)


SMOOTH = [o for o in OPS if o.vjp is not NOT_DIFFERENTIABLE and o is not ops.while_]


@pytest.mark.parametrize("op", SMOOTH, ids=lambda o: o.name)
def test_gradients_are_those_of_one_call_per_lane(op):
    """Both ways round: each lane's gradient, batched; and the gradient of the batch."""
    for s, batched, where in cases(op):
        live = [i for i, a in enumerate(s.operands) if Spec.of(a).dtype.name in
                ("float64", "complex128") and a.size]  # fmt: skip
        if not s.grad or not live or "float32" in where:
            continue
        call = outputs(op, s)

        def total(*xs, call=call):
            parts = []
            for y in call(*xs):
                if y.dtype.is_inexact:
                    w = np.cos(np.arange(y.size)).reshape(y.shape)  # any numbers that differ
                    y = y * literal(w, y.dtype)
                    parts.append(mg.sum(mg.real(y) if y.dtype.is_complex else y))
            return sum(parts[1:], parts[0]) if parts else mg.sum(literal(0.0))

        stacked, each = operands(s, batched)
        grad = mg.grad(total, tuple(live))
        wants = [[g.numpy() for g in grad(*xs)] for xs in each]
        per_lane = mg.vmap(grad, axes(batched))(*stacked)
        ulps = max(64, 8 * op.ulps)  # as the conformance kit allows a gradient
        agree(op, [g.numpy() for g in per_lane], map(np.stack, zip(*wants)), ulps, where)
        batch = mg.vmap(total, axes(batched))
        of_batch = mg.grad(lambda *xs, f=batch: mg.sum(f(*xs)), tuple(live))(*stacked)
        sums = [np.stack(g) if batched[i] else np.sum(g, 0) for i, g in zip(live, zip(*wants))]
        agree(op, [g.numpy() for g in of_batch], sums, ulps, where)


@pytest.mark.parametrize("op", OPS, ids=lambda o: o.name)
def test_the_loop_over_lanes_is_right_for_every_op(op):
    """The rule of last resort, which no op of core needs, and a composite's body."""
    d = next(d for d in dtypes_of(op) if d.name in DTYPES)
    for s in samples_of(op, d):
        batched = (True,) + (False,) * (len(s.operands) - 1)
        stacked, each = operands(s, batched)
        wants = [reference(op, Sample(tuple(xs), s.attrs)) for xs in each]
        for rule in (loop, through_body) if op.body else (loop,):
            run = mg.jit(
                lambda *xs, s=s, rule=rule, batched=batched: rule(
                    op, xs, batched, Lanes(LANES), **op.bind(s.operands, s.attrs)
                )
            )
            got = run(*stacked)
            got = [y.numpy() for y in (got if op.multi else (got,))]
            agree(op, got, map(np.stack, zip(*wants)), op.ulps, f"{rule.__name__} {s.attrs}")


def test_which_ops_have_which_kind_of_rule():
    """A decision each: an op added to core stands here, or is elementwise, or gets a rule."""
    kinds = {op.name: rule_of(op) for op in core_ops() if op in OPS}
    assert [name for name, rule in kinds.items() if rule is loop] == []
    assert [name for name, rule in kinds.items() if rule is through_body] == [
        "all_finite", "attention_mask_backward", "layer_norm_backward", "lstm", "lstm_backward",
        "random_bits", "rms_norm_backward", "threefry_2x32",
    ]  # fmt: skip
    derived = [op.name for op in OPS if getattr(op.infer, "elementwise", False)]
    assert all(kinds[name] is leading for name in derived) and len(derived) > 55
