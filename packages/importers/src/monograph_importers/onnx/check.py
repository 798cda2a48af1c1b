"""What is wrong with a model, and what it needs, found before anything runs and all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .parts import Body, Step, schema


def problems(body: Body, outer: frozenset[str] = frozenset()) -> Iterator[str]:
    """What no sound graph has: names made twice, and names read that nothing before has made."""
    made = {*body.inputs, *body.constants, *body.weights}
    later = {n for s in body.steps for n in s.outputs}
    for step in body.steps:
        for name in step.inputs:
            if name and name not in made and name not in outer:
                why = (
                    "which only a later node makes: a cycle, or nodes in no order"
                    if name in later
                    else ("which nothing makes")
                )
                yield f"node {step.name!r} ({step.runs_by}) reads {name!r}, {why}"
        for inner in step.bodies:
            yield from problems(inner, outer | made)
        for name in step.outputs:
            if name and name in made:
                yield f"node {step.name!r} ({step.runs_by}) makes {name!r}, which is there already"
            made.add(name)
    for name in body.outputs:
        if name not in made and name not in outer:
            yield f"nothing makes the output {name!r}"


def missing(body: Body) -> Iterator[tuple[str, str, str]]:
    """``(op, where, why)`` of every node that cannot run, those in functions included."""
    for step in body.steps:
        where = f"{step.source} {step.name!r}"
        if step.rule is not None and step.rule.fn is not None:
            unknown = sorted(set(step.attributes) - step.rule.attributes - {"consumed_inputs"})
            if unknown:
                yield step.runs_by, where, f"the attribute {', '.join(unknown)}"
        elif step.function is not None:
            yield from missing(step.function)
        elif not getattr(schema(step, body.opsets), "has_context_dependent_function", False):
            yield step.runs_by, where, ""
        for inner in step.bodies:
            yield from missing(inner)


@dataclass
class Needs:
    """Which values must be known while tracing, since shapes depend on their numbers.

    Attributes:
        by: the first node that needs it, by the name of an input or an initializer.
    """

    by: dict[str, Step] = field(default_factory=dict)

    def of(self, body: Body, wanted: dict[str, Step] | None = None) -> Needs:
        """Of the main graph, or of a function's inputs.

        Args:
            wanted: outputs of the body that must be known.
        """
        producer = {n: s for s in body.steps for n in s.outputs if n}
        todo = list((wanted or {}).items())
        for step in body.steps:
            todo += [(n, step) for n in _needed(step)]
        seen: set[str] = set()
        while todo:
            name, step = todo.pop()
            if name in seen or not name:
                continue
            seen.add(name)
            source = producer.get(name)
            if source is None:
                self.by.setdefault(name, step)
            elif not (source.rule and source.rule.shape_only):
                todo += [(n, step) for n in source.inputs]
                todo += [(n, step) for b in source.bodies for n in b.reads()]
        return self


def _needed(step: Step) -> Iterator[str]:
    """Names that a node needs to be known, around it where it holds graphs."""
    if step.rule is not None:
        yield from (step.inputs[i] for i in step.rule.known if i < len(step.inputs))
    if step.function is not None:
        inner = Needs().of(step.function).by
        yield from (
            outer for outer, name in zip(step.inputs, step.function.inputs) if name in inner
        )
    for body in step.bodies:
        inner = Needs().of(body).by
        yield from (n for n in inner if n in body.reads())
        if (
            step.op == "Loop"
        ):  # what one turn must know comes from the turn before; results that stack count turns
            stacks = len(body.outputs) > len(body.inputs) - 1
            if stacks or any(n in inner for n in body.inputs):
                yield from step.inputs[:2]
            yield from (n for n, name in zip(step.inputs[2:], body.inputs[2:]) if name in inner)
