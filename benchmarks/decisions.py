"""How often `compare` and claims decide wrongly, and how often they find what is there, over simulated studies.

A study has 32 baseline models on a line with scatter, and two groups of replicates. Type I error: the groups are equally robust (at
one reference accuracy, or at two), and a p-value is below 0.05, or a claim that one is more robust "holds". Power: they are a
planted distance apart. Images have a difficulty that all models share; 500 studies each.

.venv/bin/python benchmarks/decisions.py
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

import shiftline as sl
from interval_coverage import answers_of, tidy
from measured import record
from shiftline.analysis import Answers, Correctness, compare, verdicts

STUDIES, BASELINES, IMAGES, RESAMPLES = 500, 32, 2000, 200
SCATTER, SEEDS = 0.06, 0.05
CASES = {
    "equal": ((0.8, 0.2), (0.8, 0.2)),
    "equal, at two reference accuracies": ((1.2, 0.0), (0.2, 0.0)),
    "4 points apart": ((0.8, 0.35), (0.8, 0.2)),
    "8 points apart": ((0.8, 0.5), (0.8, 0.2)),
}
"""Reference accuracy and distance from the line of both groups, on the probit scale."""
CLAIM = sl.Claim("a is more robust", sl.gain("a", over="b", on="s") >= 0)


def study(case: str, replicates: int, number: int) -> dict[str, bool]:
    """Return what is decided in one study."""
    generator = np.random.default_rng([number, replicates, len(case)])
    groups = np.repeat(["base", "a", "b"], [BASELINES, replicates, replicates])
    (x_a, above_a), (x_b, above_b) = CASES[case]
    spread = SEEDS if replicates > 1 else 0.0
    ability = np.concatenate([generator.uniform(-0.5, 1.5, BASELINES), np.repeat([x_a, x_b], replicates)])
    above = np.concatenate([generator.normal(0, SCATTER, BASELINES), np.repeat([above_a, above_b], replicates)])
    noise = np.where(groups == "base", 0.0, 1.0) * generator.normal(0, spread, (2, len(groups)))
    names = tuple(f"{group} {i}" for i, group in enumerate(groups))
    ends = []
    for z, source in ((ability + noise[0], "test"), (0.9 * ability - 0.4 + above + noise[1], "other")):
        difficulty = generator.normal(size=IMAGES).astype(np.float32)
        ends.append(Correctness(names, answers_of(generator, z, difficulty), np.arange(IMAGES), source))
    columns = {"model": names, "group": groups, "n": IMAGES, "recipe": groups}
    table = tidy(columns, *ends)
    answers = {"s": Answers(*ends)}
    pair = compare(table, answers, "a", "b", baseline="base", resamples=RESAMPLES, seed=number).iloc[0]
    claim = verdicts(table, answers, [CLAIM], baseline="base", resamples=RESAMPLES, seed=number).iloc[0]
    return {"p_er": bool(pair.p_er < 0.05), "p_seeds": bool(pair.p_seeds < 0.05), "claim holds": claim.verdict == "holds"}


def measure(case: str, replicates: int) -> dict[str, float]:
    """Return shares of the studies; NaN of seeds without replicates."""
    found = pd.DataFrame([study(case, replicates, number) for number in range(STUDIES)])
    return {name: round(float(found[name].mean()), 3) for name in found if replicates > 1 or name != "p_seeds"}


def main() -> None:
    settings = [(case, replicates) for case in CASES for replicates in (1, 3, 10)]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(measure, *zip(*settings, strict=True)))
    rows = [{"case": case, "replicates": m, **shares} for (case, m), shares in zip(settings, found, strict=True)]
    record("decisions", {"studies": STUDIES, "baselines": BASELINES, "images": IMAGES, "settings": rows})


if __name__ == "__main__":
    main()
