"""Agreement on the line: accuracy under shift without a label, from how often models agree (Baek et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from shiftline.analysis.axes import Floats, inside, scale_named
from shiftline.analysis.notes import codes
from shiftline.errors import AnalysisError

FEWEST_MODELS = 3
LOW_R2 = 0.95
"""Of agreements: Baek et al. use the estimates above it only."""
COLUMNS = ("model", "reference", "aline_s", "aline_d", "slope", "intercept", "r2", "pairs", "notes")


@dataclass(frozen=True)
class Classes:
    """The classes that several models predict.

    Attributes
    ----------
    models : tuple of str
    predicted : int array of shape (models, examples)
    """

    models: tuple[str, ...]
    predicted: NDArray[np.integer]


def agreements(predicted: NDArray[np.integer]) -> Floats:
    """Return how often every two models predict the same class: shape (pairs,), in the order of ``np.triu_indices(models, 1)``.

    Parameters
    ----------
    predicted : int array of shape (models, examples)
    """
    rows = [(predicted[first + 1 :] == predicted[first]).mean(axis=1) for first in range(len(predicted) - 1)]
    return np.concatenate(rows) if rows else np.zeros(0)


def agreement_on_the_line(
    reference: Classes, shifted: Classes, accuracies: Sequence[float], *, scale: str = "probit"
) -> pd.DataFrame:
    """Estimate accuracy under shift from agreement, without labels of the shift.

    With transformed agreements of pairs, ``g(agr_shift) = a g(agr_ref) + b`` by least squares. ALine-S: ``g(acc_shift(h)) =
    a g(acc_ref(h)) + b``. ALine-D solves over all pairs, by least squares, ``(g(acc_shift(h)) + g(acc_shift(h'))) / 2 =
    g(agr_shift(h, h')) + a ((g(acc_ref(h)) + g(acc_ref(h'))) / 2 - g(agr_ref(h, h')))``. Of deep networks it has been seen that
    agreements lie on the line of accuracies; the estimates stand on that.

    Parameters
    ----------
    reference, shifted : Classes
        Of the same models, in the label space of the shift.
    accuracies : sequence of float
        On the reference, fractions.
    scale : str
        "probit", "logit" or "linear".

    Returns
    -------
    DataFrame
        `COLUMNS`, a row per model: fractions; slope, intercept and R^2 of the line of agreements, and how many pairs fix it: models
        that always, or never, agree are left out. The note "off-agreement" stands where R^2 is below 0.95.

    Raises
    ------
    AnalysisError
        The models differ, are fewer than three, or all pairs agree alike.
    """
    if reference.models != shifted.models or len(accuracies) != len(reference.models):
        raise AnalysisError("agreement needs the predictions of the same models, in one order, on reference and shift.")
    count = len(reference.models)
    if count < FEWEST_MODELS:
        raise AnalysisError(
            f"{count} models have {count * (count - 1) // 2} pairs: a line of agreements needs {FEWEST_MODELS} models."
        )
    g = scale_named(scale)
    unknown = np.full(count * (count - 1) // 2, np.nan)
    x, y = (g.forward(inside(agreements(classes.predicted), unknown, g)[0]) for classes in (reference, shifted))
    usable = np.isfinite(x) & np.isfinite(y)
    if usable.sum() < FEWEST_MODELS or np.ptp(x[usable]) == 0:
        raise AnalysisError(
            f"{int(usable.sum())} pairs of models agree sometimes, not always: a line needs {FEWEST_MODELS}, in different shares. "
            "Take models that were trained apart, and differ in accuracy."
        )
    line = stats.linregress(x[usable], y[usable])
    own = g.forward(inside(np.asarray(accuracies, dtype=float), np.full(count, np.nan), g)[0])
    first, second = np.triu_indices(count, 1)
    solvable = usable & np.isfinite(own[first]) & np.isfinite(own[second])
    rows = np.flatnonzero(solvable)
    design = np.zeros((len(rows), count))
    design[np.arange(len(rows)), first[rows]] = design[np.arange(len(rows)), second[rows]] = 0.5
    target = y[rows] + line.slope * ((own[first[rows]] + own[second[rows]]) / 2 - x[rows])
    solved = np.linalg.lstsq(design, target, rcond=None)[0] if len(rows) else np.zeros(count)
    # Models that stand in no equation have no value, and none has one where the equations are too few.
    asked = design.any(axis=0)
    determined = asked & (np.linalg.matrix_rank(design) == asked.sum())
    return pd.DataFrame(
        {
            "model": reference.models,
            "reference": np.asarray(accuracies, dtype=float),
            "aline_s": g.inverse(line.slope * own + line.intercept),
            "aline_d": np.where(determined, g.inverse(solved), np.nan),
            "slope": line.slope,
            "intercept": line.intercept,
            "r2": line.rvalue**2,
            "pairs": int(usable.sum()),
            "notes": codes(["off-agreement"] if line.rvalue**2 < LOW_R2 else []),
        }
    )[list(COLUMNS)]
