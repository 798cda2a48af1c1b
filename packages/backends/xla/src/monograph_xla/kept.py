"""XLA's executables to bytes and back, for another process (`monograph.executables`).

jax's public way to do that goes through pickle, which is not read here. The client of a device, which the
compiled object and jax's own cache use too, does it without; where it has no such method any more, nothing is
kept and everything is compiled.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from monograph import Graph
from monograph.engine import Device

_log = logging.getLogger("monograph.executables")

OUTPUT = 1.5e-6
"""Seconds that each output of a loaded program takes more than of one that jax compiled."""

FASTEST = (1e11, 2e10)
"""Floating-point operations and bytes a second, to tell at least how long a run takes."""

SLOWER = 0.03
"""The part of a run that calling a loaded program may take more."""

_VARIABLES = ("XLA_", "TF_XLA_", "LIBTPU_")


def facts(device: Device) -> Mapping[str, Any] | None:
    """What XLA's code for a device depends on besides the graph and versions; None where nothing can be kept."""
    handle, settings = device.handle, jax.config
    try:
        if settings.jax_debug_nans or settings.jax_debug_infs:  # which jax checks in its own calls
            return None
        if settings.jax_enable_compilation_cache and settings.jax_compilation_cache_dir:
            return None  # then jax keeps programs, and XLA cannot write one that it has read
        return {
            "kind": handle.device_kind,
            "platform": handle.client.platform_version,
            # as this thread sees them, inside ``with jax.default_matmul_precision(...)`` too
            "settings": {k: repr(v) for k, v in settings.values.items() if "cache" not in k},
            "environment": {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)},
        }
    except AttributeError as e:
        _log.warning("nothing is kept: %s", e)
        return None


def dump(lowered: Any, program: Any, graph: Graph) -> bytes | None:
    """A compiled program as bytes; None for one that only this process can run, or that is better compiled."""
    if not _worthwhile(graph) or _calls_out(lowered):
        return None
    try:
        return program.runtime_executable().serialize()
    except Exception as e:
        _log.info("%s cannot be written: %s", graph.name, e)
        return None


def load(payload: bytes, device: Device) -> Loaded | None:
    """The program that `dump` wrote; None where jax or XLA does not take it any more."""
    try:
        made = device.handle.client.deserialize_executable(payload, (device.handle,))
        return Loaded(made, device)
    except Exception as e:
        _log.warning("an executable is compiled anew, because it cannot be loaded: %s", e)
        return None


class Loaded:
    """A loaded program, called like one that jax compiled."""

    def __init__(self, program: Any, device: Device):
        self._program, self._device = program, device

    def __call__(self, *xs: Any) -> list[Any]:
        if np.ndarray in map(type, xs):  # of `XlaEngine.feed`
            put = partial(jax.device_put, device=self._device.handle)
            xs = tuple([put(x) if type(x) is np.ndarray else x for x in xs])
        outs = self._program.execute_sharded(xs).disassemble_into_single_device_arrays()
        return [y for (y,) in outs]

    def as_text(self) -> str:
        """XLA's text of the program, as `jax.stages.Compiled.as_text` gives it."""
        return self._program.get_hlo_text()


def _worthwhile(graph: Graph) -> bool:
    """Whether a run takes so long, at least, that a loaded program's slower call does not show."""
    cost = graph.cost()
    seconds = max(cost.flops / FASTEST[0], (cost.inputs + cost.outputs) / FASTEST[1])
    return OUTPUT * len(graph.outputs) <= SLOWER * seconds


def _calls_out(lowered: Any) -> bool:
    """Whether it calls functions by name: LAPACK's, say, are there only in a process that has lowered such a call."""
    from jax.extend.mlir import ir  # 20 ms that a process which only loads need not spend

    found = set()

    def look(operation: Any) -> Any:
        found.add(operation.name)
        return ir.WalkResult.ADVANCE

    lowered.compiler_ir("stablehlo").operation.walk(look)
    return "stablehlo.custom_call" in found
