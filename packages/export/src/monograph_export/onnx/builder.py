"""Building one ONNX graph: what the table's entries write to.

A value is a `Ref`: the name of a tensor, and the spec it stands for. The tensor may be smaller than the
spec, 1 long where its numbers repeat: ONNX's elementwise operations broadcast, so that ours need no
`Expand` before them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import onnx
from monograph import Spec
from monograph.dtypes import DType, dtype
from onnx import TensorProto, ValueInfoProto, helper

CARRIERS = {
    "float16": "float32", "int8": "int32", "int16": "int32", "uint8": "int32", "uint16": "int32",
    "uint32": "int64", "uint64": "int64",
}  # fmt: skip
"""What arithmetic on a dtype is done in: runtimes have it for float32, int32 and int64 only."""

OPSET = 23
"""The operator set of models, unless they need a later one."""

INLINE = 1024
"""Bytes up to which a constant is written into the model; larger ones are handed over beside it."""


class Ref(NamedTuple):
    """A tensor of the graph.

    Attributes:
        name: the tensor's.
        spec: what it stands for.
        held: the tensor's own shape: that of `spec`, but 1 on axes along which its numbers repeat.
        number: what it is throughout, if that is known.
    """

    name: str
    spec: Spec
    held: tuple[int, ...]
    number: Any = None


def carrier(d: DType) -> DType:
    """The dtype in which arithmetic on ``d`` is done."""
    return dtype(CARRIERS.get(d.name, d.name))


def element_type(d: DType) -> int:
    """ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(d.numpy))


@dataclass
class _Shared:
    """What a graph and those nested in it have in common.

    Attributes:
        constants: arrays by the names of the initializers.
        opset: the operator set that has all operations used.
    """

    opset: int

    numbers: Iterator[int] = field(default_factory=itertools.count)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    known: dict[Any, str] = field(default_factory=dict)


class Builder:
    """A graph in the making: call it with an operation's name, the names of its operands, attributes.

    ``needs`` is the operator set that has it, where that is later than `OPSET`.

    Returns:
        The name of the result; a list of ``outputs`` names where more than one is asked for.
    """

    def __init__(self, shared: _Shared | None = None):
        self.nodes: list[onnx.NodeProto] = []
        self.shared = shared or _Shared(OPSET)
        # what later operations may be joined with: results of Clip, of what and between which bounds;
        # sums that were made of a mean, which, and of how many numbers
        self.clipped: dict[str, tuple[str, list[Any]]] = {}
        self.sums: dict[str, tuple[str, int]] = {}

    def __call__(
        self, op: str, *operands: str, outputs: int = 1, needs: int = OPSET, **attrs: Any
    ) -> Any:
        self.shared.opset = max(self.shared.opset, needs)
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, operands, names, **attrs))
        return names[0] if outputs == 1 else names

    def name(self) -> str:
        return f"v{next(self.shared.numbers)}"

    def nested(self) -> Builder:
        """A builder for a graph inside this one, which sees its tensors."""
        return Builder(self.shared)

    def constant(self, array: np.ndarray) -> str:
        """An initializer; of small equal ones there is one."""
        array = np.asarray(array, order="C")
        small = array.nbytes <= INLINE
        key = (array.dtype, array.shape, array.tobytes()) if small else object()
        name = self.shared.known.get(key)
        if name is None:
            name = self.shared.known[key] = f"c{len(self.shared.constants)}"
            self.shared.constants[name] = array
        return name

    def ints(self, values: Iterable[int]) -> str:
        """A vector, as operations take shapes and axes."""
        return self.constant(np.asarray(list(values), np.int64))

    def number(self, value: Any, d: DType) -> str:
        """A constant without axes, which broadcasts to anything."""
        return self.constant(np.asarray(value, d.numpy))

    def cast(self, name: str, d: DType) -> str:
        return self("Cast", name, to=element_type(d))

    def wide(self, name: str, d: DType) -> str:
        """``name``, of dtype ``d``, in the dtype that carries it."""
        return self.cast(name, carrier(d)) if d.name in CARRIERS else name

    def narrow(self, name: str, d: DType) -> str:
        """Back from the dtype that carries ``d``; integers wrap."""
        return self.cast(name, d) if d.name in CARRIERS else name

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        return self("Reshape", name, self.ints(shape), allowzero=int(0 in shape))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        return name if list(order) == sorted(order) else self("Transpose", name, perm=list(order))

    def whole(self, x: Ref) -> Ref:
        """``x`` with all its numbers in place."""
        if x.held == x.spec.shape:
            return x
        return full(self("Expand", x.name, self.ints(x.spec.shape)), x.spec)

    def literal(self, array: np.ndarray) -> Ref:
        """A constant; one number where it is the same throughout."""
        spec = Spec(array.shape, array.dtype)
        if array.size and (array.size == 1 or (array.flat[0] == array).all()):
            one = array.reshape(-1)[:1].reshape((1,) * array.ndim)
            if array.size == 1 or not (one == 0).any() or not np.signbit(array).any():
                return Ref(self.constant(one), spec, one.shape, one.item())
        return full(self.constant(array), spec)

    def graph(self, name: str, inputs: Sequence[Ref], outputs: Sequence[Ref]) -> onnx.GraphProto:
        """The finished graph; every result a tensor of its own."""
        made = {n for node in self.nodes for n in node.output}
        names: list[str] = []
        for x in outputs:
            own = x.name in made and x.name not in names
            names.append(x.name if own else self("Identity", x.name))
        return helper.make_graph(
            _needed(self.nodes, names), name, [_info(x.name, x.spec) for x in inputs],
            [_info(n, x.spec) for n, x in zip(names, outputs)],
        )  # fmt: skip


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, those of graphs inside it too."""
    yield from node.input
    for attr in node.attribute:
        if attr.HasField("g"):
            for inner in attr.g.node:
                yield from reads(inner)


def _needed(nodes: Sequence[onnx.NodeProto], names: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that ``names`` need: of those that were joined with others nothing is left."""
    wanted, kept = set(names), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]


def full(name: str, spec: Spec) -> Ref:
    """A tensor that holds all of its numbers."""
    return Ref(name, spec, spec.shape)


def _info(name: str, spec: Spec) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(spec.dtype), spec.shape)


def initializer(name: str, array: np.ndarray) -> TensorProto:
    """A constant of the model: its numbers, or, of a large one, that they are handed over beside it."""
    d = helper.np_dtype_to_tensor_dtype(array.dtype)
    out = TensorProto(name=name, data_type=d, dims=array.shape)
    if array.nbytes <= INLINE:
        out.raw_data = np.ascontiguousarray(array).tobytes()
        return out
    out.data_location = TensorProto.EXTERNAL
    entry = out.external_data.add()
    entry.key, entry.value = "location", "beside"
    return out
