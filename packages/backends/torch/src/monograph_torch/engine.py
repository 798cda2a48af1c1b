"""A graph becomes one flat Python function of torch calls, freed of each value after its last use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monograph import Engine, Graph, Tensor
from monograph.engine import Device, Executable, Options
from monograph.op import Op

from . import malloc
from .codegen import LENT, generate
from .inductor import LEAST, Inductor
from .lowerings import LOWER
from .lowerings.common import owned, shown

REFUSALS = (BufferError, RuntimeError, TypeError, ValueError)  # of DLPack, by either side


class TorchEngine(Engine):
    """PyTorch on the CPU and on every CUDA device; ``torch:inductor`` compiles for the default one."""

    name = "torch"
    rewrites = True
    libraries = ("torch",)
    LOWER: Mapping[Op, Any] = LOWER
    unsupported_dtypes = frozenset({"float8_e4m3b11fnuz"})

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cuda = [Device(self, "cuda", i, torch.device("cuda", i)) for i in range(n)]
        found = (*cuda, Device(self, "cpu", 0, torch.device("cpu")))
        return (*found, Device(self, "inductor", 0, found[0].handle))

    def compile(self, graph: Graph, options: Options) -> Executable:
        device = options.device
        malloc.keep()
        if device.kind == "inductor" and len(graph.nodes) >= LEAST:
            return Inductor(graph, device.handle, options.donate)
        return generate(graph, device.handle, options.donate)

    def put(self, array: np.ndarray, device: Device) -> torch.Tensor:
        return owned(array, device.handle)

    def get(self, buffer: torch.Tensor) -> np.ndarray:
        memory, array = shown(buffer.cpu().resolve_conj().resolve_neg())
        if buffer.is_cpu:  # a view: donating the tensor must not change what it shows
            LENT[buffer.data_ptr()] = memory
        return array

    def dlpack(self, buffer: torch.Tensor) -> torch.Tensor:
        return buffer

    def borrow(self, x: Tensor, device: Device) -> torch.Tensor:
        try:
            shared = torch.from_dlpack(x.device.engine.dlpack(x.buffer))
        except REFUSALS:
            return self.put(x.numpy(), device)
        return shared if shared.device == device.handle else self.put(x.numpy(), device)

    def wait(self, buffers: Sequence[torch.Tensor]) -> None:
        if any(b.is_cuda for b in buffers):
            torch.cuda.synchronize()
