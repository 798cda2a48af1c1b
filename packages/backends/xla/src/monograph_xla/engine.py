"""A graph becomes one XLA executable: the graph is replayed with `jax.lax` inside `jax.jit`.

64-bit types are switched on for tracing and compiling only, by a context; the compiled object needs
none when it is called, and the user's own jax configuration is never touched. What took long to compile is
kept on disk (`kept`).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from monograph import Engine, Graph, Tensor, executables
from monograph.engine import Device, Executable, Options
from monograph.op import Op

from . import kept
from .lowerings import LOWER, replay
from .outside import TARGET, WIDE, Target, Waiting, explain
from .splitting import is_quick

REFUSALS = (BufferError, RuntimeError, TypeError, ValueError)  # of DLPack, by either side
_KINDS = {"gpu": "cuda"}


class XlaEngine(Engine):
    """XLA on every device that jax finds; the CPU first when there is nothing else."""

    name = "xla"
    libraries = ("jax", "jaxlib")
    LOWER: Mapping[Op, Any] = LOWER

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        found = list(jax.local_devices())  # of another process' devices nothing can be read
        if found[0].platform != "cpu":
            found += jax.local_devices(backend="cpu")
        counts: dict[str, int] = {}
        out = []
        for d in found:
            kind = _KINDS.get(d.platform, d.platform)
            out.append(Device(self, kind, counts.get(kind, 0), d))
            counts[kind] = counts.get(kind, 0) + 1
        return tuple(out)

    def packs(self, device: Device) -> bool:
        return is_quick(device.kind)

    def compile(self, graph: Graph, options: Options) -> Executable:
        entry = executables.entry(self, graph, options, kept.facts(options.device))
        payload = entry and entry.load()
        if payload and (loaded := kept.load(payload, options.device)):
            return loaded
        started, target = time.perf_counter(), Target(options.device.kind)
        sharding = jax.sharding.SingleDeviceSharding(options.device.handle)

        def run(*args: Any) -> list[Any]:
            TARGET.set(target)
            return replay(graph, args)

        with jax.enable_x64(True), warnings.catch_warnings():
            # a donated buffer of a shape no output has is simply not reused
            warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
            specs = [jax.ShapeDtypeStruct(s.shape, s.dtype.numpy) for s in graph.input_specs]
            jitted = jax.jit(
                run, in_shardings=sharding, out_shardings=sharding, donate_argnums=options.donate,
                keep_unused=True,
            )  # fmt: skip
            lowered = jitted.lower(*specs)
            program = lowered.compile()
        if target.pending:
            return Waiting(program, target.pending)
        seconds = time.perf_counter() - started
        if entry and seconds > executables.WORTH and (made := kept.dump(lowered, program, graph)):
            entry.keep(made, seconds)
        return program

    def put(self, array: np.ndarray, device: Device) -> Any:
        # a private copy: jax reads aligned host memory in place, whatever may_alias says
        with jax.enable_x64(True):
            return jax.device_put(np.array(array, copy=True, order="C"), device.handle)

    def feed(self, array: np.ndarray, device: Device) -> Any:
        # a call takes a host array in 1 us where device_put needs 27, but reads 64-bit numbers as 32
        if array.dtype in WIDE:
            return self.put(array, device)
        return np.array(array, copy=True, order="C")

    def get(self, buffer: Any) -> np.ndarray:
        return np.asarray(buffer)

    def explain(self, error: BaseException) -> BaseException:
        return explain(error)

    def dlpack(self, buffer: Any) -> Any:
        if buffer.platform() == "cpu":  # elsewhere the consumer's stream waits for ours
            buffer.block_until_ready()
        return buffer

    def borrow(self, x: Tensor, device: Device) -> Any:
        try:
            with jax.enable_x64(True):
                shared = jax.dlpack.from_dlpack(x.device.engine.dlpack(x.buffer))
        except REFUSALS:
            return self.put(x.numpy(), device)
        # executables take row-major arrays only
        row_major = shared.format.layout.major_to_minor == tuple(range(shared.ndim))
        there = shared.devices() == {device.handle}
        return shared if row_major and there else self.put(x.numpy(), device)

    def wait(self, buffers: Sequence[Any]) -> None:
        jax.block_until_ready(buffers)
