"""Knowledge graphs: triples of a head, a relation and a tail, in text files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monograph.errors import ArgumentError, FileFormatError
from monograph.tracing import at_user_line

from . import files
from .files import Source

_ADDRESS = "https://raw.githubusercontent.com/pykeen/pykeen/v1.11.1/src/pykeen/datasets"
_PARTS = ("train", "valid", "test")
SOURCES: dict[str, dict[str, Source]] = {
    name: {
        f"{part}.txt": Source(f"{_ADDRESS}/{name}/{part}.txt", digest, 1 << 20)
        for part, digest in zip(_PARTS, digests)
    }
    for name, digests in {
        "nations": (
            "0830fa9da8e5bba2ccdaa45b7bdc9130451ba66b09ff2708f35fccaf82473e57",
            "2b337a62e51a2f45c283eac98a70d21b7e0e102136be1539b2a52c652a7b0530",
            "3971085165b47b6aeaec68058c6d8d98b3005e929db81268410b95ae4db770ab",
        ),
        "umls": (
            "873ef4925516b83e7f6f8cc02b4be51d848828710a7f65a956f0ac4a9e452f35",
            "025c98f8a4891e2a6582ec5b40ee0d904031edad9c52554522f4b7904820c98e",
            "a7eb529a3d2810fcc96341ccc97c625a5e202f8389673aa6bd317eeebbb79014",
        ),
        "kinships": (
            "738612111a6acf0e39662bde24c7e72a4d1edf20931beea077da367dda689731",
            "c56f8630a583178b1e569f11a64aa535ae1ce0b0912d8b1e24716be2b37f04da",
            "05e5733265761d55be9c05bfaff5a8d0808df46f9c1e9d66cc3f2fe114e43d88",
        ),
    }.items()
}
"""By dataset and file where it can be taken from: PyKEEN's own copies."""

_ALIASES = {"kinship": "kinships"}


class KnowledgeGraph(NamedTuple):
    """Entities, relations between them, and what is known and what is to be found out.

    Attributes:
        entities: their names, sorted; a triple's numbers stand for them.
        relations: the same.
        train, validation, test: ``[triples, 3]`` int32: head, relation, tail.

    For message passing: ``graph(None, kg.train[:, 0], kg.train[:, 2], edges=kg.train[:, 1],
    num_nodes=len(kg.entities))``, whose edges hold their relation.
    """

    entities: list[str]
    relations: list[str]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def knowledge_graph(name: str, folder: Any = None, *, download: bool = False) -> KnowledgeGraph:
    """Nations (Rummel 1992), UMLS (McCray 2003) or Kinships (Denham 1973), as PyKEEN splits and numbers them.

    Read from ``train.txt``, ``valid.txt`` and ``test.txt`` in ``folder``, there or in a folder of the
    dataset's name. Without ``folder`` from the package pykeen, where that is installed (it is not
    imported), else from ``MONOGRAPH_DATA``.

    Args:
        name: nations, umls or kinships, in any case.
        download: whether to take files that are missing from PyKEEN's repository, into ``folder``. Their
            checksums are known.

    Raises:
        ArgumentError: an unknown name; missing files, with all their names.
        FileFormatError: lines that are no triples.
        StorageError: a download that failed.

    ``kg = knowledge_graph("nations")``: 14 entities, 55 relations, 1592 triples to train on.
    """
    key = name.lower() if isinstance(name, str) else name
    key = _ALIASES.get(key, key)
    if key not in SOURCES:
        raise at_user_line(
            ArgumentError(f"knowledge_graph({name!r}): known are {', '.join(SOURCES)}")
        )
    names = [f"{part}.txt" for part in _PARTS]
    installed = _pykeen()
    if folder is None and installed and all((installed / key / n).is_file() for n in names):
        paths = {n: installed / key / n for n in names}
    else:
        paths = files.locate(
            key, names, folder, [key], sources=SOURCES[key], download=download,
            hint="They are in the package pykeen as well, from which they are read when it is installed "
            "and no folder is named.",
        )  # fmt: skip
    return read_triples(dict(zip(("train", "validation", "test"), paths.values())))


def _pykeen() -> Path | None:
    found = importlib.util.find_spec("pykeen")  # which does not import it
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) / "datasets" if places else None


def read_triples(paths: Mapping[str, Any]) -> KnowledgeGraph:
    """Triples of files: a line each, the names of head, relation and tail with tabs between them.

    Args:
        paths: ``train``, and where there are any ``validation`` and ``test``. Names that are in one file
            only are numbered, too.

    Raises:
        ArgumentError: other parts than these.
        FileFormatError: lines of other than three names; the first of them, and how many.
        StorageError: a file that cannot be read.
    """
    parts = ("train", "validation", "test")
    if "train" not in paths or set(paths) - set(parts):
        raise at_user_line(
            ArgumentError(
                f"read_triples needs train, and takes validation and test; got {', '.join(paths)}"
            )
        )
    rows = {k: _lines(Path(paths[k])) if k in paths else [] for k in parts}
    together = [row for part in rows.values() for row in part]
    entities = sorted({name for head, _, tail in together for name in (head, tail)})
    relations = sorted({relation for _, relation, _ in together})
    of, of_relation = ({name: i for i, name in enumerate(x)} for x in (entities, relations))
    numbers = (
        np.asarray([(of[h], of_relation[r], of[t]) for h, r, t in part], "int32").reshape(-1, 3)
        for part in rows.values()
    )
    return KnowledgeGraph(entities, relations, *numbers)


def _lines(path: Path) -> list[list[str]]:
    lines = [line.rstrip("\r") for line in files.decoded(files.read_bytes(path), path).split("\n")]
    rows = {i: line.split("\t") for i, line in enumerate(lines, 1) if line.strip()}
    wrong = [i for i, row in rows.items() if len(row) != 3 or not all(row)]
    if wrong:
        raise at_user_line(
            FileFormatError(
                f"{path}: line {wrong[0]} is no head, relation and tail with tabs between them: "
                f"{lines[wrong[0] - 1]!r}"
                + (f" ({len(wrong)} lines are none)" if len(wrong) > 1 else "")
            )
        )
    return [*rows.values()]
