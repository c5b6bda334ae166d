"""Bias of what is corrected: of matched difficulty, of density ratios on a shift that is none, and of the line's slope.

- Matching: an out-of-support subset that is harder, and no model that is more robust on it. Rated by the models that fix the line,
  and cross-fitted (`matched_robustness`).
- Ratios: reference and shift are one distribution, of 10,000 and 500 examples with 768 features: nothing is out of support.
- Slope: baselines between 0.66 and 0.76, 500 reference images: without and with the correction of errors in x.

.venv/bin/python benchmarks/biases.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from interval_coverage import answers_of, tidy
from measured import record
from shiftline.analysis import Answers, Correctness, fit_baseline, joint_effective_robustness
from shiftline.analysis.support import difficulty, matched_robustness, matching_weights
from shiftline.operations.support.ratios import calibrate

STUDIES, IMAGES = 100, 2000


def matching(baselines: int) -> dict[str, float]:
    """Return mean effective robustness of a model on the line, in points, on the matched subset."""
    found: dict[str, list[float]] = {"one set of models": [], "cross-fitted": []}
    for number in range(STUDIES):
        generator = np.random.default_rng([number, baselines])
        names = (*(f"base {i}" for i in range(baselines)), "new")
        ability = np.append(generator.uniform(0.2, 1.4, baselines), 0.8)
        inside = generator.random(IMAGES) < 0.5
        ends = []
        for harder, source in ((np.zeros(IMAGES), "test"), (np.where(inside, 0.0, 0.8), "other")):
            hard = (generator.normal(size=IMAGES) + harder).astype(np.float32)
            ends.append(Correctness(names, answers_of(generator, ability, hard), np.arange(IMAGES), source))
        answers = Answers(*ends)
        columns = {"model": names, "group": [*["base"] * baselines, "new"], "n": IMAGES}
        table = tidy(columns, *ends)
        options = {"baseline": "base", "by": "group", "resamples": 20}
        weights = matching_weights(difficulty(answers.shifted, names[:-1]), inside, ~inside)
        once = answers.shifted.where(~inside, weights)
        values = table["distribution"] == "s"
        same = table.assign(value=table["value"].where(~values, table["model"].map(dict(zip(names, once.accuracies, strict=True)))))
        plain = joint_effective_robustness(same, {"s": Answers(answers.reference, once)}, **options)
        found["one set of models"].append(plain.set_index("group").loc["new", "effective_robustness"])
        crossed = matched_robustness(table, answers, inside, ~inside, shift="s", baseline="base", resamples=20)
        found["cross-fitted"].append(crossed["effective_robustness"].iloc[0])
    return {name: round(100 * float(np.mean(values)), 2) for name, values in found.items()}


def ratios() -> dict[str, float]:
    """Return the share of a shift that is none which counts as out of support, by form of the calibration."""
    shares: dict[str, list[float]] = {"published": [], "slope": [], "slope-and-intercept": []}
    for number in range(3):
        generator = np.random.default_rng(number)
        x = generator.normal(size=(10_500, 768)).astype(np.float32)
        y = np.repeat([1, 0], [10_000, 500])
        logits = cross_val_predict(LogisticRegression(C=0.1, max_iter=300), x, y, cv=5, method="decision_function")
        for form, found in shares.items():
            found.append((calibrate(logits[:10_000], logits[10_000:], form=form).ratio(logits[10_000:]) < 0.2).mean())
    return {form: round(float(np.mean(found)), 4) for form, found in shares.items()}


def slope() -> dict[str, float]:
    """Return the mean slope over the true one, and the mean error of effective robustness one sd to the right, in points."""
    found: dict[str, list[tuple[float, float]]] = {"none": [], "in-x": []}
    for number in range(10 * STUDIES):
        generator = np.random.default_rng([number, 6])
        x = np.append(generator.uniform(ndtri(0.66), ndtri(0.76), 32), ndtri(0.74))
        names = [*(f"m{i}" for i in range(32)), "new"]
        frame = pd.DataFrame({"model": names, "group": [*["base"] * 32, "new"]})
        sides = (("reference", x, 500), ("s", 0.9 * x - 0.4, 20_000))
        table = pd.concat([frame.assign(distribution=d, value=generator.binomial(n, ndtr(z)) / n, n=n) for d, z, n in sides])
        for errors, rows in found.items():
            fit = fit_baseline(table, shift="s", baseline="base", errors=errors)
            rows.append((fit.slope / 0.9, float(ndtr(0.9 * x[-1] - 0.4) - fit.predict([ndtr(x[-1])])[0])))
    named = {"none": "least squares", "in-x": "corrected"}
    return {
        f"{what}, {named[errors]}": round(float(np.median(np.array(rows)[:, column]) * factor), 3)
        for errors, rows in found.items()
        for column, (what, factor) in enumerate((("slope over the true one", 1), ("effective robustness", 100)))
    }


def main() -> None:
    record(
        "biases",
        {
            "matching, points": {f"{count} baselines": matching(count) for count in (8, 16, 24)},
            "out of support on a null shift, share": ratios(),
            "narrow baselines": slope(),
        },
    )


if __name__ == "__main__":
    main()
