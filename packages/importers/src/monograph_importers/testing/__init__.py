"""What importers promise of hostile files, tried: a clear error within a second and 256 MB, and no crash.

`TARGETS` has a line per parser; ``python -m monograph_importers.testing`` mutates sound files for each.
"""

from .guard import Guard, Outcome
from .targets import TARGETS, Target

__all__ = ["Guard", "Outcome", "TARGETS", "Target"]
