"""The interface of `onnx.backend.base`: models and nodes as onnx's own test runner takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np
from onnx.backend.base import Backend, BackendRep

from .build import read
from .tensors import narrow


class Prepared(BackendRep):
    """A model to run; inputs that decide shapes are constants of each call."""

    def __init__(self, model: Any, engine: str):
        self.model, self.engine = read(model), engine

    def run(self, inputs: Sequence[Any] | Mapping[str, Any], **kwargs: Any) -> tuple[Any, ...]:
        """Outputs as NumPy arrays, in the model's order."""
        given = inputs if isinstance(inputs, Mapping) else dict(zip(self.model.main.inputs, inputs))
        fixed = {n: x for n, x in given.items() if n in self.model.decides or not _array(x)}
        imported = self.model.imported(fixed).on(self.engine)
        out = imported.call(*[x for n, x in given.items() if n not in fixed])
        return tuple(_numpy(y) for y in (out if isinstance(out, tuple) else (out,)))


def _array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype != object and not narrow(x)


def _numpy(y: Any) -> Any:
    if isinstance(y, list):
        return [_numpy(i) for i in y]
    return y.numpy() if isinstance(y, mg.Array) else y


class MonographBackend(Backend):
    """Monograph as a backend; ``engine=`` says where, the NumPy reference by default."""

    engine = "numpy"

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
        """A model to run."""
        return Prepared(model, kwargs.get("engine", cls.engine))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether tests for the device are for us."""
        return device == "CPU"
