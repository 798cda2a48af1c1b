"""Values by name, and which share memory in torch: a write through one shows in the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.tracing import tracing

from .program import Graph, Node, Ref
from .rules import WRITES, is_view, resolved

_VIEW = 1 << 10  # positions that a view counts as, however few it has


class _View(NamedTuple):
    of: str
    read: Callable[[Any], Any]
    kind: str  # "contiguous" and "reshape" are copies where the elements lie in another way


class Memory:
    """The values of one run of a graph.

    Args:
        spend: told of how many positions are to be computed, or what takes as long.
    """

    def __init__(self, spend: Callable[[int], None] = lambda n: None) -> None:
        self.spend = spend
        self.values: dict[str, Any] = {}
        self.views: dict[str, _View] = {}  # each after the one it looks at
        self.owners: dict[str, str] = {}  # by the views' names
        self.version: dict[str, int] = {}  # how often memory was written, by its owner's name
        self.seen: dict[str, int] = {}

    def put(self, name: str, value: Any) -> None:
        """A value with memory of its own."""
        self.values[name] = value

    def view(
        self, name: str, value: Any, of: str, read: Callable = lambda x: x, kind: str = ""
    ) -> None:
        """A value that looks at another's memory: ``value = read(that of ``of``)``."""
        self.values[name], self.views[name] = value, _View(of, read, kind)
        self.owners[name] = self._owner(of)
        self.seen[name] = self.version.get(self._owner(name), 0)

    def get(self, name: str) -> Any:
        """A value as it is now."""
        now, at = self.version.get(self._owner(name), 0), name
        stale: list[str] = []
        while at in self.views and self.seen[at] != now:
            view = self.views[at]
            if self._copied(view):
                self.seen[at] = now
                break
            stale.append(at)
            at = view.of
        for at in reversed(stale):
            view = self.views[at]
            self.values[at] = view.read(self.values[view.of])
            self.seen[at] = now
        return self.values[name]

    def write(self, name: str, value: Any) -> None:
        """Another value in the same memory."""
        self.get(name)
        owner = self._parted(name)
        if owner != name:
            self.values[owner] = _put(self.values[owner], self._places(name), value)
        self.version[owner] = self.version.get(owner, 0) + 1
        self.seen[name] = self.version[owner]
        self.values[name] = value

    def written(self, names: Iterable[str]) -> bool:
        """Whether memory that one of ``names`` owns was written."""
        return any(self.version.get(n) for n in names)

    def _owner(self, name: str) -> str:
        return self.owners.get(name, name)

    def _parted(self, name: str) -> str:
        """The owner of the memory that a write changes; a copy on the way to it is one from now on."""
        while name in self.views:
            view = self.views[name]
            if self._copied(view):
                self.version[name] = self.version.get(self._owner(name), 0)
                del self.views[name]
                self.owners = {}
                for view_name, view in self.views.items():
                    self.spend(1)
                    self.owners[view_name] = self._owner(view.of)
            else:
                name = view.of
        return name

    def _places(self, name: str) -> Any:
        """The positions of a value's elements in its owner's, or in a copy on the way, as NumPy arrays."""
        line = [name]  # of views, from the last one to the owner
        while line[-1] in self.views:
            line.append(self.views[line[-1]].of)
        places: Any = None
        for name in reversed(line):
            self.spend(_VIEW)
            if name in self.views and not _is_copy(self.views[name], places):
                places = _read(self.views[name], places)
            else:
                shape = self.values[name].shape
                self.spend(size := math.prod(shape))
                places = np.arange(size).reshape(shape)
        return places

    def _copied(self, view: _View) -> bool:
        return bool(view.kind) and _is_copy(view, self._places(view.of))


def _read(view: _View, places: Any) -> Any:
    with tracing(None), mg.engine("numpy"):
        found = view.read(mg.tree.map(mg.tensor, places))
        return mg.tree.map(lambda x: x.numpy(), found)


def _is_copy(view: _View, places: np.ndarray) -> bool:
    """Whether torch made a copy, for the result could not be read off the memory by strides."""
    if not view.kind:
        return False
    if view.kind == "contiguous":
        return bool((np.diff(places.ravel()) != 1).any())
    return not _is_strided(_read(view, places))


def _is_strided(places: np.ndarray) -> bool:
    """Whether positions are an offset and a step per axis."""
    steps = [np.diff(places, axis=axis).ravel() for axis in range(places.ndim)]
    return all((s == s[:1]).all() for s in steps)


def writes(graph: Graph) -> Iterator[tuple[str, Node]]:
    """The inputs of a graph that its nodes write into, also through views, with the node."""
    owner = {name: name for name in graph.inputs}
    for node in graph.nodes:
        target, written = resolved(node.target)
        places = (0,) if written else WRITES.get(target.partition(".")[2], ())
        for i in places:
            if isinstance(node.args[i], Ref) and node.args[i].name in owner:
                yield owner[node.args[i].name], node
        first = node.args[0] if node.args else None
        if isinstance(first, Ref) and first.name in owner and (written or is_view(target)):
            for name in [node.outputs] if isinstance(node.outputs, str) else node.outputs:
                owner[name] = owner[first.name]


def _put(x: Any, places: np.ndarray, value: Any) -> Any:
    """``x`` with ``value`` at these positions; a block of it as one, for that is cheap."""
    if places.size == x.size and (np.diff(places.ravel()) == 1).all():
        return mg.reshape(value, x.shape)
    if not places.size:
        return x
    axes = [np.unique(a) for a in np.unravel_index(places.ravel(), x.shape)]
    slices, block = [], []
    for a in axes:
        step = int(a[1] - a[0]) if len(a) > 1 else 1
        slices.append(slice(int(a[0]), int(a[-1]) + 1, step))
        block.append(len(a))
    whole = np.arange(x.size).reshape(x.shape)[tuple(slices)] if x.ndim else places
    if whole.size == places.size and (whole.ravel() == places.ravel()).all():
        return x.at[tuple(slices)].set(mg.reshape(value, tuple(block)))
    flat = mg.reshape(x, (-1,)).at[places.ravel()].set(mg.reshape(value, (-1,)))
    return mg.reshape(flat, x.shape)
