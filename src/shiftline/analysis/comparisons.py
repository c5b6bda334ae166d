"""Is one model more robust than another: tests on the same images, over seeds, and over several shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from shiftline.analysis.axes import Floats
from shiftline.analysis.contrasts import Contrast, Term
from shiftline.analysis.correctness import RESAMPLES
from shiftline.analysis.notes import codes
from shiftline.analysis.panels import Answers, Panel, panels_of
from shiftline.analysis.settings import LineOptions, LineSettings
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_table, shifts_of
from shiftline.contracts.require import near
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
    "notes",
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
    reference: str | Sequence[str] = REFERENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Compare two models, or two groups of replicates, under every shift and on average over the shifts.

    Three questions, each with its own p-value, and the same corrected over the shifts (Holm): is the accuracy of the two on these
    images another (`p_images`: McNemar, exact, for two models); is their effective robustness (`p_er`: the level of the joint
    interval that ends at zero, over the images of both models, both axes and the line at once, and the seeds of groups; for single
    models conditional on their seeds); and is the effective robustness of groups another over their seeds, on these images and with
    this line (`p_seeds`: Welch's t-test, for two replicates of each or more: it says nothing of other images or baseline models).

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : mapping of str to Answers
        By shift; shifts without answers are left out.
    a, b : str
        Values of the column `model`, or of `group`, without a model in common.
    line : LineOptions
        scale, extremes, weights, errors, cluster.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per shift, and one for the average of several (subsets aside), which is one test and is not corrected.
        Differences are a minus b, fractions; NaN where a question cannot be asked.

    Raises
    ------
    AnalysisError
        There is no such model or group, they share a model, or there are no stored answers.
    """
    table = check_table(table, "group")
    sides = [_members(table, name) for name in (a, b)]
    if shared := [model for model in sides[0] if model in sides[1]]:
        raise AnalysisError(
            f"{a!r} and {b!r} share {shared[0]!r}: a model is not compared with itself or its own group. Name models or groups "
            "without one in common."
        )
    settings = LineSettings.of(baseline, reference, **line)
    chosen = [shift for shift in shifts_of(table, None, references=settings.references) if shift in answers]
    if not chosen:
        raise AnalysisError(
            "no stored answers to compare: shifts whose metric is no share of correct answers cannot be compared by images."
        )
    panels = panels_of(table, answers, settings, shifts=chosen, resamples=resamples, seed=seed)
    rows = [_row(one, answers[one.fit.shift], sides, level) for one in panels]
    for name in ("p_images", "p_er", "p_seeds"):
        for row, corrected in zip(rows, holm([row[name] for row in rows]), strict=True):
            row[f"{name}_holm"] = corrected
    whole = [one for one in panels if one.fit.shift in averaged(table, chosen)]
    if len(whole) > 1:
        rows.append(_average(whole, [row for row in rows if row["shift"] in {one.fit.shift for one in whole}], sides, level))
    return pd.DataFrame(rows).assign(a=a, b=b)[list(COLUMNS)]


def _terms(one: Panel, sides: Sequence[Sequence[str]], share: float = 1.0) -> list[Term]:
    positions = [_positions(one, side) for side in sides]
    return [Term(one, positions[0], share, -share), Term(one, positions[1], -share, share)]


def _row(one: Panel, answers: Answers, sides: Sequence[Sequence[str]], level: float) -> dict[str, float | str]:
    terms = _terms(one, sides)
    contrast = Contrast(terms)
    found = contrast.at(level)
    correct = [answers.shifted.of(side).correct for side in sides]
    counts: tuple[float, float] = (np.nan, np.nan)
    if len(sides[0]) == len(sides[1]) == 1:
        counts = int((correct[0][0] > correct[1][0]).sum()), int((correct[1][0] > correct[0][0]).sum())
    seeds = [one.robustness[term.members] for term in terms]
    return {
        "shift": one.fit.shift,
        "accuracy_difference": float(correct[0].mean() - correct[1].mean()),
        "only_a": counts[0],
        "only_b": counts[1],
        "p_images": mcnemar(int(counts[0]), int(counts[1])) if np.isfinite(counts[0]) else np.nan,
        "er_difference": found.value,
        "er_low": found.low,
        "er_high": found.high,
        "p_er": contrast.p_value(),
        "p_seeds": _welch(*seeds),
        "notes": codes(_notes(one, terms)),
    }


def _notes(one: Panel, terms: Sequence[Term]) -> list[str]:
    found = [note.code for note in one.fit.notes]
    if any(one.extrapolates(term.members) for term in terms):
        found.append("extrapolated")
    if min(len(term.members) for term in terms) == 1:
        found.append("one-seed")
    return found


def _average(
    panels: Sequence[Panel], rows: Sequence[Mapping[str, float | str]], sides: Sequence[Sequence[str]], level: float
) -> dict[str, float | str]:
    contrast = Contrast([term for one in panels for term in _terms(one, sides, 1 / len(panels))])
    found, p = contrast.at(level), contrast.p_value()
    seeds = [np.mean([one.robustness[_positions(one, side)] for one in panels], axis=0) for side in sides]
    p_seeds = _welch(*seeds)
    return {
        "shift": AVERAGE,
        "accuracy_difference": float(np.mean([float(row["accuracy_difference"]) for row in rows])),
        "only_a": np.nan,
        "only_b": np.nan,
        "p_images": np.nan,
        "p_images_holm": np.nan,
        "er_difference": found.value,
        "er_low": found.low,
        "er_high": found.high,
        "p_er": p,
        "p_er_holm": p,
        "p_seeds": p_seeds,
        "p_seeds_holm": p_seeds,
        "notes": codes(code for row in rows for code in str(row["notes"]).split()),
    }


def _welch(one: Floats, other: Floats) -> float:
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue) if min(len(one), len(other)) > 1 else float("nan")


def _members(table: pd.DataFrame, name: str) -> list[str]:
    models = list(dict.fromkeys(table.loc[table["model"] == name, "model"])) or list(
        dict.fromkeys(table.loc[table["group"] == name, "model"])
    )
    if not models:
        known = [*dict.fromkeys(table["group"]), *dict.fromkeys(table["model"])]
        raise AnalysisError(f"there is no model or group {name!r}{near(name, known)} There are {', '.join(map(repr, known))}.")
    return models


def _positions(one: Panel, side: Sequence[str]) -> NDArray[np.int64]:
    rows = one.points.models.index.get_indexer(list(side))
    for row, model in zip(rows, side, strict=True):
        if row < 0 or not np.isfinite(one.robustness[row]):
            raise AnalysisError(f"{model!r} has no value on {one.fit.shift!r} and its reference: run the study to its end.")
    return np.asarray(rows, dtype=np.int64)
