"""Schedules against Keras's, optax's and PyTorch's at many steps, and on every engine."""

import math
import os
import warnings

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_train import schedules as s

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason="a reference")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="a reference")
    optax = pytest.importorskip("optax", reason="a reference")
k = keras.optimizers.schedules

CASES = {
    "cosine": (lambda: s.cosine_decay(0.3, 50), lambda: k.CosineDecay(0.3, 50)),
    "cosine-alpha": (lambda: s.cosine_decay(0.3, 50, 0.1), lambda: k.CosineDecay(0.3, 50, 0.1)),
    "cosine-warm": (
        lambda: s.cosine_decay(0.1, 40, 0.1, warmup_target=0.7, warmup_steps=15),
        lambda: k.CosineDecay(0.1, 40, 0.1, warmup_target=0.7, warmup_steps=15),
    ),
    "exponential": (
        lambda: s.exponential_decay(0.3, 10, 0.7), lambda: k.ExponentialDecay(0.3, 10, 0.7)
    ),
    "exponential-stairs": (
        lambda: s.exponential_decay(0.3, 10, 0.7, True),
        lambda: k.ExponentialDecay(0.3, 10, 0.7, True),
    ),
    "inverse": (
        lambda: s.inverse_time_decay(0.3, 10, 0.7), lambda: k.InverseTimeDecay(0.3, 10, 0.7)
    ),
    "inverse-stairs": (
        lambda: s.inverse_time_decay(0.3, 10, 0.7, True),
        lambda: k.InverseTimeDecay(0.3, 10, 0.7, True),
    ),
    "polynomial": (
        lambda: s.polynomial_decay(0.3, 50, 0.01, 2.0), lambda: k.PolynomialDecay(0.3, 50, 0.01, 2.0)
    ),
    "piecewise": (
        lambda: s.piecewise_constant([10, 30], [0.5, 0.2, 0.1]),
        lambda: k.PiecewiseConstantDecay([10, 30], [0.5, 0.2, 0.1]),
    ),
    "restarts": (
        lambda: s.cosine_restarts(0.3, 13, 1.0, 0.8, 0.1),
        lambda: k.CosineDecayRestarts(0.3, 13, 1.0, 0.8, 0.1),
    ),
    "warmup": (
        lambda: s.warmup(s.polynomial_decay(0.3, 50, 0.0, 3.0), 10, 0.05),
        lambda: optax.join_schedules(
            [optax.linear_schedule(0.05, 0.3, 10), optax.polynomial_schedule(0.3, 0.0, 3.0, 50)], [10]
        ),
    ),
    "warmup-constant": (
        lambda: s.warmup(0.3, 10), lambda: optax.schedules.warmup_constant_schedule(0.0, 0.3, 10)
    ),
    "join": (
        lambda: s.join([s.constant(0.1), s.exponential_decay(0.3, 5, 0.5), s.constant(0.2)], [7, 40]),
        lambda: optax.join_schedules(
            [optax.constant_schedule(0.1), optax.exponential_decay(0.3, 5, 0.5),
             optax.constant_schedule(0.2)], [7, 40]
        ),
    ),
}  # fmt: skip
STEPS = range(90)


@pytest.mark.parametrize("ours, theirs", CASES.values(), ids=CASES)
def test_rates_are_those_of_keras_or_optax(ours, theirs):
    want = [float(theirs()(step)) for step in STEPS]
    check(ours(), want)


def check(schedule, want):
    steps = np.arange(len(want), dtype="int32")
    got = [schedule(mg.tensor(step)).item() for step in steps]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    for engine in ("xla", "torch"):
        rate = mg.jit(schedule, engine=engine)
        for step in (0, 9, 10, 11, 50, len(want) - 1):
            np.testing.assert_allclose(rate(steps[step]), want[step], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("t_mul, m_mul", [(1.0, 1.0), (2.0, 0.7), (1.5, 1.0), (3.0, 0.5)])
def test_cosine_restarts_begin_where_they_should(t_mul, m_mul):
    want, height, length, done = [], 1.0, 8.0, 0.0
    for _ in range(200):
        if done >= length - 1e-9:
            done, length, height = done - length, length * t_mul, height * m_mul
        want.append(0.3 * height * 0.5 * (1 + math.cos(math.pi * done / length)))
        done += 1
    got = [s.cosine_restarts(0.3, 8, t_mul, m_mul)(step).item() for step in range(200)]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)
    theirs = k.CosineDecayRestarts(0.3, 8, t_mul, m_mul)
    inside = [i for i in range(1, 200) if want[i] <= want[i - 1]]  # not where a period begins
    np.testing.assert_allclose(
        [got[i] for i in inside], [float(theirs(i)) for i in inside], rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize("options", [{}, {"pct_start": 0.2, "anneal_strategy": "linear"}])
def test_one_cycle_is_torch(options):
    p = [torch.nn.Parameter(torch.zeros(()))]
    optimizer = torch.optim.SGD(p, 0.1)
    follow = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=60, **options)
    want = []
    for _ in range(60):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(want) < 60:
            follow.step()
    check(s.one_cycle(0.5, 60, **options), want)
    assert s.one_cycle(0.5, 60, **options)(999).item() == pytest.approx(want[-1])


def test_bad_schedules_are_named():
    for make, says in [
        (lambda: s.cosine_decay(0.1, 0), "decay_steps=0"),
        (lambda: s.one_cycle(0.1, 10, anneal_strategy="exp"), "anneal_strategy='exp'"),
        (lambda: s.one_cycle(0.1, 2), "pct_start=0.3"),
        (lambda: s.join([s.constant(1.0)] * 2, []), "2 schedules need 1 rising boundaries"),
        (lambda: s.piecewise_constant([5, 5], [1.0, 0.5, 0.1]), r"rising boundaries, got \[6, 6\]"),
        (lambda: s.cosine_restarts(0.1, 5, 0.5), "t_mul=0.5"),
        (lambda: s.exponential_decay(0.1, 5, 0.0), "decay_rate=0.0"),
    ]:
        with pytest.raises(ArgumentError, match=says):
            make()
