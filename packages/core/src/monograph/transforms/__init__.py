"""Changing graphs: rules, passes, and those that come with Monograph.

A pass is any function ``Graph -> Graph``; a rule is a pass made of a pattern and a rewrite. Graphs are
never changed in place, so whatever fails leaves them as they were.

    @transforms.rule(lambda op, x: op.log(op.exp(x)))
    def log_of_exp(x):
        return x

    graph.transform(log_of_exp, transforms.DEFAULT)

See docs/transforms.md.
"""

from __future__ import annotations

from ..rewrite import common_subexpressions, prune, rebuild, simplify
from .constants import known
from .exact import EXACT
from .fast import FAST_MATH
from .folding import fold_constants, fold_up_to
from .pattern import Pattern
from .recognise import COMPOSITES, composites
from .rule import Rule, apply, node_rule, rule

DEFAULT = (simplify, fold_constants, *EXACT, simplify)
"""What changes no bit: dead code and equal nodes go, constants are computed, `EXACT` is applied.

Not run unless asked for: ``graph.transform(transforms.DEFAULT)``.
"""

__all__ = [
    "DEFAULT", "EXACT", "FAST_MATH", "Pattern", "Rule", "apply", "common_subexpressions",
    "fold_constants", "fold_up_to", "known", "node_rule", "prune", "rebuild", "rule", "simplify",
]  # fmt: skip
