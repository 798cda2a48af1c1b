"""`renamed`: names of one library's variables as another's, by a table of patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence

Rules = Sequence[tuple[str, str]]


def renamed(name: str, rules: Rules) -> str:
    """``name`` after every rule's pattern became its template, where ``<7-1>`` is 6, ``<2*7+1>`` 15.

    >>> renamed("stages.0.weight", [(r"stages\\.(\\d+)\\.", r"stage<\\1+1>/"), ("weight$", "kernel")])
    'stage1/kernel'
    """
    for pattern, template in rules:
        name = re.sub(pattern, template, name)
    return re.sub(
        r"<(?:(\d+)\*)?(\d+)([+-]\d+)>",
        lambda m: str(int(m[1] or 1) * int(m[2]) + int(m[3])),
        name,
    )
