"""A model taken apart: graphs of nodes, each with its rule, its attributes and the place it came from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from monograph.graph import Source

from . import rules
from .rules import Rule


@dataclass(frozen=True)
class Reference:
    """An attribute of a function's body that is the function's own attribute of this name."""

    name: str


@dataclass
class Step:
    """One node.

    Attributes:
        rule: how it runs; None: by ``function``, or by the body that depends on its inputs' types.
        function: the body that stands for it.
        proto: what it was in the file.
    """

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    source: Source
    rule: Rule | None = None
    function: Body | None = None
    proto: Any = None

    @property
    def bodies(self) -> list[Body]:
        """The graphs among its attributes."""
        return [a for a in self.attributes.values() if isinstance(a, Body)]

    @property
    def runs_by(self) -> str:
        """What errors call it."""
        return f"{self.domain}.{self.op}" if self.domain else self.op


@dataclass
class Body:
    """A graph, or the body of a function.

    Attributes:
        inputs, outputs: names of values.
        constants: arrays by name: initializers, and what nodes of the kind Constant hold.
        literals: those of the latter that are single numbers.
        weights: paths of parameters by name.
        opsets: versions of operator sets by domain.
        defaults: of a function's attributes.
    """

    name: str
    inputs: list[str]
    outputs: list[str]
    steps: list[Step]
    opsets: dict[str, int]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    literals: set[str] = field(default_factory=set)
    weights: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, Step] | None = None  # what `check.needs` found, once it has looked

    def reads(self) -> set[str]:
        """Names that the graph takes from around it."""
        made = {*self.inputs, *self.constants, *self.weights}
        out: set[str] = set()
        for step in self.steps:
            wanted = {*step.inputs, *(n for b in step.bodies for n in b.reads())}
            out |= {n for n in wanted if n and n not in made}
            made.update(step.outputs)
        return out | {n for n in self.outputs if n not in made}


class Taker:
    """Takes protos apart.

    Args:
        reader: makes arrays of tensors.
        path: the file in every `Source`.
        functions: the model's own, by domain and name.
    """

    def __init__(self, reader: Any, path: str, functions: dict[tuple[str, str], Any]):
        self.reader, self.path, self.functions = reader, path, functions
        self.cache: dict[tuple[str, str, int], Body] = {}
        self.open: list[tuple[str, str]] = []  # functions being taken apart: none may call itself

    def graph(self, proto: Any, opsets: dict[str, int], inside: str = "") -> Body:
        """A `GraphProto`; its initializers are constants until it is known which are weights."""
        arrays = {
            t.name: self.reader.array(t, None if inside else i)
            for i, t in enumerate(proto.initializer)
        }
        _texts(proto.name, *(v.name for v in (*proto.input, *proto.output, *proto.initializer)))
        inputs = [v.name for v in proto.input if v.name not in arrays]
        body = Body(proto.name, inputs, [v.name for v in proto.output], [], opsets, arrays)
        return self.filled(body, proto.node, inside)

    def filled(self, body: Body, nodes: Any, inside: str) -> Body:
        """The body with its nodes in their order; those that hold an array become constants."""
        for i, node in enumerate(nodes):
            step = self.step(node, i + 1, body.opsets, inside)
            value = constant(step)
            if value is None or step.outputs[0] in body.constants:
                body.steps.append(step)
            else:
                body.constants[step.outputs[0]] = value
                if value.size == 1:
                    body.literals.add(step.outputs[0])
        return body

    def step(self, node: Any, line: int, opsets: dict[str, int], inside: str) -> Step:
        """A `NodeProto` with its rule."""
        _texts(
            node.op_type,
            node.domain,
            node.name,
            *node.input,
            *node.output,
            *(a.name for a in node.attribute),
        )
        domain = "" if node.domain == "ai.onnx" else node.domain
        name = inside + (node.name or f"{node.op_type}_{line}")
        scope = name.strip("/").rpartition("/")[0]
        source = Source(self.path, line, name, scope)
        attributes = {
            a.name: self.attribute(a, opsets, name)
            for a in node.attribute
            if domain or a.name != "consumed_inputs"  # before set 6: whose memory may be taken
        }
        step = Step(
            node.op_type, domain, name, list(node.input), _trimmed(node.output), attributes, source,
            proto=node,
        )  # fmt: skip
        if (domain, node.op_type) in self.functions:
            step.function = self.local(domain, node.op_type, opsets)
        else:
            step.rule = None if domain else rules.find(node.op_type, opsets.get("", 1))
            if step.rule is None or step.rule.fn is None:
                step.function = self.schema_body(step, opsets)
        return step

    def attribute(self, a: Any, opsets: dict[str, int], inside: str) -> Any:
        """An `AttributeProto` as Python has it; a graph as a `Body`."""
        if a.ref_attr_name:
            return Reference(a.ref_attr_name)
        kind = a.AttributeType.Name(a.type)
        if kind == "TENSOR":
            return self.reader.array(a.t)
        if kind == "GRAPH":
            return self.graph(a.g, opsets, f"{inside}/")
        if kind in ("STRING", "STRINGS"):
            texts = [s.decode(errors="replace") for s in ([a.s] if kind == "STRING" else a.strings)]
            return texts[0] if kind == "STRING" else texts
        if kind in ("FLOAT", "INT"):
            return getattr(a, kind[0].lower())
        if kind in ("FLOATS", "INTS"):
            return list(getattr(a, kind.lower()))
        if kind == "TYPE_PROTO":
            return a.tp
        return a  # sparse tensors and lists of graphs: no rule takes them

    def local(self, domain: str, name: str, opsets: dict[str, int]) -> Body:
        """The body of one of the model's own functions."""
        from monograph.storage import damaged

        key = (domain, name, 0)
        if key not in self.cache:
            if (domain, name) in self.open:
                raise damaged(self.path, f"the function {name} calls itself")
            self.open.append((domain, name))
            self.cache[key] = self.function(self.functions[domain, name], opsets)
            self.open.pop()
        return self.cache[key]

    def schema_body(self, step: Step, opsets: dict[str, int]) -> Body | None:
        """The body that ONNX's schema has for an operator, where it needs no types."""
        found = schema(step, opsets)
        if found is None or not found.has_function:
            return None
        key = (step.domain, step.op, found.since_version)
        if key not in self.cache:
            self.cache[key] = self._of_schema(found, found.function_body, opsets)
        return self.cache[key]

    def typed_body(self, step: Step, opsets: dict[str, int], types: list[Any]) -> Body | None:
        """The body that ONNX's schema makes for an operator and the types of its inputs."""
        import onnx

        found = schema(step, opsets)
        if found is None or not found.has_context_dependent_function:
            return None
        made = found.get_context_dependent_function(
            step.proto.SerializeToString(), [t.SerializeToString() for t in types]
        )
        return self._of_schema(found, onnx.FunctionProto.FromString(made), opsets) if made else None

    def _of_schema(self, found: Any, proto: Any, opsets: dict[str, int]) -> Body:
        body = self.function(proto, opsets)
        given = {k: a.default_value for k, a in found.attributes.items() if a.default_value.name}
        body.defaults |= {k: self.attribute(v, {}, "") for k, v in given.items()}
        return body

    def function(self, proto: Any, around: dict[str, int]) -> Body:
        """A `FunctionProto` as a body; ``around`` are the versions for operator sets that it names none for."""
        opsets = around | {
            ("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import
        }
        body = Body(proto.name, list(proto.input), list(proto.output), [], opsets)
        body.defaults = {
            a.name: self.attribute(a, opsets, proto.name) for a in proto.attribute_proto
        }
        return self.filled(body, proto.node, f"{proto.name}/")


def schema(step: Step, opsets: dict[str, int]) -> Any:
    """What onnx knows of an operator in a version of its operator set; None if nothing."""
    return _schema(step.op, opsets.get(step.domain, 1), step.domain)


@functools.lru_cache(1024)
def _schema(op: str, version: int, domain: str) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None


_CONSTANTS = {
    "value_float": "float32",
    "value_floats": "float32",
    "value_int": "int64",
    "value_ints": "int64",
}


def constant(step: Step) -> np.ndarray | None:
    """What a node of the kind Constant holds; None of any other, or of a string."""
    if step.op != "Constant" or step.domain or len(step.attributes) != 1 or len(step.outputs) != 1:
        return None
    ((name, value),) = step.attributes.items()
    if isinstance(value, Reference) or name not in ("value", *_CONSTANTS):
        return None
    return value if name == "value" else np.asarray(value, _CONSTANTS[name])


def _texts(*names: Any) -> None:
    """Protobuf hands out bytes where a name is no UTF-8."""
    for name in names:
        if type(name) is not str:
            raise ValueError(f"the name {name!r} is no text")


def _trimmed(names: Any) -> list[str]:
    out = list(names)
    while out and not out[-1]:
        out.pop()
    return out
