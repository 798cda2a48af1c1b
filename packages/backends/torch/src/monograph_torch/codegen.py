"""Flat Python source from a graph: one line per step, ``del`` after a value's last use."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch
from monograph import Graph
from monograph.graph import Value

from .aliasing import Memory
from .lowerings.common import NAMES
from .lowerings.convolution import kernels
from .peepholes import improve
from .program import NEVER_FOLDED, Program, expression


def generate(
    graph: Graph, device: torch.device, donate: tuple[int, ...] = (), nested: bool = False,
    pure: bool = False,
) -> Any:  # fmt: skip
    """A function ``(*tensors) -> tuple of tensors``; its text is in the attribute ``source``.

    Inputs at the positions ``donate`` may be overwritten or handed out; all others are left alone,
    and every result has memory of its own. ``nested``: called by another generated function only,
    which vouches for the donated inputs. ``pure``: nothing is overwritten, for a compiler to read.
    """
    program = Program(graph, device)
    improve(program)
    memory = Memory(program, donate)
    names: dict[str, Any] = {**NAMES, "shared": shared}
    lines = _body(program, memory, names, pure)
    if not (nested or pure):
        lines = _guard(graph, memory) + _in_inference_mode(program, memory, lines)
    params = ", ".join(f"v{i}" for i in range(len(graph.inputs)))
    source = "\n".join([f"def run({params}):", *lines])
    exec(compile(source, f"<monograph graph {graph.name}>", "exec"), names)
    run = names["run"]
    run.source, run.donated = source, memory.donated
    run.arranges = kernels(graph)
    return run


def _body(program: Program, memory: Memory, names: dict[str, Any], pure: bool) -> list[str]:
    text: dict[Value, str] = {v: f"v{i}" for i, v in enumerate(program.inputs)}
    count = len(text)

    def name_of(v: Value) -> str:
        if v in program.constants and v not in text:
            text[v] = f"c{len(names)}"
            names[text[v]] = program.constants[v]
        return text[v]

    dying, lines = _deaths(program), []
    for i, step in enumerate(program.steps):
        args = [name_of(x.value) for x in step.inputs]
        for v in step.outputs:
            text[v] = f"v{count}"
            count += 1
        outs = ", ".join(text[v] for v in step.outputs) + ("," if step.unpacks else "")
        free = () if pure else memory.free(i, step)
        lines.append(f"    {outs} = {expression(step, args, names, free)}")
        if dying[i]:
            lines.append(f"    del {', '.join(text[v] for v in dying[i])}")
    results = [
        f"{name_of(v)}.clone(memory_format=torch.contiguous_format)"
        if i in memory.copied
        else name_of(v)
        for i, v in enumerate(program.outputs)
    ]
    lines.append(f"    return ({', '.join(results)}{',' if results else ''})")
    return lines


def _in_inference_mode(program: Program, memory: Memory, lines: list[str]) -> list[str]:
    """Inference mode makes each call some 5 % to 10 % cheaper, and costs 1.4 us to enter.

    What it yields may be overwritten inside it only, so whatever overwrites an input is in it too.
    """
    loops = any(step.node.op in NEVER_FOLDED for step in program.steps)
    if not (loops or memory.donated or len(program.steps) >= 16):
        return lines
    return ["    with torch.inference_mode():", *[f"    {line}" for line in lines]]


def _deaths(program: Program) -> list[list[Value]]:
    """Per step the values nobody reads after it."""
    seen = {*program.outputs, *program.constants}
    out: list[list[Value]] = []
    for step in reversed(program.steps):
        here = dict.fromkeys(v for v in (*(x.value for x in step.inputs), *step.outputs))
        out.append([v for v in here if v not in seen])
        seen.update(here)
    return out[::-1]


# ---- donated inputs that somebody else holds after all

LENT: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""NumPy views handed out, by the address of the memory they show."""


def shared(donated: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether a donated tensor is passed twice, or lent out as a NumPy view that still lives."""
    ids = set(map(id, donated))
    return (
        len(ids) < len(donated)
        or not ids.isdisjoint(map(id, others))
        or (bool(LENT) and any(x.data_ptr() in LENT for x in donated))
    )


def _guard(graph: Graph, memory: Memory) -> list[str]:
    if not memory.donated:
        return []
    mine = ", ".join(f"v{i}" for i in memory.donated)
    rest = ", ".join(f"v{i}" for i in range(len(graph.inputs)) if i not in memory.donated)
    return [
        f"    if shared(({mine},), ({rest}{',' if rest else ''})):",
        f"        {mine}, = [x.clone() for x in ({mine},)]",
    ]
