"""Cora and Citeseer with the split that papers compare on (Yang et al. 2016, "Planetoid")."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, FileFormatError
from monograph.storage import opened
from monograph.tracing import at_user_line

from ..batches import graph
from ..transforms import normalize_features
from . import files
from .tasks import NodeTask, mask

NAMES = ("citeseer", "cora")
_ARRAYS = {  # what a file holds, and of how many axes
    "feature_indptr": 1, "feature_indices": 1, "feature_values": 1, "num_features": 0, "labels": 1,
    "edges": 2, "train_index": 1, "validation_index": 1, "test_index": 1,
}  # fmt: skip
_PICKLES = ("x", "tx", "allx", "y", "ty", "ally", "graph")


def planetoid(name: str, folder: Any = None, *, normalize: bool = True) -> NodeTask:
    """A graph of citations between papers, some words of each, and its topic.

    Read from ``NAME.npz`` in ``folder`` or ``MONOGRAPH_DATA``, there or in ``planetoid/``, an archive of
    arrays: features in CSR form (``feature_indptr [nodes + 1]``, ``feature_indices``,
    ``feature_values``, ``num_features``), ``labels [nodes]``, ``edges [2, edges]`` both ways, and the
    ids ``train_index``, ``validation_index``, ``test_index``. The files that the authors gave away are
    pickles, which run what they hold when they are read: they are refused.

    Args:
        name: cora or citeseer, in any case.
        normalize: divide every paper's features by their sum.

    Returns:
        The graph, whose nodes are features ``[nodes, features]`` float32; topics; 20 papers per topic to
        train on, 500 for validation, 1000 for test.

    Raises:
        ArgumentError: an unknown name; no file, which says where it was looked for.
        FileFormatError: a file that is not as described; all that is wrong is named.

    ``task = planetoid("cora")``: 2708 papers of 7 topics, 1433 words, 10556 edges.
    """
    key = name.lower() if isinstance(name, str) else name
    if key not in NAMES:
        raise at_user_line(ArgumentError(f"planetoid({name!r}): known are {', '.join(NAMES)}"))
    file = f"{key}.npz"
    path = files.locate(key, [file], folder, ["planetoid"], hint=_hint(key, folder))[file]
    arrays = _read(path)
    n = len(arrays["labels"])
    x = np.zeros((n, int(arrays["num_features"])), "float32")
    rows = np.repeat(np.arange(n), np.diff(arrays["feature_indptr"]))
    x[rows, arrays["feature_indices"]] = arrays["feature_values"]
    if normalize:
        x = normalize_features(x)
    return NodeTask(
        graph(x, *arrays["edges"], check=True), arrays["labels"].astype("int32"),
        *[mask(arrays[f"{part}_index"], n) for part in ("train", "validation", "test")],
    )  # fmt: skip


def _hint(name: str, folder: Any) -> str:
    hint = "Save its arrays once from a copy that you trust, see the documentation of planetoid."
    looked = files.places(folder, ["planetoid"])
    if any((p / f"ind.{name}.{part}").exists() for p in looked for part in _PICKLES):
        hint += (
            f" There is ind.{name}.*, but those are pickles, which run what they hold: not read."
        )
    return hint


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, looked at."""
    try:
        with opened(path) as f, np.load(f, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in _ARRAYS if k in archive.files}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as e:
        raise at_user_line(FileFormatError(f"{path}: it is no archive of arrays: {e}")) from None
    problems = [f"there is no {k}" for k in _ARRAYS if k not in arrays]
    for k, x in arrays.items():
        if x.ndim != _ARRAYS[k] or x.dtype.kind not in ("fiu" if k == "feature_values" else "iu"):
            problems.append(f"{k} is {x.dtype} of {x.ndim} axes")
    if not problems:
        problems = _inconsistent(arrays)
    if problems:
        raise at_user_line(FileFormatError(f"{path}: {'; '.join(problems)}"))
    return arrays


def _inconsistent(arrays: dict[str, np.ndarray]) -> list[str]:
    """What of the arrays does not fit together."""
    n, width = len(arrays["labels"]), int(arrays["num_features"])
    starts, words = arrays["feature_indptr"], len(arrays["feature_indices"])
    out = []
    if len(starts) != n + 1 or starts[0] != 0 or starts[-1] != words or (np.diff(starts) < 0).any():
        out.append(f"feature_indptr does not part {words} values among {n} nodes")
    if len(arrays["feature_values"]) != words:
        out.append(f"there are {words} feature_indices and {len(arrays['feature_values'])} values")
    if len(arrays["edges"]) != 2:
        out.append(f"edges has shape {arrays['edges'].shape}, not (2, edges)")
    limits = {"feature_indices": width, "edges": n, "train_index": n, "validation_index": n,
              "test_index": n}  # fmt: skip
    for k, most in limits.items():
        bad = arrays[k][(arrays[k] < 0) | (arrays[k] >= most)]
        if bad.size:
            out.append(f"{k}: {bad.size} ids such as {bad[0]} are out of range, of {most}")
    return out
