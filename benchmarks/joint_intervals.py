"""Coverage of the joint 95 % interval of effective robustness, over simulated studies with a planted line and planted robustness.

A study has 24 baseline models on a line with scatter, and replicates that are a planted distance above it. Images have a
difficulty that all models share, so that models err together; a replicate's accuracies vary with its seed. The two shifts
show other images than the reference, or the same ones transformed.

.venv/bin/python benchmarks/joint_intervals.py
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.special import ndtr

from measured import record
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import joint_effective_robustness

STUDIES = 1000
SLOPES, INTERCEPTS = (0.9, 0.7), (-0.4, -0.7)
SCATTER = 0.06
ABOVE = 0.35


def simulate(
    generator: np.random.Generator, *, images: int, replicates: int, seed_spread: float, shared: float, same_images: bool
) -> tuple[pd.DataFrame, dict[str, Answers], dict[str, float]]:
    """Return the table and the answers of a study, and the true effective robustness of its group by shift."""
    abilities = np.concatenate([generator.uniform(-0.5, 1.5, 24), np.full(replicates, 0.8)])
    new = np.arange(len(abilities)) >= 24
    names = [f"baseline {i}" for i in range(24)] + [f"new {i}" for i in range(replicates)]
    reference_z = abilities + np.where(new, generator.normal(0, seed_spread, len(abilities)), 0.0)
    difficulty = generator.normal(size=images)
    ids = np.arange(images)
    axes = {"reference": Correctness(tuple(names), _answers(generator, reference_z, difficulty, shared), ids, "test")}
    truth = {}
    for number, (slope, intercept) in enumerate(zip(SLOPES, INTERCEPTS, strict=True)):
        line = slope * abilities + intercept
        noise = np.where(new, generator.normal(0, seed_spread, len(abilities)), generator.normal(0, SCATTER, len(abilities)))
        shifted_z = line + np.where(new, ABOVE, 0.0) + noise
        if not same_images:
            difficulty = generator.normal(size=images)
        source = "test" if same_images else f"other {number}"
        name = f"shift {number}"
        axes[name] = Correctness(tuple(names), _answers(generator, shifted_z, difficulty, shared), ids, source)
        truth[name] = float(ndtr(line[-1] + ABOVE) - ndtr(line[-1]))
    rows = [
        {
            "model": model,
            "group": "new" if model.startswith("new") else "baseline",
            "distribution": name,
            "value": value,
            "n": images,
            "recipe": f"new, seed={model.split()[1]}" if model.startswith("new") else model,
        }
        for name, axis in axes.items()
        for model, value in zip(axis.models, axis.accuracies, strict=True)
    ]
    answers = {name: Answers(axes["reference"], axes[name]) for name in truth}
    truth["average"] = float(np.mean(list(truth.values())))
    return pd.DataFrame(rows), answers, truth


def _answers(generator: np.random.Generator, z: np.ndarray, difficulty: np.ndarray, shared: float) -> np.ndarray:
    """A model is right where its ability exceeds an image's difficulty and what is its own: its expected accuracy is ``Phi(z)``."""
    own = generator.normal(size=(len(z), len(difficulty)))
    latent = z[:, None] - np.sqrt(shared) * difficulty - np.sqrt(1 - shared) * own
    return (latent > 0).astype(np.uint8)


def coverage(studies: int, *, resamples: int = 400, **settings: object) -> dict[str, float]:
    """Return the share of studies whose interval holds the truth, for a shift and for the average."""
    hits = {"shift 0": 0, "shift 1": 0, "average": 0}
    for study in range(studies):
        table, answers, truth = simulate(np.random.default_rng([study, 7]), **settings)
        found = joint_effective_robustness(table, answers, baseline="baseline", resamples=resamples, seed=study)
        for row in found[found["group"] == "new"].itertuples():
            hits[row.shift] += row.low <= truth[row.shift] <= row.high
    return {name: round(count / studies, 4) for name, count in hits.items()}


SETTINGS = {
    "images and seeds": {"images": 1000, "replicates": 3, "seed_spread": 0.05, "shared": 0.5, "same_images": False},
    "the same images, transformed": {"images": 1000, "replicates": 3, "seed_spread": 0.05, "shared": 0.5, "same_images": True},
    "seeds dominate": {"images": 5000, "replicates": 4, "seed_spread": 0.15, "shared": 0.5, "same_images": False},
    "images dominate": {"images": 500, "replicates": 3, "seed_spread": 0.01, "shared": 0.3, "same_images": False},
}


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    found = {name: coverage(studies, **settings) for name, settings in SETTINGS.items()}
    record("joint_intervals", {"studies": studies, "nominal": 0.95, **found})


if __name__ == "__main__":
    main()
