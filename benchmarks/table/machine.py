"""What the numbers were measured on: the machine, how busy it was, and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time

from monograph import choices

from .competitors import COMPETITORS
from .pipes import ROOT
from .records import Record


def facts() -> list[Record]:
    """Records of the table ``about``, which the last run overwrites."""
    libraries = sorted({n for c in COMPETITORS.values() for n in c.libraries} | {"numpy"})
    busy = f"; load {os.getloadavg()[0]:.1f} as it began"
    found = {
        "last run": f"{time.strftime('%Y-%m-%d')}{commit()}{busy}",
        "machine": f"{choices.machine()}, {platform.system()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in libraries},
    }
    return [Record("about", row, "", "", value) for row, value in found.items()]


def commit() -> str:
    """The checkout's, where git tells."""
    if not (git := shutil.which("git")):
        return ""
    command = [git, "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f", commit {done.stdout.strip()}" if done.stdout.strip() else ""
