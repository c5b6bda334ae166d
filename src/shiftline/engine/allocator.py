"""Memory that a network frees is kept for its next batch."""

from __future__ import annotations

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's mallopt."""


@functools.cache
def keep_pages() -> bool:
    """Tell the C library to hand no memory back to the kernel between batches; return whether it was told.

    By default glibc maps memory for every large tensor and gives it back when that is freed, so that each batch faults all of its
    pages in again: more than half of a forward pass on a CPU. Other C libraries are left as they are. It holds for the process.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
