"""Walks: the iterators behind `Dataset`'s stages. Each tells its `state`, from which another goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import monograph as mg
import numpy as np


class Walk(Iterator):
    """An iterator with a state: what to hand to the stage's ``walk(epoch, at)`` to go on from here."""

    def state(self) -> Any:
        """Where it stands, as JSON."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop threads."""


class Over(Walk):
    """A walk over another one, at whose state it stands."""

    def __init__(self, inner: Walk):
        self.inner = inner

    def state(self) -> Any:
        """The inner walk's."""
        return self.inner.state()

    def close(self) -> None:
        """Close the inner walk."""
        self.inner.close()


class RowWalk(Walk):
    """Rows in an order, ``size`` at a time."""

    def __init__(
        self, fetch: Callable, order: np.ndarray | None, count: int, size: int, drop: bool, at: Any,
        single: bool = False,
    ):  # fmt: skip
        self.fetch, self.order, self.size, self.single = fetch, order, size, single
        self.end = count - count % size if drop else count
        self.at = 0 if at is None else at

    def __next__(self) -> Any:
        if self.at >= self.end:
            raise StopIteration
        start, stop = self.at, min(self.at + self.size, self.end)
        if self.single:
            out = self.fetch(start if self.order is None else int(self.order[start]))
        else:
            out = self.fetch(slice(start, stop) if self.order is None else self.order[start:stop])
        self.at = stop
        return out

    def state(self) -> int:
        """Rows given."""
        return self.at


class StreamWalk(Walk):
    """Samples of an iterator; those before ``at`` are drawn and dropped."""

    def __init__(self, samples: Iterator, at: Any):
        self.samples, self.at = samples, at or 0
        for _ in itertools.islice(samples, self.at):
            pass

    def __next__(self) -> Any:
        out = next(self.samples)
        self.at += 1
        return out

    def state(self) -> int:
        """Samples given."""
        return self.at


class MapWalk(Over):
    """A function of each sample."""

    def __init__(self, inner: Walk, fn: Callable, seed: tuple | None, at: Any, workers: int = 0):
        super().__init__(inner)
        self.fn, self.seed = fn, seed
        self.place = 0 if at is None else at["place"]

    def __next__(self) -> Any:
        sample = next(self.inner)
        self.place += 1
        return apply(self.fn, self.seed, sample, self.place - 1)

    def state(self) -> Any:
        """The source's, and the next sample's place in the epoch."""
        return {"inner": self.inner.state(), "place": self.place}


def apply(fn: Callable, seed: tuple | None, sample: Any, place: int) -> Any:
    """``fn(sample)``, with a generator of the sample's own if there is a seed."""
    try:
        if seed is None:
            return fn(sample)
        return fn(sample, np.random.default_rng([*seed, place]))
    except Exception as e:
        e.add_note(f"in Dataset.map, at sample {place} of the epoch")
        raise


class BatchWalk(Over):
    """``size`` samples stacked."""

    def __init__(self, inner: Walk, size: int, drop: bool):
        super().__init__(inner)
        self.size, self.drop = size, drop

    def __next__(self) -> Any:
        samples = list(itertools.islice(self.inner, self.size))
        if not samples or (self.drop and len(samples) < self.size):
            raise StopIteration
        return mg.tree.map(stack, samples[0], *samples[1:])


def stack(*xs: Any) -> np.ndarray:
    """Samples as rows of one array."""
    arrays = [x.numpy() if isinstance(x, mg.Tensor) else np.asarray(x) for x in xs]
    if len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(map(str, dict.fromkeys(a.shape for a in arrays)))
        raise mg.errors.ArgumentError(
            f"samples of one batch need one shape, got {shapes}; pad or resize them in map()"
        )
    return np.stack(arrays)


class BufferWalk(Over):
    """One sample drawn at random from a buffer, which the source fills up again."""

    def __init__(self, inner: Walk, rng: np.random.Generator, size: int, at: Any):
        super().__init__(inner)
        self.rng, self.at = rng, 0
        self.held = list(itertools.islice(inner, size))
        for _ in range(at or 0):
            next(self)

    def __next__(self) -> Any:
        if not self.held:
            raise StopIteration
        i = int(self.rng.integers(len(self.held)))
        out = self.held[i]
        try:
            self.held[i] = next(self.inner)
        except StopIteration:
            self.held[i] = self.held[-1]
            self.held.pop()
        self.at += 1
        return out

    def state(self) -> int:
        """Samples given; a walk from there draws as many anew."""
        return self.at


class RepeatWalk(Walk):
    """Walk after walk."""

    def __init__(self, walk: Callable[[int, Any], Walk], times: int | None, at: Any):
        self.walk, self.times = walk, times
        self.round = 0 if at is None else at["round"]
        self.given = 0 if at is None else at["given"]
        self.inner = walk(self.round, None if at is None else at["inner"])

    def __next__(self) -> Any:
        while self.times is None or self.round < self.times:
            try:
                out = next(self.inner)
            except StopIteration:
                if not self.given:  # an empty source would be asked for ever
                    raise
                self.round, self.given = self.round + 1, 0
                self.inner.close()
                self.inner = self.walk(self.round, None)
            else:
                self.given += 1
                return out
        raise StopIteration

    def state(self) -> dict[str, Any]:
        """The round, what it has given, and where it stands."""
        return {"round": self.round, "given": self.given, "inner": self.inner.state()}

    def close(self) -> None:
        """Close the round's walk."""
        self.inner.close()


class TakeWalk(Over):
    """The first ``count``."""

    def __init__(self, inner: Walk, count: int, at: Any):
        super().__init__(inner)
        self.left = count if at is None else at["left"]

    def __next__(self) -> Any:
        if self.left <= 0:
            raise StopIteration
        out = next(self.inner)
        self.left -= 1
        return out

    def state(self) -> dict[str, Any]:
        """How many are left, and where the source stands."""
        return {"left": self.left, "inner": self.inner.state()}


class SkipWalk(Over):
    """All but the first ``count``."""

    def __init__(self, inner: Walk, count: int):
        super().__init__(inner)
        for _ in itertools.islice(inner, count):
            pass

    def __next__(self) -> Any:
        return next(self.inner)
