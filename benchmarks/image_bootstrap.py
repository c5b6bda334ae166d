"""Joint intervals of a large study: 200 models, 10 shifts and the reference, 50,000 images each, 2,000 resamples: time, memory.

The limit, in the same run, is the matrix product that a bootstrap cannot avoid: weights times answers, by numpy.

.venv/bin/python benchmarks/image_bootstrap.py
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

from measured import record
from shiftline.analysis.correctness import CHUNK, Correctness
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import joint_effective_robustness

MODELS, SHIFTS, IMAGES, RESAMPLES = 200, 10, 50_000, 2_000


def main() -> None:
    generator = np.random.default_rng(0)
    names = tuple(f"model {i}" for i in range(MODELS))
    z = generator.uniform(-0.5, 1.5, MODELS)
    axes = {}
    for number in range(SHIFTS + 1):
        expected = ndtr(z if number == 0 else 0.9 * z - 0.3 + generator.normal(0, 0.05, MODELS))
        right = (generator.random((MODELS, IMAGES), dtype=np.float32) < expected[:, None].astype(np.float32)).astype(np.uint8)
        axes[f"shift {number}" if number else "reference"] = Correctness(names, right, np.arange(IMAGES), f"source {number}")
    rows = [
        {
            "model": model,
            "group": "baseline" if place < 100 else "others",
            "distribution": name,
            "value": value,
            "n": IMAGES,
            "recipe": model,
        }
        for name, axis in axes.items()
        for place, (model, value) in enumerate(zip(names, axis.accuracies, strict=True))
    ]
    answers = {name: Answers(axes["reference"], axis) for name, axis in axes.items() if name != "reference"}
    started = time.perf_counter()
    table = joint_effective_robustness(pd.DataFrame(rows), answers, baseline="baseline", by="model", resamples=RESAMPLES)
    seconds = time.perf_counter() - started
    assert len(table) == MODELS * (SHIFTS + 1)
    # Read now: memory of the comparison is not ours.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    weights = np.ones((CHUNK, IMAGES), dtype=np.float32)
    right = np.ones((IMAGES, MODELS), dtype=np.float32)
    started = time.perf_counter()
    for _ in range((SHIFTS + 1) * RESAMPLES // CHUNK):
        weights @ right
    limit = time.perf_counter() - started
    record(
        "image_bootstrap",
        {
            "models": MODELS,
            "shifts": SHIFTS,
            "images": IMAGES,
            "resamples": RESAMPLES,
            "seconds": round(seconds, 1),
            "peak MiB": int(peak.split()[1]) // 1024,
            "matrix product alone, seconds": round(limit, 1),
            "ratio": round(seconds / limit, 2),
        },
    )


if __name__ == "__main__":
    main()
