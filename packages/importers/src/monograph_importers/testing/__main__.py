"""``python -m monograph_importers.testing``: mutate sound files and watch the parsers read them."""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .guard import Guard
from .targets import TARGETS

_EXAMPLES = """examples:
  every parser, a minute each
    python -m monograph_importers.testing
  one parser, ten minutes, another row of files than last time
    python -m monograph_importers.testing gguf --seconds 600 --seed 1
files that were found are kept in --keep, to be read again:
    python -m monograph_importers.testing gguf --again out/findings/gguf-0.gguf
"""

LARGE = 0.02
"""The part of the files that are made to be of megabytes."""

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def _flip(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 8, 64))]


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    a, b, n = rng.randrange(len(data)), rng.randrange(len(other)), rng.choice((2, 8, 64, 512))
    data[a : a + n * rng.randrange(2)] = other[b : b + n]


def _number(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    """What may be a length or an offset becomes one at the edge of what there is."""
    width = rng.choice((1, 2, 4, 8))
    at, value = rng.randrange(len(data)), rng.choice((*EDGES, len(data), len(data) - 1))
    data[at : at + width] = (value % 256**width).to_bytes(width, rng.choice(("little", "big")))


def _digits(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    """The same for numbers written as text."""
    places = [n for n, c in enumerate(data) if 48 <= c <= 57]
    if places:
        at = rng.choice(places)
        data[at : at + 1] = str(rng.choice(EDGES)).encode()


def _grow(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    """A piece of it, or zeros, again and again: a few megabytes of many small things."""
    at, n = rng.randrange(len(data)), rng.choice((1, 16, 256, 4096))
    piece = rng.choice((bytes(n), bytes(data[at : at + n])))
    data[at:at] = piece * (rng.choice((1, 5)) * 1_000_000 // len(piece))


MUTATIONS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip, _replace, _cut, _drop, _splice, _number, _digits,
)  # fmt: skip


def mutated(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the seeds with one to eight mutations, most of them at its ends, where headers are."""
    data = bytearray(rng.choice(seeds))
    if data and rng.random() < LARGE:
        _grow(data, rng, seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        rng.choice(MUTATIONS)(data, rng, seeds)
        if not data:
            break
    return bytes(data)


def fuzz(name: str, seconds: float, seed: int = 0, keep: Path | None = None) -> list[str]:
    """Try one parser for some seconds; returns what was found, one line for each kind.

    Args:
        keep: where files that were found are put.
    """
    rng, target = random.Random(seed), TARGETS[name]
    found: dict[str, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = target.seeds(Path(folder))
        seeds = [p.read_bytes() for p in paths]
        with Guard(target.reads, paths[0], target.megabytes) as guard:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                which = rng.randrange(len(paths))
                path = paths[which].with_name(f"tried{paths[which].suffix}")
                path.write_bytes(
                    mutated([seeds[which]], rng) if rng.random() < 0.9 else mutated(seeds, rng)
                )
                out = guard.read(path)
                counts[out.kind] += 1
                finding = out.finding
                if finding and finding[:60] not in found:
                    found[finding[:60]] = finding
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, keep / f"{name}-{len(found) - 1}{path.suffix}")
    print(
        f"{name}: {sum(counts.values()):,} files: "
        + ", ".join(f"{k} {n:,}" for k, n in counts.most_common())
    )
    for line in found.values():
        print(f"  FOUND {line}")
    return list(found.values())


def main(argv: list[str] | None = None) -> int:
    """Parse arguments, run; 1 when something was found."""
    p = argparse.ArgumentParser(
        prog="python -m monograph_importers.testing", description=__doc__, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("parser", nargs="*", help=f"of {', '.join(TARGETS)} (default: all)")
    p.add_argument("--seconds", type=float, default=60, help="for each parser (default: 60)")
    p.add_argument("--seed", type=int, default=0, help="of the row of files (default: 0)")
    p.add_argument("--keep", type=Path, default=Path("out/findings"), help="default: out/findings/")
    p.add_argument("--again", type=Path, metavar="FILE", help="read this file only")
    args = p.parse_args(argv)
    if wrong := [n for n in args.parser if n not in TARGETS]:
        p.error(f"no parser {', '.join(wrong)}; there are {', '.join(TARGETS)}")
    names = args.parser or list(TARGETS)
    if args.again:
        with tempfile.TemporaryDirectory() as folder:
            sound = TARGETS[names[0]].seeds(Path(folder))[0]
            with Guard(TARGETS[names[0]].reads, sound, TARGETS[names[0]].megabytes) as guard:
                print(guard.read(args.again))
        return 0
    return int(bool(sum(len(fuzz(name, args.seconds, args.seed, args.keep)) for name in names)))


if __name__ == "__main__":
    sys.exit(main())
