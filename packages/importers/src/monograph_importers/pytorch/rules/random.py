"""Random numbers: Monograph's own generator, so other numbers than torch's of the same distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

from ._types import cast, made


def dropped(x: Any, p: float, key: Any) -> Any:
    """``x`` with elements zeroed with probability ``p``, the others scaled up."""
    if p >= 1:
        return mg.zeros_like(x)
    return mg.where(_kept(x, p, key), x / (1 - p), 0.0)


def _kept(x: Any, p: float, key: Any) -> Any:
    return mg.random.bernoulli(key, 1 - p, x.shape)


def _dropout(x: Any, p: float, train: bool, *, key: Any = None) -> Any:
    return x if key is None else dropped(x, p, key)


def _feature_dropout(x: Any, p: float, train: bool, *, key: Any = None) -> Any:
    if key is None:
        return x
    whole = mg.ones((*x.shape[:2], *[1] * (x.ndim - 2)), dtype=x.dtype)
    return x * dropped(whole, p, key)


def _native_dropout(x: Any, p: float, train: Any = True, *, key: Any = None) -> tuple[Any, Any]:
    if key is None:
        return x, mg.ones(x.shape, dtype="bool")
    kept = _kept(x, p, key) if p < 1 else mg.zeros(x.shape, dtype="bool")
    return mg.where(kept, x / (1 - p) if p < 1 else x, 0.0), kept


def _rrelu(
    x: Any, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any, key: Any = None, **__: Any
) -> Any:
    slope = (
        (lower + upper) / 2
        if key is None
        else mg.random.uniform(key, x.shape, x.dtype) * (upper - lower) + lower
    )
    return mg.where(x > 0, x, x * slope)


def _drawn(draw: Callable) -> Callable:
    def rule(size: Any, *args: Any, dtype: Any = None, key: Any, **_: Any) -> Any:
        return draw(key, tuple(size), dtype or "float32")

    return rule


def _drawn_like(draw: Callable) -> Callable:
    return lambda x, *, dtype=None, key, **_: draw(key, x.shape, dtype or x.dtype)


def _randint(low: int, high: int, size: Any, *, dtype: Any = None, key: Any, **_: Any) -> Any:
    return mg.random.randint(key, tuple(size), low, high, dtype or "int64")


def _bernoulli(x: Any, p: Any = None, *, generator: Any = None, key: Any) -> Any:
    chance = x if p is None else p
    return cast(mg.random.uniform(key, x.shape) < chance, x.dtype)


def _randperm(n: int, *, dtype: Any = None, key: Any, **_: Any) -> Any:
    return cast(mg.random.permutation(key, *made(n)), dtype or "int64")


def _normal(x: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None, key: Any) -> Any:
    return mg.random.normal(key, x.shape, x.dtype) * std + mean


def _uniform(
    x: Any, low: float = 0.0, high: float = 1.0, *, generator: Any = None, key: Any
) -> Any:
    return mg.random.uniform(key, x.shape, x.dtype) * (high - low) + low


RULES: dict[str, Callable] = {
    "bernoulli": _bernoulli, "dropout": _dropout, "feature_dropout": _feature_dropout,
    "native_dropout": _native_dropout, "normal_functional": _normal, "normal.float_float": _normal,
    "normal.default": _normal, "rand": _drawn(mg.random.uniform),
    "rand_like": _drawn_like(mg.random.uniform), "randint": lambda high, size, **kw: _randint(0, high, size, **kw),
    "randint.low": _randint, "randn": _drawn(mg.random.normal),
    "randn_like": _drawn_like(mg.random.normal), "randperm": _randperm, "rrelu": _rrelu, "uniform": _uniform,
}  # fmt: skip


def _drops(x: Any, p: float, train: Any = True) -> bool:
    return train is not False and p > 0


DRAWS: dict[str, Callable[..., bool]] = {
    **{name.partition(".")[0]: lambda *args, **kwargs: True for name in RULES},
    "rrelu": lambda x, lower=0.0, upper=1.0, training=False, generator=None: training,
    "dropout": _drops, "feature_dropout": _drops, "native_dropout": _drops,
}  # fmt: skip
