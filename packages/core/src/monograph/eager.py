"""Operations on concrete tensors: a one-node graph per op and spec, compiled once and kept.

An op runs where its operands live. Values made by hand live on the host (the NumPy engine) unless
an engine was chosen with `mg.engine` or ``MONOGRAPH_ENGINE``; a host operand follows the others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .engine import Device, Options, _selected, resolve
from .errors import EngineError
from .graph import Graph
from .op import Op
from .spec import Spec

_compiled: dict[tuple, Any] = {}
_LIMIT = 4096


def home() -> Device:
    """Where eager values are made."""
    found = _selected.get()
    if found is not None:
        return found
    return resolve() if os.environ.get("MONOGRAPH_ENGINE") else resolve("numpy")


def run(op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> tuple[Any, ...]:
    """Compute ``op`` now; the result lives where the operands do."""
    from .tensor import Tensor

    tensors = [x if type(x) is Tensor else Tensor.of(x) for x in operands]
    device = common_device(tensors)
    specs = tuple([x.spec for x in tensors])
    key = (op, specs, tuple(attrs.items()), device)
    found = _compiled.get(key)
    if found is None:
        if len(_compiled) >= _LIMIT:
            _compiled.clear()
        found = _compiled[key] = _compile(op, specs, attrs, device)
    executable, out_specs = found
    outs = executable(*[x.on(device).buffer for x in tensors])
    return tuple([Tensor(b, s, device) for b, s in zip(outs, out_specs)])


def common_device(tensors: Sequence[Any]) -> Device:
    """The device of the operands; the host yields to any other."""
    found = None
    for x in tensors:
        if x.device is found or x.device.engine.name == "numpy":
            continue
        if found is not None:
            raise EngineError(
                f"operands live on {found} and on {x.device}; move one with .on({str(found)!r})"
            )
        found = x.device
    return found or (tensors[0].device if tensors else home())


def _compile(op: Op, specs: Sequence[Spec], attrs: dict[str, Any], device: Device) -> Any:
    from .tracing import trace_flat, tracing

    with tracing(None):
        graph: Graph = trace_flat(lambda *xs: op(*xs, **attrs), specs, op.operands, op.name)[0]
    prepared = device.engine.prepare(graph)
    return device.engine.compile(prepared, Options(device)), graph.output_specs
