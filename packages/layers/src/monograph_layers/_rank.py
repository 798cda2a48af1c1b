"""`ranks`: one layer over any number of spatial axes, under Keras's name for one, two and three."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import monograph as mg

from .authoring import refuse

F = TypeVar("F", bound=Callable)

AXES = ("steps", "height, width", "depth, height, width")


def ranks(fn: F, name: str) -> tuple[F, F, F]:
    """``fn`` for inputs of one, two and three spatial axes only, as ``name.format(1)`` and so on.

    They say of another input what is wrong with it; all else, and the documentation, is ``fn``'s.
    """

    def fixed(n: int) -> F:
        axes, own = f"[batch, {AXES[n - 1]}, channels]", name.format(n)

        @functools.wraps(fn)
        def call(scope: mg.Scope, x: Any, *args: Any, **kwargs: Any) -> Any:
            if x.ndim != n + 2:
                refuse(scope, own, f"needs {axes}, got shape {x.shape}")
            return fn(scope, x, *args, **kwargs)

        call.__name__ = call.__qualname__ = own
        call.__doc__ = f"`{fn.__name__}` of ``{axes}`` only.\n\n    {fn.__doc__}"
        return call  # type: ignore[return-value]

    return fixed(1), fixed(2), fixed(3)
