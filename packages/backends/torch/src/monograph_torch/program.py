"""A graph on its way to source: steps with their lowerings, and constants computed beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from monograph import Graph, ops
from monograph.dtypes import DType
from monograph.graph import Node, Value
from monograph.outside import blamed

from .lowerings import LOWER
from .lowerings.common import NAMES
from .outside import checked


class Operand(NamedTuple):
    """What a step reads: a value, and source text that follows its name (a view of it)."""

    value: Value
    suffix: str = ""


class Step:
    """One line of the program.

    Attributes:
        node: where it came from.
        how: what the table makes of it: source text, a callable, or a `Writer`.
        inputs: operands in the lowering's order.
        outputs: the values it yields.
    """

    def __init__(self, node: Node, how: Any, inputs: Sequence[Value]):
        self.node, self.how, self.outputs = node, how, node.outputs
        self.inputs = [Operand(v) for v in inputs]

    @property
    def unpacks(self) -> bool:
        """Whether the lowering gives a tuple."""
        return self.node.op.multi or len(self.outputs) > 1


class Program:
    """The steps of a graph, in order.

    Attributes:
        inputs, outputs: as the graph's.
        maker: the step that yields a value; broadcasts of constants have one too.
        constants: values known now. What depends on constants alone is computed at once.
    """

    FOLDED_BYTES = 1 << 20

    def __init__(self, graph: Graph, device: torch.device):
        self.name, self.device, self.inputs = graph.name, device, graph.inputs
        self.steps: list[Step] = []
        self.maker: dict[Value, Step] = {}
        self.constants: dict[Value, torch.Tensor] = {}
        renamed: dict[Value, Value] = {}
        for node in graph.nodes:
            inputs = [renamed.get(v, v) for v in node.inputs]
            if node.op in RENAMING:
                renamed[node.outputs[0]] = inputs[0]
                continue
            how = lower(node, device)
            step = Step(node, how, inputs)
            if torch.is_tensor(how):
                self.constants[node.outputs[0]] = how
            elif self._foldable(step):
                self._fold(step)
            else:
                self.steps.append(step)
                self.maker.update(dict.fromkeys(step.outputs, step))
        self.outputs = [renamed.get(v, v) for v in graph.outputs]

    def _foldable(self, step: Step) -> bool:
        op, inputs = step.node.op, [x.value for x in step.inputs]
        if op in NEVER_FOLDED or not all(v in self.constants for v in inputs):
            return False
        made = sum(_bytes(v) for v in step.outputs)
        return op is ops.broadcast_in_dim or made <= max(self.FOLDED_BYTES, *map(_bytes, inputs), 0)

    def _fold(self, step: Step) -> None:
        names = {f"c{i}": self.constants[v] for i, (v, _) in enumerate(step.inputs)}
        args = list(names)
        names |= NAMES
        out = eval(expression(step, args, names), names)
        self.constants.update(zip(step.outputs, out if step.unpacks else (out,)))
        if step.node.op is ops.broadcast_in_dim:  # a consumer may read what lies beneath
            self.maker[step.outputs[0]] = step

    def uses(self) -> Counter[Value]:
        """How often each value is read, by steps or as a result."""
        read = Counter(self.outputs)
        for step in self.steps:
            read.update(x.value for x in step.inputs)
        return read

    def sweep(self) -> None:
        """Drop steps whose results nobody reads."""
        live, kept = set(self.outputs), []
        for step in reversed(self.steps):
            if any(v in live for v in step.outputs):
                kept.append(step)
                live.update(x.value for x in step.inputs)
        self.steps = kept[::-1]


RENAMING = frozenset({ops.alias, ops.stop_gradient, ops.check_finite, ops.allow_nonfinite})
# their results must not depend on when they run, or hold what a loop does
NEVER_FOLDED = frozenset({ops.optimization_barrier, ops.case, ops.while_, ops.scan})


def lower(node: Node, device: torch.device) -> Any:
    """What the table makes of a node: source text, a callable, a `Writer` or a constant tensor."""
    try:
        how = _entry(LOWER[node.op], node, device)
    except Exception as e:
        if node.op.outside:
            raise blamed(e, node.op, "lowering for torch", node.source)  # noqa: B904
        raise
    return checked(node, how) if "torch" in node.op.lower else how


def _entry(entry: Any, node: Node, device: torch.device) -> Any:
    if not isinstance(entry, str):
        return entry(node, device)
    names = {k: _text(a) for k, a in node.attrs.items()}
    places = [f"{{{i}}}" for i in range(len(node.inputs))]
    return entry.format(*places, **names, args=", ".join(places))


def expression(
    step: Step, args: list[str], names: dict[str, Any], free: tuple[int, ...] = ()
) -> str:
    """The step as source over ``args``; what it calls is put into ``names``."""
    how: str | Callable = step.how
    if hasattr(how, "write"):
        how = how.write(free)
    args = [a + x.suffix for a, x in zip(args, step.inputs)]
    if isinstance(how, str):
        return how.format(*args)
    name = f"{step.node.op.name}_{len(names)}"
    names[name] = how
    return f"{name}({', '.join(args)})"


def _text(a: Any) -> str:
    return f"torch.{a.name}" if isinstance(a, DType) else repr(a)


def _bytes(v: Value) -> int:
    return v.spec.size * v.dtype.bits // 8
