"""`kernels()`: the steps of sampling in C where there is a compiler, else in NumPy."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from monograph.errors import NativeError
from monograph.native import NoCompiler, build
from monograph.native.call import address

from . import plain
from .store import GraphStore


def kernels() -> Any:
    """What has `expand`, `index_arrays` and `walk`: see `plain`, of which C gives the same results.

    NumPy where there is no compiler, where the functions do not compile (said once, as a warning), and
    with ``MONOGRAPH_NATIVE=0``.
    """
    return plain if os.environ.get("MONOGRAPH_NATIVE", "1") == "0" else _compiled() or plain


@functools.cache
def _compiled() -> Any:
    source = Path(__file__).with_name("sampling.c")
    try:
        path = build(source.read_text(), "gnn_sampling", "c", ("-O3", "-march=native"), str(source))
        return Compiled(ctypes.CDLL(str(path)))
    except NoCompiler:
        return None
    except (NativeError, OSError) as e:
        warnings.warn(f"graphs are sampled without C functions: {e}", stacklevel=3)
        return None


class _Graph(ctypes.Structure):
    """``graph`` of sampling.c."""

    _fields_ = (
        ("offsets", ctypes.c_void_p), ("senders", ctypes.c_void_p), ("cumulative", ctypes.c_void_p),
        ("receivers", ctypes.c_int64), ("sender_count", ctypes.c_int64), ("edges", ctypes.c_int64),
    )  # fmt: skip


def _graph(store: GraphStore) -> _Graph:
    sums = store.cumulative
    return _Graph(
        address(store.offsets), address(store.senders), None if sums is None else address(sums),
        store.num_nodes, store.num_senders, store.num_edges,
    )  # fmt: skip


_P, _I, _U, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double
_G = ctypes.POINTER(_Graph)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "expand": (_G, _P, _I, _I, _I, _U, _P, _P, _P, _P, _P, _P, _I, _P),
    "index": (_P, _P, _I, _I, _I, _I, _I, _P, _P, _P, _P, _P, _P),
    "walk": (_G, _P, _I, _I, _D, _D, _U, _P, _P),
}


class Compiled:
    """The functions of sampling.c. Other Python threads run while one is in it."""

    def __init__(self, library: Any):
        for name, types in _FUNCTIONS.items():
            fn = getattr(library, f"mg_gnn_{name}")
            fn.argtypes, fn.restype = types, None if name == "index" else ctypes.c_int64
            setattr(self, f"_{name}", fn)

    _expand: Any
    _index: Any
    _walk: Any

    def expand(
        self, store: GraphStore, frontier: np.ndarray, k: int, replace: bool, key: int,
        table: np.ndarray, nodes: np.ndarray, count: int, senders: np.ndarray, places: np.ndarray,
        edges: np.ndarray,
    ) -> tuple[int, int]:  # fmt: skip
        """As `plain.expand`."""
        numbers = np.asarray([count, 0])
        at = address(numbers)
        total = self._expand(
            _graph(store), address(frontier), len(frontier), k, replace, key, address(table),
            address(nodes), at, address(senders), address(places), address(edges),
            len(senders), at + 8,
        )  # fmt: skip
        if total < 0:
            plain.damaged_store("offsets" if total == -1 else "senders", int(numbers[1]))
        return total, int(numbers[0])

    def index_arrays(
        self,
        senders: np.ndarray,
        rows: np.ndarray,
        edges: int,
        num_senders: int,
        num_receivers: int,
    ) -> tuple[np.ndarray, ...]:
        """As `plain.index_arrays`."""
        lengths = (edges, edges, num_receivers + 1, edges, edges, num_senders + 1)
        out = tuple(np.empty(n, "int32") for n in lengths)
        self._index(
            address(senders), address(rows), len(rows), len(senders), edges, num_senders,
            num_receivers, *map(address, out),
        )  # fmt: skip
        return out

    def walk(
        self,
        store: GraphStore,
        starts: np.ndarray,
        length: int,
        back: float,
        apart: float,
        key: int,
    ) -> np.ndarray:
        """As `plain.walk`."""
        out, bad = np.empty((len(starts), length + 1), "int32"), np.zeros(1, "int64")
        failed = self._walk(
            _graph(store), address(starts), len(starts), length, back, apart, key, address(out),
            address(bad),
        )  # fmt: skip
        if failed:
            plain.damaged_store("offsets" if failed == -1 else "senders", int(bad[0]))
        return out
