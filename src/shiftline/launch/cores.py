"""The processor cores that this process may use, and how many of them read images."""

from __future__ import annotations

import os
from pathlib import Path

WORKERS = "SHIFTLINE_WORKERS"
"""Set for workers: how many share the machine."""
CGROUP = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return how many cores this process may use: those it is bound to, within its share of a container or a SLURM task."""
    counts = [len(os.sched_getaffinity(0))]
    if (task := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdigit():
        counts.append(int(task))
    try:
        quota, period = CGROUP.read_text().split()
        counts.append(-(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # There is no such limit ("max"), or no cgroup of the second version.
    return max(min(counts), 1)


def decode_threads(processes: int = 1) -> int:
    """Return how many threads of this process read and decode images. Results do not depend on it.

    Parameters
    ----------
    processes : int
        That work together on this machine; workers beside this one are counted apart.
    """
    workers = os.environ.get(WORKERS, "1")
    return max(available_cores() // (int(workers) * processes if workers.isdigit() else processes), 1)
