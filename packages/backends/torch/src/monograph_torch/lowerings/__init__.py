"""The table: op -> torch. Each module brings its own part.

An entry is source text, in which ``{0}`` stands for an operand and ``{axis}`` for an attribute, or a
function ``(node, device)`` that makes such text, the callable that the generated line calls, a
constant tensor, or a `common.Writer`.
"""

from __future__ import annotations

import importlib
import pkgutil

from monograph.outside import Table

from ..outside import on_host

# every module beside this one but `common` brings a part
_NAMES = [m.name for m in pkgutil.iter_modules(__path__) if m.name != "common"]
_PARTS = [importlib.import_module(f".{name}", __name__) for name in _NAMES]
_ENTRIES = {op: how for part in _PARTS for op, how in part.TABLE.items()}
LOWER = Table("torch", _ENTRIES, on_host)
if len(LOWER) != sum(len(part.TABLE) for part in _PARTS):
    raise RuntimeError("two modules of monograph_torch.lowerings lower the same op")
