"""For those who write layers: `layer`, what every layer has in common, so that no layer repeats it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

import monograph as mg
from monograph.tracing import at_user_line, in_scope

F = TypeVar("F", bound=Callable)

LAYERS: dict[str, Callable] = {}
"""Every layer by name; `monograph_layers.testing` has an example of each."""


KEPT: set[type] = set()
"""Trees that layers take and give in their own dtypes, whatever the policy: caches."""


def layer(fn: F) -> F:
    """Make ``fn(scope, x, ...)`` a layer.

    Under a scope's policy its floating inputs arrive in ``policy.compute``, and its floating
    results leave in ``policy.output`` (None: as they are); layers that it is made of answer it in
    ``policy.compute``. What it records knows the scope's path.
    """

    @functools.wraps(fn)
    def call(scope: mg.Scope, *args: Any, **kwargs: Any) -> Any:
        policy = scope.policy
        with in_scope(scope.path):
            if policy is None:
                return fn(scope, *args, **kwargs)
            args, kwargs = _cast((args, kwargs), policy.compute)
            within = scope.with_policy(_Within(policy.param, policy.compute))
            return _cast(fn(within, *args, **kwargs), policy.output)

    LAYERS[fn.__name__] = call
    return call  # type: ignore[return-value]


class _Within(NamedTuple):
    """A policy as it is inside a layer."""

    param: Any
    compute: Any
    output: Any = None


def _cast(values: Any, dtype: Any) -> Any:
    """The same structure with every floating array in ``dtype``.

    A tree of a class in `KEPT` stays as it is: it goes from call to call.
    """
    kind = type(values)
    if dtype is None or kind in KEPT:
        return values
    if kind in (tuple, list):
        return kind(_cast(v, dtype) for v in values)
    if kind is dict:
        return {k: _cast(v, dtype) for k, v in values.items()}

    def one(x: Any) -> Any:
        return mg.astype(x, dtype) if isinstance(x, mg.Array) and x.dtype.is_float else x

    return mg.tree.map(one, values)


def refuse(
    scope: mg.Scope, name: str, message: str, error: type = mg.errors.ShapeError
) -> NoReturn:
    """Raise ``error`` at the user's line, naming the layer and its scope."""
    where = f"{name} {scope.path!r}" if scope.path else name
    raise at_user_line(error(f"{where}: {message}"))


def each(scope: mg.Scope, name: str, what: str, value: int | Any, n: int) -> tuple[int, ...]:
    """``value`` as one positive number per spatial axis, from one for all or one each."""
    out = (value,) * n if isinstance(value, int) else tuple(value)
    if len(out) != n or not all(isinstance(v, int) and v > 0 for v in out):
        refuse(
            scope, name, f"{what}={value!r} must be a positive integer, or {n} of them, one per "
            f"spatial axis", mg.errors.ArgumentError,
        )  # fmt: skip
    return out
