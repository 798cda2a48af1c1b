"""The table of operators: one rule each, from the version of the operator set on in which it holds.

A rule is a function whose positional parameters are the operator's inputs (None where left out) and whose
keyword-only parameters are its attributes, with their defaults:

    @rule("LeakyRelu")
    def leaky_relu(x, *, alpha=0.01):
        return mg.where(x < 0, alpha * x, x)

What values an attribute may have stands in the decorator, where the rule's own table says it: the names in a
mapping or another collection, or a function that raises for others. So what is wrong with a model is found by what
runs it:

    @rule("ScatterND", reduction=_PUT)

Two keywords are no attributes: ``outputs`` is how many results are asked for, and ``step`` runs graphs in
attributes and draws random keys. Values are NumPy arrays where they are known while tracing, arrays of
Monograph where not, lists for sequences, None for an empty optional.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from monograph.errors import MonographError
from monograph.tracing import without_line

SPECIAL = ("outputs", "step")
Values = Collection[Any] | Callable[[Any], Any]


@dataclass(frozen=True)
class Rule:
    """How an operator runs.

    Attributes:
        fn: the function; None leaves it to the body that ONNX's own schema has, and so does a
            function for the inputs for which it gives NotImplemented.
        since: the version of the operator set from which on it holds.
        known: inputs whose numbers decide shapes; they must be known while tracing.
        state: inputs that are no weights: a gradient step must leave them alone.
        shape_only: only the shapes of the inputs matter, which are always known.
        attributes: the attributes it understands.
        special: which of ``outputs`` and ``step`` it takes.
        values: of an attribute, or of each in a list: a collection, or a function that raises for others.
    """

    fn: Callable[..., Any] | None
    since: int
    known: Collection[int]
    state: Collection[int]
    shape_only: bool
    attributes: frozenset[str]
    special: tuple[str, ...]
    values: Mapping[str, Values]

    def wrong(
        self, inputs: int, names: Collection[str], attributes: Mapping[str, Any]
    ) -> Iterator[str]:
        """Why it does not take so many inputs and attributes, as far as they alone tell.

        Args:
            names: of all attributes.
            attributes: those that are known.
        """
        assert self.fn is not None
        if unknown := sorted(set(names) - self.attributes):
            yield f"the attribute {', '.join(unknown)}"
        else:
            try:
                _signature(self.fn).bind(*[None] * inputs, **dict.fromkeys((*names, *self.special)))
            except TypeError as e:
                yield f"called with other inputs or attributes than are known: {e}"
        hints = _hints(self.fn) if attributes else {}
        for name, value in attributes.items():
            kind = hints.get(name, Any)
            if kind is not Any and not isinstance(value, kind):
                yield f"the attribute {name} is {value!r}"[:80]
            elif name in self.values:
                yield from _unfit(name, value, self.values[name])


def _unfit(name: str, value: Any, values: Values) -> Iterator[str]:
    if isinstance(value, list):
        for v in value:
            yield from _unfit(name, v, values)
    elif not callable(values):
        if value not in values:
            known = ", ".join(map(str, values))
            yield f"the attribute {name} is {value!r}, which is none of {known}"
    else:
        try:
            values(value)
        except (MonographError, TypeError, ValueError, LookupError) as e:
            yield f"the attribute {name}: {without_line(e)}"


_signature = functools.cache(inspect.signature)


@functools.cache
def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Types of the attributes that are one number or text."""
    numbers = {float: int | float, float | None: int | float | None}
    kinds = (int, int | None, str, *numbers)
    return {k: numbers.get(t, t) for k, t in typing.get_type_hints(fn).items() if t in kinds}


TABLE: dict[str, list[Rule]] = {}


def rule(
    *names: str, since: int = 1, known: Collection[int] = (), state: Collection[int] = (),
    shape_only: bool = False, **values: Values,
) -> Callable[[Any], Any]:  # fmt: skip
    """Decorator: the function is the rule of these operators; ``values`` are those that attributes may have."""

    def add(fn: Any) -> Any:
        keywords = _keywords(fn) if fn else []
        special = tuple(k for k in SPECIAL if k in keywords)
        attributes = frozenset(k for k in keywords if k not in SPECIAL)
        assert values.keys() <= attributes, (
            f"{names} have no attribute {values.keys() - attributes}"
        )
        for name in names:
            rows = TABLE.setdefault(name, [])
            assert all(r.since != since for r in rows), f"two rules for {name} since {since}"
            rows.append(Rule(fn, since, known, state, shape_only, attributes, special, values))
            rows.sort(key=lambda r: -r.since)
        return fn

    return add


def _keywords(fn: Any) -> list[str]:
    # functions of `monograph` have keywords that no operator means: only our own are attributes
    if not fn.__module__.startswith("monograph_importers"):
        return []
    parameters = inspect.signature(fn).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def find(op: str, version: int) -> Rule | None:
    """The rule of an operator in a version of the operator set."""
    return next((r for r in TABLE.get(op, ()) if r.since <= version), None)
