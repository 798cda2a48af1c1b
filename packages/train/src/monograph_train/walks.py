"""Walks: the iterators behind `Dataset`'s stages. Each tells its `state`, from which another goes on."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import monograph as mg
import numpy as np


class Walk(Iterator):
    """An iterator with a state: what to hand to the stage's ``walk(epoch, at)`` to go on from here."""

    def state(self) -> Any:
        """Where it stands, as JSON."""
        raise NotImplementedError

    def many(self, n: int) -> tuple[int, Any]:
        """The next ``n`` items stacked, or as many as there are; how many, and None for none."""
        samples = list(itertools.islice(self, n))
        return len(samples), mg.tree.map(stack, *samples) if samples else None

    def pass_over(self, n: int) -> None:
        """Pass over ``n`` items."""
        for _ in itertools.islice(self, n):
            pass

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


def cut(a: np.ndarray, rows: Any) -> Any:
    """Rows of an array: a copy, or a view that cannot be written."""
    out = a[rows]
    if isinstance(out, np.ndarray) and out.base is not None:
        out.flags.writeable = False
    return out


class RowWalk(Walk):
    """Rows in an order."""

    def __init__(self, fetch: Callable, order: np.ndarray | None, count: int, at: Any):
        self.fetch, self.order, self.end = fetch, order, count
        self.at = counted("row", at, count)

    def __next__(self) -> Any:
        if self.at >= self.end:
            raise StopIteration
        out = self.fetch(self.at if self.order is None else int(self.order[self.at]))
        self.at += 1
        return out

    def many(self, n: int) -> tuple[int, Any]:
        """Fetched at once."""
        rows = slice(self.at, min(self.at + n, self.end))
        if rows.start == rows.stop:
            return 0, None
        out = self.fetch(rows if self.order is None else self.order[rows])
        self.at = rows.stop
        return rows.stop - rows.start, out

    def pass_over(self, n: int) -> None:
        """Without fetching them."""
        self.at = min(self.at + n, self.end)

    def state(self) -> int:
        """Rows given."""
        return self.at


class BadState(Exception):
    """A state that no walk of this kind has."""


def part(at: Any, name: str) -> Any:
    """A part of a state; None where the walk is to start. Raises `BadState`: no such part."""
    if at is None:
        return None
    try:
        return at[name]
    except (KeyError, TypeError):
        raise BadState(f"there is no {name!r} in {at!r}") from None


def counted(name: str, at: Any, most: float = math.inf) -> int:
    """A count out of a state; None, for the start, is 0. Raises `BadState`: no such count."""
    if at is None:
        return 0
    if type(at) is not int or not 0 <= at <= most:
        raise BadState(f"{name} {at!r} is not from 0 to {most}")
    return at


class StreamWalk(Walk):
    """Samples of an iterator; those before ``at`` are drawn and dropped."""

    def __init__(self, samples: Iterator, at: Any):
        self.samples, self.at = samples, 0
        self.pass_over(counted("sample", at))

    def __next__(self) -> Any:
        out = next(self.samples)
        self.at += 1
        return out

    def state(self) -> int:
        """Samples given."""
        return self.at

    def close(self) -> None:
        """Close the generator, so that its own ``finally`` runs now."""
        if hasattr(self.samples, "close"):
            self.samples.close()


class MapWalk(Over):
    """A function of each sample."""

    def __init__(self, inner: Walk, fn: Callable, seed: tuple | None, at: Any, workers: int = 0):
        super().__init__(inner)
        self.fn, self.seed = fn, seed
        self.place = counted("place", part(at, "place"))

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
    except StopIteration as e:  # which would end the epoch in silence
        raise RuntimeError(
            f"Dataset.map: the function raised StopIteration at sample {place}"
        ) from e
    except Exception as e:
        which = f": {sample}" if isinstance(sample, (str, os.PathLike)) else ""
        e.add_note(f"in Dataset.map, at sample {place} of the epoch{which}")
        raise


class BatchWalk(Over):
    """``size`` samples stacked."""

    def __init__(self, inner: Walk, size: int, drop: bool):
        super().__init__(inner)
        self.size, self.drop = size, drop

    def __next__(self) -> Any:
        got, batch = self.inner.many(self.size)
        if not got or (self.drop and got < self.size):
            raise StopIteration
        return batch


def stack(*xs: Any) -> np.ndarray:
    """Samples as rows of one array."""
    arrays = [np.asarray(x, np.float32 if type(x) is float else None) for x in xs]  # as mg.tensor
    if len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(map(str, dict.fromkeys(a.shape for a in arrays)))
        raise mg.errors.ArgumentError(_UNLIKE.format(shapes))
    return np.stack(arrays)


def join(*parts: Any) -> np.ndarray:
    """Stacks behind each other."""
    if len({p.shape[1:] for p in parts}) > 1:
        shapes = ", ".join(map(str, dict.fromkeys(p.shape[1:] for p in parts)))
        raise mg.errors.ArgumentError(_UNLIKE.format(shapes))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


_UNLIKE = "samples of one batch need one shape, got {}; pad or resize them in map()"


class BufferWalk(Over):
    """One sample drawn at random from a buffer, which the source fills up again."""

    def __init__(self, inner: Walk, rng: np.random.Generator, size: int, at: Any):
        super().__init__(inner)
        self.rng, self.at = rng, 0
        self.held = list(itertools.islice(inner, size))
        for _ in range(counted("sample", at)):
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
        self.round = counted("round", part(at, "round"))
        self.given = counted("sample", part(at, "given"))
        self.inner = walk(self.round, part(at, "inner"))

    def __next__(self) -> Any:
        while self.times is None or self.round < self.times:
            try:
                out = next(self.inner)
            except StopIteration:
                if not self.given:  # an empty source would be asked for ever
                    raise
                self._next_round()
            else:
                self.given += 1
                return out
        raise StopIteration

    def many(self, n: int) -> tuple[int, Any]:
        """Of several rounds where one ends."""
        got, parts = 0, []
        while got < n and (self.times is None or self.round < self.times):
            more, part = self.inner.many(n - got)
            got, self.given = got + more, self.given + more
            if more:
                parts.append(part)
            elif not self.given:
                break
            else:
                self._next_round()
        return got, mg.tree.map(join, *parts) if parts else None

    def _next_round(self) -> None:
        self.round, self.given = self.round + 1, 0
        self.inner.close()
        self.inner = self.walk(self.round, None)

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
        self.left = count if at is None else counted("left", part(at, "left"), count)

    def __next__(self) -> Any:
        if self.left <= 0:
            raise StopIteration
        out = next(self.inner)
        self.left -= 1
        return out

    def many(self, n: int) -> tuple[int, Any]:
        """Not more than are left."""
        got, out = self.inner.many(min(n, self.left))
        self.left -= got
        return got, out

    def state(self) -> dict[str, Any]:
        """How many are left, and where the source stands."""
        return {"left": self.left, "inner": self.inner.state()}


class SkipWalk(Over):
    """All but the first ``count``."""

    def __init__(self, inner: Walk, count: int):
        super().__init__(inner)
        inner.pass_over(count)

    def __next__(self) -> Any:
        return next(self.inner)

    def many(self, n: int) -> tuple[int, Any]:
        """The inner walk's."""
        return self.inner.many(n)
