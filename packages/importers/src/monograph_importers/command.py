"""``python -m monograph import``: what is in a model or a file of weights, and whether it runs."""

from __future__ import annotations

import argparse
import collections
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, MonographError
from monograph.importing import Imported
from monograph.outline import Group, outline
from monograph.storage import refused
from monograph.tensorfile import save_safetensors
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from . import weights

_EXAMPLES = """examples:
  what does a model take and give, which parameters has it, and does anything keep it from running?
    python -m monograph import model.onnx            (exit status 1 when something does)
  which arrays are in a file of weights? nothing of it is executed, and they are not read
    python -m monograph import pytorch_model.bin
    python -m monograph import model.safetensors.index.json --all
  what does it compute, three levels of modules deep?
    python -m monograph import model.keras --graph
  does it run on an engine, for which sizes, and how fast?
    python -m monograph import model.onnx --run xla --size batch=8 --size sequence=128
  its weights and its graph as files of your own
    python -m monograph import weights.gguf --save converted
in Python: imported = mg.load("model.onnx"); imported.call(x)
           arrays = monograph_importers.weights.read("pytorch_model.bin")
"""

MANY = 40
"""A table of more rows than this is folded: rows that differ in numbers only become one."""


def import_(argv: list[str]) -> int:
    """Show a model's signature, parameters and graph; 0 when it runs, 1 when something is unsupported, 2 no file."""
    args = _parser().parse_args(argv)
    try:
        return _show(args)
    except MonographError as e:
        print(e, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "monograph import", description=import_.__doc__, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument(
        "source", help="a file or folder of any format that an importer knows, or of weights"
    )
    p.add_argument(
        "--format", help="the importer, where the file does not say it: onnx, keras, ..."
    )
    p.add_argument("--all", action="store_true", help="every parameter in a row of its own")
    p.add_argument(
        "--graph", type=int, nargs="?", const=3, metavar="DEPTH",
        help="the graph as a tree of modules, so many levels deep (default: 3)",
    )  # fmt: skip
    p.add_argument(
        "--size", action="append", default=[], type=_size, metavar="AXIS=N",
        help="the length of an axis that has a name; may be given more than once",
    )  # fmt: skip
    p.add_argument(
        "--run", metavar="ENGINE", help="call it once with random numbers: xla, torch, numpy"
    )
    p.add_argument(
        "--save", type=Path, metavar="FOLDER",
        help="write weights.safetensors and, of a model, graph.mg (for mg.Graph.load)",
    )  # fmt: skip
    return p


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not AXIS=N, such as batch=8")
    return name, int(number)


def _show(args: argparse.Namespace) -> int:
    console = Console(width=10_000, highlight=False)  # no path is broken, each row stays one line
    if args.format is None and weights.recognises(args.source):
        for option in ("graph", "run"):
            if getattr(args, option) is not None:
                raise ArgumentError(
                    f"{args.source}: weights alone have no graph; leave out --{option}"
                )
        held = weights.read(args.source)
        _say(console, repr(held))
        console.print(_weights_table(held, args.all))
        if args.save:
            _save(args.save, held)
        return 0
    imported = mg.load(args.source, args.format)
    _say(console, f"{imported.name}{imported.signature}")
    _check_sizes(args, imported)
    console.print(_parameters(imported, args.all))
    if imported.unsupported:
        console.print(_unsupported(imported))
    elif args.graph is not None:
        graph = imported.trace(**dict(args.size))
        console.print(_tree(graph, args.graph))
    if args.run:
        _run(console, imported, args.run, dict(args.size))
    if args.save:
        _save(args.save, imported.parameters)
        if not imported.unsupported:
            imported.trace(**dict(args.size)).save(args.save / "graph.mg")
    return 1 if imported.unsupported else 0


def _check_sizes(args: argparse.Namespace, imported: Imported) -> None:
    named = {n for i in imported.signature.inputs for n in i.shape if isinstance(n, str)}
    if wrong := [n for n, _ in args.size if n not in named]:
        raise ArgumentError(
            f"--size: there is no axis {', '.join(wrong)}; the model has {', '.join(sorted(named)) or 'none'}"
        )


# ---- tables


def _weights_table(held: weights.Weights, whole: bool) -> Table:
    first = {n: names[0] for names in held.tied for n in names[1:]}
    rows = (
        (name, a.spec, f"tied to {first[name]}" if name in first else a.kept_as)
        for name, a in held.arrays.items()
    )
    return _table(rows, whole)


def _parameters(imported: Imported, whole: bool) -> Table:
    rows = ((path, mg.Spec.of(a), "") for path, a in sorted(imported.parameters.items()))
    return _table(rows, whole)


def _table(rows: Iterable[tuple[str, mg.Spec, str]], whole: bool) -> Table:
    """Path, shape, dtype, bytes and a note of each; rows that differ in numbers only as one, if many."""
    rows = list(rows)
    folds: dict[Any, list[tuple[str, mg.Spec, str]]] = collections.defaultdict(list)
    for path, spec, note in rows:
        few = whole or len(rows) <= MANY
        folds[path if few else (re.sub(r"\d+", "*", path), spec, note)].append((path, spec, note))
    table = _columns("path", "shape", "dtype", "count", "bytes", "", left=3)
    for fold in folds.values():
        path, spec, note = fold[0]
        table.add_row(
            _shown(path if len(fold) == 1 else re.sub(r"\d+", "*", path)),
            "x".join(map(str, spec.shape)) or "scalar", str(spec.dtype),
            f"{len(fold)}x" if len(fold) > 1 else "", f"{len(fold) * _nbytes(spec):,}", _shown(note),
        )  # fmt: skip
    table.add_section()
    numbers, nbytes = sum(s.size for _, s, _ in rows), sum(_nbytes(s) for _, s, _ in rows)
    table.add_row("total", f"{numbers:,} numbers", "", f"{len(rows)}x", f"{nbytes:,}", "")
    return table


def _unsupported(imported: Imported) -> Table:
    table = _columns("unsupported", "count", "first at", "what is missing", left=4)
    for u in imported.unsupported:
        table.add_row(_shown(u.op), f"{u.count}x", _shown(u.where), _shown(u.why or "all of it"))
    return table


def _tree(graph: mg.Graph, depth: int) -> Tree:
    """The graph by modules; what lies deeper is counted."""
    tree = Tree(escape(f"{graph.name}: {len(graph.nodes)} nodes"))
    _branches(tree, outline(graph).items, depth)
    return tree


def _branches(tree: Tree, items: list[Any], depth: int) -> None:
    loose: list[str] = []

    def flush() -> None:
        if loose:
            tree.add(_shown(", ".join(_counted(loose))))
            loose.clear()

    for item in items:
        if not isinstance(item, Group):
            loose.append(item.op.name)
            continue
        flush()
        nodes = list(item.nodes())
        spec = nodes[-1].outputs[0].spec
        branch = tree.add(
            f"[bold]{_shown(item.name)}[/]  {len(nodes)} nodes -> {escape(str(spec))}"
        )
        if depth > 1:
            _branches(branch, item.items, depth - 1)
    flush()


def _counted(names: list[str]) -> list[str]:
    """Names in their order, those of which there are several once, with their number."""
    return [n if c == 1 else f"{n} ({c}x)" for n, c in collections.Counter(names).items()]


# ---- running and saving


def _run(console: Console, imported: Imported, engine: str, sizes: dict[str, int]) -> None:
    """Call it twice on random numbers: the first call compiles."""
    rng = np.random.default_rng(0)
    inputs = [None if s is None else _random(s, rng) for s in imported.signature.specs(**sizes)]
    call, times = imported.on(engine).call, []
    for _ in range(2):
        start = time.perf_counter()
        out = call(*inputs)
        leaves = [np.asarray(x) for x in mg.tree.leaves(out)]
        times.append(time.perf_counter() - start)
    _say(
        console,
        f"{engine}: compiled and run in {times[0]:.2f} s, run again in {1000 * times[1]:.1f} ms",
    )
    table = _columns("output", "shape", "dtype", "mean", "min", "max", "not finite", left=3)
    names = imported.signature.outputs
    for n, a in enumerate(leaves):
        wide = a.astype(np.float64) if a.dtype.kind not in "c" else np.abs(a)
        good = wide[np.isfinite(wide)]
        stats = [f"{f(good):.4g}" if good.size else "" for f in (np.mean, np.min, np.max)]
        table.add_row(
            _shown(names[n] if len(names) == len(leaves) else str(n)),
            "x".join(map(str, a.shape)) or "scalar", str(a.dtype), *stats,
            str(wide.size - good.size or ""),
        )  # fmt: skip
    console.print(table)


def _random(spec: mg.Spec, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers; zeros where they are integers or bools, which are valid as indices."""
    if not spec.dtype.is_inexact:
        return np.zeros(spec.shape, spec.dtype.numpy)
    return rng.standard_normal(spec.shape).astype(spec.dtype.numpy)


def _save(folder: Path, arrays: Any) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise refused("write", folder, e) from e
    save_safetensors(arrays, folder / "weights.safetensors")


# ---- how it looks


def _nbytes(spec: mg.Spec) -> int:
    return spec.size * spec.dtype.itemsize


def _columns(*columns: str, left: int) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="left" if i < left else "right")
    return made


def _shown(name: str) -> str:
    """A name as a table takes it; a file may hold any, terminal codes too."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in name))


def _say(console: Console, text: str) -> None:
    console.print(
        "".join(c if c.isprintable() else "?" for c in text), markup=False, soft_wrap=True
    )
