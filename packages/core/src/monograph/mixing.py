"""One graph on several engines, part by part: ``engine="auto:mix"``.

The graph is cut into segments of about equal cost; each is measured on each engine, and the cheapest way
through them, hand-overs included, becomes a program whose parts borrow each other's results (`Engine.borrow`).
It is kept where it beats the best engine alone by more than `GAIN`.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .compiled import Compiled
from .engine import Device, Executable
from .errors import MonographError
from .graph import Graph
from .tensor import Tensor, feed

GAIN = 0.05
"""What mixing must save of the best engine's time."""

SEGMENTS, ROUNDS = 8, 5
"""Into how many segments a graph is cut at most; runs of each on each engine, after one that warms up."""

HAND_OVER, BYTES_PER_SECOND = 2e-5, 2e10
"""What a hand-over is taken to cost while ways are compared; the whole is measured afterwards."""


class Piece(NamedTuple):
    """What runs on one engine.

    Attributes:
        start: the position of its first operation in ``graph.nodes``.
        device: where.
    """

    start: int
    device: Device


class Mixed(Compiled):
    """A graph compiled in pieces; buffers that come in and go out are those of one device.

    >>> import monograph as mg
    >>> from monograph.engine import resolve
    >>> g = mg.trace(lambda x: mg.exp(mg.sin(x)), mg.Spec(()))
    >>> run = Mixed(g, "numpy", pieces=[Piece(0, resolve("numpy")), Piece(1, resolve("numpy"))])
    >>> run(0.0).item()
    1.0
    """

    __slots__ = ("pieces",)

    def __init__(
        self, graph: Graph, engine: Any = None, donate: Sequence[int] = (),
        steady: Sequence[int] = (), *, pieces: Sequence[Piece],
    ):  # fmt: skip
        self.pieces = tuple(pieces)
        super().__init__(graph, engine, donate, steady)

    def _compile(self, donate: tuple[int, ...], steady: tuple[int, ...] = ()) -> Executable:
        """Nothing is donated to a piece: who else reads it is not known there."""
        home, devices = self.device, [p.device for p in self.pieces]
        split = self.graph.split([p.start for p in self.pieces[1:]])
        lasting = frozenset() if home.engine.rewrites else frozenset(steady)
        stages, owners = [], []
        for part, device in zip(split.parts, devices):
            stages.append(Compiled(part.graph, device, (), _staying(part, lasting)))
            owners.append([home if w == "input" else devices[w] for w, _ in part.sources])
        # whose result is copied home: another engine's, an input, or what is handed out already
        givers: list[Device | None] = []
        for i, (w, n) in enumerate(split.outputs):
            owner = home if w == "input" else devices[w]
            own = w != "input" and owner is home and (w, n) not in split.outputs[:i]
            givers.append(None if own else owner)
        lent: dict[Any, tuple[Any, Any]] = {}  # of what stays, by place and device: it, as borrowed

        def borrowed(x: Any, spec: Any, owner: Device, device: Device, place: Any) -> Any:
            where, n = place
            if where != "input" or n not in lasting:
                return device.engine.borrow(Tensor(x, spec, owner), device)
            known = lent.get((n, device))
            if known is None or known[0] is not x:
                known = x, device.engine.borrow(Tensor(x, spec, owner), device)
                lent[n, device] = known
            return known[1]

        def execute(k: int, part: Any, xs: list) -> Sequence[Any]:
            stage, device, mine = stages[k], devices[k], owners[k]
            foreign = [i for i, owner in enumerate(mine) if owner is not device]
            for i in foreign:
                xs[i] = borrowed(xs[i], part.graph.input_specs[i], mine[i], device, part.sources[i])
            outs = stage.execute(xs)
            if foreign:  # while it still reads, the owner must not overwrite
                device.engine.wait(outs)
            return outs

        def run(*buffers: Any) -> list[Any]:
            outs = split.run(buffers, execute)
            for i, owner in enumerate(givers):
                if owner is not None:
                    outs[i] = home.engine.put(owner.engine.get(outs[i]), home)
            return outs

        return run


def _staying(part: Any, steady: Collection[int]) -> list[int]:
    """Which of a part's inputs are the whole's ``steady`` ones."""
    return [i for i, (w, n) in enumerate(part.sources) if w == "input" and n in steady]


def pieces_of(
    graph: Graph, devices: Mapping[str, Device], arguments: Sequence[Any],
    steady: Collection[int] = (),
) -> list[Piece] | None:  # fmt: skip
    """The cheapest way through a graph's segments; None where one engine has all of it, or none can.

    Args:
        devices: what to choose from.
        arguments: tensors or host arrays, one per input.
        steady: as of `Options`.
    """
    from .transforms import balanced_cuts

    n = min(SEGMENTS, len(graph.nodes) // 2)
    if n < 2 or len(devices) < 2:
        return None
    try:
        cuts = balanced_cuts(graph, n)
        split = graph.split(cuts)
    except MonographError:  # too few operations, or they hang together
        return None
    seconds: list[dict[str, float]] = []

    def execute(k: int, part: Any, xs: list) -> list[Tensor]:
        found = {}
        kept: list[Tensor] = []
        for name, device in devices.items():
            try:
                stage = Compiled(part.graph, device, (), _staying(part, steady))
                buffers = [feed(x, device)[1] for x in xs]
                outs = stage.run(buffers)
                found[name] = _seconds(stage, buffers)
            except MonographError:
                continue
            kept = kept or list(outs if isinstance(outs, tuple) else (outs,))
        if not found:
            raise MonographError(f"no engine runs part {k}")
        seconds.append(found)
        return kept

    try:
        split.run(list(arguments), execute)
    except MonographError:
        return None
    way = _cheapest(seconds, [_handed(split, k) for k in range(1, n)])
    out = [Piece(0, devices[way[0]])]
    for start, name in zip(cuts, way[1:]):
        if devices[name] is not out[-1].device:
            out.append(Piece(start, devices[name]))
    return out if len(out) > 1 else None


def _seconds(stage: Compiled, buffers: Sequence[Any]) -> float:
    from .auto import seconds_of

    return statistics.median(seconds_of(stage, list(buffers), stage.device) for _ in range(ROUNDS))


def _handed(split: Any, k: int) -> int:
    """Bytes that part ``k`` takes of earlier ones."""
    specs = split.parts[k].graph.input_specs
    return sum(s.nbytes for s, (w, _) in zip(specs, split.parts[k].sources) if w != "input")


def _cheapest(seconds: Sequence[Mapping[str, float]], handed: Sequence[int]) -> list[str]:
    """One engine per segment: the least sum of their times and of what changing costs.

    >>> _cheapest([{"a": 1.0, "b": 3.0}, {"a": 9.0, "b": 1.0}, {"b": 1.0}], [0, 0])
    ['a', 'b', 'b']
    >>> _cheapest([{"a": 1e-5, "b": 1.1e-5}, {"a": 1.1e-5, "b": 1e-5}], [0])
    ['a', 'a']
    """
    ways = {name: (s, [name]) for name, s in seconds[0].items()}
    for here, size in zip(seconds[1:], handed):
        change = HAND_OVER + size / BYTES_PER_SECOND
        ways = {
            name: min(
                (total + s + (change if way[-1] != name else 0.0), [*way, name])
                for total, way in ways.values()
            )
            for name, s in here.items()
        }
    return min(ways.values())[1]


# ---- as text, for what is kept on disk


def written(pieces: Sequence[Piece]) -> str:
    """``"xla:cpu:0 from 0, torch:cpu:0 from 57"``."""
    return ", ".join(f"{p.device} from {p.start}" for p in pieces)


def read(text: str, devices: Mapping[str, Device], graph: Graph) -> list[Piece] | None:
    """What `written` wrote; None where it does not fit the graph or names another device."""
    out: list[Piece] = []
    for one in text.split(", "):
        name, _, start = one.partition(" from ")
        if name not in devices or not start.isdecimal() or len(start) > 9:
            return None
        out.append(Piece(int(start), devices[name]))
    starts = [p.start for p in out]
    rising = starts == sorted(set(starts)) and starts[0] == 0
    return out if len(out) > 1 and rising and starts[-1] < len(graph.nodes) else None


def maker(pieces: Sequence[Piece]) -> Callable[..., Compiled]:
    """What compiles a graph in these pieces, in the place of `Compiled`."""
    return functools.partial(Mixed, pieces=pieces)
