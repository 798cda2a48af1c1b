"""For those who write layers over graphs: `layer`, which knows what an index is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import monograph as mg
import monograph_layers.authoring
from monograph_layers.authoring import refuse

from .index import EdgeIndex

__all__ = ["layer", "refuse"]

F = TypeVar("F", bound=Callable)


def layer(fn: F) -> F:
    """Make ``fn(scope, index, x, ...)`` a layer; as ``index``, anything but an `EdgeIndex` is refused.

    One whose second parameter has another name, such as a batch, is a layer as any other.

    >>> @layer
    ... def degrees(scope, index):
    ...     return index.in_degrees
    >>> store = mg.Store()
    >>> store.bind(lambda scope: degrees(scope / "d", [[0, 1], [1, 2]]), engine="numpy")()
    Traceback (most recent call last):
    monograph.errors.ArgumentError: ...degrees 'd': a list is no EdgeIndex; gnn.edge_index(senders, receivers,...
    """

    if fn.__code__.co_varnames[1] != "index":
        return monograph_layers.authoring.layer(fn)

    @functools.wraps(fn)
    def checked(scope: mg.Scope, index: Any, *args: Any, **kwargs: Any) -> Any:
        given = index if isinstance(index, (list, tuple)) and index else [index]  # of each relation
        for one in given:
            if not isinstance(one, EdgeIndex):
                _refuse(scope, fn.__name__, one)
        return fn(scope, index, *args, **kwargs)

    return monograph_layers.authoring.layer(checked)  # type: ignore[return-value]


def _refuse(scope: mg.Scope, name: str, x: Any) -> None:
    kind = type(x).__name__
    how = "gnn.edge_index(senders, receivers, num_nodes) makes one"
    if isinstance(getattr(x, "index", None), EdgeIndex):
        how = f"a {kind} has one as .index"
    refuse(scope, name, f"a {kind} is no EdgeIndex; {how}", mg.errors.ArgumentError)
