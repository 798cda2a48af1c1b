"""Stages of a `Dataset`: they reorder, stack, compute or work ahead.

Every stage can start at any element: `_run(epoch, start)`. Those that can, give any element by its
number: `_at(epoch, i)`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from itertools import islice
from typing import Any

import monograph as mg
import numpy as np
from monograph import tree
from monograph.errors import ArgumentError

from .ahead import ahead
from .datasets import Dataset

# ---- stages that reorder


class _Stage(Dataset):
    def __init__(self, up: Dataset):
        self.up, self.length = up, up.length
        self.indexed, self.vectorized = up.indexed, up.vectorized

    def _stages(self) -> list[str]:
        return [*self.up._stages(), self._name()]

    def _name(self) -> str:
        raise NotImplementedError

    def _where(self, epoch: int, i: int) -> str:
        return self.up._where(epoch, i)


class Shuffle(_Stage):
    """A permutation of the epoch."""

    def __init__(self, up: Dataset, seed: int):
        super().__init__(up)
        self.seed = seed
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def _permutation(self, epoch: int) -> np.ndarray:
        last = self._last  # read once: another thread may replace it
        if last[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            last = self._last = (epoch, rng.permutation(len(self.up)))
        return last[1]

    def _at(self, epoch: int, i: int) -> Any:
        return self.up._at(epoch, int(self._permutation(epoch)[i]))

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        return self.up._gather(epoch, self._permutation(epoch)[rows])

    def _where(self, epoch: int, i: int) -> str:
        return self.up._where(epoch, int(self._permutation(epoch)[i]))

    def _name(self) -> str:
        return f"shuffle({self.seed})"


class BufferShuffle(_Stage):
    """Each element drawn from the next ``size`` of those not drawn yet.

    To start inside an epoch it draws again from the start: what the buffer holds is samples, which a
    small state cannot.
    """

    indexed = vectorized = False

    def __init__(self, up: Dataset, seed: int, size: int):
        super().__init__(up)
        self.seed, self.size = seed, size
        self.indexed = self.vectorized = False

    def _run(self, epoch: int, start: int) -> Generator:
        with closing(self.up._run(epoch, 0)) as samples:
            yield from islice(self._drawn(epoch, samples), start, None)

    def _drawn(self, epoch: int, samples: Iterator) -> Iterator:
        rng = np.random.default_rng((self.seed, epoch))
        held: list[Any] = []
        for x in samples:
            if len(held) < self.size:
                held.append(x)
                continue
            i = int(rng.integers(self.size))
            out, held[i] = held[i], x
            yield out
        for i in rng.permutation(len(held)):
            yield held[i]

    def _where(self, epoch: int, i: int) -> str:
        return "drawn from a buffer"

    def _name(self) -> str:
        return f"shuffle({self.seed}, buffer={self.size})"


class Repeat(_Stage):
    """Several passes as one epoch."""

    def __init__(self, up: Dataset, times: int | None):
        super().__init__(up)
        self.times = times
        if times == 0:
            self.length = 0
        elif up.length is not None:
            self.length = math.inf if times is None else up.length * times

    def _pass(self, epoch: int, number: int) -> int:
        return epoch + number if self.times is None else epoch * self.times + number

    def _run(self, epoch: int, start: int) -> Generator:
        number, known = 0, self.up.length is not None
        if self.up.length:
            number, start = divmod(start, len(self.up))
        while self.times is None or number < self.times:
            empty = True
            with closing(self.up._run(self._pass(epoch, number), start if known else 0)) as samples:
                for x in samples:
                    empty = False
                    if known or not start:
                        yield x
                    else:  # how long passes are is found by running them
                        start -= 1
            if known:
                start = 0
            elif empty and self.times is None:
                raise ArgumentError(f"{self.up} gave no sample; repeating it would never end")
            number += 1

    def _at(self, epoch: int, i: int) -> Any:
        number, i = divmod(i, len(self.up))
        return self.up._at(self._pass(epoch, number), i)

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        numbers, rows = np.divmod(rows, len(self.up))
        parts = [
            self.up._gather(self._pass(epoch, int(n)), rows[numbers == n])
            for n in np.unique(numbers)
        ]
        if len(parts) == 1:
            return parts[0]
        # rows of several passes: back into the order they were asked for
        places = np.argsort(np.argsort(numbers, kind="stable"), kind="stable")
        return tree.map(lambda *xs: np.concatenate(xs)[places], *parts)

    def _where(self, epoch: int, i: int) -> str:
        if not self.indexed:
            return super()._where(epoch, i)
        number, i = divmod(i, len(self.up))
        return self.up._where(self._pass(epoch, number), i)

    def _name(self) -> str:
        return f"repeat({'' if self.times is None else self.times})"


class Take(_Stage):
    """The first ones."""

    def __init__(self, up: Dataset, n: int):
        super().__init__(up)
        self.n = n
        self.length = 0 if n == 0 else None if up.length is None else min(n, up.length)

    def _run(self, epoch: int, start: int) -> Generator:
        with closing(self.up._run(epoch, start)) as samples:
            yield from islice(samples, max(self.n - start, 0))

    def _at(self, epoch: int, i: int) -> Any:
        return self.up._at(epoch, i)

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        return self.up._gather(epoch, rows)

    def _name(self) -> str:
        return f"take({self.n})"


class Skip(_Stage):
    """All but the first ones."""

    def __init__(self, up: Dataset, n: int):
        super().__init__(up)
        self.n = n
        self.length = None if up.length is None else max(up.length - n, 0)

    def _run(self, epoch: int, start: int) -> Generator:
        return self.up._run(epoch, start + self.n)

    def _at(self, epoch: int, i: int) -> Any:
        return self.up._at(epoch, i + self.n)

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        return self.up._gather(epoch, rows + self.n)

    def _where(self, epoch: int, i: int) -> str:
        return self.up._where(epoch, i + self.n)

    def _name(self) -> str:
        return f"skip({self.n})"


# ---- stages that compute


class Batch(_Stage):
    """Elements stacked."""

    def __init__(self, up: Dataset, size: int, drop: bool):
        super().__init__(up)
        self.size, self.drop, self.vectorized = size, drop, False
        if up.length is not None and up.length != math.inf:
            self.length = len(up) // size if drop else -(-len(up) // size)

    def _rows(self, i: int) -> np.ndarray:
        end = (i + 1) * self.size
        return np.arange(
            i * self.size, end if self.up.length is None else int(min(end, self.up.length))
        )

    def _at(self, epoch: int, i: int) -> Any:
        if self.up.vectorized:
            return self.up._gather(epoch, self._rows(i))
        return self._stack(i, [self.up._at(epoch, int(r)) for r in self._rows(i)])

    def _run(self, epoch: int, start: int) -> Generator:
        if self.up.vectorized:
            yield from super()._run(epoch, start)
            return
        with closing(self.up._run(epoch, start * self.size)) as elements:
            while samples := list(islice(elements, self.size)):
                if len(samples) < self.size and self.drop:
                    return
                yield self._stack(start, samples)
                start += 1

    def _stack(self, i: int, samples: list[Any]) -> Any:
        flat, trees = zip(*[tree.flatten(s) for s in samples])
        for n, (leaves, treedef) in enumerate(zip(flat, trees)):
            if treedef != trees[0]:
                what = f"the structures {tree.describe(trees[0])} and {tree.describe(treedef)}"
            elif odd := [k for k, x in enumerate(leaves) if np.shape(x) != np.shape(flat[0][k])]:
                k = odd[0]
                where = tree.paths(samples[0])[k]
                what = f"the shapes {np.shape(flat[0][k])} and {np.shape(leaves[k])}" + (
                    f" at {where}" if where else ""
                )
            else:
                continue
            raise ArgumentError(
                f"batch {i}: its samples 0 and {n} have {what}; pad or cut them to one with map "
                f"before batch"
            )
        return tree.unflatten(trees[0], [np.stack([_array(x) for x in xs]) for xs in zip(*flat)])

    def _where(self, epoch: int, i: int) -> str:
        return f"batch {i}"

    def _name(self) -> str:
        return f"batch({self.size}{', drop_remainder' if self.drop else ''})"


def _array(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32) if type(x) is float else np.asarray(x)  # as mg.tensor does


class Map(_Stage):
    """A function of each element, in order."""

    def __init__(self, up: Dataset, fn: Callable, workers: int):
        super().__init__(up)
        self.fn, self.workers, self.vectorized = fn, workers, False

    def _order(self, stage: type, *args: Any) -> Dataset:
        return Map(self.up._order(stage, *args), self.fn, self.workers)

    def _at(self, epoch: int, i: int) -> Any:
        return self._call(epoch, i, self.up._at(epoch, i))

    def _call(self, epoch: int, i: int, x: Any) -> Any:
        try:
            return self.fn(x)
        except Exception as e:
            name = getattr(self.fn, "__name__", type(self.fn).__name__)
            where = self._where(epoch, i)
            e.add_note(f"in Dataset.map({name}), sample {i} of epoch {epoch}: {where}")
            raise

    def _run(self, epoch: int, start: int) -> Generator:
        with closing(self._jobs(epoch, start)) as jobs:
            if not self.workers:
                for fn, *args in jobs:
                    yield fn(*args)
            else:
                yield from self._parallel(jobs)

    def _jobs(self, epoch: int, start: int) -> Generator:
        if self.indexed:  # then reading is the workers' too
            for i in self._numbers(start):
                yield self._at, epoch, i
        else:
            with closing(self.up._run(epoch, start)) as samples:
                for i, x in enumerate(samples, start):
                    yield self._call, epoch, i, x

    def _parallel(self, jobs: Iterator) -> Generator:
        pending: deque[Future] = deque()
        error = None
        pool = ThreadPoolExecutor(self.workers, "dataset-map")
        try:
            while True:
                try:
                    while error is None and len(pending) < 2 * self.workers:
                        pending.append(pool.submit(copy_context().run, *next(jobs)))
                except Exception as e:  # the source's: when its turn comes
                    error = e
                if pending:
                    yield pending.popleft().result()
                elif isinstance(error, StopIteration):
                    return
                elif error is not None:
                    raise error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _name(self) -> str:
        return "map"


class Prefetch(_Stage):
    """The same elements, some of them ready before they are asked for."""

    def __init__(self, up: Dataset, n: int, engine: Any):
        super().__init__(up)
        self.n, self.engine, self.vectorized = n, engine, False

    def _order(self, stage: type, *args: Any) -> Dataset:
        return Prefetch(self.up._order(stage, *args), self.n, self.engine)

    def _at(self, epoch: int, i: int) -> Any:
        return self._put(self.up._at(epoch, i))

    def _run(self, epoch: int, start: int) -> Generator:
        return ahead(lambda: self._placed(epoch, start), self.n)

    def _placed(self, epoch: int, start: int) -> Generator:
        with closing(self.up._run(epoch, start)) as samples:
            for x in samples:
                yield self._put(x)

    def _put(self, x: Any) -> Any:
        if self.engine is None:
            return x
        return tree.map(
            lambda a: (
                mg.tensor(a, device=self.engine) if hasattr(a, "dtype") and _numeric(a) else a
            ),
            x,
        )

    def _stages(self) -> list[str]:
        return self.up._stages()  # it changes nothing that a state could depend on


def _numeric(a: Any) -> bool:
    return getattr(a.dtype, "kind", "") not in ("U", "S", "O", "M", "m")
