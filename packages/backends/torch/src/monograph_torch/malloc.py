"""Freed memory stays with the process: glibc gives it back to the system, and takes it anew page by page.

As a CUDA device's allocator does. Where a step's values come and go, that is a tenth to half of its time.
"""

from __future__ import annotations

import ctypes
import functools
import os

KEPT, HEAP = 1 << 29, 1 << 25
"""Bytes of freed memory that may stay, and of the blocks, none larger, that it is made of: glibc's most."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
SET_BY_USER = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)


@functools.cache
def keep() -> bool:
    """Have glibc keep what is freed; whether it does now. One that the environment tunes is left alone."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError, ValueError):  # another system, or another libc
        return False
    if not glibc or not os.environ.keys().isdisjoint(SET_BY_USER):
        return False
    return bool(mallopt(MMAP_THRESHOLD, HEAP) and mallopt(TRIM_THRESHOLD, KEPT))
