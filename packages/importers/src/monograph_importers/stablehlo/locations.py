"""MLIR's locations as lines of the program that they come from."""

from __future__ import annotations

import re
from typing import Any

from monograph.graph import Source

_LIBRARY = re.compile(r"[/\\\\](?:site|dist)-packages[/\\\\]")
_WRAPPER = re.compile(r"^(?:jit|pjit|jvp|vmap|transpose|remat|checkpoint)\((.*)\)$")


class Locations:
    """Aliases by name, and each location's `Source`."""

    def __init__(self) -> None:
        self.aliases: dict[str, Any] = {}
        self._files: dict[str, tuple] = {}

    def source(self, location: Any) -> Source | None:
        """The user's innermost file and line, with the name stack that JAX gives as the scope."""
        file, line, function, scope = self._read(location, 0)
        if not file and not scope:
            return None
        return Source(file or "stablehlo", line, function, scope)

    def _read(self, at: Any, depth: int) -> tuple[str, int, str, str]:
        if at is None or depth > 100:
            return "", 0, "", ""
        kind, *rest = at
        if kind == "alias":
            name = rest[0]
            if name not in self._files:
                self._files[name] = ("", 0, "", "")  # an alias that names itself ends here
                self._files[name] = self._read(self.aliases.get(name), depth + 1)
            return self._files[name]
        if kind == "file":
            return rest[0], rest[1], "", ""
        if kind == "name":
            name, child = rest
            file, line, function, scope = self._read(child, depth + 1)
            if child is not None and child[0] != "alias" and child[0] == "file":
                return file, line, name, scope
            below = self.aliases.get(child[1]) if child and child[0] == "alias" else None
            if below is not None and below[0] == "file":  # a Python frame: function and line
                return file, line, name, scope
            return file, line, function, _scope(name) or scope
        if kind == "callsite":  # the innermost line that is not a library's
            found = self._read(rest[0], depth + 1)
            caller = self._read(rest[1], depth + 1) if _LIBRARY.search(found[0]) else found
            return found if not caller[0] or _LIBRARY.search(caller[0]) else (*caller[:3], found[3])
        for part in rest[0]:  # fused
            found = self._read(part, depth + 1)
            if found[0]:
                return found
        return "", 0, "", ""


def _scope(stack: str) -> str:
    """``jit(f)/encoder/linear/dot_general`` without transformations and the primitive.

    >>> _scope("jit(f)/encoder/jvp(linear)/dot_general")
    'encoder/linear'
    """
    parts = []
    for part in stack.split("/")[1:-1]:
        while found := _WRAPPER.match(part):
            part = found[1]
        parts.append(part)
    return "/".join(p for p in parts if p)
