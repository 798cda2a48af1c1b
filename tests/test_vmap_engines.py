"""What vmap makes of each op record, run by the engines: one graph per op, against the NumPy engine."""

import monograph as mg
import numpy as np
import pytest
from monograph.op import core_ops
from monograph.spec import Spec
from monograph.testing.distance import distance
from monograph.testing.oracles import dtypes_of, samples_of

DTYPES = ("float32", "int32", "bool", "complex64", "uint32")
# elementwise ops need no proof here, and calls have no samples: tests/test_vmap_programs.py has them
OPS = [
    o for o in core_ops() if (o.operands or o.variadic) and not getattr(o.infer, "elementwise", False)
    and o.name not in ("checkpoint_call", "custom_vjp_call")
]  # fmt: skip


def calls(op):
    """Each sample with all operands batched, with the first alone, and of two the second."""
    d = next((d for n in DTYPES for d in dtypes_of(op) if d.name == n), None)
    for s in samples_of(op, d) if d else ():
        n = len(s.operands)
        # engines may part at infinities and the like: that is the conformance kit's to judge
        if all(a.size and np.isfinite(a).all() for a in map(np.asarray, s.operands)):
            for batched in {
                (True,) * n,
                *[tuple(i == k for i in range(n)) for k in ((0, 1) if n == 2 else (0,))],
            }:
                xs = [np.stack([a, a, a]) if b else a for a, b in zip(s.operands, batched)]
                yield s, tuple(0 if b else None for b in batched), xs


def run(op, found, engine):
    def every(*xs):
        given, outs = iter(xs), []
        for s, axes, own in found:
            y = mg.vmap(lambda *v, s=s: op(*v, **s.attrs), axes)(*[next(given) for _ in own])
            outs += y if op.multi else [y]
        return tuple(outs)

    ys = mg.jit(every, engine=engine)(*[x for _, _, own in found for x in own])
    return [y.numpy() for y in ys]


@pytest.mark.parametrize("op", OPS, ids=lambda o: o.name)
def test_engines_agree(op):
    found = list(calls(op))
    assert found
    want = run(op, found, "numpy")
    for engine in ("xla", "torch"):
        for i, (g, w) in enumerate(zip(run(op, found, engine), want, strict=True)):
            assert g.shape == w.shape and g.dtype == w.dtype
            if w.dtype.kind in "fc" and not np.isfinite(w).all():
                continue  # a singular system: which of its infinities are NaN is the engine's affair
            off = distance(g, w, Spec.of(w).dtype)
            assert off <= 2 * op.ulps, f"{op.name} on {engine}: output {i} is off by {off:.3g} ulp"
