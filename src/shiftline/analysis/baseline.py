"""The baseline fit: accuracy under shift as a function of reference accuracy, over the models that fix the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.tables import REFERENCE, check_table, panel, shifts_of
from shiftline.errors import AnalysisError

FEWEST_MODELS = 3
LOW_R2 = 0.5


class Band(NamedTuple):
    """Predicted accuracy under shift with the ends of an interval, fractions."""

    predicted: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class BaselineFit:
    """A least-squares line on transformed axes (Taori et al. 2020; Miller et al. 2021).

    ``g(shifted) = slope * g(reference) + intercept``.

    Attributes
    ----------
    scale : str
        g: "probit", "logit" or "linear".
    shift : str
    slope, intercept, r2 : float
        On the transformed scale.
    n : int
        Baseline models in the fit.
    residual_std : float
        ``sqrt(SSE / (n - 2))``, transformed scale.
    x_mean, sxx : float
        Mean and sum of squared deviations of g(reference).
    x_low, x_high : float
        Smallest and largest reference accuracy of a baseline model: outside, the line is a guess.
    moved, left_out : int
        Models whose accuracy of 0 or 1 was clipped, and models that were left out (extreme or missing).
    warnings : tuple of str
        What a reader has to know: low R^2, points that are epochs of one run.
    """

    scale: str
    shift: str
    slope: float
    intercept: float
    r2: float
    n: int
    residual_std: float
    x_mean: float
    sxx: float
    x_low: float
    x_high: float
    moved: int
    left_out: int
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The warnings, and each use of the policy for accuracies of 0 and 1."""
        notes = list(self.warnings)
        if self.moved:
            notes.append(f"{self.moved} baseline models had an accuracy of 0 or 1, which was clipped")
        if self.left_out:
            notes.append(
                f"{self.left_out} of {self.n + self.left_out} baseline models are not in the fit (missing or extreme)"
            )
        return tuple(notes)

    @property
    def _g(self) -> Scale:
        return scale_named(self.scale)

    def predict(self, reference: ArrayLike) -> Floats:
        """Return the accuracy under shift that reference accuracy alone predicts: ``g^-1(slope * g(x) + intercept)``."""
        return self._g.inverse(self.line(reference))

    def line(self, reference: ArrayLike) -> Floats:
        """Return the prediction on the transformed scale."""
        return self.slope * self._g.forward(np.asarray(reference, dtype=float)) + self.intercept

    def line_variance(self, reference: ArrayLike) -> Floats:
        """Return the variance of the line at x0, transformed scale: ``s^2 (1/n + (x0 - xbar)^2 / Sxx)``."""
        x = self._g.forward(np.asarray(reference, dtype=float))
        return self.residual_std**2 * (1 / self.n + (x - self.x_mean) ** 2 / self.sxx)

    def confidence(self, reference: ArrayLike, *, level: float = 0.95) -> Band:
        """Return the interval of the line: ``t_{n-2} s sqrt(1/n + (x0 - xbar)^2/Sxx)``, ends mapped back through g^-1."""
        return self._band(reference, self.line_variance(reference), level)

    def prediction(self, reference: ArrayLike, *, level: float = 0.95) -> Band:
        """Return the interval for one more baseline model: ``+1`` under the root."""
        return self._band(reference, self.line_variance(reference) + self.residual_std**2, level)

    def _band(self, reference: ArrayLike, variance: Floats, level: float) -> Band:
        half = stats.t.ppf((1 + level) / 2, self.n - 2) * np.sqrt(variance)
        middle = self.line(reference)
        inverse = self._g.inverse
        return Band(inverse(middle), inverse(middle - half), inverse(middle + half))

    def extrapolates(self, reference: ArrayLike) -> np.ndarray:
        """Return where a reference accuracy lies outside those of the baseline models."""
        x = np.asarray(reference, dtype=float)
        return (x < self.x_low) | (x > self.x_high)


def fit_baseline(
    table: pd.DataFrame,
    *,
    shift: str,
    baseline: str,
    reference: str = REFERENCE,
    scale: str = "probit",
    extremes: str = "clip",
) -> BaselineFit:
    """Fit the line over the models of the baseline group.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    shift, reference : str
        Values of the column `distribution`.
    baseline : str
        The value of the column `group` that marks the baseline models.
    scale : str
        "probit", "logit" or "linear".
    extremes : str
        What to do with accuracies of exactly 0 or 1: "clip" or "exclude".

    Raises
    ------
    AnalysisError
        The group does not exist or has fewer than three usable models, or all have one reference accuracy.
    """
    g = scale_named(scale)
    table = check_table(table, "group")
    (shift,) = shifts_of(table, [shift], reference=reference)
    if baseline not in set(table["group"]):
        raise AnalysisError(
            f"there is no baseline group {baseline!r}: the groups are {', '.join(map(repr, dict.fromkeys(table['group'])))}."
        )
    rows = panel(table, shift, reference=reference)
    rows = rows[rows["group"] == baseline]
    present = rows.dropna(subset=["reference", "shifted"])
    x, moved_x = inside(present["reference"], present["n_reference"], g, extremes=extremes)
    y, moved_y = inside(present["shifted"], present["n_shifted"], g, extremes=extremes)
    usable = np.isfinite(x) & np.isfinite(y)
    n = int(usable.sum())
    if n < FEWEST_MODELS:
        raise AnalysisError(
            f"the baseline group {baseline!r} has {n} usable models on {shift!r} (of {len(rows)} declared): a line needs at "
            f"least {FEWEST_MODELS}. Add models to the group: other architectures, training-set sizes or epochs."
        )
    gx, gy = g.forward(x[usable]), g.forward(y[usable])
    if np.ptp(gx) == 0:
        raise AnalysisError(
            f"all {n} baseline models have the reference accuracy {x[usable][0]:.4f}: no line can be fitted. Add models "
            "of other accuracies."
        )
    sxx = float(((gx - gx.mean()) ** 2).sum())
    slope = float(((gx - gx.mean()) * (gy - gy.mean())).sum() / sxx)
    intercept = float(gy.mean() - slope * gx.mean())
    sse = float(((gy - slope * gx - intercept) ** 2).sum())
    total = float(((gy - gy.mean()) ** 2).sum())
    r2 = 1 - sse / total if total > 0 else 0.0
    return BaselineFit(
        scale, shift, slope, intercept, r2, n, float(np.sqrt(sse / (n - 2))), float(gx.mean()), sxx,
        float(x[usable].min()), float(x[usable].max()), int(((moved_x | moved_y) & usable).sum()), len(rows) - n,
        tuple(_warnings(present[usable], r2, n)),
    )  # fmt: skip


def _warnings(rows: pd.DataFrame, r2: float, n: int) -> list[str]:
    notes = []
    if r2 < LOW_R2:
        notes.append(f"R^2 is {r2:.2f}: reference accuracy explains little of the accuracy under this shift")
    if "recipe" in rows.columns:
        runs = rows["recipe"].astype(str).str.replace(r" @ epoch \d+$", "", regex=True).nunique()
        if runs < FEWEST_MODELS:
            notes.append(
                f"the {n} points are epochs of {runs} run{'s' if runs > 1 else ''}: the interval is conditional on it"
            )
    return notes
