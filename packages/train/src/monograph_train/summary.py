"""`summary`: a model's variables, parameters and cost as a table."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import monograph as mg
from monograph.cost import flops

if TYPE_CHECKING:
    from rich.table import Table

PASSED_ON = frozenset({"convert", "alias", "reshape", "transpose", "broadcast_in_dim"})
"""Operations through which a variable is still itself."""


def costs(graph: mg.Graph, variables: Collection[str]) -> dict[str, int]:
    """Floating-point operations by the variable that they use; those that use none under ``""``."""
    owner = {v: n for v, n in zip(graph.inputs, graph.input_names) if n in variables}
    out: dict[str, int] = {}
    for node in graph.nodes:
        named = [owner[v] for v in node.inputs if v in owner]
        if named and node.op.name in PASSED_ON:
            owner[node.outputs[0]] = named[0]
        cost = flops(node)
        out[named[0] if named else ""] = out.get(named[0] if named else "", 0) + cost
    return out


def summary(model: Any, *inputs: Any, store: mg.Store | None = None) -> Table:
    """A table of a model: path, shape, dtype, parameters, FLOPs and bytes of each variable.

    FLOPs are those of one call on ``inputs``, a multiplication and an addition counting as two, in
    the row of the variable that they use.

    Args:
        model: a function of a scope and inputs, or one bound to a store.
        inputs: arrays or `Spec` like those it will be called with.
        store: where the model's variables are; None needs none: only shapes are looked at.

    Returns:
        A `rich.table.Table`: print it with ``rich.print``.

    >>> import monograph as mg
    >>> def line(scope, x):
    ...     return x @ scope.parameter("kernel", (3, 2)) + scope.parameter("bias", (2,))
    >>> from rich.console import Console
    >>> Console(width=80).print(summary(line, mg.Spec((4, 3))))
    ┏━━━━━━━━┳━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━┓
    ┃ path   ┃ shape ┃ dtype   ┃ parameters ┃ FLOPs ┃ bytes ┃
    ┡━━━━━━━━╇━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━┩
    │ bias   │ 2     │ float32 │          2 │     8 │     8 │
    │ kernel │ 3×2   │ float32 │          6 │    48 │    24 │
    ├────────┼───────┼─────────┼────────────┼───────┼───────┤
    │ total  │       │         │          8 │    56 │    32 │
    └────────┴───────┴─────────┴────────────┴───────┴───────┘
    """
    bound = model if hasattr(model, "trace") else (store or mg.Outline()).bind(model, "numpy")
    graph = bound.trace(*inputs)
    cost, store = costs(graph, bound.store), bound.store
    from rich.table import Table

    table = Table()
    table.add_column("path", overflow="fold")
    for name in ("shape", "dtype"):
        table.add_column(name, no_wrap=True)
    for name in ("parameters", "FLOPs", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    trainable = set(store.trainable)
    parameters = size = state = 0
    for path in [p for p in store if p in set(graph.input_names)]:
        spec = store.spec(path)
        parameters += spec.size if path in trainable else 0
        state += 0 if path in trainable else spec.size
        size += spec.size * spec.dtype.itemsize
        table.add_row(
            path, "×".join(map(str, spec.shape)) or "scalar", str(spec.dtype),
            f"{spec.size:,}" if path in trainable else f"({spec.size:,})",
            short(cost.get(path, 0)), short(spec.size * spec.dtype.itemsize),
        )  # fmt: skip
    if cost.get(""):
        table.add_row("other operations", "", "", "", short(cost[""]), "")
    table.add_section()
    if state:
        table.add_row("not trained", "", "", f"({state:,})", "", "")
    table.add_row("total", "", "", f"{parameters:,}", short(sum(cost.values())), short(size))
    return table


def short(n: int) -> str:
    """A count in at most four figures.

    >>> short(950), short(25_557_032), short(8_200_000_000)
    ('950', '25.6 M', '8.20 G')
    """
    for unit in ("", " k", " M", " G", " T"):
        if n < 1000 or unit == " T":
            break
        n /= 1000  # type: ignore[assignment]
    return (
        f"{n}{unit}" if isinstance(n, int) else f"{n:.3g}{unit}" if n >= 100 else f"{n:#.3g}{unit}"
    )
