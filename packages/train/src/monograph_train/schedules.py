"""Learning rates over time: ``schedule(step) -> rate``, where ``step`` counts updates from 0.

A schedule is traced with the step, so that one compilation serves the whole training. Names and
arguments are Keras's, but for those of PyTorch and optax that Keras lacks.

>>> rate = warmup(cosine_decay(1.0, decay_steps=100), steps=10)
>>> [round(rate(step).item(), 3) for step in (0, 5, 10, 60, 110, 999)]
[0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError

__all__ = [
    "adjustable", "constant", "cosine_decay", "cosine_restarts", "exponential_decay",
    "inverse_time_decay", "join", "one_cycle", "piecewise_constant", "polynomial_decay", "warmup",
]  # fmt: skip

Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class Adjustable:
    """A learning rate that is a variable; made by `adjustable`."""

    first: float


def adjustable(first: float) -> Adjustable:
    """A learning rate kept in the store, to be changed between steps without another compilation.

    Given to an optimizer called with ``scope / "optimizer"``, it is changed with
    ``store["optimizer/learning_rate"] = 0.01``.
    """
    return Adjustable(first)


def _number(step: Any) -> Any:
    return mg.astype(mg.asarray(step), "float32")


def _positive(**steps: float) -> None:
    for name, n in steps.items():
        if not n > 0:
            raise ArgumentError(f"{name}={n} must be above 0")


def constant(value: float) -> Schedule:
    """``value`` at every step."""
    return lambda step: mg.full((), value, dtype="float32")


def polynomial_decay(
    initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 1e-4,
    power: float = 1.0,
) -> Schedule:  # fmt: skip
    """From one rate to another along ``(1 - step / decay_steps) ** power``; linear by default."""
    _positive(decay_steps=decay_steps)

    def rate(step: Any) -> Any:
        left = 1 - mg.minimum(_number(step), float(decay_steps)) / decay_steps
        return end_learning_rate + (initial_learning_rate - end_learning_rate) * left**power

    return rate


def exponential_decay(
    initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
) -> Schedule:
    """``initial * decay_rate ** (step / decay_steps)``; ``staircase``: of whole numbers only."""
    _positive(decay_steps=decay_steps, decay_rate=decay_rate)

    def rate(step: Any) -> Any:
        return initial_learning_rate * mg.exp(
            _periods(step, decay_steps, staircase) * math.log(decay_rate)
        )

    return rate


def inverse_time_decay(
    initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
) -> Schedule:
    """``initial / (1 + decay_rate * step / decay_steps)``; ``staircase``: of whole numbers only."""
    _positive(decay_steps=decay_steps)
    return lambda step: (
        initial_learning_rate / (1 + decay_rate * _periods(step, decay_steps, staircase))
    )


def _periods(step: Any, decay_steps: int, staircase: bool) -> Any:
    n = _number(step) / decay_steps
    return mg.floor(n) if staircase else n


def piecewise_constant(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """``values[i]`` up to and with step ``boundaries[i]``, the last value thereafter.

    >>> rate = piecewise_constant([10, 20], [1.0, 0.5, 0.1])
    >>> [round(rate(step).item(), 3) for step in (0, 10, 11, 20, 21)]
    [1.0, 1.0, 0.5, 0.5, 0.1]
    """
    return join([constant(v) for v in values], [b + 1 for b in boundaries])


def cosine_decay(
    initial_learning_rate: float, decay_steps: int, alpha: float = 0.0,
    warmup_target: float | None = None, warmup_steps: int = 0,
) -> Schedule:  # fmt: skip
    """Down half a cosine wave to ``alpha`` of the start (Loshchilov and Hutter 2017).

    Args:
        warmup_target: go linearly to this rate first, in ``warmup_steps``, and decay from it.
    """
    _positive(decay_steps=decay_steps)
    if warmup_target is not None:
        _positive(warmup_steps=warmup_steps)
        rise = polynomial_decay(initial_learning_rate, warmup_steps, warmup_target)
        return join([rise, cosine_decay(warmup_target, decay_steps, alpha)], [warmup_steps])

    def rate(step: Any) -> Any:
        done = mg.minimum(_number(step), float(decay_steps)) / decay_steps
        return initial_learning_rate * (_wave(done) * (1 - alpha) + alpha)

    return rate


def _wave(done: Any) -> Any:
    """From 1 to 0 while ``done`` goes from 0 to 1."""
    return 0.5 * (1 + mg.cos(math.pi * done))


def cosine_restarts(
    initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0,
    alpha: float = 0.0,
) -> Schedule:  # fmt: skip
    """`cosine_decay` again and again, as Keras's ``CosineDecayRestarts``.

    Args:
        first_decay_steps: length of the first period.
        t_mul: each period is so many times as long as the one before.
        m_mul: each starts at so much of the rate of the one before.
    """
    _positive(first_decay_steps=first_decay_steps)
    if t_mul < 1:
        raise ArgumentError(f"t_mul={t_mul} must be at least 1")

    def rate(step: Any) -> Any:
        done = _number(step) / first_decay_steps
        if t_mul == 1:
            period = mg.floor(done)
            done = done - period
        else:  # a period starts at (1 - t_mul ** i) / (1 - t_mul)
            # rounding must not keep a period's first step in the one before
            period = mg.floor(mg.log(1 - done * (1 - t_mul)) / math.log(t_mul) + 1e-5)
            scale = mg.exp(period * math.log(t_mul))
            done = mg.maximum(done - (1 - scale) / (1 - t_mul), 0.0) / scale
        height = mg.exp(period * math.log(m_mul))
        return initial_learning_rate * (height * _wave(done) * (1 - alpha) + alpha)

    return rate


def one_cycle(
    max_lr: float, total_steps: int, pct_start: float = 0.3, anneal_strategy: str = "cos",
    div_factor: float = 25.0, final_div_factor: float = 1e4,
) -> Schedule:  # fmt: skip
    """Up and down once (Smith and Topin 2019), the rate of ``torch.optim.lr_scheduler.OneCycleLR``.

    Args:
        max_lr: the rate at the top.
        total_steps: how many steps there are; the last is ``total_steps - 1``.
        pct_start: the share of them that go up.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        div_factor: the first rate is ``max_lr / div_factor``.
        final_div_factor: the last is the first over this.

    Raises:
        ArgumentError: another strategy, or a share that leaves no way up or down.
    """
    ways = {"cos": lambda done: 1 - _wave(done), "linear": lambda done: done}
    if anneal_strategy not in ways:
        raise ArgumentError(f"anneal_strategy={anneal_strategy!r} is neither 'cos' nor 'linear'")
    top, last = pct_start * total_steps - 1, total_steps - 1
    if not 0 < top < last:
        raise ArgumentError(f"pct_start={pct_start} of total_steps={total_steps} leaves no way up")
    first = max_lr / div_factor
    way = ways[anneal_strategy]

    def rate(step: Any) -> Any:
        n = mg.minimum(_number(step), float(last))
        up = _between(first, max_lr, way(n / top))
        down = _between(max_lr, first / final_div_factor, way((n - top) / (last - top)))
        return mg.where(n <= top, up, down)

    return rate


def _between(a: float, b: float, way: Any) -> Any:
    """From ``a`` to ``b`` as ``way`` goes from 0 to 1, exact at both ends however far apart."""
    return a * (1 - way) + b * way


def warmup(schedule: Schedule | float, steps: int, start: float = 0.0) -> Schedule:
    """Linearly from ``start`` to the schedule's first rate in ``steps``, then the schedule."""
    _positive(steps=steps)
    after = schedule if callable(schedule) else constant(schedule)
    return join([lambda step: start + (after(0) - start) * (_number(step) / steps), after], [steps])


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another: the next begins, with its step 0, at each boundary.

    Raises:
        ArgumentError: there is not one boundary between each two, or they do not rise.
    """
    if len(boundaries) != len(schedules) - 1 or list(boundaries) != sorted(set(boundaries)):
        raise ArgumentError(
            f"{len(schedules)} schedules need {len(schedules) - 1} rising boundaries, got "
            f"{list(boundaries)}"
        )

    def rate(step: Any) -> Any:
        step = mg.asarray(step)
        out = schedules[0](step)
        for begin, schedule in zip(boundaries, schedules[1:]):
            # held at its first step before it begins: there it may not be defined
            out = mg.where(step < begin, out, schedule(mg.maximum(step - begin, 0)))
        return out

    return rate
