"""Files written whole or not at all, and errors that say what the system refused and why."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import FileFormatError, MonographError, StorageError

_HINTS = {
    errno.ENOSPC: ". Free space there or choose another folder; earlier files are untouched",
    errno.EFBIG: ". Raise the limit on file sizes (ulimit -f); earlier files are untouched",
    errno.EDQUOT: ". Free some of your quota; earlier files are untouched",
    errno.EACCES: ". Choose a folder that you may write to, or change its permissions",
    errno.EROFS: ". Choose a folder on a file system that is writable",
    errno.ENOENT: ". The folder must exist",
}


def refused(doing: str, path: Any, cause: OSError) -> StorageError:
    """The error to raise for what the system said; `errno` and `filename` are kept."""
    hint = _HINTS.get(cause.errno or 0, "") if doing != "read" else ". Check path and permissions"
    made = StorageError(f"cannot {doing} {path}: {cause.strerror or cause}{hint}")
    made.errno, made.filename = cause.errno, str(path)
    return made


def damaged(path: Any, why: str) -> FileFormatError:
    """The error for a file that is not as it was written."""
    return FileFormatError(f"{path}: {why}; the file is damaged, take another copy")


def cache(name: str) -> Path:
    """Where what can be made anew is kept: ``$MONOGRAPH_CACHE/name`` or ``~/.cache/monograph/name``."""
    base = os.environ.get("MONOGRAPH_CACHE")
    return (Path(base) if base else Path("~/.cache/monograph").expanduser()) / name


def others_may(found: os.stat_result, mode: int) -> bool:
    """Whether another user owns a file or folder, or has any right of ``mode`` to it."""
    return hasattr(os, "getuid") and (found.st_uid != os.getuid() or bool(found.st_mode & mode))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; then ``path`` is that, whole and durable, or as it was before.

    Raises:
        StorageError: the system refused; no temporary file is left.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(e, OSError):
            raise refused("write", path, e) from e
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which cannot open a folder, and orders renames by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def opened(path: Any) -> Iterator[BinaryIO]:
    """The file open for reading; what the system refuses becomes `StorageError`."""
    try:
        with open(path, "rb") as f:
            yield f
    except MonographError:
        raise
    except OSError as e:
        raise refused("read", path, e) from e
