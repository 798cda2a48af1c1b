"""Datasets: pipelines whose order depends on seed and epoch only, and that go on where they stopped.

A `Dataset` describes samples; each method gives a new one. Where a sample can be asked for by its
number (arrays, files) shuffles and batches work on numbers, and nothing is read before it is needed.
A position in such a pipeline is one count, so that is what an iterator's state is.

Google's Grain and PyTorch's StatefulDataLoader have the same aim; they keep a state for each stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, MonographError

Length = int | float | None  # None: not known; inf: without end


class UnknownLength(MonographError, TypeError):
    """``len()`` of a dataset that is endless, or known only by running through it."""


class Dataset:
    """Samples in an order. Make one with `from_arrays`, `from_files` or `from_generator`.

    A sample is a pytree, such as a pair ``(x, y)``. Methods give new datasets and change nothing.

    >>> data = Dataset.from_arrays(np.arange(5), np.arange(5) ** 2).shuffle(seed=1).batch(2)
    >>> len(data)
    3
    >>> [x.tolist() for x, y in data] == [x.tolist() for x, y in data]
    True

    An iterator's `DatasetIterator.state` says where it is; another one goes on from there:

    >>> it = data.iterate(epoch=4)
    >>> _ = next(it)
    >>> rest = data.iterate(state=it.state())
    >>> [x.tolist() for x, _ in rest] == [x.tolist() for x, _ in it]
    True
    """

    length: Length = None
    indexed = False  # whether a sample can be asked for by its number: _at works
    vectorized = False  # whether _gather takes a batch at once, without a loop over samples

    # ---- sources

    @staticmethod
    def from_arrays(*trees: Any) -> Dataset:
        """A sample per row of some arrays.

        Args:
            trees: arrays, or pytrees of arrays, with axes ``[sample, ...]``. One gives samples of
                its own structure, several give tuples. They are not copied: leave them unchanged.

        Raises:
            ArgumentError: no arrays, arrays of Python objects, of no axes, or of different lengths
                (all are listed).

        >>> data = Dataset.from_arrays({"image": np.zeros((3, 8)), "label": np.arange(3)})
        >>> [int(sample["label"]) for sample in data]
        [0, 1, 2]
        """
        from .sources import Arrays

        return Arrays(trees[0] if len(trees) == 1 else trees)

    @staticmethod
    def from_files(paths: Sequence[Any], load: Callable[[Any], Any], workers: int = 0) -> Dataset:
        """A sample per file: ``load(path)``, called when the sample is needed.

        Args:
            workers: threads that load; see `map`.

        >>> len(Dataset.from_files(["a.npy", "b.npy"], np.load))
        2
        """
        from .sources import Files

        return Files(paths).map(load, workers)

    @staticmethod
    def from_generator(fn: Callable[[], Any]) -> Dataset:
        """Samples of an iterable that ``fn()`` makes afresh each epoch.

        It must give the same samples each time it is called, or resuming cannot continue exactly.
        Resuming calls it and passes over what was had already.

        >>> list(Dataset.from_generator(lambda: range(3)))
        [0, 1, 2]
        """
        from .sources import Generated

        return Generated(fn)

    @staticmethod
    def zip(*datasets: Dataset) -> Dataset:
        """Tuples of one sample from each; as long as the shortest.

        >>> list(Dataset.zip(Dataset.from_generator(lambda: "ab"), Dataset.from_generator(lambda: "xyz")))
        [('a', 'x'), ('b', 'y')]
        """
        from .sources import Zip

        return Zip(datasets)

    # ---- stages

    def _order(self, stage: type, *args: Any) -> Dataset:
        """Append a stage that only reorders; `Map` and `Prefetch` let it pass to before them."""
        return stage(self, *args)

    def shuffle(self, seed: int = 0, buffer: int | None = None) -> Dataset:
        """Another order each epoch, made from ``seed`` and the epoch's number.

        Args:
            buffer: how many samples to hold and draw from, where samples have no numbers
                (`from_generator`) or no end; elsewhere the whole epoch is permuted and it is not used.

        Raises:
            ArgumentError: a buffer is needed and not given, or an argument is out of range.

        >>> sorted(Dataset.from_arrays(np.arange(4)).shuffle(seed=7)) == [0, 1, 2, 3]
        True
        """
        from .stages import BufferShuffle, Shuffle

        natural("seed", seed)
        if self.indexed and self.length is not None and self.length < math.inf:
            return self._order(Shuffle, seed)
        if buffer is None:
            raise ArgumentError(
                f"{self}: its samples cannot be asked for by number, so shuffle needs a buffer: "
                f"shuffle(seed, buffer=1000)"
            )
        return self._order(BufferShuffle, seed, natural("buffer", buffer, 1))

    def batch(self, size: int, drop_remainder: bool = False) -> Dataset:
        """Samples stacked along a new first axis ``[batch, ...]``.

        Args:
            drop_remainder: leave out a last batch of fewer than ``size``.

        Raises:
            ArgumentError: ``size < 1``; when iterated, samples that do not stack.

        >>> [b.tolist() for b in Dataset.from_arrays(np.arange(5)).batch(2)]
        [[0, 1], [2, 3], [4]]
        """
        from .stages import Batch

        return Batch(self, natural("size", size, 1), bool(drop_remainder))

    def repeat(self, times: int | None = None) -> Dataset:
        """The samples ``times`` over, or without end; each pass shuffles anew.

        Epoch e of ``repeat(n)`` holds the passes e n to e n + n - 1; an endless one starts at pass e.

        >>> list(Dataset.from_generator(lambda: "ab").repeat(2))
        ['a', 'b', 'a', 'b']
        """
        from .stages import Repeat

        if times is None and self.length == 0:
            raise ArgumentError(
                f"{self} is empty; repeating it without end would never give a sample"
            )
        if self.length == math.inf and times != 0:
            return self
        return self._order(Repeat, None if times is None else natural("times", times))

    def take(self, n: int) -> Dataset:
        """The first ``n`` samples of each epoch.

        >>> list(Dataset.from_generator(lambda: "abc").take(2))
        ['a', 'b']
        """
        from .stages import Take

        return self._order(Take, natural("n", n))

    def skip(self, n: int) -> Dataset:
        """All but the first ``n`` samples of each epoch.

        >>> list(Dataset.from_generator(lambda: "abc").skip(2))
        ['c']
        """
        from .stages import Skip

        return self._order(Skip, natural("n", n))

    def map(self, fn: Callable[[Any], Any], workers: int = 0) -> Dataset:
        """``fn(sample)`` for each sample, in order.

        Shuffles, takes, skips and repeats that follow choose samples before ``fn`` is called, so it
        runs for what is delivered only. ``fn`` must not change its argument in a generator's hands.

        Args:
            workers: threads that call ``fn`` (and read indexed samples) ahead; 0 calls it when asked.

        An exception of ``fn`` is raised at its sample, with a note that says which one it was.

        >>> list(Dataset.from_generator(lambda: range(3)).map(lambda x: x * 10, workers=2))
        [0, 10, 20]
        """
        from .stages import Map

        return Map(self, fn, natural("workers", workers))

    def prefetch(self, n: int = 2, engine: Any = None) -> Dataset:
        """The same samples, made by a thread that keeps ``n`` of them ready.

        Args:
            engine: where to put them, such as ``"xla"``; arrays become tensors there. None: unchanged.

        The thread ends with its iterator: at the last sample, an exception, `DatasetIterator.close`,
        or when the iterator is dropped.

        >>> list(Dataset.from_generator(lambda: range(3)).prefetch())
        [0, 1, 2]
        """
        from .stages import Prefetch

        return Prefetch(self, natural("n", n, 1), engine)

    # ---- iteration

    def iterate(self, epoch: int = 0, state: dict | None = None) -> DatasetIterator:
        """One epoch's samples, or what is left of it.

        Args:
            epoch: its number, from 0: with the seed it decides the order.
            state: of another iterator's `DatasetIterator.state`; its epoch counts, not ``epoch``.

        Raises:
            ArgumentError: a state of another pipeline, or one that is damaged.
        """
        natural("epoch", epoch)
        if state is None:
            return DatasetIterator(self, epoch, 0)
        return DatasetIterator(self, *self._check(state))

    def _check(self, state: Any) -> tuple[int, int]:
        try:
            epoch, position = (natural(k, state[k]) for k in ("epoch", "position"))
            theirs = list(state["stages"])
        except (KeyError, TypeError, ArgumentError) as e:
            raise ArgumentError(
                f"this is no state of a dataset's iterator: {state!r} ({e})"
            ) from None
        ours = self._stages()
        if theirs != ours:
            different = [f"{a} instead of {b}" for a, b in zip(ours, theirs) if a != b]
            different += [f"{a} is new" for a in ours[len(theirs) :]]
            different += [f"{b} is missing" for b in theirs[len(ours) :]]
            raise ArgumentError(
                f"the state was made by another pipeline; here {'; '.join(different)}. Build the dataset "
                f"as it was, or start an epoch afresh with iterate(epoch={epoch})."
            )
        if self.length is not None and position > self.length:
            raise ArgumentError(
                f"the state is after {position} elements, but an epoch of {self} has {self.length}"
            )
        return epoch, position

    def __iter__(self) -> DatasetIterator:
        return self.iterate()

    def __len__(self) -> int:
        if self.length is None or self.length == math.inf:
            how = "is not known before it is run through" if self.length is None else "has no end"
            raise UnknownLength(f"the length of {self} {how}")
        return int(self.length)

    def __repr__(self) -> str:
        return f"<Dataset {' > '.join(self._stages())}>"

    # ---- what a stage defines

    def _stages(self) -> list[str]:
        """What decides which samples come when, a string per stage: the same for a resumed run."""
        raise NotImplementedError

    def _run(self, epoch: int, start: int) -> Generator:
        """The epoch's elements from number ``start`` on; none when there are fewer.

        A generator that closes what it runs over: threads end even when an exception's traceback
        keeps its frame alive.
        """
        for i in self._numbers(start):
            yield self._at(epoch, i)

    def _numbers(self, start: int) -> Iterable[int]:
        return count(start) if self.length == math.inf else range(start, len(self))

    def _at(self, epoch: int, i: int) -> Any:
        """Element ``i`` of an indexed dataset."""
        raise NotImplementedError

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        """The stacked elements ``rows`` of a vectorized dataset."""
        raise NotImplementedError

    def _where(self, epoch: int, i: int) -> str:
        """Element ``i`` in the source's words, for messages: ``row 7``."""
        return f"number {i}"


class DatasetIterator(Iterator):
    """The elements of one epoch; made by `Dataset.iterate`. Use it from one thread at a time."""

    def __init__(self, dataset: Dataset, epoch: int, position: int):
        self.dataset, self.epoch, self.position = dataset, epoch, position
        self._elements = dataset._run(epoch, position)

    def __next__(self) -> Any:
        out = next(self._elements)
        self.position += 1
        return out

    def state(self) -> dict[str, Any]:
        """Where this iterator is, as a small dict that JSON can hold; see `Dataset.iterate`.

        It counts what was handed out, not what threads prepared; so it may be taken at any moment,
        and goes into a checkpoint beside the variables.

        >>> it = iter(Dataset.from_generator(lambda: "abc").batch(2))
        >>> _ = next(it)
        >>> it.state()
        {'epoch': 0, 'position': 1, 'stages': ['generator', 'batch(2)']}
        """
        return {"epoch": self.epoch, "position": self.position, "stages": self.dataset._stages()}

    def close(self) -> None:
        """End it here, and its threads."""
        self._elements.close()

    def __enter__(self) -> DatasetIterator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def natural(name: str, x: Any, least: int = 0) -> int:
    """``x`` as an int of at least ``least``. Raises `ArgumentError`, which calls it ``name``."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or x < least:
        raise ArgumentError(f"{name} must be an integer of at least {least}, not {x!r}")
    return int(x)
