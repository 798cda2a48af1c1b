"""Graphs changed, taken apart and put together again: rules, passes, splitting, editing.

A pass is any function ``Graph -> Graph``; a rule is a pass made of a pattern and a rewrite. Graphs are
never changed in place, so whatever fails leaves them as they were.

    @transforms.rule(lambda op, x: op.log(op.exp(x)))
    def log_of_exp(x):
        return x

    graph.transform(log_of_exp, transforms.DEFAULT)

See docs/transforms.md and docs/splitting.md.
"""

from __future__ import annotations

from ..rewrite import common_subexpressions, prune, rebuild, simplify
from . import policies
from .balance import balanced_cuts
from .constants import known
from .edit import extract, inline, map_ops, replace
from .exact import EXACT
from .fast import FAST_MATH, fast_math
from .folding import fold_constants, fold_up_to
from .microbatching import microbatch
from .pattern import Pattern
from .pipeline import Pipeline, pipeline
from .recognise import COMPOSITES, composites
from .rule import Rule, apply, node_rule, rule
from .split import Part, Split, split
from .transposes import LAYOUT, layout

DEFAULT = (simplify, fold_constants, *EXACT, simplify)
"""What changes no bit: dead code and equal nodes go, constants are computed, `EXACT` is applied.

Not run unless asked for: ``graph.transform(transforms.DEFAULT)``.
"""

__all__ = [
    "COMPOSITES", "DEFAULT", "EXACT", "FAST_MATH", "LAYOUT", "Part", "Pattern", "Pipeline", "Rule",
    "Split", "apply", "balanced_cuts", "common_subexpressions", "composites", "extract",
    "fast_math", "fold_constants", "fold_up_to", "inline", "known", "layout", "map_ops",
    "microbatch", "node_rule", "pipeline", "policies", "prune", "rebuild", "replace", "rule",
    "simplify", "split",
]  # fmt: skip
