"""A torch ``ExportedProgram`` as a `Program`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.importing import Input
from monograph.tracing import user_source

from .memory import writes
from .program import Graph, Node, Program, Ref, branch, path_of, source_of


def export(
    module: Any,
    example: Any = None,
    kwargs: Any = None,
    dynamic: Any = None,
    training: bool = False,
) -> tuple[Any, dict[str, str]]:
    """A module's ``ExportedProgram``, and the names of its axes by torch's symbols."""
    import torch

    if example is None and kwargs is None:
        raise ArgumentError(
            f"{user_source()}: {type(module).__name__} is exported by running it once; give inputs to try: "
            f"mg.load(module, example=(x,), dynamic={{'x': {{0: 'batch'}}}})"
        )
    args = () if example is None else example if isinstance(example, tuple) else (example,)
    form = inspect.signature(module.forward)
    given = form.bind(*args, **(kwargs or {})).arguments
    if dynamic is not None:
        if unknown := sorted(dynamic.keys() - given.keys()):
            raise ArgumentError(
                f"{user_source()}: dynamic= names {', '.join(unknown)}; the arguments given are "
                f"{', '.join(given)}"
            )
        given = {k: _widened(v, dynamic.get(k)) for k, v in given.items()}
        bound = inspect.BoundArguments(form, given)
        args, kwargs = bound.args, bound.kwargs
    was = {m: m.training for m in module.modules()}
    module.train(training)
    try:
        shapes = None if dynamic is None else {k: _sized(dynamic.get(k)) for k in given}
        with warnings.catch_warnings():
            # of recurrent layers, which keep their weights in a list too
            warnings.filterwarnings("ignore", "The tensor attributes? .*_flat_weights")
            made = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
    except Exception as e:
        raise ArgumentError(
            f"{user_source()}: torch.export cannot export {type(module).__name__}: {e}"
        ) from e
    finally:
        for m, mode in was.items():
            m.training = mode
    placed = [n for k, v in given.items() for n in _placed(v, (dynamic or {}).get(k))]
    tensors = [t for t in _examples(made) if isinstance(t, torch.Tensor)]
    names = {}
    for tensor, axes in zip(tensors, placed):
        for axis, name in axes.items():
            if not isinstance(tensor.shape[axis], int):
                names[str(tensor.shape[axis])] = name
    return made, names


def _sized(spec: Any) -> Any:
    """torch's form of axis names; which lengths they may have it finds out itself."""
    import torch

    if isinstance(spec, str):
        return torch.export.Dim.DYNAMIC
    if isinstance(spec, dict):
        return {k: _sized(v) for k, v in spec.items()}
    return type(spec)(_sized(v) for v in spec) if isinstance(spec, (list, tuple)) else spec


def _widened(value: Any, spec: Any) -> Any:
    """An example whose axes of any length have one other than 1, which torch would take for fixed."""
    if isinstance(value, torch_tensor()):
        pairs = spec.items() if isinstance(spec, dict) else enumerate(spec or ())
        for axis, name in pairs:
            if name is not None and value.shape[axis] == 1:
                value = value.repeat_interleave(2, axis)
        return value
    if isinstance(value, dict):
        return {k: _widened(v, spec and spec[k]) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_widened(v, spec and spec[i]) for i, v in enumerate(value))
    return value


def _placed(value: Any, spec: Any) -> Iterator[dict[int, str]]:
    """The axis names of each tensor in an argument, in the order of the graph's inputs."""
    if isinstance(value, torch_tensor()):
        pairs = spec.items() if isinstance(spec, dict) else enumerate(spec or ())
        yield {a: n for a, n in pairs if isinstance(n, str)}
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from _placed(v, spec and spec[k])
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from _placed(v, spec and spec[i])


def _examples(exported: Any) -> Iterator[Any]:
    """What stands for each of the user's inputs."""
    metas = {n.name: n.meta.get("val") for n in exported.graph.nodes if n.op == "placeholder"}
    for spec in exported.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            yield metas.get(spec.arg.name)


def program(exported: Any, names: Mapping[str, str] = {}) -> Program:
    """The program of ``exported``; its tensors share memory with torch's."""
    signature, out = exported.graph_signature, Program(Graph([], [], []), [])
    out.graph = graph(exported.graph_module)
    metas = {n.name: n.meta.get("val") for n in exported.graph.nodes if n.op == "placeholder"}
    moving = {s.target for s in signature.output_specs if s.kind.name == "BUFFER_MUTATION"}
    written = {name for name, _ in writes(out.graph)}
    places: dict[tuple, str] = {}
    for spec in signature.input_specs:
        kind, name = spec.kind.name, spec.arg.name
        is_state = spec.persistent is not False or name in written or spec.target in moving
        if kind in ("PARAMETER", "BUFFER") and is_state:
            tensor = {**exported.constants, **exported.state_dict}[spec.target]
            path = places.setdefault(_place(tensor), path_of(spec.target))
            out.variables[name] = path
            if path not in out.tensors:
                out.tensors[path] = array(tensor)
            if kind == "PARAMETER" and tensor.requires_grad:
                out.trainable.add(path)
        elif kind in ("BUFFER", "CONSTANT_TENSOR"):
            out.fixed[name] = array(exported.constants[spec.target])
        elif kind == "USER_INPUT" and name in metas and isinstance(metas[name], torch_tensor()):
            out.inputs.append(
                Input(name, _shape(metas[name], out.hints, names), _dtype(metas[name].dtype))
            )
        elif kind == "USER_INPUT" and not hasattr(metas.get(name), "node"):
            out.fixed[name] = spec.arg.value
        else:
            why = "only tensors can be given to a graph; export it with the number fixed"
            out.problems.append((f"input {name}", str(spec.kind.name), why))
    for i, spec in enumerate(signature.output_specs):
        kind = spec.kind.name
        if kind == "USER_OUTPUT":
            out.results.append(i)
        elif kind == "BUFFER_MUTATION":
            out.writes.append((i, path_of(spec.target)))
        else:
            out.problems.append((f"output {kind}", str(spec.target or ""), _OUTPUTS.get(kind, "")))
    out.out_spec = _structure(exported.call_spec.out_spec)
    return out


_OUTPUTS = {
    "USER_INPUT_MUTATION": "the model writes into its input; let it work on a copy and return that"
}


def _structure(spec: Any) -> Any:
    if spec.is_leaf():
        return None
    below = [_structure(c) for c in spec.children()]
    return branch(spec.type.__name__, spec.context, below)


def torch_tensor() -> Any:
    """The class of tensors, imported late."""
    import torch

    return torch.Tensor


def array(tensor: Any) -> np.ndarray:
    """A tensor's numbers without a copy; 8- and 16-bit floats through their bits."""
    import torch

    t = tensor.detach().cpu()
    dtype = _dtype(t.dtype)
    if dtype.kind == "float8" or dtype.name == "bfloat16":
        bits = t.view(torch.uint8 if dtype.itemsize == 1 else torch.int16)
        return bits.numpy().view(dtype.numpy)
    return t.resolve_conj().resolve_neg().numpy()


def _place(t: Any) -> tuple:
    """What two tensors that are one share: their memory, read the same way."""
    return (t.data_ptr() if t.numel() else id(t), t.dtype, tuple(t.shape), t.stride())


def _dtype(torch_dtype: Any) -> Any:
    return mg.dtypes.dtype(str(torch_dtype).removeprefix("torch."))


def _example(value: Any) -> Any:
    """The spec of a value in the example, as `Graph` has it."""
    if isinstance(value, (list, tuple)):
        return [_example(v) for v in value]
    if not isinstance(value, torch_tensor()):
        return None
    shape = [n if isinstance(n, int) else n.node.hint for n in value.shape]
    return None if None in shape else mg.Spec(shape, _dtype(value.dtype))


def _shape(tensor: Any, hints: dict[str, int], names: Mapping[str, str]) -> tuple[int | str, ...]:
    out: list[int | str] = []
    for n in tensor.shape:
        if isinstance(n, int):
            out.append(n)
        else:
            out.append(name := names.get(str(n), str(n)))
            if n.node.has_hint():
                hints[name] = int(n.node.hint)
    return tuple(out)


def graph(module: Any) -> Graph:
    """The graph of an ``fx.GraphModule`` and of the modules it calls."""
    import torch.fx

    inputs: list[str] = []
    nodes: list[Node] = []
    outputs: Any = None
    metas = {n.name: n.meta.get("val") for n in module.graph.nodes}

    def argument(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [argument(i) for i in x]
        if isinstance(x, torch.fx.Node):
            if x.op != "get_attr":
                return Ref(x.name)
            found = module
            for part in x.target.split("."):
                found = getattr(found, part)
            return graph(found) if isinstance(found, torch.nn.Module) else array(found)
        if isinstance(x, torch.dtype):
            return str(x).removeprefix("torch.")
        if isinstance(x, (torch.device, torch.layout, torch.memory_format)):
            return None
        return x

    for node in module.graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
        elif node.op == "call_function":
            kwargs = {k: argument(v) for k, v in node.kwargs.items()}
            stack = node.meta.get("nn_module_stack") or {}
            scope = next(reversed(stack.values()))[0] if stack else ""
            source = source_of(node.meta.get("stack_trace"), _scope(scope))
            args = [argument(x) for x in node.args]
            nodes.append(Node(_target(node.target), args, kwargs, node.name, source))
        elif node.op == "output":
            outputs = argument(node.args[0])
    single = not isinstance(outputs, list)
    return Graph(
        inputs,
        nodes,
        [outputs] if single else outputs,
        single,
        lambda name: _example(metas.get(name)),
    )


def _scope(path: str) -> str:
    return path.removeprefix("L['self'].").replace("L['self']", "")


def _target(target: Any) -> str:
    kind = type(target).__name__
    if kind == "OpOverload":
        return str(target)
    if any(c.__name__ == "HigherOrderOperator" for c in type(target).__mro__):
        return f"higher_order.{target.name()}"
    return f"{target.__module__}.{target.__name__}"
