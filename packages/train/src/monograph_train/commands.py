"""``python -m monograph checkpoint``: look into checkpoints, compare, verify and convert them."""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from monograph import storage, tensorfile
from monograph.dtypes import dtype as as_dtype
from monograph.errors import ArgumentError, FileFormatError, MonographError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .checkpoint import read_about, read_arrays

_EXAMPLES = """examples:
  what is in a file, and are its numbers sound?
    python -m monograph checkpoint inspect runs/step-00001200.safetensors
  did two runs end at the same weights? (exit status 1 when not)
    python -m monograph checkpoint diff a.safetensors b.safetensors
  is every bit of every file in a folder as it was written? (exit status 1 when not)
    python -m monograph checkpoint verify runs/
  half the size, for any safetensors reader, without the optimizer's state
    python -m monograph checkpoint convert last.safetensors weights.safetensors \\
        --dtype bfloat16 --without optimizer
  for NumPy
    python -m monograph checkpoint convert last.safetensors weights.npz
"""


def checkpoint(argv: list[str]) -> int:
    """Inspect, compare, verify and convert checkpoints; 0 when all is well, 1 not, 2 no file."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except MonographError as e:
        print(e, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "monograph checkpoint", description=checkpoint.__doc__, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(fn: Callable, name: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=(fn.__doc__ or "").splitlines()[0], description=fn.__doc__
        )
        made.set_defaults(run=fn)
        return made

    command(inspect, "inspect").add_argument("path", help="a checkpoint, or any safetensors file")
    two = command(diff, "diff")
    two.add_argument("a", help="a checkpoint, or any safetensors file")
    two.add_argument("b", help="another")
    command(verify, "verify").add_argument(
        "paths", nargs="+", help="checkpoints, or folders of them"
    )
    to = command(convert, "convert")
    to.add_argument("path", help="a checkpoint, or any safetensors file")
    to.add_argument("out", help="the file to write: NAME.npz or NAME.safetensors")
    to.add_argument("--dtype", help="of the floating-point variables, such as bfloat16")
    to.add_argument(
        "--without", action="append", default=[], metavar="PATH",
        help="leave out this variable, or all below it; may be given more than once",
    )  # fmt: skip
    return parser


# ---- commands


def inspect(args: Any) -> int:
    """Show each variable's path, shape, dtype, size and statistics (of its finite numbers)."""
    about, arrays = _open(args.path)
    flags, rows, numbers, nbytes, bad = about.get("variables", {}), {}, 0, 0, 0
    for name, a in arrays:  # one in memory at a time
        *stats, wrong = _statistics(a)
        note = "" if flags.get(name, {}).get("trainable", True) else "  (state)"
        shape = "x".join(map(str, a.shape)) or "scalar"
        sizes = f"{a.size:,}", f"{a.nbytes:,}"
        rows[name] = note, shape, a.dtype.name, *sizes, *stats, f"{wrong:,}" if wrong else ""
        numbers, nbytes, bad = numbers + a.size, nbytes + a.nbytes, bad + wrong
    table = _table(
        "variable", "shape", "dtype", "numbers", "bytes", "mean", "std", "min", "max", "not finite"
    )
    for name, (note, *cells) in sorted(rows.items()):
        table.add_row(_shown(name) + note, *cells)
    table.add_section()
    table.add_row("total", "", "", f"{numbers:,}", f"{nbytes:,}", "", "", "", "", f"{bad:,}")
    console = _console()
    _say(console, args.path)
    for key in ("step", "seed", "metrics", "meta"):
        if key in about:
            _say(console, f"{key}: {json.dumps(about[key])}")
    console.print(table)
    return 0


def diff(args: Any) -> int:
    """Compare two files variable by variable; exit status 1 when any bit differs.

    Differences are the largest absolute one, and the largest relative to the greater of the two
    numbers; nan where only one is a number.
    """
    a, b = (dict(_open(path)[1]) for path in (args.a, args.b))
    table, same = _table("variable", "difference", "absolute", "relative", "numbers", left=2), 0
    for name in sorted({*a, *b}):
        if name not in b or name not in a:
            table.add_row(_shown(name), escape(f"only in {args.a if name in a else args.b}"))
        elif (a[name].shape, a[name].dtype) != (b[name].shape, b[name].dtype):
            shown = (f"{x.dtype.name}{list(x.shape)}" for x in (a[name], b[name]))
            table.add_row(_shown(name), escape(" and ".join(shown)))
        elif a[name].tobytes() != b[name].tobytes():
            table.add_row(_shown(name), "values", *_difference(a[name], b[name]))
        else:
            same += 1
    console = _console()
    if table.row_count:
        console.print(table)
    _say(console, f"{same} variables are the same, {table.row_count} differ")
    return 1 if table.row_count else 0


def verify(args: Any) -> int:
    """Read files, or all checkpoints of folders, and check every bit; exit status 1 when damaged."""
    ill = 0
    for path in map(Path, args.paths):
        found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        if not found:
            print(f"{path}: no checkpoints (*.safetensors) in this folder")
            ill += 1
        for file in found:
            try:
                sizes = [a.nbytes for _, a in read_arrays(file)]
                step = read_about(file)["step"]
                print(f"{file}: whole, step {step}, {len(sizes)} variables, {sum(sizes):,} bytes")
            except MonographError as e:
                ill += 1
                print(e if str(file) in str(e) else f"{file}: {e}")
    return 1 if ill else 0


def convert(args: Any) -> int:
    """Write a file's variables as .npz or as a plain .safetensors, in another dtype if asked.

    Integers stay as they are. NumPy's .npz lacks bfloat16 and float8: they become float32.
    """
    out = Path(args.out)
    if out.suffix not in _WRITERS:
        raise ArgumentError(f"{out}: the name must end in {' or '.join(_WRITERS)}")
    want = None if args.dtype is None else as_dtype(args.dtype)
    if want is not None and not want.is_float:
        raise ArgumentError(f"--dtype {want}: only floating-point variables are converted")
    left_out = tuple(p.rstrip("/") for p in args.without)
    arrays, lost = {}, 0
    for name, a in _open(args.path)[1]:
        if any(name == p or name.startswith(f"{p}/") for p in left_out):
            continue
        if want is not None and as_dtype(a.dtype).is_float:
            with np.errstate(over="ignore", invalid="ignore"):
                cast = a.astype(want.numpy)
            lost += int(np.isfinite(a).sum() - np.isfinite(cast).sum())
            a = cast
        arrays[name] = a
    if not arrays:
        raise ArgumentError(f"{args.path}: no variable is left to write")
    _WRITERS[out.suffix](arrays, out)
    if lost:
        print(f"warning: too large for {want}, now infinite: {lost:,} numbers")
    print(f"{out}: {len(arrays)} variables, {out.stat().st_size:,} bytes")
    return 0


def _write_npz(arrays: dict[str, np.ndarray], path: Path) -> None:
    with storage.replacing(path) as f, zipfile.ZipFile(f, "w") as z:
        for name, a in arrays.items():
            plain = a.astype(np.float32) if a.dtype.kind == "V" else a
            part = io.BytesIO()
            np.lib.format.write_array(part, plain, allow_pickle=False)
            z.writestr(f"{name}.npy", part.getbuffer())


_WRITERS: dict[str, Callable] = {".npz": _write_npz, ".safetensors": tensorfile.save_safetensors}


# ---- reading and showing


def _open(path: str) -> tuple[dict[str, Any], Iterator[tuple[str, np.ndarray]]]:
    """A checkpoint's metadata and arrays; ``{}`` and arrays of a plain safetensors file."""
    try:
        return read_about(path), read_arrays(path)
    except FileFormatError:
        with storage.opened(path) as f:
            header = tensorfile.parse_header(f, tensorfile.read_raw_header(f, path), path)
        if any(key.startswith("monograph") for key in header.metadata):
            raise  # a damaged checkpoint is not to be read without its checksums
        return {}, iter(tensorfile.load_safetensors(path).items())


def _statistics(a: np.ndarray) -> tuple[str, str, str, str, int]:
    """Mean, standard deviation, least and greatest of the finite numbers; how many are not."""
    if a.dtype.kind == "c":
        finite = np.isfinite(a)
        return "", "", "", "", int(a.size - finite.sum())
    wide = a if a.dtype.kind in "fiu" else a.astype(np.float32)
    good = wide[np.isfinite(wide)]
    bad = int(wide.size - good.size)
    if not good.size:
        return "", "", "", "", bad
    # two passes in float64 without a copy in it
    shown = (good.mean(dtype=np.float64), good.std(dtype=np.float64), good.min(), good.max())
    return *(f"{v:.4g}" for v in shown), bad  # type: ignore[return-value]


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[str, str, str]:
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
        largest = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(apart == 0, 0.0, apart / largest)
    bytes_of = (np.ascontiguousarray(v).reshape(-1, 1).view(np.uint8) for v in (a, b))
    count = int(np.any(np.not_equal(*bytes_of), axis=1).sum())
    return f"{apart.max():.3g}", f"{relative.max():.3g}", f"{count:,} of {a.size:,}"


def _console() -> Console:
    """As wide as the lines are: no path or number is broken, and each row stays one line."""
    return Console(width=10_000, highlight=False)


def _table(*columns: str, left: int = 3) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="left" if i < left else "right")
    return made


def _shown(name: str) -> str:
    """A variable's name as the table takes it; a file may hold any, terminal codes too."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in name))


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
