"""Subsets of a shift on which accuracy falls as reference accuracy rises: OODSelect (Salaudeen et al. 2025), cross-fitted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from shiftline.analysis.axes import Floats, inside, scale_named
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.tables import check_level
from shiftline.errors import AnalysisError

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75)
FEWEST_MODELS = 10
"""Five in each half: a correlation of fewer has an interval that says nothing."""
STEPS = 200
COLUMNS = ("share", "n", "r_whole", "r_selected", "r_held_out", "low", "high", "p", "models")


@dataclass(frozen=True)
class Selected:
    """What OODSelect found.

    Attributes
    ----------
    table : DataFrame
        `COLUMNS`, a row per size.
    ids : mapping of float to int64 array
        By share: the images that are selected with all models.
    """

    table: pd.DataFrame
    ids: Mapping[float, NDArray[np.int64]]


def ood_select(
    shifted: Correctness,
    accuracies: Sequence[float],
    *,
    shares: Sequence[float] = SHARES,
    scale: str = "probit",
    together: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Selected:
    """Select images of a shift on which accuracy correlates least with (transformed) reference accuracy over models.

    The correlation on the models that selected is no finding: enough images always have one that is negative. So half of the models
    select, the correlation is measured on the other half, the halves change places, and Fisher's z of both is averaged.

    Parameters
    ----------
    shifted : Correctness
        Which images the models classify correctly.
    accuracies : sequence of float
        Of these models on the reference, fractions.
    shares : sequence of float
        Sizes of the subsets, as shares of the images.
    scale : str
        Of the reference accuracies.
    together : sequence, optional
        One value per model: those that share it (epochs of one run, replicates) are in one half.
    level : float
        Of the interval of the held-out correlation.

    Returns
    -------
    Selected
        r_whole: correlation on all images; r_selected: on the subset, over the models that selected it (flattering); r_held_out
        with interval and p-value (of the correlation being 0 or more): over models that did not select.

    Raises
    ------
    AnalysisError
        There are fewer than ten models, a share is not between 0 and 1, or all models have one reference accuracy.
    """
    check_level(level)
    g = scale_named(scale)
    x = g.forward(inside(np.asarray(accuracies, dtype=float), np.full(len(accuracies), np.nan), g)[0])
    known = np.isfinite(x)
    x, correct = x[known], shifted.correct[known].astype(np.float32)
    groups = np.arange(len(known)) if together is None else pd.factorize(pd.Series(list(together)))[0]
    if len(x) < FEWEST_MODELS:
        raise AnalysisError(f"OODSelect splits the models into halves: {len(x)} are too few, expected {FEWEST_MODELS} or more.")
    halves = _halves(groups[known], np.random.default_rng(seed))
    for half in halves:
        if half.sum() < 4 or np.ptp(x[half]) == 0:
            raise AnalysisError(
                "the models do not split into two halves of four or more that differ in reference accuracy: add runs."
            )
    rows, ids = [], {}
    for share in shares:
        if not 0 < share < 1:
            raise AnalysisError(f"a share is {share:g}: expected a number between 0 and 1.")
        size = max(1, round(share * correct.shape[1]))
        chosen = select_images(x, correct, size)
        ids[share] = shifted.ids[chosen]
        held_out = [_correlation(x[~half], correct[~half][:, select_images(x[half], correct[half], size)]) for half in halves]
        freedom = sum(int((~half).sum()) - 3 for half in halves)
        z = float(np.mean(np.arctanh(np.clip(held_out, -1 + 1e-12, 1 - 1e-12))))
        half_width = stats.norm.ppf((1 + level) / 2) / np.sqrt(freedom)
        rows.append(
            {
                "share": share,
                "n": size,
                "r_whole": _correlation(x, correct),
                "r_selected": _correlation(x, correct[:, chosen]),
                "r_held_out": np.tanh(z),
                "low": np.tanh(z - half_width),
                "high": np.tanh(z + half_width),
                "p": float(stats.norm.cdf(z * np.sqrt(freedom))),
                "models": len(x),
            }
        )
    return Selected(pd.DataFrame(rows)[list(COLUMNS)], ids)


def select_images(x: Floats, correct: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Return the positions of images on which accuracy correlates least with x, in increasing order.

    The conditional-gradient method over weights in [0, 1] that sum to `size`, whose corners are subsets of that size: each step
    goes towards the images with the smallest gradient of the correlation. It begins at those with the smallest covariance.

    Parameters
    ----------
    x : array of shape (models,)
    correct : array of shape (models, images)
    """
    centred = (x - x.mean()) / np.linalg.norm(x - x.mean())
    deviations = correct - correct.mean(axis=0)
    best = current = _smallest(centred @ deviations, size)
    lowest = _correlation(x, correct[:, current])
    y = deviations[:, current].sum(axis=1, dtype=np.float64)
    for step in range(STEPS):
        norm = np.linalg.norm(y)
        if norm == 0:
            break
        gradient = centred @ deviations / norm - (centred @ y) / norm**3 * (y @ deviations)
        corner = _smallest(gradient, size)
        value = _correlation(x, correct[:, corner])
        if value < lowest:
            best, lowest = corner, value
        y = y + 2 / (step + 3) * (deviations[:, corner].sum(axis=1, dtype=np.float64) - y)
    return np.sort(best)


def _smallest(values: Floats, size: int) -> NDArray[np.int64]:
    return np.argpartition(values, size - 1)[:size]


def _correlation(x: Floats, correct: NDArray[np.float32]) -> float:
    """Return Pearson's correlation of x and accuracy; 0 where all models have one accuracy."""
    y = correct.mean(axis=1, dtype=np.float64)
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(y) > 0 else 0.0


def _halves(groups: NDArray[np.int64], generator: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Split the models into two halves of about one size; those of a group stay together."""
    names, counts = np.unique(groups, return_counts=True)
    order = generator.permutation(len(names))
    first: list[int] = []
    for index in order:
        taken = counts[first].sum() if first else 0
        if taken + counts[index] <= (len(groups) + 1) // 2:
            first.append(int(index))
    half = np.isin(groups, names[first])
    return [half, ~half]
