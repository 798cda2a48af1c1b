"""What is wrong with a model, and what it needs, found before anything runs and all at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .parts import Body, Reference, Step, schema


def problems(body: Body, outer: frozenset[str] = frozenset()) -> Iterator[str]:
    """What no sound graph has: names made twice, and names read that nothing before has made."""
    made = {*body.inputs, *body.constants, *body.weights}
    later = {n for s in body.steps for n in s.outputs}
    for step in body.steps:
        what = f"node {step.name!r} ({step.runs_by})"
        for name in step.inputs:
            if name and name not in made and name not in outer:
                cycle = "only a later node makes: a cycle, or nodes in no order"
                yield f"{what} reads {name!r}, which {cycle if name in later else 'nothing makes'}"
        for inner in step.bodies:
            yield from problems(inner, outer | made)
        for name in step.outputs:
            if name and name in made:
                yield f"{what} makes {name!r}, which is there already"
            made.add(name)
    for name in body.outputs:
        if name not in made and name not in outer:
            yield f"nothing makes the output {name!r}"


def missing(body: Body, seen: set[int] | None = None) -> Iterator[tuple[Step, str]]:
    """Every node that cannot run, and why, those in functions once; empty where it is unknown altogether."""
    seen = set() if seen is None else seen
    for step in body.steps:
        if step.rule is not None and step.rule.fn is not None:
            for why in step.rule.wrong(len(step.inputs), step.attributes, _given(step)):
                yield step, why
        elif step.function is not None:
            if id(step.function) not in seen:
                seen.add(id(step.function))
                yield from missing(step.function, seen)
        elif not getattr(schema(step, body.opsets), "has_context_dependent_function", False):
            yield step, ""
        for inner in step.bodies:
            yield from missing(inner, seen)


def _given(step: Step) -> dict[str, Any]:
    """Its attributes, but for those that a function is given when it is called."""
    return {k: v for k, v in step.attributes.items() if not isinstance(v, Reference)}


def needs(body: Body) -> dict[str, Step]:
    """What must be known while tracing, since shapes depend on its numbers: of names that come from elsewhere.

    Returns:
        The first node that needs it, by the name of an input, an initializer or a value from around.
    """
    if body.needs is None:
        body.needs = _needs(body)
    return body.needs


def _needs(body: Body) -> dict[str, Step]:
    producer = {n: s for s in body.steps for n in s.outputs if n}
    todo = [(n, step) for step in body.steps for n in _needed(step)]
    found: dict[str, Step] = {}
    seen: set[str] = set()
    while todo:
        name, step = todo.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        source = producer.get(name)
        if source is None:
            found[name] = step
        elif not (source.rule and source.rule.shape_only):
            todo += [(n, step) for n in source.inputs]
            todo += [(n, step) for b in source.bodies for n in b.reads()]
    return found


def _needed(step: Step) -> Iterator[str]:
    """Names that a node needs to be known, around it where it holds graphs."""
    if step.rule is not None:
        yield from (step.inputs[i] for i in step.rule.known if i < len(step.inputs))
    if step.function is not None:
        inner = needs(step.function)
        yield from (n for n, name in zip(step.inputs, step.function.inputs) if name in inner)
    for body in step.bodies:
        inner, around = needs(body), body.reads()
        yield from (n for n in inner if n in around)
        if step.op == "Loop":  # a turn's inputs are the results of the one before
            stacks = len(body.outputs) > len(body.inputs) - 1  # so many as there are turns
            if stacks or any(n in inner for n in body.inputs):
                yield from step.inputs[:2]
            yield from (n for n, name in zip(step.inputs[2:], body.inputs[2:]) if name in inner)
