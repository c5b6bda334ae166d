"""Planning the digits study, and a synthetic plan of more than 10,000 jobs, after imports.

.venv/bin/python benchmarks/planning.py
"""

from __future__ import annotations

import tempfile
import time

from measured import record
from shiftline import Blur, FromScratch, Reference, Split, glyph_net
from shiftline.contracts.records import BackboneRecord, SplitRecord
from shiftline.contracts.study import declare_study
from shiftline.plan.checks import backbones, sources
from shiftline.plan.facts import Facts
from shiftline.plan.graph import build_plan
from shiftline.studies.digits import Digits

PREPROCESSING = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop": 1.0}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Digits(store=folder)
        study.plan()  # Writes the data and resolves the names.
        started = time.perf_counter()
        digits = len(study.plan().jobs)
        digits_seconds = time.perf_counter() - started

    reference = Reference(Split("d", "train"), Split("d", "val"), Split("d", "test"))
    shifts = {f"blur {sigma}": reference.test.shifted(Blur(sigma)) for sigma in (1, 2, 3, 4)}
    models = {"all": [FromScratch(glyph_net("mlp"), seed=seed) for seed in range(800)]}
    started = time.perf_counter()
    declared = declare_study("synthetic", reference, shifts, models, None)
    splits = {s: SplitRecord(str(s), 1000, tuple("abcdefghij"), (100,) * 10) for s in sources(declared)}
    record_of = BackboneRecord("glyph-net", "mlp", None, None, PREPROCESSING, False, {})
    plan = build_plan(Facts(declared, splits, dict.fromkeys(backbones(declared), record_of)))
    plan.waves()
    synthetic_seconds = time.perf_counter() - started
    record(
        "planning",
        {
            "digits_jobs": digits,
            "digits_seconds": round(digits_seconds, 3),
            "synthetic_jobs": len(plan.jobs),
            "synthetic_seconds": round(synthetic_seconds, 3),
        },
    )


if __name__ == "__main__":
    main()
