"""What a job costs: seconds, images, the device and the memory that was needed at most."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any


class Meter:
    """Measures from when it is made.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:N" or "mps".
    """

    def __init__(self, device: str) -> None:
        self.device = device
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        self.started = time.monotonic()

    def reading(self, *, jobs: int = 1) -> dict[str, Any]:
        """Return device, seconds and peak_memory, for a manifest's provenance.

        Parameters
        ----------
        jobs : int
            That were run together: the seconds are the share of one. The memory, in bytes, is that of all: what networks took on a
            GPU; elsewhere what the process has taken at most since it began.
        """
        seconds = (time.monotonic() - self.started) / jobs
        found: dict[str, Any] = {"device": self.device, "seconds": round(seconds, 4)}
        if self.device.startswith("cuda"):
            import torch

            name = torch.cuda.get_device_name(self.device)
            return found | {"device_name": name, "peak_memory": torch.cuda.max_memory_allocated(self.device)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in KiB, macOS in bytes.
        return found | {"peak_memory": peak if sys.platform == "darwin" else peak << 10}
