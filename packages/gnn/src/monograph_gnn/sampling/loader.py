"""`Loader`: samples for all seeds in batches, made ahead by threads, resumable between any two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line


class Loader:
    """A walk through seeds, each batch of which a sampler makes a sample of.

    What comes out follows from ``seed``, the epoch's number and the batch's: not from how many threads
    there are, nor from where a walk began. Training takes a loader as it takes a `monograph_train.Dataset`;
    the chain ``Dataset.from_arrays(seeds, labels).shuffle(0).batch(n).map(sampler, workers=2, seed=0)``
    does the same.

    Args:
        sampler: ``(items, rng) -> sample``, with a ``batch_size``, such as a `NeighborSampler`.
        items: ``[n, ...]``, or a tree of such arrays: what is sampled around.
        targets: ``[n, ...]`` each or trees of such: their rows are given with the sample, see
            `NeighborSampler.__call__`.
        batch_size: how many items a batch has; the sampler's when None.
        shuffle: whether each epoch has an order of its own.
        workers: threads that sample ahead; 0: none.
        drop_remainder: whether the last batch is left out if it is smaller.

    Raises:
        ArgumentError: arrays of different lengths, no items, numbers out of range.

    >>> from monograph_gnn import GraphStore, NeighborSampler
    >>> store = GraphStore.from_edges([1, 2, 3, 3], [0, 0, 1, 2], num_nodes=4)
    >>> loader = Loader(NeighborSampler(store, (2, 1), batch_size=3), np.arange(4), seed=1)
    >>> len(loader), [b.graph.num_nodes for b in loader]
    (2, [4, 4])
    >>> walk = loader.iterate(epoch=3)
    >>> _ = next(walk)
    >>> rest = loader.iterate(state=walk.state())
    >>> [b.node_ids.tolist() for b in walk] == [b.node_ids.tolist() for b in rest]
    True
    """

    def __init__(
        self, sampler: Callable[[Any, Any], Any], items: Any, *targets: Any,
        batch_size: int | None = None, shuffle: bool = True, seed: int = 0, workers: int = 2,
        drop_remainder: bool = False,
    ):  # fmt: skip
        given = (np.asarray(x) if isinstance(x, list) else x for x in (items, *targets))
        host = mg.tree.map(np.asarray, tuple(given))
        self.arrays = host if targets else host[0]
        shapes = [a.shape for a in mg.tree.leaves(host)]
        self.size = sampler.batch_size if batch_size is None else batch_size  # type: ignore[attr-defined]
        problems = []
        if not shapes or any(not s or s[0] != shapes[0][0] for s in shapes):
            problems.append(f"items and targets need a first axis of one length, got {shapes}")
        elif not shapes[0][0]:
            problems.append("there are no items")
        for name, x, least in (
            ("batch_size", self.size, 1),
            ("seed", seed, 0),
            ("workers", workers, 0),
        ):
            if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or x < least:
                problems.append(f"{name} is an integer of at least {least}, got {x!r}")
        if problems:
            raise at_user_line(ArgumentError("; ".join(problems)))
        self.sampler, self.count = sampler, shapes[0][0]
        self.shuffle, self.seed, self.workers = shuffle, int(seed), int(workers)
        self.drop_remainder = drop_remainder

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.size)
        return whole + (rest > 0 and not self.drop_remainder)

    def __iter__(self) -> Batches:
        return self.iterate()

    def __repr__(self) -> str:
        return f"Loader({self.describe()})"

    def describe(self) -> str:
        """What decides the batches: a state fits a loader of the same description."""
        order = f"shuffled by {self.seed}" if self.shuffle else f"in order, seed {self.seed}"
        rest = " without remainder" if self.drop_remainder else ""
        return f"{self.count} items {order} in batches of {self.size}{rest}"

    def iterate(self, epoch: int | None = None, state: dict[str, Any] | None = None) -> Batches:
        """A walk through one epoch, from its start or from where ``state`` was taken.

        Args:
            epoch: its number, from 0; 0 when None.
            state: of `Batches.state`, of a loader of the same items, sizes and seeds.

        Raises:
            ArgumentError: a state of another loader or epoch, or a damaged one.
        """
        if state is None:
            return Batches(self, epoch or 0, 0)
        try:
            whose, found, batch = state["loader"], state["epoch"], state["batch"]
        except (KeyError, TypeError) as e:
            raise at_user_line(
                ArgumentError(f"this is no state of a loader: {state!r} ({e})")
            ) from None
        if whose != self.describe():
            raise at_user_line(
                ArgumentError(f"this state is of a loader of {whose}; it does not fit {self!r}")
            )
        if (
            type(found) is not int
            or type(batch) is not int
            or found < 0
            or not 0 <= batch <= len(self)
        ):
            raise at_user_line(ArgumentError(f"this state of {self!r} is damaged: {state!r}"))
        if epoch not in (None, found):
            raise at_user_line(ArgumentError(f"this state is of epoch {found}, not of {epoch}"))
        return Batches(self, found, batch)

    def order(self, epoch: int) -> np.ndarray:
        """The items' places in the order of an epoch."""
        if not self.shuffle:
            return np.arange(self.count)
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)

    def make(self, rows: np.ndarray, epoch: int, batch: int) -> Any:
        """The sample of some items, as that batch of that epoch has it."""
        items = mg.tree.map(lambda a: a[rows], self.arrays)
        return self.sampler(items, (self.seed, epoch, batch))


class Batches(Iterator):
    """A walk through a loader: an iterator with a `state`."""

    def __init__(self, loader: Loader, epoch: int, batch: int):
        self._loader, self._epoch, self._next = loader, epoch, batch
        self._order, self._submitted = loader.order(epoch), batch
        self._ready: deque[Future] = deque()
        self._ended = False
        self._pool = (
            ThreadPoolExecutor(loader.workers, "monograph-sample") if loader.workers else None
        )

    def __next__(self) -> Any:
        loader = self._loader
        if self._ended or self._next >= len(loader):
            self.close()
            raise StopIteration
        try:
            if self._pool is None:
                out = self._make(self._next)
            else:
                while len(self._ready) < 2 * loader.workers and self._submitted < len(loader):
                    # a context of its own: the engine chosen here is the one of the sampler too
                    self._ready.append(
                        self._pool.submit(copy_context().run, self._make, self._submitted)
                    )
                    self._submitted += 1
                out = self._ready.popleft().result()
        except BaseException:  # what failed was not given: a walk from here tries it again
            self.close()
            raise
        self._next += 1
        return out

    def _make(self, batch: int) -> Any:
        size = self._loader.size
        rows = self._order[batch * size : (batch + 1) * size]
        try:
            return self._loader.make(rows, self._epoch, batch)
        except Exception as e:
            e.add_note(f"in Loader, batch {batch} of epoch {self._epoch}")
            raise

    def state(self) -> dict[str, Any]:
        """Where it stands, as JSON: what came out so far is not given again, all else is."""
        return {"loader": self._loader.describe(), "epoch": self._epoch, "batch": self._next}

    def close(self) -> None:
        """End it here, and wait for its threads. Dropping the iterator ends them too."""
        self._ended = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
