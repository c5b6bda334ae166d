"""Is one model more robust than another: tests on the same images, over seeds, and over several shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from shiftline.analysis.axes import Floats
from shiftline.analysis.correctness import RESAMPLES
from shiftline.analysis.panels import Answers, Resampled, resampled_robustness
from shiftline.analysis.tables import REFERENCE, check_table
from shiftline.errors import AnalysisError

COLUMNS = (
    "shift",
    "a",
    "b",
    "accuracy_difference",
    "only_a",
    "only_b",
    "p_images",
    "er_difference",
    "er_low",
    "er_high",
    "p_er",
    "p_seeds",
    "p_images_holm",
    "p_er_holm",
    "p_seeds_holm",
)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Parameters
    ----------
    only_a, only_b : int
        Images that only the one, only the other model classifies correctly.

    Returns
    -------
    float
        Of the hypothesis that a discordant image is as likely to be correct in a as in b; 1 where there is none.
    """
    total = only_a + only_b
    return float(stats.binomtest(only_a, total, 0.5).pvalue) if total else 1.0


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values corrected for their number (Holm 1979): NaN stay, and are not counted."""
    values = np.asarray(p_values, dtype=float)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def compare(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    a: str,
    b: str,
    *,
    baseline: str,
    scale: str = "probit",
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare two models, or two groups of replicates, under every shift.

    Three questions, each with its own p-value, and the same corrected over the shifts (Holm): is the accuracy of the two on these
    images another (`p_images`: McNemar, exact, for two models); is their effective robustness (`p_er`: a paired
    bootstrap over the images of both models, both axes and the line at once, with the line's own uncertainty between their
    reference accuracies and the seeds of groups; for single models conditional on their seeds); and is the effective
    robustness of groups another over their seeds (`p_seeds`: Welch's t-test, for two replicates of each or more).

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : mapping of str to Answers
        By shift; shifts without answers are left out.
    a, b : str
        Values of the column `model`, or of `group`.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per shift. Differences are a minus b, fractions; NaN where a question cannot be asked.

    Raises
    ------
    AnalysisError
        There is no such model or group, or no stored answers.
    """
    table = check_table(table, "group")
    sides = [_members(table, name) for name in (a, b)]
    if not answers:
        raise AnalysisError(
            "no stored answers to compare: shifts whose metric is no share of correct answers cannot be compared by images."
        )
    rows = []
    for shift, found in resampled_robustness(
        table, answers, baseline=baseline, scale=scale, resamples=resamples, seed=seed, reference=REFERENCE
    ).items():
        positions = [_positions(found.models, side, shift) for side in sides]
        one, other = (found.robustness[p] for p in positions)
        difference = float(one.mean() - other.mean())
        variance, df = _variance(found, positions)
        half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)
        correct = [answers[shift].shifted.of(side).correct for side in sides]
        counts: tuple[float, float] = (np.nan, np.nan)
        p_images = np.nan
        if len(sides[0]) == len(sides[1]) == 1:
            counts = int((correct[0][0] > correct[1][0]).sum()), int((correct[1][0] > correct[0][0]).sum())
            p_images = mcnemar(int(counts[0]), int(counts[1]))
        p_seeds = np.nan
        if min(len(side) for side in sides) > 1:
            p_seeds = float(stats.ttest_ind(one, other, equal_var=False).pvalue)
        rows.append(
            {
                "shift": shift,
                "a": a,
                "b": b,
                "accuracy_difference": float(correct[0].mean() - correct[1].mean()),
                "only_a": counts[0],
                "only_b": counts[1],
                "p_images": p_images,
                "er_difference": difference,
                "er_low": difference - half,
                "er_high": difference + half,
                "p_er": _two_sided(difference, variance, df),
                "p_seeds": p_seeds,
            }
        )
    result = pd.DataFrame(rows)
    for name in ("p_images", "p_er", "p_seeds"):
        result[f"{name}_holm"] = holm(result[name])
    return result[list(COLUMNS)]


def _variance(found: Resampled, positions: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    """Return the variance of a difference of effective robustness, and its degrees of freedom.

    The images that both sides share, the line between their reference accuracies, and the seeds of sides with replicates.
    """
    drawn = found.drawn[:, positions[0]].mean(axis=1) - found.drawn[:, positions[1]].mean(axis=1)
    images = float(drawn[np.isfinite(drawn)].var(ddof=1))
    # The predictions of the sides move together: what counts is the distance between them.
    sides = [np.array([found.jacobian[p].mean(), (found.jacobian[p] * (found.x[p] - found.fit.x_mean)).mean()]) for p in positions]
    level, slope = sides[0] - sides[1]
    line = found.fit.residual_std**2 * (level**2 / found.fit.n + slope**2 / found.fit.sxx)
    estimated = [(line, found.fit.n - 2)]
    estimated += [(float(found.robustness[p].var(ddof=1)) / len(p), len(p) - 1) for p in positions if len(p) > 1]
    total = images + sum(variance for variance, _ in estimated)
    spread = sum(variance**2 / df for variance, df in estimated)
    return total, total**2 / spread if spread > 0 else 1e9


def _two_sided(difference: float, variance: float, df: float) -> float:
    """Return the p-value of a difference of zero."""
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference) / np.sqrt(variance), df))


def _members(table: pd.DataFrame, name: str) -> list[str]:
    models = list(dict.fromkeys(table.loc[table["model"] == name, "model"])) or list(
        dict.fromkeys(table.loc[table["group"] == name, "model"])
    )
    if not models:
        known = [*dict.fromkeys(table["group"]), *dict.fromkeys(table["model"])]
        raise AnalysisError(f"there is no model or group {name!r}: there are {', '.join(map(repr, known))}.")
    return models


def _positions(models: Sequence[str], side: Sequence[str], shift: str) -> NDArray[np.int64]:
    where = {model: position for position, model in enumerate(models)}
    if missing := [model for model in side if model not in where]:
        raise AnalysisError(f"{missing[0]!r} has no value on {shift!r} and its reference: run the study to its end.")
    return np.array([where[model] for model in side])
