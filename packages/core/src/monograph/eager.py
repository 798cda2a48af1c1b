"""Operations on concrete tensors: a one-node graph per op and spec, compiled once and kept.

An op runs where its operands live. Values made by hand live on the host (the NumPy engine) unless
an engine was chosen with `mg.engine` or ``MONOGRAPH_ENGINE``; a host operand follows the others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import guarding
from .engine import Device, Options, _selected, failed, resolve
from .errors import EngineError, MonographError, TraceError
from .graph import Graph, Value
from .op import Op
from .spec import Spec
from .tensor import Tensor, wrap
from .tracing import at_line, trace_flat, tracing, user_source

_compiled: dict[tuple, Any] = {}
_LIMIT = 4096


def home() -> Device:
    """Where eager values are made."""
    found = _selected.get()
    if found is None:
        found = resolve() if os.environ.get("MONOGRAPH_ENGINE") else resolve("numpy")
    return resolve("numpy") if found.kind == "auto" else found


def run(op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> Sequence[Any]:
    """Compute ``op`` now; the result lives where the operands do.

    Raises:
        TraceError: an operand belongs to a trace that has ended.
        EngineError: operands on two engines or devices; or the engine failed.
    """
    tensors = [x if type(x) is Tensor else _tensor(x) for x in operands]
    device = common_device(tensors)
    given = tuple([x.spec for x in tensors])
    executable, specs = compiled(op, given, attrs, device)
    try:
        outs = executable(
            *[x.buffer if x._device is device else x.on(device).buffer for x in tensors]
        )
    except MonographError as e:  # the program may be an earlier call's, with its line
        raise at_line(e, user_source())  # noqa: B904  (it is e)
    except Exception as e:
        error = failed(device, f"to compute {op.name} of {', '.join(map(str, given))}", e)
        raise at_line(error, user_source()) if isinstance(error, MonographError) else error  # noqa: B904
    results = wrap(outs, specs, device)
    if guarding.on and guarding.current() is not None:
        from .examine.guard import check_eager

        check_eager(op, attrs, tensors, results)
    return results


def compiled(
    op: Op, specs: tuple[Spec, ...], attrs: dict[str, Any], device: Device
) -> tuple[Any, tuple[Spec, ...]]:
    """One op as an executable, and the specs of its results; kept for the next time."""
    key = (op, device, specs, tuple(attrs.items()))
    found = _compiled.get(key)
    if found is None:
        if len(_compiled) >= _LIMIT:
            _compiled.clear()
        found = _compiled[key] = _compile(op, specs, attrs, device)
    return found


def _tensor(x: Any) -> Tensor:
    if isinstance(x, Value):
        raise TraceError(
            f"{user_source()}: {x!r} has no number: its trace has ended. Return values from a traced "
            f"function instead of keeping them elsewhere."
        )
    return Tensor.of(x)


def common_device(tensors: Sequence[Tensor]) -> Device:
    """The device of the operands; the host yields to any other."""
    devices = [x._device for x in tensors]
    if devices and devices.count(devices[0]) == len(devices):
        return devices[0]
    found = None
    for device in devices:
        if device is found or device.engine.name == "numpy":
            continue
        if found is not None:
            raise EngineError(
                f"{user_source()}: operands live on {found} and on {device}; move one with "
                f".on({str(found)!r})"
            )
        found = device
    return found or home()


def _compile(op: Op, specs: Sequence[Spec], attrs: dict[str, Any], device: Device) -> Any:
    with tracing(None):
        graph: Graph = trace_flat(lambda *xs: op(*xs, **attrs), specs, op.operands, op.name)[0]
    prepared = device.engine.prepare(graph, device)
    return device.engine.compile(prepared, Options(device)), graph.output_specs
