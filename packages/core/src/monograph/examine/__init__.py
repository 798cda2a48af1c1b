"""Looking into a run: the first NaN or infinity by name, and where two engines part.

`mg.nan_guard` and `mg.compare` stand on the same walk: a graph run node by node, each operation
compiled by itself as eager ones are (`walk`). Nothing here is imported before it is needed.
"""

from .compare import Comparison, compare
from .guard import Guarded, allow_nonfinite, check_eager, check_finite
from .report import Report
from .statistics import Statistics

__all__ = [
    "Comparison", "Guarded", "Report", "Statistics", "allow_nonfinite", "check_eager",
    "check_finite", "compare",
]  # fmt: skip
