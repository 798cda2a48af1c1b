"""Where a dataset's files are, how they are read safely, and the download of one, when asked for."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monograph.errors import ArgumentError, FileFormatError, MonographError, StorageError
from monograph.storage import opened, refused, replacing
from monograph.tracing import at_user_line

SCHEMES = ("https",)
"""What an address may begin with, also one that a server sends on to."""

_CHUNK = 1 << 20
_RATIO, _SMALL = 500, 64 << 20  # text shrinks to a tenth, repeated lines to a hundredth


class Source(NamedTuple):
    """Where a file can be taken from.

    Attributes:
        url: its address.
        sha256: what its bytes must have, in hexadecimal.
        size: how many bytes it may have at most.
    """

    url: str
    sha256: str
    size: int


def find(names: Sequence[str], folder: Any, kinds: Sequence[str]) -> Path | None:
    """The folder that has files of all these names, None where there is none; see `locate`."""
    has_all = lambda p: all((p / n).is_file() for n in names)  # noqa: E731
    return next(filter(has_all, places(folder, kinds)), None)


def places(folder: Any, kinds: Sequence[str]) -> list[Path]:
    """Where a dataset may be: in the folders ``kinds`` of a folder, and in itself; see `locate`."""
    root = folder if folder is not None else os.environ.get("MONOGRAPH_DATA")
    return [] if root is None else [*(Path(root) / k for k in kinds), Path(root)]


def locate(
    what: str, names: Sequence[str], folder: Any, kinds: Sequence[str], *,
    sources: Mapping[str, Source] | None = None, download: bool = False, hint: str = "",
) -> dict[str, Path]:  # fmt: skip
    """The paths of a dataset's files, all of them in one folder.

    Args:
        what: the dataset, for the error.
        folder: where to look, in the folders ``kinds`` in it and then in itself; None: in
            ``MONOGRAPH_DATA``.
        sources: by name where each can be taken from.
        download: whether to take what is missing from there.
        hint: what to do when they are nowhere.

    Raises:
        ArgumentError: no folder is named; or files are missing: all of them, where they were looked
            for, and what to do.
        StorageError, FileFormatError: a download that failed.
    """
    if (found := find(names, folder, kinds)) is not None:
        return {n: found / n for n in names}
    looked = places(folder, kinds)
    if not looked:
        raise at_user_line(
            ArgumentError(
                f"where are the files of {what}? Pass folder=, or set MONOGRAPH_DATA to the folder that "
                f"holds data, theirs in {kinds[0]}/: {', '.join(names)}"
            )
        )
    place = max(looked, key=lambda p: sum((p / n).is_file() for n in names))
    missing = [n for n in names if not (place / n).is_file()]
    able = sources is not None and all(n in sources for n in missing)
    if download and sources and able:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise at_user_line(refused("write", place, e)) from e
        for n in missing:
            fetch(sources[n], place / n)
        return {n: place / n for n in names}
    advice = {
        (True, False): "Pass download=True to take them from their source. ",
        (False, True): "No address with a checksum is known to download them from. ",
    }.get((able, download), "")
    listed = "\n".join(f"  {n}" for n in missing)
    raise at_user_line(
        ArgumentError(
            f"{len(missing)} of {len(names)} files of {what} are missing:\n{listed}\nThey were looked for "
            f"in {', '.join(map(str, looked))}. {advice}{hint}"
        )
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where a server sends, unless that is no address of a kind that is allowed."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        try:
            _check_address(newurl)
        except ArgumentError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ArgumentError(
            f"{url}: files are taken by {' or '.join(SCHEMES)} only, not by {scheme!r}"
        )


def fetch(source: Source, path: Path) -> None:
    """Download a file: whole and with the right checksum, or not at all.

    Raises:
        ArgumentError: an address that is not https, or that sends on to one.
        StorageError: it cannot be reached; or the disk refuses.
        FileFormatError: other bytes than expected, or more.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with replacing(path) as out, contextlib.closing(_parts(source.url)) as parts:
            for part in parts:
                size += len(part)
                if size > source.size:
                    raise FileFormatError(
                        f"{source.url} has more than the {source.size:,} bytes that {path.name} may have"
                    )
                digest.update(part)
                out.write(part)
            if digest.hexdigest() != source.sha256:
                raise FileFormatError(
                    f"{source.url}: its SHA-256 is {digest.hexdigest()}, not {source.sha256}: it is not "
                    f"the file that is known as {path.name}, or was damaged on its way"
                )
    except _Unreachable as e:
        raise at_user_line(
            StorageError(f"cannot download {source.url}: {e}. Put the file there by hand: {path}")
        ) from e
    except MonographError as e:
        raise at_user_line(e) from e.__cause__


class _Unreachable(Exception):
    """What is at the other end of the line did not answer, or not to the end."""


def _parts(url: str) -> Generator[bytes, None, None]:
    _check_address(url)
    try:
        with urllib.request.build_opener(_Redirects).open(url, timeout=60) as answer:
            while part := answer.read(_CHUNK):
                yield part
            if answer.length:
                raise _Unreachable(f"it ended {answer.length:,} bytes early")
    except (OSError, http.client.HTTPException) as e:
        if isinstance(e, urllib.error.HTTPError):
            e.close()  # it is an answer as well
        raise _Unreachable(str(getattr(e, "reason", e)) or type(e).__name__) from e


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises `StorageError`."""
    with opened(path) as f:
        return f.read()


def decoded(data: bytes, path: Any) -> str:
    """Bytes as text. Raises `FileFormatError`: they are no UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise FileFormatError(f"{path}: it is no text in UTF-8: {e}") from None


def read_zip(path: Path, wanted: Sequence[str], limit: int = 4 << 30) -> dict[str, bytes]:
    """Members of a zip file, by their names without folders. Nothing is extracted to the disk.

    Args:
        wanted: their names; those that are not in it are left out.
        limit: how many bytes all of them may have.

    Raises:
        FileFormatError: no zip file, a damaged one, or one that is not to be trusted: members outside
            of its folder, links, several of one name, or far more bytes than a dataset has.
    """
    try:
        with opened(path) as f, zipfile.ZipFile(f) as archive:
            members = archive.infolist()
            problems = [p for m in members for p in _distrust(m)]
            chosen = [m for m in members if Path(m.filename).name in wanted and not m.is_dir()]
            names = [Path(m.filename).name for m in chosen]
            problems += sorted(
                {f"{n} is in it more than once" for n in names if names.count(n) > 1}
            )
            if (total := sum(m.file_size for m in chosen)) > limit:
                problems.append(f"{total:,} bytes are more than the {limit:,} that are read")
            if problems:
                listed = "; ".join(problems[:5])
                raise FileFormatError(f"{path} is not read: {listed}")
            return {name: archive.read(m) for name, m in zip(names, chosen)}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as e:
        if isinstance(e, FileFormatError):
            raise
        raise FileFormatError(f"{path}: it is no zip file that can be read: {e}") from None


def _distrust(member: zipfile.ZipInfo) -> list[str]:
    """Why a member of a zip file is not one of a dataset's."""
    name, out = member.filename, []
    if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
        out.append(f"{name!r} lies outside of its folder")
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        out.append(f"{name!r} is a link")
    if member.file_size > _SMALL + _RATIO * member.compress_size:
        out.append(f"{name!r} grows from {member.compress_size:,} to {member.file_size:,} bytes")
    return out
