"""Finding and loading plug-ins through entry points, one group per kind.

Names are listed from package metadata without importing anything; only what is asked for is
loaded. A plug-in that cannot load never harms another: asked for by name it raises with the cause,
otherwise `python -m monograph doctor` shows it.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from .errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

API_VERSION = 1
"""The version of the plug-in interface. A plug-in's module may name the one it was written for."""

GROUPS = {
    "monograph.engines": "engine",
    "monograph.dtypes": "dtype",
    "monograph.ops": "op",
    "monograph.exporters": "exporter",
    "monograph.importers": "importer",
    "monograph.strategies": "strategy",
    "monograph.commands": "command",
}

_INSTALL = {
    ("monograph.engines", "xla"): "monograph[xla]",
    ("monograph.engines", "torch"): "monograph[torch]",
    ("monograph.dtypes", "bfloat16"): "monograph[dtypes]",
    ("monograph.dtypes", "float16"): "monograph[dtypes]",
}


class Hooks:
    """What a plug-in may hook into. Nothing per tensor or per op goes through here."""

    def monograph_graph_traced(self, graph: Any) -> None:
        """A function was traced to ``graph``, before it is compiled."""

    def monograph_compiled(self, graph: Any, engine: str, seconds: float) -> None:
        """``graph`` was compiled for ``engine`` in ``seconds``."""


@functools.cache
def hooks() -> Any:
    """The pluggy manager; ``hooks().register(obj)`` with methods named as in `Hooks`.

    Made when first needed: pluggy and the package metadata take longer to import than the rest.
    """
    import pluggy

    for name, method in vars(Hooks).items():
        if name.startswith("monograph_"):
            pluggy.HookspecMarker("monograph")(method)
    manager = pluggy.PluginManager("monograph")
    manager.add_hookspecs(Hooks)
    return manager


def entry_points(group: str) -> Any:
    """The installed entry points of a group; the metadata library is imported only then."""
    from importlib.metadata import entry_points as found

    return found(group=group)


@functools.cache
def _entries(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    out: dict[str, tuple[EntryPoint, ...]] = {}
    seen = set()
    for e in entry_points(group=group):
        # an editable install may list one distribution twice
        key = (e.name, e.value, _dist(e))
        if key not in seen:
            seen.add(key)
            out[e.name] = (*out.get(e.name, ()), e)
    return out


def _dist(e: EntryPoint) -> str:
    return e.dist.name if e.dist is not None else "an unnamed distribution"


def refresh() -> None:
    """Forget what was found: packages installed since then are seen."""
    _entries.cache_clear()
    load.cache_clear()


def allowed(distribution: str) -> bool:
    """Whether ``MONOGRAPH_PLUGINS`` (a comma-separated allow-list of distributions) admits it."""
    listed = os.environ.get("MONOGRAPH_PLUGINS")
    return listed is None or distribution in [n.strip() for n in listed.split(",")]


def names(group: str) -> list[str]:
    """Names installed in a group, nothing imported."""
    return sorted(
        n for n, found in _entries(group).items() if any(allowed(_dist(e)) for e in found)
    )


def find(group: str, name: str) -> EntryPoint | None:
    """The entry point of that name, or None.

    Raises:
        PluginError: two distributions claim the name; both are named.
    """
    found = [e for e in _entries(group).get(name, ()) if allowed(_dist(e))]
    if len(found) > 1:
        who = " and ".join(f"{_dist(e)} ({e.value})" for e in found)
        raise PluginError(
            f"{GROUPS[group]} {name!r} is claimed by two packages: {who}. Uninstall one, or set "
            f"MONOGRAPH_PLUGINS to the distributions you want."
        )
    return found[0] if found else None


@functools.cache
def load(group: str, name: str) -> Any:
    """Load one plug-in.

    Raises:
        PluginError: not installed (and how to install it), excluded by ``MONOGRAPH_PLUGINS``, made
            for another `API_VERSION`, or its import failed (and why).
    """
    kind, entry = GROUPS[group], find(group, name)
    if entry is None:
        hidden = _entries(group).get(name)
        if hidden:
            raise PluginError(
                f"{kind} {name!r} is installed ({_dist(hidden[0])}) but MONOGRAPH_PLUGINS="
                f"{os.environ['MONOGRAPH_PLUGINS']!r} does not list it; add it there."
            )
        how = _INSTALL.get((group, name))
        raise PluginError(
            f"no {kind} {name!r} is installed; there are: {', '.join(names(group)) or 'none'}."
            + (f" Try: pip install '{how}'" if how else "")
        )
    try:
        module_version = getattr(_module(entry), "MONOGRAPH_API_VERSION", API_VERSION)
        found = entry.load()
    except BaseException as e:  # a plug-in may fail in any way, SystemExit included
        if isinstance(e, KeyboardInterrupt):
            raise
        raise PluginError(
            f"{kind} {name!r} ({_dist(entry)}) failed to load: {type(e).__name__}: {e}. "
            f"Reinstall it with: pip install --force-reinstall {_dist(entry)}"
        ) from e
    if module_version != API_VERSION:
        raise PluginError(
            f"{kind} {name!r} ({_dist(entry)}) was made for plug-in API {module_version}, this is "
            f"{API_VERSION}. Upgrade {_dist(entry)} or monograph."
        )
    return found


def _module(entry: EntryPoint) -> Any:
    import importlib

    return importlib.import_module(entry.module)
