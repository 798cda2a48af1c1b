"""``engine="auto"``: a graph is run on every engine that can, and stays on the fastest.

Measured in the first call, on its own arguments; what these runs return is thrown away and what they
overwrite are copies, so the numbers are those of the engine that stays. The choice is kept on disk by
graph, machine and versions (see `choices`): the next process does not measure.
"""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import choices, mixing, plugins
from .engine import Device, Engine, _automatic, get_engine, resolve
from .errors import EngineError, MonographError, UnsupportedOp
from .graph import Graph
from .naming import digest, title
from .tensor import Tensor, feed

_log = logging.getLogger("monograph.auto")

ROUNDS, ENOUGH, SLOWER = 7, 2.0, 1.5
"""Runs of each engine at most, after one that warms up; seconds after which no other turn begins; and an
engine that many times slower than the best so far is not run again."""

SMALL = 1e7
"""Floating-point operations up to which NumPy may be quickest, for want of overhead."""


MIX = "mix"
"""The device of `Auto` that also tries several engines within one graph (`mixing`)."""


class Auto(Engine):
    """Stands for the choice in the place of an engine; compiled functions ask it (`choose`)."""

    name = "auto"

    @functools.cached_property
    def devices(self) -> tuple[Device, ...]:
        return (Device(self, "auto"), Device(self, "auto", 1, MIX))

    def device(self, text: str = "") -> Device:
        if text not in ("", MIX):
            raise EngineError(
                f"engine 'auto' has no device {text!r}; there are 'auto' and 'auto:mix'"
            )
        return self.devices[text == MIX]

    def prepare(self, graph: Graph, device: Device | None = None) -> Graph:
        raise EngineError(
            "engine 'auto' measures on a call's arguments: use it with mg.jit, Store.bind or a Trainer; "
            "a graph by itself is compiled for an engine by name"
        )

    def put(self, array: Any, device: Device) -> Any:
        raise EngineError("engine 'auto' holds no arrays; leave device= out, or name an engine")


def candidates(graph: Graph) -> list[Device]:
    """The default device of every engine that works here; NumPy for what takes it no time."""
    found = [d for name in plugins.names("monograph.engines") if (d := _works(name))]
    return found if found and graph.cost().flops >= SMALL else [*found, resolve("numpy")]


def choose(
    graph: Graph,
    compiled: Callable[..., Any],
    arguments: Sequence[Any],
    donated: Sequence[int],
    steady: Sequence[int] = (),
    mixes: bool = False,
) -> tuple[Device, Any]:
    """The device on which ``graph`` runs fastest, and what was compiled for it there.

    Args:
        compiled: compiles it for a device, with a second argument in the place of `Compiled`; the result's
            ``execute(buffers)`` runs it.
        arguments: tensors or host arrays, one per input.
        donated: positions whose buffers a run may overwrite: each run is given copies.
        steady: positions of inputs that hardly ever change, as in `Options`.
        mixes: whether several engines may share it; the device is then that of inputs and results.

    Raises:
        UnsupportedOp: no engine has all operations; that of the first engine.
    """
    if not choices.enabled():
        return (device := _automatic()), compiled(device)
    devices = {str(d): d for d in candidates(graph)}
    libraries = tuple(sorted({n for d in devices.values() for n in _libraries(d.engine)}))
    key, kind = digest(graph), "mix" if mixes else "engine"
    if key and (known := choices.recall(kind, key, tuple(devices), libraries)):
        try:
            return _known(known, devices, graph, compiled, mixes)
        except MonographError as e:
            _log.info("%s does not compile %s any more: %s", known, graph.name, e)
    programs: dict[str, Any] = {}
    refused: list[MonographError] = []
    for name, device in devices.items():
        try:
            programs[name] = compiled(device)
        except (EngineError, UnsupportedOp) as e:
            refused.append(e)
    seconds = _measured(programs, devices, arguments, set(donated), refused)
    chosen = choices.fastest(seconds) if any(seconds.values()) else ""
    if mixes and (pieces := mixing.pieces_of(graph, devices, arguments, steady)):
        home = devices[chosen] if chosen else pieces[0].device
        name = f"{home}: {mixing.written(pieces)}"
        try:
            programs[name] = compiled(home, mixing.maker(pieces))
        except MonographError as e:
            refused.append(e)
        both = {n: programs[n] for n in (chosen, name) if n in programs}
        again = _measured(both, dict.fromkeys(both, home), arguments, set(donated), refused)
        seconds, mixed, alone = seconds | again, again.get(name), again.get(chosen)
        if mixed and (alone is None or mixed < (1 - mixing.GAIN) * alone):
            chosen = name
    if not chosen:
        raise refused[0]
    if key:
        seconds = dict.fromkeys(devices) | seconds
        choices.keep(kind, key, title(graph), seconds, libraries, tuple(devices), chosen)
    _log.info("%s runs on %s: %s", graph.name, chosen, seconds)
    return devices[chosen.partition(": ")[0]], programs[chosen]


def _known(
    found: str,
    devices: dict[str, Device],
    graph: Graph,
    compiled: Callable[..., Any],
    mixes: bool,
) -> tuple[Device, Any]:
    """What was chosen in another process. Raises `MonographError` where it does not fit any more."""
    home, _, rest = found.partition(": ")
    if home not in devices:
        raise EngineError(f"there is no {home}")
    if not rest:
        return devices[home], compiled(devices[home])
    pieces = mixing.read(rest, devices, graph) if mixes else None
    if pieces is None:
        raise EngineError(f"{rest!r} does not fit")
    return devices[home], compiled(devices[home], mixing.maker(pieces))


def _works(name: str) -> Device | None:
    try:
        return get_engine(name).devices[0]
    except MonographError as e:
        _log.info("auto leaves out %s: %s", name, e)
        return None


def _measured(
    programs: dict[str, Any], devices: dict[str, Device], arguments: Sequence[Any],
    donated: set[int], refused: list[MonographError],
) -> dict[str, float | None]:  # fmt: skip
    """Median seconds of a run on each, in turns; None for one that failed."""
    kept: dict[str, list[Any]] = {}
    times: dict[str, list[float]] = {name: [] for name in programs}
    out: dict[str, float | None] = dict.fromkeys(programs)
    spent = time.perf_counter()
    racing = list(programs)
    for turn in range(ROUNDS + 1):
        for name in list(racing):
            device = devices[name]
            try:
                if name not in kept:
                    kept[name] = [
                        None if i in donated else feed(x, device)[1]
                        for i, x in enumerate(arguments)
                    ]
                buffers = [
                    _copy(arguments[i], device) if i in donated else b
                    for i, b in enumerate(kept[name])
                ]
                took = seconds_of(programs[name], buffers, device)
            except MonographError as e:
                refused.append(e)
                racing.remove(name)
                continue
            if turn:  # the first run warms up
                times[name].append(took)
                out[name] = statistics.median(times[name])
        best = min((s for s in out.values() if s is not None), default=None)
        if best is not None:
            racing = [n for n in racing if (out[n] or best) <= SLOWER * best]
        if turn and (len(racing) < 2 or time.perf_counter() - spent > ENOUGH):
            break
    return out


def seconds_of(program: Any, buffers: list[Any], device: Device) -> float:
    """How long one run takes, results included."""
    started = time.perf_counter()
    device.engine.wait(program.execute(buffers))
    return time.perf_counter() - started


def _copy(x: Any, device: Device) -> Any:
    return device.engine.put(x.numpy() if isinstance(x, Tensor) else x, device)


def _libraries(engine: Engine) -> tuple[str, ...]:
    return ("monograph", "numpy", *engine.libraries)
