"""A graph split across engines in one process, handing memory over without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import guarding, tree
from ..compiled import Compiled, arguments, check_specs
from ..engine import Device, resolve
from ..errors import ArgumentError
from ..graph import Graph
from ..spec import Spec
from ..tensor import Tensor, as_numpy, wrap
from ..tracing import at_user_line
from .balance import balanced_cuts
from .split import Part, Split


class Pipeline:
    """A split graph made callable, each part on its own engine; made by `pipeline`.

    Called with the whole graph's arguments it returns the whole graph's results, each on the engine
    that computed it.

    Attributes:
        split: the parts.
        devices: where each piece runs.
        stages: the compiled parts.
    """

    def __init__(self, split: Split, devices: Sequence[Device]):
        self.split, self.devices = split, tuple(devices)
        self.stages = [
            Compiled(part.graph, devices[k]) for part, k in zip(split.parts, split.origins)
        ]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        whole = self.split.whole
        leaves = [
            x if isinstance(x, Tensor) else as_numpy(x) for x in arguments(whole, args, kwargs)
        ]
        check_specs(whole, [Spec.of(x) for x in leaves])
        moved: dict[tuple[int, Device], Any] = {}  # an argument goes to a device once

        def execute(k: int, part: Part, xs: list) -> list[Tensor]:
            stage = self.stages[k]
            if guarding.on and guarding.current() is not None:  # copies, and is watched
                return stage(*xs)
            device, engine = stage.device, stage.device.engine
            buffers, borrows = [], False
            for x, (where, i) in zip(xs, part.sources):
                if isinstance(x, Tensor) and x.device is device:
                    buffers.append(x.buffer)
                    continue
                borrows |= isinstance(x, Tensor)
                key = (i, device)
                buffer = moved.get(key) if where == "input" else None
                if buffer is None:
                    move = engine.borrow if isinstance(x, Tensor) else engine.feed
                    buffer = move(x, device)
                    if where == "input":
                        moved[key] = buffer
                buffers.append(buffer)
            outs = stage.execute(buffers)
            if borrows:  # while it still reads, the owner must not overwrite
                engine.wait(outs)
            return wrap(outs, part.graph.output_specs, device)

        outs = self.split.run(leaves, execute)
        outs = [x if isinstance(x, Tensor) else Tensor.of(x, None, self.devices[0]) for x in outs]
        if whole.out_tree is tree.LEAF:
            return outs[0] if len(outs) == 1 else tuple(outs)
        return tree.unflatten(whole.out_tree, outs)

    def value_and_grad(self, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Pipeline:
        """``(value, gradient)``: each part's pullback on the part's engine, in reverse.

        See `monograph.transforms.gradients.value_and_grad` for the arguments.

        >>> import monograph as mg
        >>> g = mg.trace(lambda x: mg.sum(mg.exp(x * x)), mg.Spec((2,)))
        >>> both = mg.transforms.pipeline(g, ["numpy", "numpy"]).value_and_grad()
        >>> mg.round(both(mg.tensor([0.0, 1.0]))[1] * 100.0).tolist()
        [0.0, 544.0]
        """
        return Pipeline(self.split.value_and_grad(argnums, has_aux), self.devices)

    def __repr__(self) -> str:
        return f"<pipeline {self.split.whole.name} on {', '.join(map(str, self.devices))}>"


def pipeline(
    graph: Graph | Split,
    engines: Sequence[Any] = ("xla", "torch"),
    cuts: Sequence[Any] | None = None,
) -> Pipeline:
    """Make a graph callable in parts, each on its own engine or device.

    What one part hands to the next is not copied where the engines can share memory
    (`Engine.borrow`).

    Args:
        graph: what to compute, or a `Split` of it.
        engines: per part an engine, as in ``mg.jit(fn, engine=...)``.
        cuts: as for `Graph.split`; None cuts into parts of about equal cost (`balanced_cuts`).

    Raises:
        ArgumentError: another number of engines than of parts.
        GraphError: what is no cut.
        EngineError, UnsupportedOp: an engine that is missing, or lacks an operation of its part.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: mg.exp(mg.sin(x)), mg.Spec(()))
    >>> mg.transforms.pipeline(g, ["numpy", "numpy"])(0.0).item()
    1.0
    """
    if isinstance(graph, Split):
        parts = graph
    else:
        parts = graph.split(balanced_cuts(graph, len(engines)) if cuts is None else cuts)
    pieces = max(parts.origins) + 1
    if len(engines) != pieces:
        raise at_user_line(
            ArgumentError(
                f"{parts.whole.name} is in {pieces} parts, but {len(engines)} engine(s) are named: "
                f"{', '.join(map(str, engines))}; name one per part"
            )
        )
    return Pipeline(parts, [resolve(e) for e in engines])
