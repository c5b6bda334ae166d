"""Coverage of the 95 % intervals of effective robustness, over simulated studies with a planted line and planted robustness.

A study has baseline models on a line with scatter, and replicates of one recipe a planted distance above (or below) it. Images have
a difficulty that all models share, so that models err together; accuracies vary with the seed. Every study is asked twice: with
stored answers (`joint_effective_robustness`, the mean over the replicates) and without (`effective_robustness`, one model).

.venv/bin/python benchmarks/interval_coverage.py
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from measured import record
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import effective_robustness, joint_effective_robustness
from shiftline.errors import AnalysisError

STUDIES, BATCH, RESAMPLES = 1000, 125, 200
BATCHES = Path(__file__).parent / "batches" / "interval_coverage.jsonl"
"""A thousand studies of every setting take two cores about two hours."""
SHARED = 0.5
EXPECTED = ("one-seed", "no-answers")
"""Notes that every study of a size has."""
Size = tuple[int, int, int]
"""Baseline models, images, replicates."""


@dataclass(frozen=True)
class Regime:
    """Where models lie, on the probit scale.

    Attributes
    ----------
    low, high : float
        Reference accuracies of the baseline models.
    slope, intercept : float
    at : float
        Reference accuracy of the new model.
    above : float
        Its distance from the line.
    scatter : float
        Of the baseline models about the line; `growing` times more at the high end.
    runs : int
        0: baseline models are independent; else they are epochs of so many runs, whose errors are alike.
    """

    low: float = -0.5
    high: float = 1.5
    slope: float = 0.9
    intercept: float = -0.4
    at: float = 0.8
    above: float = 0.35
    scatter: float = 0.06
    growing: float = 1.0
    seeds: float = 0.05
    runs: int = 0
    same_images: bool = False
    errors: str = "none"


def _far(predicted: float, accuracy: float) -> Regime:
    line = ndtri(predicted)
    return Regime(low=0.4, high=1.4, at=0.8, intercept=line - 0.72, above=ndtri(accuracy) - line)


REGIMES = {
    "ordinary": Regime(),
    "prediction 2 %": _far(0.026, 0.596),
    "prediction 97 %": _far(0.97, 0.67),
    "1 sd beyond": Regime(at=1.5 + 2 / np.sqrt(12)),
    "narrow": Regime(low=ndtri(0.66), high=ndtri(0.76), at=ndtri(0.74), above=0.2),
    "narrow, in-x": Regime(low=ndtri(0.66), high=ndtri(0.76), at=ndtri(0.74), above=0.2, errors="in-x"),
    "0.99": Regime(low=ndtri(0.977), high=ndtri(0.997), at=ndtri(0.993), above=0.2),
    "0.99, in-x": Regime(low=ndtri(0.977), high=ndtri(0.997), at=ndtri(0.993), above=0.2, errors="in-x"),
    "heteroscedastic": Regime(at=1.3, scatter=0.02, growing=6.0),
    **{f"{runs} runs": Regime(runs=runs) for runs in (2, 3, 5, 16)},
    "same images": Regime(same_images=True),
}
SIZES = [(n, images, replicates) for n in (5, 10, 32, 80) for images in (500, 10_000) for replicates in (1, 3, 10)]


def simulate(
    generator: np.random.Generator, regime: Regime, *, baselines: int, images: int, replicates: int
) -> tuple[pd.DataFrame, Answers, list[float]]:
    """Return a study's table and answers, and the true effective robustness of every replicate."""
    count = baselines + replicates
    new = np.arange(count) >= baselines
    ability = np.full(count, regime.at)
    if regime.runs:
        run = np.sort(np.arange(baselines) % regime.runs)
        # Later epochs are better; runs end at other places, and keep their distance from the line.
        ends = generator.uniform((regime.low + regime.high) / 2, regime.high, regime.runs)
        ability[~new] = np.concatenate([np.linspace(regime.low, end, np.sum(run == r)) for r, end in enumerate(ends)])
        off = generator.normal(0, regime.scatter, regime.runs)[run] + generator.normal(0, regime.scatter / 3, baselines)
    else:
        run = np.arange(baselines)
        ability[~new] = generator.uniform(regime.low, regime.high, baselines)
        along = (ability[~new] - regime.low) / (regime.high - regime.low)
        off = generator.normal(0, regime.scatter * (1 + (regime.growing - 1) * along))
    x = ability + np.where(new, generator.normal(0, regime.seeds, count) if replicates > 1 else 0.0, 0.0)
    line = regime.slope * ability + regime.intercept
    y = line + np.concatenate(
        [off, regime.above + (generator.normal(0, regime.seeds, replicates) if replicates > 1 else np.zeros(1))]
    )
    names = tuple([f"baseline {i}" for i in range(baselines)] + [f"new {i}" for i in range(replicates)])
    difficulty = generator.normal(size=images).astype(np.float32)
    ids = np.arange(images)
    reference = Correctness(names, answers_of(generator, x, difficulty), ids, "test")
    if not regime.same_images:
        difficulty = generator.normal(size=images).astype(np.float32)
    shifted = Correctness(names, answers_of(generator, y, difficulty), ids, "test" if regime.same_images else "other")
    columns = {
        "model": names,
        "group": np.where(new, "new", "baseline"),
        "n": images,
        "recipe": ["new" if n else m for m, n in zip(names, new, strict=True)],
        "run": [*map(str, run), *names[baselines:]] if regime.runs else names,
    }
    truth = ndtr(y) - ndtr(regime.slope * x + regime.intercept)
    # The mean over seeds is what replicates estimate.
    spread = np.sqrt(1 + regime.seeds**2 * (replicates > 1))
    tilted = np.sqrt(1 + (regime.slope * regime.seeds) ** 2 * (replicates > 1))
    middle = float(ndtr((line[-1] + regime.above) / spread) - ndtr(line[-1] / tilted))
    return tidy(columns, reference, shifted), Answers(reference, shifted), [middle, *truth[new].tolist()]


def tidy(columns: dict[str, Any], reference: Correctness, shifted: Correctness) -> pd.DataFrame:
    """Return the table of models on two axes."""
    axes = (("reference", reference), ("s", shifted))
    return pd.concat([pd.DataFrame({**columns, "distribution": d, "value": c.accuracies}) for d, c in axes], ignore_index=True)


def answers_of(generator: np.random.Generator, z: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
    """A model is right where its ability exceeds an image's difficulty and what is its own: its expected accuracy is ``Phi(z)``."""
    own = generator.standard_normal((len(z), len(difficulty)), dtype=np.float32)
    return (z[:, None] - np.sqrt(SHARED) * difficulty > np.sqrt(1 - SHARED) * own).astype(np.uint8)


def study(regime: Regime, size: Size, number: int) -> dict[str, Any]:
    """Return whether each function's interval holds the truth, how far the estimate is off, and the notes."""
    baselines, images, replicates = size
    generator = np.random.default_rng([number, *size, 11])
    table, answers, truth = simulate(generator, regime, baselines=baselines, images=images, replicates=replicates)
    options = {"baseline": "baseline", "errors": regime.errors}
    joint = joint_effective_robustness(table, {"s": answers}, **options, resamples=RESAMPLES, seed=number, by="group")
    joint = joint[joint["group"] == "new"].iloc[0]
    alone = effective_robustness(table[table["model"].isin([*table["model"][:baselines], "new 0"])], **options)
    alone = alone[alone["model"] == "new 0"].iloc[0]
    return {
        "joint": bool(joint.low <= truth[0] <= joint.high),
        "table": bool(alone.low <= truth[1] <= alone.high),
        "bias": float(joint.effective_robustness - truth[0]),
        "width": float(joint.high - joint.low),
        "notes": str(joint.notes).split(),
    }


def measure(name: str, size: Size, first: int, count: int) -> dict[str, Any]:
    """Ask some studies of one regime; return counts and sums."""
    rows, refused, undefined = [], 0, 0
    for number in range(first, first + count):
        try:
            row = study(REGIMES[name], size, number)
        except AnalysisError:
            refused += 1
            continue
        # A replicate that is always right has no place on a probit axis, and the mean none either.
        undefined += np.isnan(row["width"])
        rows += [] if np.isnan(row["width"]) else [row]
    notes: dict[str, int] = {}
    for row in rows:
        for code in row["notes"]:
            notes[code] = notes.get(code, 0) + 1
    sums = {key: sum(row[key] for row in rows) for key in ("joint", "table", "bias", "width")}
    found = {"regime": name, "size": size, "first": first, "studies": len(rows), "refused": refused, "undefined": int(undefined)}
    return {**found, **sums, "notes": notes}


def summary(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per setting."""
    found: dict[tuple[str, Size], list[dict[str, Any]]] = {}
    for batch in batches:
        found.setdefault((batch["regime"], tuple(batch["size"])), []).append(batch)
    rows = []
    for (name, size), parts in found.items():
        studies = sum(part["studies"] for part in parts)
        total = {key: sum(part[key] for part in parts) / max(studies, 1) for key in ("joint", "table", "bias", "width")}
        said = {code: sum(part["notes"].get(code, 0) for part in parts) for part in parts for code in part["notes"]}
        rows.append(
            {
                "regime": name,
                **dict(zip(("baselines", "images", "replicates"), size, strict=True)),
                "studies": studies,
                "joint": round(total["joint"], 4),
                "table": round(total["table"], 4),
                "bias_pp": round(100 * total["bias"], 2),
                "width_pp": round(100 * total["width"], 2),
                "refused": sum(part["refused"] for part in parts),
                "undefined": sum(part["undefined"] for part in parts),
                "notes": " ".join(code for code, times in said.items() if 2 * times >= studies and code not in EXPECTED),
            }
        )
    order = list(REGIMES)
    return sorted(rows, key=lambda row: (order.index(row["regime"]), row["baselines"], row["images"], row["replicates"]))


def settings(names: list[str]) -> list[tuple[str, Size]]:
    """Return the combinations that can be: a run has two epochs or more."""
    return [(name, size) for name in names for size in SIZES if not REGIMES[name].runs or size[0] >= 2 * REGIMES[name].runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--batches", type=Path, default=BATCHES, help="keeps what is done: the next call goes on from it")
    parser.add_argument("--regime", action="append", choices=list(REGIMES))
    options = parser.parse_args()
    done = list(map(json.loads, options.batches.open())) if options.batches.exists() else []
    there = {(batch["regime"], tuple(batch["size"]), batch["first"]) for batch in done}
    todo = [
        (name, size, first, BATCH)
        for first in range(0, options.studies, BATCH)
        for name, size in settings(options.regime or list(REGIMES))
        if (name, size, first) not in there
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        waiting = [pool.submit(measure, *arguments) for arguments in todo]
        for future in as_completed(waiting):
            done.append(future.result())
            with options.batches.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    record("interval_coverage", {"nominal": 0.95, "settings": summary(done)})


if __name__ == "__main__":
    main()
