"""Effective robustness on the in- and out-of-support subsets of a shift, over thresholds, and matched in difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shiftline.analysis.axes import Floats
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.intervals import clopper_pearson
from shiftline.analysis.notes import codes
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import joint_effective_robustness
from shiftline.analysis.settings import LineOptions
from shiftline.analysis.tables import AVERAGE, REFERENCE, check_table
from shiftline.errors import AnalysisError

FEWEST = 50
"""Examples of a subset: with fewer an accuracy is known to no better than 14 points."""


def calibration_curve(bins: Sequence[Sequence[float]]) -> pd.DataFrame:
    """Return how often examples are of the reference, by the probability that the classifier gives.

    Parameters
    ----------
    bins : sequence of (mean predicted probability, examples of the reference, examples)

    Returns
    -------
    DataFrame
        predicted, observed, low, high (exact 95 %), n.
    """
    table = pd.DataFrame(list(bins), columns=["predicted", "k", "n"])
    interval = clopper_pearson(table["k"], table["n"])
    return table.assign(observed=table["k"] / table["n"], low=interval.low, high=interval.high).drop(columns="k")


def over_thresholds(
    table: pd.DataFrame,
    answers: Answers,
    ids: NDArray[np.int64],
    ratios: Floats,
    *,
    shift: str,
    baseline: str,
    thresholds: Sequence[float],
    resamples: int = 400,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Return effective robustness of every group on both subsets of a shift, for several thresholds of the density ratio.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : Answers
        On the whole shift.
    ids, ratios : arrays of shape (n,)
        Of the shift's examples.
    line : LineOptions
        scale, extremes, weights, errors, cluster.

    Returns
    -------
    DataFrame
        threshold, subset ("in", "out", and "out, matched": weighted to the in-support subset's difficulty, see
        `matched_robustness`), n, and the columns of `joint_effective_robustness` by group. Subsets with fewer than 50 examples, and
        those on which no line can be fitted, are left out.
    """
    ratio_of = dict(zip(ids.tolist(), ratios.tolist(), strict=True))
    known = np.array([ratio_of.get(example, np.nan) for example in answers.shifted.ids.tolist()])
    rows = []
    for threshold in thresholds:
        inside, outside = known >= threshold, known < threshold
        if min(inside.sum(), outside.sum()) >= FEWEST:
            with suppress(AnalysisError):
                found = matched_robustness(
                    table, answers, inside, outside, shift=shift, baseline=baseline, resamples=resamples, **line
                )
                rows.append(found.assign(threshold=threshold, subset="out, matched", n=int(outside.sum())))
        for subset, mask in (("in", inside), ("out", outside)):
            if mask.sum() < FEWEST:
                continue
            cut = answers.shifted.where(mask)
            with suppress(AnalysisError):
                found = joint_effective_robustness(
                    _with_shifts(table, shift, {shift: cut}),
                    {shift: replace(answers, shifted=cut)},
                    baseline=baseline,
                    by="group",
                    resamples=resamples,
                    **line,
                )
                rows.append(found.assign(threshold=threshold, subset=subset, n=int(mask.sum())))
    if not rows:
        raise AnalysisError(f"no threshold leaves a subset of {shift!r} with {FEWEST} examples or more and a line.")
    return pd.concat(rows, ignore_index=True)


def _with_shifts(table: pd.DataFrame, shift: str, shown: Mapping[str, Correctness]) -> pd.DataFrame:
    """Return the panel of one shift with other answers, under other names, in its place."""
    table = check_table(table, "group")
    on_shift = table[table["distribution"] == shift]
    # Both axes in the classes of the shift.
    reference = table[(table["distribution"] == REFERENCE) & table["label_space"].isin(on_shift["label_space"])]
    parts = [reference]
    for name, answers in shown.items():
        values = dict(zip(answers.models, answers.accuracies, strict=True))
        rows = on_shift[on_shift["model"].isin(answers.models)]
        rows = rows.assign(distribution=name, value=rows["model"].map(values).astype(float), se=np.nan)
        parts.append(rows.assign(n=_counting(answers), subset=False))
    return pd.concat(parts, ignore_index=True)


def _counting(answers: Correctness) -> float:
    """Return as many unweighted images as would give accuracies of the same variance (Kish)."""
    weights = answers.weights
    return float(len(answers.ids) if weights is None else weights.sum() ** 2 / (weights**2).sum())


def difficulty(answers: Correctness, baseline: Sequence[str]) -> Floats:
    """Return the share of baseline models that are wrong on each example, shape (n,)."""
    return 1 - answers.of(baseline).accuracies_by_image


def matching_weights(difficulties: Floats, inside: NDArray[np.bool_], outside: NDArray[np.bool_] | None = None) -> Floats:
    """Return weights of the out-of-support examples under which they are as difficult as the others.

    ``p_in(d) / p_out(d)`` (Cohen-Wang et al. 2024, appendix C.2.4) for each value d of the difficulty.

    Parameters
    ----------
    inside, outside : bool arrays of shape (n,)
        Outside are all others unless given.

    Returns
    -------
    array of float
        One per out-of-support example, with mean 1; 0 where no in-support example is as difficult.

    Raises
    ------
    AnalysisError
        No out-of-support example has a difficulty that the in-support subset has.
    """
    outside = ~inside if outside is None else outside
    values, index = np.unique(difficulties.round(9), return_inverse=True)
    counts = [np.bincount(index[mask], minlength=len(values)) for mask in (inside, outside)]
    shares = [count / max(count.sum(), 1) for count in counts]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights: Floats = np.where(shares[1] > 0, shares[0] / shares[1], 0.0)[index[outside]]
    if not weights.sum() > 0:
        raise AnalysisError("the two subsets share no difficulty: out-of-support examples cannot be matched to the others.")
    scaled: Floats = weights / weights.mean()
    return scaled


def matched_robustness(
    table: pd.DataFrame,
    answers: Answers,
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    *,
    shift: str,
    baseline: str,
    resamples: int = 400,
    seed: int = 0,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Return effective robustness on the out-of-support subset, weighted to be as difficult as the in-support one.

    Cross-fitted: half of the baseline models rate the difficulty and the other half fix the line, the halves change places, and
    the two results are averaged. Where the same models do both, an example that they happen to get wrong counts as difficult, the
    weights take it out, and the line is too high: other models look worse than they are.

    Parameters
    ----------
    inside, outside : bool arrays of shape (n,)
        Of the examples of ``answers.shifted``.

    Returns
    -------
    DataFrame
        One row per group but the baseline's: the columns of `joint_effective_robustness`.

    Raises
    ------
    AnalysisError
        A half of the baseline models is too small for a line, or the subsets share no difficulty.
    """
    members = table.loc[table["group"] == baseline].drop_duplicates("model")
    rated = [model for model in members["model"] if model in answers.shifted.models]
    ordered = sorted(rated, key=lambda model: float(answers.shifted.of([model]).accuracies[0]))
    # Alternating, so that both halves spread along the line.
    halves = ordered[::2], ordered[1::2]
    shown = {}
    for number, (raters, others) in enumerate((halves, halves[::-1])):
        weights = matching_weights(difficulty(answers.shifted, raters), inside, outside)
        kept = [model for model in answers.shifted.models if model in others or model not in rated]
        shown[f"half {number + 1}"] = answers.shifted.of(kept).where(outside, weights)
    found = joint_effective_robustness(
        _with_shifts(table, shift, shown),
        {name: replace(answers, shifted=half) for name, half in shown.items()},
        baseline=baseline,
        by="group",
        resamples=resamples,
        seed=seed,
        **line,
    )
    mean = found[(found["shift"] == AVERAGE) & (found["group"] != baseline)]
    # The other half of the models is missing by design.
    notes = [codes(code for code in cell.split() if code != "missing") for cell in mean["notes"]]
    return mean.assign(shift=shift, notes=notes).reset_index(drop=True)
