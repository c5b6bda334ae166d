"""Effective robustness on the in- and out-of-support subsets of a shift, over thresholds, and matched in difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shiftline.analysis.axes import Floats
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.intervals import clopper_pearson
from shiftline.analysis.joint import joint_effective_robustness
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import effective_robustness
from shiftline.analysis.tables import REFERENCE, check_table
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
    scale: str = "probit",
    resamples: int = 400,
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

    Returns
    -------
    DataFrame
        threshold, subset ("in", "out", and "out, matched": weighted to the in-support subset's difficulty), n, and the columns of
        `joint_effective_robustness` by group (matched: of single models averaged, without a joint interval). Subsets with
        fewer than 50 examples, and those on which no line can be fitted, are left out.
    """
    ratio_of = dict(zip(ids.tolist(), ratios.tolist(), strict=True))
    known = np.array([ratio_of.get(example, np.nan) for example in answers.shifted.ids.tolist()])
    rows = []
    for threshold in thresholds:
        inside = known >= threshold
        for subset, mask in (("in", inside), ("out", known < threshold)):
            if mask.sum() < FEWEST:
                continue
            shown = answers.shifted
            cut = Correctness(shown.models, shown.correct[:, mask], shown.ids[mask], shown.source)
            try:
                found = joint_effective_robustness(
                    _with_shift(table, shift, dict(zip(cut.models, cut.accuracies, strict=True)), int(mask.sum())),
                    {shift: Answers(answers.reference, cut)},
                    baseline=baseline,
                    by="group",
                    scale=scale,
                    resamples=resamples,
                )
            except AnalysisError:
                continue
            rows.append(found.assign(threshold=threshold, subset=subset, n=int(mask.sum())))
        if FEWEST <= inside.sum() <= len(inside) - FEWEST:
            rows += _matched(table, answers.shifted, inside, shift, baseline, threshold, scale)
    if not rows:
        raise AnalysisError(f"no threshold leaves a subset of {shift!r} with {FEWEST} examples or more and a line.")
    return pd.concat(rows, ignore_index=True)


def _with_shift(table: pd.DataFrame, shift: str, values: Mapping[str, float], n: float) -> pd.DataFrame:
    """Return the panel of one shift with other values on it."""
    table = check_table(table, "group")
    spaces = table.loc[table["distribution"] == shift, "label_space"]
    # Both axes in the classes of the shift.
    kept = table[table["distribution"].isin([REFERENCE, shift]) & table["label_space"].isin(spaces)]
    here = kept["distribution"] == shift
    value = kept["value"].where(~here, kept["model"].map(values))
    return kept.assign(value=value.astype(float), n=kept["n"].astype(float).where(~here, n), se=np.nan)


def difficulty(answers: Correctness, baseline: Sequence[str]) -> Floats:
    """Return the share of baseline models that are wrong on each example, shape (n,)."""
    return 1 - answers.of(baseline).accuracies_by_image


def matching_weights(difficulties: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Return weights of the out-of-support examples under which they are as difficult as the others.

    ``p_in(d) / p_out(d)`` (Cohen-Wang et al. 2024, appendix C.2.4) for each value d of the difficulty.

    Returns
    -------
    array of float
        One per out-of-support example, with mean 1; 0 where no in-support example is as difficult.

    Raises
    ------
    AnalysisError
        No out-of-support example has a difficulty that the in-support subset has.
    """
    values, index = np.unique(difficulties.round(9), return_inverse=True)
    counts = [np.bincount(index[mask], minlength=len(values)) for mask in (inside, ~inside)]
    shares = [count / max(count.sum(), 1) for count in counts]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights: Floats = np.where(shares[1] > 0, shares[0] / shares[1], 0.0)[index[~inside]]
    if not weights.sum() > 0:
        raise AnalysisError("the two subsets share no difficulty: out-of-support examples cannot be matched to the others.")
    scaled: Floats = weights / weights.mean()
    return scaled


def _matched(
    table: pd.DataFrame, answers: Correctness, inside: NDArray[np.bool_], shift: str, baseline: str, threshold: float, scale: str
) -> list[pd.DataFrame]:
    """Return effective robustness on the out-of-support subset as difficult as the in-support one; nothing where that cannot be."""
    models = [m for m in dict.fromkeys(table.loc[table["group"] == baseline, "model"]) if m in answers.models]
    try:
        weights = matching_weights(difficulty(answers, models), inside)
        accuracies = answers.correct[:, ~inside] @ weights / weights.sum()
        # As many unweighted examples would give an accuracy of the same variance (Kish).
        effective = weights.sum() ** 2 / (weights**2).sum()
        weighted = _with_shift(table, shift, dict(zip(answers.models, accuracies, strict=True)), effective)
        single = effective_robustness(weighted, baseline=baseline, scale=scale)
    except AnalysisError:
        return []
    numbers = ["reference", "shifted", "predicted", "effective_robustness"]
    means = single.groupby("group", sort=False).agg(
        {**dict.fromkeys(numbers, "mean"), "extrapolated": "any", "r2": "first", "n_baseline": "first"}
    )
    return [means.reset_index().assign(shift=shift, threshold=threshold, subset="out, matched", n=int((~inside).sum()))]
