"""`Weights`: arrays of a file by name, made when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monograph import Spec


@dataclass(frozen=True)
class Array:
    """One array of a file, not read yet.

    Attributes:
        spec: its shape and dtype.
        make: reads it.
        place: where it lies, the same for arrays that are one in memory; None: nowhere else.
        kept_as: how the file holds it, where that is another form (``Q4_K``).
    """

    spec: Spec
    make: Callable[[], np.ndarray]
    place: Hashable = None
    kept_as: str = ""


class Weights(Mapping[str, np.ndarray]):
    """Arrays by name, read-only; each is read from the file when it is looked at.

    Attributes:
        path: the file.
        arrays: `Array` by name: shape and dtype without reading.
        metadata: what the file says besides, as its format has it.
    """

    def __init__(self, path: Any, arrays: Mapping[str, Array], metadata: Mapping[str, Any] = ()):  # type: ignore[assignment]
        self.path, self.arrays, self.metadata = Path(path), dict(arrays), dict(metadata)

    def __getitem__(self, name: str) -> np.ndarray:
        out = self.arrays[name].make()
        if out.flags.writeable:
            out = out.view()
            out.setflags(write=False)
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """Names of one and the same array, such as an embedding that is the output's kernel too."""
        at: dict[Hashable, list[str]] = {}
        for name, array in self.arrays.items():
            if array.place is not None:
                at.setdefault(array.place, []).append(name)
        return tuple(tuple(names) for names in at.values() if len(names) > 1)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those that are one counted once."""
        places = {a.place or name: a.spec for name, a in self.arrays.items()}
        return sum(s.size * s.dtype.itemsize for s in places.values())

    def __repr__(self) -> str:
        return f"Weights({self.path.name}, {len(self)} arrays, {self.nbytes:,} bytes)"
