"""A linear probe on cached features against scikit-learn's own pipeline on the same features.

    .venv/bin/python benchmarks/linear_probe.py

Ours is StandardScaler and LogisticRegression with the scaler folded into a float32 head; the figures are the ratio of the times and
how far the two differ in what they predict. Fitting a second probe reuses the features: its time is beside that of the first.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from measured import record
from shiftline import PROMPTS, ExperimentManager, LinearProbe, ZeroShot, glyph_clip, handwritten_digits
from shiftline.engine.cached_features import cached
from shiftline.engine.heads import fit_head

ROUNDS = 7


class Probes(ExperimentManager):
    """Two probes of one encoder."""

    name = "probes"
    reference = handwritten_digits()

    def models(self):
        clip = ZeroShot(glyph_clip(), templates=PROMPTS)
        return {"probe": [LinearProbe(clip, inverse_l2=c) for c in (0.1, 1.0)]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Probes(store=Path(folder), quiet=True)
        plan = study.run().plan
        seconds = {
            job.kind: study.store.manifest(job.key).provenance["seconds"]
            for job in plan.jobs.values()
            if job.kind in ("features", "probe")
        }
        job = next(job for job in plan.jobs.values() if job.kind == "probe")
        found = cached(job, study._context(plan, lambda: False, None, None))
        assert found is not None
        features, labels = found.features.double().numpy(), found.labels.numpy()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        weight, bias, _ = fit_head(features, labels, num_classes=10, inverse_l2=0.1, max_iterations=1000)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(features, labels)
        theirs.append(time.perf_counter() - started)
    logits = features @ weight.T.astype(float) + bias
    record(
        "linear_probe",
        {
            "examples": len(labels),
            "dimensions": features.shape[1],
            "ours_seconds": round(statistics.median(ours), 4),
            "scikit_learn_seconds": round(statistics.median(theirs), 4),
            "ours_over_scikit_learn": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
            "largest_difference_of_logits": float(np.abs(logits - pipeline.decision_function(features)).max()),
            "different_predictions": int((logits.argmax(1) != pipeline.predict(features)).sum()),
            "features_job_seconds": round(seconds["features"], 2),
            "probe_job_seconds": round(seconds["probe"], 2),
        },
    )


if __name__ == "__main__":
    main()
