"""The table of operators: one rule each, from the version of the operator set on in which it holds.

A rule is a function whose positional parameters are the operator's inputs (None where left out) and whose
keyword-only parameters are its attributes, with their defaults:

    @rule("LeakyRelu")
    def leaky_relu(x, *, alpha=0.01):
        return mg.where(x < 0, alpha * x, x)

Two keywords are no attributes: ``outputs`` is how many results are asked for, and ``step`` runs graphs in
attributes and draws random keys. Values are NumPy arrays where they are known while tracing, arrays of
Monograph where not, lists for sequences, None for an empty optional.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

SPECIAL = ("outputs", "step")


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
    """

    fn: Callable[..., Any] | None
    since: int
    known: Collection[int]
    state: Collection[int]
    shape_only: bool
    attributes: frozenset[str]
    special: tuple[str, ...]


TABLE: dict[str, list[Rule]] = {}


def rule(
    *names: str, since: int = 1, known: Collection[int] = (), state: Collection[int] = (),
    shape_only: bool = False,
) -> Callable[[Any], Any]:  # fmt: skip
    """Decorator: the function is the rule of these operators."""

    def add(fn: Any) -> Any:
        keywords = _keywords(fn) if fn else []
        special = tuple(k for k in SPECIAL if k in keywords)
        attributes = frozenset(k for k in keywords if k not in SPECIAL)
        for name in names:
            rows = TABLE.setdefault(name, [])
            assert all(r.since != since for r in rows), f"two rules for {name} since {since}"
            rows.append(Rule(fn, since, known, state, shape_only, attributes, special))
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
