"""Writing down what a benchmark measured: the numbers with date and hardware, under benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def record(name: str, numbers: dict[str, Any]) -> None:
    """Print numbers and write them to ``results/<name>.json``."""
    document = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "hardware": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("torch", "numpy", "shiftline")},
        "measured": numbers,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
