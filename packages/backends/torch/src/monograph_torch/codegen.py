"""Flat Python source from a graph: one line per node, ``del`` after a value's last use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import Graph
from monograph.dtypes import DType
from monograph.graph import Value

from .lowerings import LOWER


def generate(graph: Graph, device: torch.device, donate: tuple[int, ...] = ()) -> Callable:
    """A function ``(*tensors) -> tuple of tensors``; its text is in the attribute ``source``."""
    names: dict[str, Any] = {"torch": torch}
    lines = _body(graph, names, device)
    source = "\n".join(
        [f"def run({', '.join(f'v{i}' for i in range(len(graph.inputs)))}):", *lines]
    )
    exec(compile(source, f"<monograph graph {graph.name}>", "exec"), names)
    run = torch.no_grad()(names["run"])
    run.source = source  # type: ignore[attr-defined]
    return run


def _body(graph: Graph, names: dict[str, Any], device: torch.device) -> list[str]:
    index: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    last = graph._last_uses()
    lines = []
    for node in graph.nodes:
        args = [f"v{index[v]}" for v in node.inputs]
        for v in node.outputs:
            index[v] = len(index)
        outs = ", ".join(f"v{index[v]}" for v in node.outputs)
        if node.op.multi:
            outs += ","
        lines.append(f"    {outs} = {_expression(node, args, names, device)}")
        dead = [f"v{index[v]}" for v in last.get(node, ())]
        if dead:
            lines.append(f"    del {', '.join(dead)}")
    # an input handed straight out is copied: two tensors must not share memory
    passed = set(graph.inputs)
    results = [f"v{index[v]}" + (".clone()" if v in passed else "") for v in graph.outputs]
    lines.append(f"    return ({', '.join(results)}{',' if results else ''})")
    return lines


def _expression(node: Any, args: list[str], names: dict[str, Any], device: torch.device) -> str:
    lowering = LOWER[node.op]
    if isinstance(lowering, str):
        return lowering.format(
            *args, **{k: _text(a) for k, a in node.attrs.items()}, args=", ".join(args)
        )
    made = lowering(node, device)
    name = f"{node.op.name}_{len(names)}"
    names[name] = made
    if torch.is_tensor(made):
        return name
    return f"{name}({', '.join(args)})"


def _text(a: Any) -> str:
    if isinstance(a, DType):
        return f"torch.{a.name}"
    return repr(a)
