"""Branches, loops, calls; and what has no meaning in a graph for one device, with the reason."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np

from .._steps import known
from .interpret import RULES, Step, rule
from .loops import while_loop


@rule("func.call", "call")
def _call(step: Step, *xs: Any) -> Any:
    return step.call(step.get("callee"), *xs)


@rule("stablehlo.composite")
def _composite(step: Step, *xs: Any) -> Any:
    """Its decomposition, which means the same."""
    name = step.get("name", "")
    if name in ("chlo.top_k",) and "k" in (step.get("composite_attributes") or {}):
        return top_k(xs[0], int(step.get("composite_attributes")["k"]))
    return step.call(step.get("decomposition"), *xs)


def top_k(x: Any, k: int) -> list[Any]:
    """The largest of the last axis and their places, as CHLO gives them."""
    d = mg.Spec.of(x).dtype
    values, places = mg.top_k(mg.astype(x, "uint8") if d.kind == "bool" else x, k)
    return [mg.astype(values, d), mg.astype(places, "int32")]


@rule("chlo.top_k")
def _top_k(step: Step, x: Any) -> Any:
    return top_k(x, int(step.get("k")))


@rule("stablehlo.if")
def _if(step: Step, pred: Any) -> Any:
    if known(pred):
        return step.region(0 if bool(pred) else 1)()
    return list(mg.cond(pred, lambda: tuple(step.region(0)()), lambda: tuple(step.region(1)())))


@rule("stablehlo.case")
def _case(step: Step, index: Any) -> Any:
    n = len(step.op.regions)
    if known(index):
        i = int(index)
        return step.region(i if 0 <= i < n else n - 1)()
    branches = [lambda i=i: tuple(step.region(i)()) for i in range(n)]
    return list(mg.switch(index, branches))


@rule("stablehlo.while")
def _while(step: Step, *init: Any) -> Any:
    return while_loop(step.region(0), step.region(1), init)


RULES["stablehlo.after_all"] = RULES["stablehlo.create_token"] = lambda step, *xs: None
RULES["stablehlo.replica_id"] = RULES["stablehlo.partition_id"] = lambda step: np.uint32(0)

_DEVICES = "it talks to other devices; a graph is for one"
_HOST = "it talks to the host while the program runs"
_QUANTISED = "quantised types are not supported"
REASONS = {
    **dict.fromkeys(
        ("all_gather", "all_reduce", "all_to_all", "collective_broadcast", "collective_permute",
         "reduce_scatter", "cross-replica-sum", "async_start", "async_done"), _DEVICES),
    **dict.fromkeys(("infeed", "outfeed", "send", "recv"), _HOST),
    **dict.fromkeys(("uniform_quantize", "uniform_dequantize"), _QUANTISED),
    "rng": "its numbers are XLA's own and differ from run to run",
}  # fmt: skip
REASONS = {f"stablehlo.{k}": v for k, v in REASONS.items()}
