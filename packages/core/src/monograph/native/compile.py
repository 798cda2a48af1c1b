"""C and C++ to a shared library, by the system's compiler; kept by the content of all that went in."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..choices import processor
from ..errors import ArgumentError, NativeError
from ..storage import cache, others_may

HEADERS = Path(__file__).parent
"""The folder of ``monograph_op.h``; every compilation searches it."""

SUFFIXES = {".c": "c", ".cc": "c++", ".cpp": "c++", ".cxx": "c++"}

# language -> environment variable, names to try, what ziglang calls it, flags
_LANGUAGES = {
    "c": (
        "CC", ("cc", "gcc", "clang"), "cc", ("-std=gnu11", "-Werror=implicit-function-declaration"),
    ),
    "c++": ("CXX", ("c++", "g++", "clang++"), "c++", ("-std=gnu++17",)),
}  # fmt: skip
_FLAGS = ("-O2", "-fPIC", "-shared", "-fno-math-errno")


def words(text: str, what: str) -> tuple[str, ...]:
    """Text as a shell splits it. Raises `ArgumentError` for a quotation that does not end."""
    try:
        return tuple(shlex.split(text))
    except ValueError as e:
        raise ArgumentError(f"{what}{text!r}: {e}") from e


class NoCompiler(NativeError):
    """There is no compiler on this machine."""


class Compiler(NamedTuple):
    """How a compiler is started, and its name and version as it gives them."""

    command: tuple[str, ...]
    version: str


@functools.cache
def compiler(language: str = "c") -> Compiler:
    """The compiler: ``$CC`` or ``$CXX``, the system's, or PyPI's ``ziglang``.

    Raises:
        NoCompiler: there is none; says how to install one.
    """
    variable, names, zig, _ = _LANGUAGES[language]
    given = words(os.environ.get(variable, ""), f"{variable}=")
    if given and shutil.which(given[0]) is None:
        raise NoCompiler(f"{variable}={os.environ[variable]}: there is no program {given[0]!r}")
    command = given or next(((n,) for n in names if shutil.which(n)), ())
    if not command and importlib.util.find_spec("ziglang"):
        command = (sys.executable, "-m", "ziglang", zig)
    if not command:
        raise NoCompiler(
            f"there is no {language.upper()} compiler: neither {', '.join(names)} is on PATH, nor is "
            f"{variable} set. Install one: 'apt install build-essential', 'dnf install gcc gcc-c++', "
            f"'xcode-select --install', or, anywhere, 'pip install ziglang'."
        )
    try:
        told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    except OSError as e:
        raise NoCompiler(f"{shlex.join(command)} cannot be run: {e}") from e
    return Compiler(command, (told.stdout or told.stderr).partition("\n")[0])


def build(
    text: str, name: str, language: str = "c", flags: Sequence[str] = (), file: str = ""
) -> Path:
    """The library of a source text; compiled unless one of the same content is there.

    Args:
        name: of the operation, for the library's file name.
        flags: for the compiler, after ``-O2``; libraries to link too.
        file: where the text is from: errors name it, and it may include what lies beside it.

    Raises:
        NativeError: it does not compile (with the compiler's message), or the cache is not safe.
    """
    found = compiler(language)
    folders = [str(Path(file).parent)] if file else []
    folders += [f.removeprefix("-I") for f in flags if f.startswith("-I") and len(f) > 2]
    folders.append(str(HEADERS))
    key = _digest(text, language, *flags, *found.command, found.version, *_machine(flags),
                  *_included(text, folders))  # fmt: skip
    library = cache_folder() / f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}-{key}.so"
    if not library.exists():
        try:
            _compile(found, text, library, language, flags, folders, file or f"{name}.{language}")
        except OSError as e:
            raise _no_room(library.parent, e) from e
    return library


def _compile(
    found: Compiler, text: str, library: Path, language: str, flags: Sequence[str],
    folders: Sequence[str], shown: str,
) -> None:  # fmt: skip
    # in a folder of its own, then renamed: another process may be at it, too
    with tempfile.TemporaryDirectory(dir=library.parent, ignore_cleanup_errors=True) as there:
        source, made = Path(there, f"source.{language.replace('+', 'p')}"), Path(there, "made.so")
        quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
        source.write_text(f'#line 1 "{quoted}"\n{text}', encoding="utf-8")
        command = [
            *found.command, *_LANGUAGES[language][3], *_FLAGS, *[f"-I{f}" for f in folders],
            "-o", str(made), str(source), *flags, "-lm",
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
        if done.returncode or not made.exists():
            said = (done.stderr + done.stdout).replace(str(source), shown).strip()
            raise NativeError(
                f"{shown} does not compile with {found.version or found.command[0]}:\n"
                f"{said[:4000]}{_quoted(said, shown, text)}"
            )
        os.chmod(made, 0o700)
        os.replace(made, library)


def _quoted(said: str, shown: str, text: str) -> str:
    """The line of the first error, which a compiler cannot show when the text is from no file."""
    at = re.search(rf"{re.escape(shown)}:(\d+)(:\d+)?: (fatal )?error", said)
    lines = text.splitlines()
    if at is None or not 0 < int(at[1]) <= len(lines) or os.path.exists(shown):
        return ""
    return f"\nline {at[1]} is: {lines[int(at[1]) - 1].strip()}"


def _digest(*parts: str) -> str:
    h = hashlib.sha256()
    for part in parts:
        data = part.encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:32]


def _machine(flags: Iterable[str]) -> list[str]:
    """What the code depends on besides: with ``-march=native`` the very processor."""
    out = [sys.platform, platform.machine()]
    if any("native" in f for f in flags):
        out += processor()
    return out


def _included(text: str, folders: Sequence[str], seen: set[Path] | None = None) -> Iterator[str]:
    """Names and contents of the files that ``#include "..."`` brings in, and theirs."""
    seen = set() if seen is None else seen
    for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', text, re.M):
        path = next((p for p in (Path(f, name) for f in folders) if p.is_file()), None)
        if path is None or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        inner = path.read_text(errors="replace")
        yield from (name, inner)
        yield from _included(inner, [str(path.parent), *folders], seen)


def cache_folder() -> Path:
    """Where libraries are kept: ``$MONOGRAPH_CACHE/native`` or ``~/.cache/monograph/native``.

    Raises:
        NativeError: it cannot be made, or someone else may write to it: what lies there is run.
    """
    folder = cache("native")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as e:
        raise _no_room(folder, e) from e
    if others_may(found, 0o077):
        raise NativeError(
            f"{folder} belongs to user {found.st_uid} with mode {found.st_mode & 0o777:o}; what lies "
            f"there is run, so it must be yours with mode 700: 'chmod 700 {folder}', or set "
            f"MONOGRAPH_CACHE to another folder"
        )
    return folder


def _no_room(folder: Path, e: OSError) -> NativeError:
    return NativeError(
        f"cannot keep compiled operations in {folder}: {e}; set MONOGRAPH_CACHE to a folder of yours"
    )


def exported(library: str | Path) -> list[str]:
    """The functions that a library exports, as far as ``nm`` is there to tell."""
    flags = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    try:
        done = subprocess.run(
            ["nm", *flags, str(library)], capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    names = [line.split()[-1] for line in done.stdout.splitlines() if " T " in line]
    if sys.platform == "darwin":
        names = [n.removeprefix("_") for n in names]
    return [n for n in names if n not in ("_init", "_fini")]
