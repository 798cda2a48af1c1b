"""A graph becomes an ONNX model, and a session of onnxruntime.

Variables that a program only reads (`Options.steady`) are constants of the session, which folds, fuses and
packs them. When they have changed, a session runs that takes them as inputs, until they stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import is_
from typing import Any

import numpy as np
import onnxruntime
from monograph import Engine, Graph
from monograph.choices import cores
from monograph.dtypes import DType
from monograph.engine import Device, Executable, Options, failed
from monograph.errors import EngineError
from monograph.op import Op
from monograph_export.onnx import LOWER, refusal, translate

AGAIN = 3
"""How often in a row changed variables must have been the same before a session is made for them."""

DTYPES = frozenset((
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
))  # fmt: skip
Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


class OnnxRuntimeEngine(Engine):
    """onnxruntime on the CPU."""

    name = "onnxruntime"
    libraries = ("onnxruntime", "onnx")
    LOWER: Mapping[Op, Any] = LOWER

    def supports_dtype(self, d: DType) -> bool:
        return d.name in DTYPES

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        return (Device(self, "cpu"),)

    def prepare(self, graph: Graph, device: Device | None = None) -> Graph:
        out = super().prepare(graph, device)
        for node in out.walk():
            if why := refusal(node):
                raise EngineError(
                    f"{node.source}: engine {self.name!r} has no {why}; convert with .astype() or use "
                    f"another engine"
                )
        return out

    def compile(self, graph: Graph, options: Options) -> Executable:
        return Program(graph, options)

    def put(self, array: np.ndarray, device: Device) -> np.ndarray:
        return np.array(array, copy=True, order="C")

    def get(self, buffer: np.ndarray) -> np.ndarray:
        view = buffer.view()
        view.setflags(write=False)
        return view


class Program:
    """A graph's sessions: one whose steady inputs are constants, one that takes all inputs.

    Attributes:
        held: the constants, and the session that has them; replaced together.
        last: the latest steady inputs, and how often in a row they were these.
    """

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.device, self.steady = graph, options.device, options.steady
        self.held: tuple[Sequence[Any], Run] | None = None
        self.last: tuple[Sequence[Any], int] = ((), AGAIN - 1)  # the first are held at once
        self.general: Run | None = None if self.steady else session(graph, {})

    def __call__(self, *buffers: np.ndarray) -> Sequence[np.ndarray]:
        if not self.steady:
            return self.general(buffers)  # type: ignore[misc]
        now = [buffers[i] for i in self.steady]
        held = self.held
        if held is not None and all(map(is_, now, held[0])):
            return held[1](buffers)
        before, times = self.last
        times = times + 1 if all(map(is_, now, before)) else 1
        self.last, self.held = (now, times), None  # what is not needed any more takes memory
        if times >= AGAIN:
            made = self._session(dict(zip(self.steady, now)))
            self.held = now, made
            return made(buffers)
        if self.general is None:
            self.general = self._session({})
        return self.general(buffers)

    def _session(self, values: Mapping[int, np.ndarray]) -> Run:
        try:
            return session(self.graph, values)
        except Exception as e:
            raise failed(self.device, f"to compile graph {self.graph.name!r}", e)  # noqa: B904


def session(graph: Graph, values: Mapping[int, np.ndarray]) -> Run:
    """What runs a graph of which some inputs, by position, have these values for good."""
    if not graph.outputs:
        return lambda buffers: []
    made = translate(graph, values)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 4  # what it cannot do it raises
    if made.constants:
        arrays = map(onnxruntime.OrtValue.ortvalue_from_numpy, made.constants.values())
        options.add_external_initializers(list(made.constants), list(arrays))
    run = onnxruntime.InferenceSession(
        made.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run
    places = [(i, name) for i, name in enumerate(made.inputs) if name is not None]
    # this holds on to the constants too, whose memory the session may go on reading
    return lambda buffers: run(made.outputs, {name: buffers[i] for i, name in places})
