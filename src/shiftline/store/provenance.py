"""Where and with what a result was made: recorded with it, shown, never part of its identity."""

from __future__ import annotations

import functools
import os
import platform
import socket
import sys
import time
from typing import Any

PACKAGES = ("shiftline", "torch", "torchvision", "timm", "open_clip_torch", "ffcv", "numpy", "scikit-learn", "scipy")


@functools.cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(started: float) -> dict[str, Any]:
    """Describe this process and machine.

    Parameters
    ----------
    started : float
        When the work began, seconds since the epoch.
    """
    torch = sys.modules.get("torch")
    return {
        "host": socket.gethostname(),
        "processor": platform.machine(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "threads": torch.get_num_threads() if torch is not None else None,
        "versions": _versions(),
    }
