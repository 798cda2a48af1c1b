"""`renamed`: names of other libraries' variables as ours, by a table of patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence

Rules = Sequence[tuple[str, str]]


def renamed(name: str, rules: Rules) -> str:
    """``name`` after every rule's pattern became its template, where ``<1>`` counts from 0 to 1.

    >>> renamed("stages.0.weight", [(r"stages\\.(\\d+)\\.", r"stage<\\1>/"), ("weight$", "kernel")])
    'stage1/kernel'
    """
    for pattern, template in rules:
        name = re.sub(pattern, template, name)
    return re.sub(r"<(\d+)>", lambda m: str(int(m[1]) + 1), name)
