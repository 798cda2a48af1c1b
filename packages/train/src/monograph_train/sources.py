"""Where a `Dataset`'s samples come from: arrays, files, a generator, other datasets."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any

import numpy as np
from monograph import tree
from monograph.errors import ArgumentError

from .datasets import Dataset


class Arrays(Dataset):
    """Rows of a pytree of arrays."""

    indexed = vectorized = True

    def __init__(self, arrays: Any):
        leaves, self.treedef = tree.flatten(arrays)
        paths = tree.paths(arrays)
        self.arrays = [np.asarray(a) for a in leaves]
        faults = [
            f"{p or 'the array'} {why}"
            for p, a in zip(paths, self.arrays)
            for why in [_unfit(a)]
            if why
        ]
        lengths = {len(a) for a in self.arrays if a.ndim}
        if len(lengths) > 1:
            faults += [f"{p} has {len(a)} rows" for p, a in zip(paths, self.arrays) if a.ndim]
        if not leaves:
            faults.append("there is none")
        if faults:
            raise ArgumentError(
                f"from_arrays needs arrays [sample, ...] of one length: {'; '.join(faults)}"
            )
        self.length = lengths.pop()

    def _at(self, epoch: int, i: int) -> Any:
        return tree.unflatten(self.treedef, [a[i].copy() for a in self.arrays])

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        return tree.unflatten(self.treedef, [a[rows] for a in self.arrays])

    def _where(self, epoch: int, i: int) -> str:
        return f"row {i}"

    def _stages(self) -> list[str]:
        specs = ", ".join(f"{a.dtype}{list(a.shape[1:])}" for a in self.arrays)
        return [f"arrays({self.length}: {specs})"]


def _unfit(a: np.ndarray) -> str:
    if a.dtype == object:
        return "holds Python objects, which do not stack; use from_files or from_generator"
    return "" if a.ndim else "is a single value; make lists to arrays with np.asarray first"


class Files(Dataset):
    """Paths, to be loaded by a `Map`."""

    indexed = True

    def __init__(self, paths: Sequence[Any]):
        self.paths = list(paths)
        self.length = len(self.paths)
        names = "\n".join(str(p).replace("\\", "/").rpartition("/")[2] for p in self.paths)
        self.checksum = zlib.crc32(names.encode())  # of names only: the folder may move

    def _at(self, epoch: int, i: int) -> Any:
        return self.paths[i]

    def _where(self, epoch: int, i: int) -> str:
        return str(self.paths[i])

    def _stages(self) -> list[str]:
        return [f"files({self.length}, names {self.checksum:08x})"]


class Generated(Dataset):
    """A fresh iterable each epoch."""

    def __init__(self, fn: Callable[[], Any]):
        self.fn = fn

    def _run(self, epoch: int, start: int) -> Generator:
        samples = iter(self.fn())
        try:
            yield from islice(samples, start, None)
        finally:
            if hasattr(samples, "close"):
                samples.close()

    def _stages(self) -> list[str]:
        return ["generator"]


class Zip(Dataset):
    """One element of each of several datasets."""

    def __init__(self, datasets: Sequence[Dataset]):
        if not datasets:
            raise ArgumentError("zip needs a dataset at least")
        self.parts = tuple(datasets)
        lengths = [d.length for d in self.parts]
        self.length = None if None in lengths else min(lengths)  # type: ignore[type-var]
        self.indexed = all(d.indexed for d in self.parts)
        self.vectorized = all(d.vectorized for d in self.parts)

    def _run(self, epoch: int, start: int) -> Generator:
        with ExitStack() as stack:
            yield from zip(
                *[stack.enter_context(closing(d._run(epoch, start))) for d in self.parts]
            )

    def _at(self, epoch: int, i: int) -> Any:
        return tuple(d._at(epoch, i) for d in self.parts)

    def _gather(self, epoch: int, rows: np.ndarray) -> Any:
        return tuple(d._gather(epoch, rows) for d in self.parts)

    def _where(self, epoch: int, i: int) -> str:
        return ", ".join(d._where(epoch, i) for d in self.parts)

    def _stages(self) -> list[str]:
        return [f"zip({'; '.join(' > '.join(d._stages()) for d in self.parts)})"]
