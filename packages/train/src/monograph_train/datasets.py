"""`Dataset`: samples in a fixed order, shuffled, mapped, batched; resumable between any two of them.

A dataset is a chain of stages. Walking it gives an iterator that can tell where it stands as a small
dict of numbers; a walk from there gives what the first would have given next, bit for bit. Order and
randomness depend on seeds and the epoch's number alone, never on threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import monograph as mg
import numpy as np

from .parallel import MapWorkers, PrefetchThread
from .walks import (
    BadState,
    BatchWalk,
    BufferWalk,
    MapWalk,
    RepeatWalk,
    RowWalk,
    SkipWalk,
    StreamWalk,
    TakeWalk,
    Walk,
    cut,
    part,
)

ArgumentError = mg.errors.ArgumentError


class Dataset:
    """Samples: made by `from_arrays`, `from_generator` or `from_files`; the other methods chain.

    >>> data = Dataset.from_arrays(np.arange(5)).shuffle(seed=0).batch(2)
    >>> len(data), [b.tolist() for b in data]
    (3, [[..., ...], [..., ...], [...]])
    >>> walk = data.iterate()
    >>> _ = next(walk)
    >>> rest = data.iterate(state=walk.state())
    >>> [b.tolist() for b in walk] == [b.tolist() for b in rest]
    True
    """

    source: Dataset | None = None

    # where samples come from

    @staticmethod
    def from_arrays(*arrays: Any) -> Dataset:
        """A sample per row: of one array (or dict, list, tuple of arrays), or a tuple of several.

        Args:
            arrays: ``[sample, ...]`` each. They are not copied: leave them as they are.

        Raises:
            ArgumentError: arrays of different lengths, or without an axis; all are listed.

        >>> images, labels = np.zeros((4, 28, 28)), np.arange(4)
        >>> [(x.shape, y.tolist()) for x, y in Dataset.from_arrays(images, labels).batch(2)]
        [((2, 28, 28), [0, 1]), ((2, 28, 28), [2, 3])]
        """
        if not arrays:
            raise ArgumentError("from_arrays needs at least one array")
        item = arrays[0] if len(arrays) == 1 else arrays
        host = mg.tree.map(lambda a: a.numpy() if isinstance(a, mg.Tensor) else np.asarray(a), item)
        named = zip(mg.tree.paths(item), mg.tree.leaves(host))
        shapes = {path or "x": a.shape for path, a in named}
        if not shapes or not all(shapes.values()) or len({s[0] for s in shapes.values()}) > 1:
            listed = ", ".join(f"{p} {s}" for p, s in shapes.items())
            raise ArgumentError(
                f"arrays of one dataset need a first axis of one length; got {listed}"
            )
        return Rows(
            next(iter(shapes.values()))[0], lambda rows: mg.tree.map(lambda a: cut(a, rows), host)
        )

    @staticmethod
    def from_generator(fn: Callable[[], Iterable]) -> Dataset:
        """Samples of ``fn()``, which is called once per epoch and must give the same ones each time.

        A walk that goes on in the middle draws the samples before it anew.

        >>> list(Dataset.from_generator(lambda: (n * n for n in range(4))))
        [0, 1, 4, 9]
        """
        return Stream(fn)

    @staticmethod
    def from_files(paths: Sequence[str | os.PathLike], load: Callable[[Any], Any]) -> Dataset:
        """A sample ``load(path)`` per file, loaded when it is needed.

        To load with several threads, make paths the samples: ``from_files(paths, str).map(load,
        workers=8)``. An exception of ``load`` has a note that names the file.

        Raises:
            ArgumentError: files that do not exist; the first five are listed.
        """
        paths = list(paths)
        if missing := [str(p) for p in paths if not os.path.exists(p)]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise ArgumentError(f"no such file: {', '.join(missing[:5])}{more}")
        return Map(Rows(len(paths), paths.__getitem__), load)

    # stages

    def shuffle(self, seed: int = 0, buffer: int | None = None) -> Dataset:
        """Another order in each epoch, made of ``seed`` and the epoch's number.

        Args:
            buffer: for samples that can only be streamed: how many are held, of which one is
                drawn at a time. What can be indexed is permuted as a whole without it.

        Raises:
            ArgumentError: a stream without ``buffer``, or a number out of range.

        >>> data = Dataset.from_arrays(np.arange(100)).shuffle(seed=3)
        >>> first, again, second = (list(data.iterate(epoch)) for epoch in (0, 0, 1))
        >>> first == again, first == second, sorted(first) == sorted(second)
        (True, False, True)
        """
        whole("seed", seed)
        if isinstance(self, Map):  # the order of samples and what is made of each are independent
            return Map(self.source.shuffle(seed, buffer), self.fn, self.workers, self.seed)
        if isinstance(self, Rows) and buffer is None:
            return Rows(self.count, self.fetch, seed)
        if buffer is None or buffer < 1:
            raise ArgumentError(
                f"these samples can only be streamed: shuffle needs buffer=, how many to hold; got {buffer}"
            )
        return Buffer(self, seed, buffer)

    def map(self, fn: Callable, workers: int = 0, seed: int | None = None) -> Dataset:
        """``fn(sample)``, or ``fn(sample, rng)`` when ``seed`` is given.

        Args:
            workers: threads that run ``fn`` ahead; the order stays.
            seed: each sample gets a NumPy generator of its own, made of the seed, the epoch and
                its place: augmentation that repeats exactly.

        An exception of ``fn`` comes out at its sample, with a note that says which one it was. The
        walk is over then; one that goes on from its state tries that sample again.

        >>> data = Dataset.from_arrays(np.arange(3.0))
        >>> [float(x) for x in data.map(lambda x: x / 2, workers=2)]
        [0.0, 0.5, 1.0]
        >>> noisy = data.map(lambda x, rng: x + rng.normal(), seed=0)
        >>> list(noisy) == list(noisy), list(noisy.iterate(0)) == list(noisy.iterate(1))
        (True, False)
        """
        return Map(
            self, fn, whole("workers", workers), seed if seed is None else whole("seed", seed)
        )

    def batch(self, size: int, drop_remainder: bool = False) -> Dataset:
        """``size`` samples stacked; the last batch of an epoch may be smaller, or is dropped.

        Raises:
            ArgumentError: ``size`` below 1; while walking, samples of different shapes.

        >>> [b.tolist() for b in Dataset.from_arrays(np.arange(5)).batch(2)]
        [[0, 1], [2, 3], [4]]
        """
        return Batch(self, whole("size", size, 1), drop_remainder)

    def repeat(self, times: int | None = None) -> Dataset:
        """All of it ``times`` times, or for ever, shuffled anew each time.

        >>> list(Dataset.from_generator(lambda: "ab").repeat(2))
        ['a', 'b', 'a', 'b']
        """
        return Repeat(self, None if times is None else whole("times", times))

    def take(self, count: int) -> Dataset:
        """The first ``count`` of each epoch.

        >>> list(Dataset.from_generator(lambda: "abc").take(2))
        ['a', 'b']
        """
        whole("count", count)
        if isinstance(self, Map):  # what is not taken is not made
            return Map(self.source.take(count), self.fn, self.workers, self.seed)
        return Take(self, count)

    def skip(self, count: int) -> Dataset:
        """All but the first ``count`` of each epoch.

        >>> list(Dataset.from_generator(lambda: "abc").skip(2))
        ['c']
        """
        whole("count", count)
        if isinstance(self, Map) and self.seed is None:  # else places in the epoch would be others
            return Map(self.source.skip(count), self.fn, self.workers)
        return Skip(self, count)

    def prefetch(self, count: int = 2, engine: Any = None) -> Dataset:
        """A thread keeps ``count`` items ready, as tensors on ``engine`` where one is named.

        The thread ends with its walk: at the last item, an exception, `Samples.close`, or when the
        walk is dropped. Put it last, so that all before it is done ahead.

        >>> list(Dataset.from_generator(lambda: "abc").prefetch())
        ['a', 'b', 'c']
        """
        return Prefetch(self, whole("count", count, 1), engine)

    # walking

    def iterate(self, epoch: int | None = None, state: dict[str, Any] | None = None) -> Samples:
        """A walk through one epoch, from its start or from where ``state`` was taken.

        Args:
            epoch: its number, from 0, which decides the order together with the seeds; 0 when None.
            state: of `Samples.state`, of this dataset or one of the same stages; how many threads
                work does not matter.

        Raises:
            ArgumentError: a state of another dataset or epoch, or a damaged one.
        """
        if epoch is not None:
            whole("epoch", epoch)
        if state is None:
            return Samples(self, epoch or 0, None)
        try:
            stages, found, at = list(state["stages"]), state["epoch"], state["at"]
            whole("epoch", found)
        except (KeyError, TypeError, ArgumentError) as e:
            raise ArgumentError(f"this is no state of a dataset: {state!r} ({e})") from None
        if stages != self.stages():
            raise ArgumentError(
                f"this state is of the dataset {' -> '.join(map(str, stages))}; it does not fit "
                f"{' -> '.join(self.stages())}"
            )
        if epoch not in (None, found):
            raise ArgumentError(f"this state is of epoch {found}, not of {epoch}")
        try:
            return Samples(self, found, at)
        except BadState as e:
            raise ArgumentError(f"this state of {self!r} is damaged: {state!r} ({e})") from None

    def __iter__(self) -> Samples:
        return self.iterate()

    def __len__(self) -> int:
        found = self.length()
        if found is None:
            raise TypeError("the length of this dataset is not known before it was walked")
        return found

    def stages(self) -> list[str]:
        """What it is made of, source first: a state fits a dataset of the same stages."""
        return [*(self.source.stages() if self.source is not None else ()), self.describe()]

    def __repr__(self) -> str:
        return f"Dataset({' -> '.join(self.stages())})"

    # what a stage defines

    def describe(self) -> str:
        """The stage in a word, with what decides its order."""
        raise NotImplementedError

    def length(self) -> int | None:
        """Items per epoch, None where that is not known or has no end."""
        return None if self.source is None else self.source.length()

    def walk(self, epoch: int, at: Any) -> Walk:
        """The stage's walk, from ``at`` where that is not None."""
        raise NotImplementedError


class Samples(Iterator):
    """A walk through a dataset: an iterator with a `state`."""

    def __init__(self, data: Dataset, epoch: int, at: Any):
        self._stages, self._epoch, self._walk = data.stages(), epoch, data.walk(epoch, at)
        self._at, self._ended = self._walk.state(), False

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        try:
            out = next(self._walk)
        except StopIteration:
            self._at = self._walk.state()
            self.close()
            raise
        except BaseException:  # what failed was not given: a walk from here tries it again
            self.close()
            raise
        self._at = self._walk.state()
        return out

    def state(self) -> dict[str, Any]:
        """Where it stands, as JSON: what came out so far is not given again, all else is."""
        return {"stages": self._stages, "epoch": self._epoch, "at": self._at}

    def close(self) -> None:
        """End it here, and wait for its threads, if it has any. Dropping the iterator ends them too."""
        self._ended = True
        self._walk.close()


def whole(name: str, x: Any, least: int = 0) -> int:
    """``x`` as an int. Raises `ArgumentError`: no integer, or below ``least``."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or x < least:
        raise ArgumentError(f"{name} is an integer of at least {least}; got {name}={x!r}")
    return int(x)


class Rows(Dataset):
    """Samples by number: ``fetch(int)`` gives one, ``fetch(array or slice)`` several stacked."""

    def __init__(self, count: int, fetch: Callable[[Any], Any], seed: int | None = None):
        self.count, self.fetch, self.seed = count, fetch, seed

    def describe(self) -> str:
        """How many, and the seed of their order."""
        return f"{self.count} rows" + ("" if self.seed is None else f" shuffled by {self.seed}")

    def length(self) -> int:
        """All rows."""
        return self.count

    def order(self, epoch: int) -> np.ndarray | None:
        """The rows' numbers in the epoch's order; None for their own."""
        if self.seed is None:
            return None
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)

    def walk(self, epoch: int, at: Any) -> Walk:
        """One row at a time."""
        return RowWalk(self.fetch, self.order(epoch), self.count, at)


class Stream(Dataset):
    """Samples of a generator function."""

    def __init__(self, fn: Callable[[], Iterable]):
        self.fn = fn

    def describe(self) -> str:
        """A stream."""
        return "stream"

    def walk(self, epoch: int, at: Any) -> Walk:
        """A fresh iterator."""
        return StreamWalk(iter(self.fn()), at)


class Stage(Dataset):
    """A stage over another dataset."""

    def __init__(self, source: Dataset):
        self.source: Dataset = source


class Map(Stage):
    """A function of each sample."""

    def __init__(self, source: Dataset, fn: Callable, workers: int = 0, seed: int | None = None):
        super().__init__(source)
        self.fn, self.workers, self.seed = fn, workers, seed

    def describe(self) -> str:
        """The function's name, not its threads."""
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"map {name}" + ("" if self.seed is None else f" with seed {self.seed}")

    def walk(self, epoch: int, at: Any) -> Walk:
        """In this thread, or in several."""
        seed = None if self.seed is None else (self.seed, epoch)
        start = part(at, "inner")
        walk = MapWorkers if self.workers else MapWalk
        return walk(self.source.walk(epoch, start), self.fn, seed, at, self.workers)


class Batch(Stage):
    """Several samples stacked."""

    def __init__(self, source: Dataset, size: int, drop: bool):
        super().__init__(source)
        self.size, self.drop = size, drop

    def describe(self) -> str:
        """Its size."""
        return f"batches of {self.size}" + (" without remainder" if self.drop else "")

    def length(self) -> int | None:
        """Batches, the smaller last one included unless it is dropped."""
        n = self.source.length()
        return n if n is None else n // self.size if self.drop else -(-n // self.size)

    def walk(self, epoch: int, at: Any) -> Walk:
        """As many at once as the source can give."""
        return BatchWalk(self.source.walk(epoch, at), self.size, self.drop)


class Buffer(Stage):
    """A stream, shuffled within a buffer."""

    def __init__(self, source: Dataset, seed: int, size: int):
        super().__init__(source)
        self.seed, self.size = seed, size

    def describe(self) -> str:
        """Its seed and size."""
        return f"shuffled by {self.seed} in a buffer of {self.size}"

    def walk(self, epoch: int, at: Any) -> Walk:
        """From the epoch's start, whatever ``at``: the buffer's content is made anew."""
        rng = np.random.default_rng([self.seed, epoch])
        return BufferWalk(self.source.walk(epoch, None), rng, self.size, at)


class Repeat(Stage):
    """A dataset several times over."""

    def __init__(self, source: Dataset, times: int | None):
        super().__init__(source)
        self.times = times

    def describe(self) -> str:
        """How often."""
        return "for ever" if self.times is None else f"{self.times} times"

    def length(self) -> int | None:
        """All rounds."""
        n = self.source.length()
        return None if n is None or self.times is None else n * self.times

    def walk(self, epoch: int, at: Any) -> Walk:
        """Round after round, each an epoch of the source."""
        first = epoch * (self.times or 0)
        return RepeatWalk(lambda i, at: self.source.walk(first + i, at), self.times, at)


class Take(Stage):
    """The first few."""

    def __init__(self, source: Dataset, count: int):
        super().__init__(source)
        self.count = count

    def describe(self) -> str:
        """How many."""
        return f"first {self.count}"

    def length(self) -> int | None:
        """As many as there are, at most."""
        n = self.source.length()
        return None if n is None else min(n, self.count)

    def walk(self, epoch: int, at: Any) -> Walk:
        """Until enough were given."""
        return TakeWalk(self.source.walk(epoch, part(at, "inner")), self.count, at)


class Skip(Stage):
    """All but the first few."""

    def __init__(self, source: Dataset, count: int):
        super().__init__(source)
        self.count = count

    def describe(self) -> str:
        """How many it leaves out."""
        return f"without the first {self.count}"

    def length(self) -> int | None:
        """What remains."""
        n = self.source.length()
        return None if n is None else max(0, n - self.count)

    def walk(self, epoch: int, at: Any) -> Walk:
        """Past the first ones, unless it goes on behind them."""
        return SkipWalk(self.source.walk(epoch, at), self.count if at is None else 0)


class Prefetch(Stage):
    """Items made ready by a thread."""

    def __init__(self, source: Dataset, count: int, engine: Any):
        super().__init__(source)
        self.count, self.engine = count, engine

    def stages(self) -> list[str]:
        """Those of the source: a state does not depend on who waits for whom."""
        return self.source.stages()

    def walk(self, epoch: int, at: Any) -> Walk:
        """A thread of its own."""
        return PrefetchThread(self.source.walk(epoch, at), self.count, self.engine, at)
