"""The baseline fit: accuracy under shift as a function of reference accuracy, over the models that fix the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.tables import REFERENCE, check_table, panel, shifts_of
from shiftline.contracts.require import counted
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
    clipped, left_out : int
        Models whose accuracy of 0 or 1 was clipped, and models that were left out (extreme or missing).
    weights : str
        "none", or "binomial": each model weighs as much as the images make its accuracy under shift certain.
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
    clipped: int
    left_out: int
    weights: str = "none"
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The warnings, and each use of the policy for accuracies of 0 and 1."""
        notes = list(self.warnings)
        if self.clipped:
            notes.append(f"{counted(self.clipped, 'baseline model')} had an accuracy of 0 or 1, which was clipped")
        if self.left_out:
            notes.append(f"{self.left_out} of {self.n + self.left_out} baseline models are not in the fit (missing or extreme)")
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
        return self.variance_at(self._g.forward(np.asarray(reference, dtype=float)))

    def variance_at(self, x: Floats) -> Floats:
        """Return the same for points on the transformed axis. Weights have the mean 1, so that 1/n is theirs too."""
        return self.residual_std**2 * (1 / self.n + (x - self.x_mean) ** 2 / self.sxx)

    def weights_of(self, shifted: Floats, n: Floats) -> Floats:
        """Return the weights of models in a fit like this one, with mean 1.

        Parameters
        ----------
        shifted : array of float
            Accuracies under shift, fractions strictly inside (0, 1) on bounded scales.
        n : array of float
            Numbers of examples.
        """
        return _weights(shifted, n, self._g, self.weights)

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
    weights: str = "none",
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
    weights : str
        "none": ordinary least squares. "binomial": weighted by the inverse binomial variance of the accuracy under shift on the
        transformed scale, ``n / (p (1 - p) g'(p)^2)``; needs the numbers of examples.

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
    x, extreme_x = inside(present["reference"], present["n_reference"], g, extremes=extremes)
    y, extreme_y = inside(present["shifted"], present["n_shifted"], g, extremes=extremes)
    usable = usable_rows(x, y)
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
    w = _weights(y[usable], present["n_shifted"].to_numpy(float)[usable], g, weights)
    x_mean, y_mean = float(np.average(gx, weights=w)), float(np.average(gy, weights=w))
    sxx = float((w * (gx - x_mean) ** 2).sum())
    slope = float((w * (gx - x_mean) * (gy - y_mean)).sum() / sxx)
    intercept = y_mean - slope * x_mean
    sse = float((w * (gy - slope * gx - intercept) ** 2).sum())
    total = float((w * (gy - y_mean) ** 2).sum())
    r2 = 1 - sse / total if total > 0 else 0.0
    return BaselineFit(
        scale=scale,
        shift=shift,
        slope=slope,
        intercept=intercept,
        r2=r2,
        n=n,
        residual_std=float(np.sqrt(sse / (n - 2))),
        x_mean=x_mean,
        sxx=sxx,
        x_low=float(x[usable].min()),
        x_high=float(x[usable].max()),
        clipped=int(((extreme_x | extreme_y) & usable).sum()),
        left_out=len(rows) - n,
        weights=weights,
        warnings=tuple(_warnings(present[usable], r2, n)),
    )


def usable_rows(x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Return where both accuracies are there and inside the axis."""
    return np.isfinite(x) & np.isfinite(y)


def _weights(shifted: Floats, n: Floats, g: Scale, weights: str) -> Floats:
    if weights == "none":
        return np.ones(len(shifted))
    if weights != "binomial":
        raise AnalysisError(f"the weights {weights!r} do not exist: choose none or binomial.")
    if not np.isfinite(n).all():
        raise AnalysisError("binomial weights need the number of examples of every accuracy: give the table a column n.")
    raw = n / np.maximum(shifted * (1 - shifted), 1 / (4 * n)) / g.slope(shifted) ** 2
    scaled: Floats = raw / raw.mean()
    return scaled


def runs_of(rows: pd.DataFrame) -> NDArray[np.str_]:
    """Return which training each model is a point of: checkpoints of one training share it.

    The column `run` says so; without it the column `recipe` does, in words, which tell less.
    """
    if "run" in rows.columns:
        named: NDArray[np.str_] = rows["run"].to_numpy(str)
        return named
    recipes = rows["recipe"].astype(str) if "recipe" in rows.columns else pd.Series(rows.index.astype(str))
    runs: NDArray[np.str_] = recipes.str.replace(r" @ (epoch|step) \d+$", "", regex=True).to_numpy(str)
    return runs


def leave_one_out(
    table: pd.DataFrame, *, shift: str, baseline: str, scale: str = "probit", extremes: str = "clip", weights: str = "none"
) -> pd.DataFrame:
    """Return what the line would be without each baseline model.

    Returns
    -------
    DataFrame
        model, slope, intercept, r2 (of the line without it), residual (its distance to that line, transformed scale), change
        (of its own predicted accuracy, a fraction), sorted by the largest absolute `change`.

    Raises
    ------
    AnalysisError
        The group has fewer than four usable models: without one of them there is no line.
    """
    settings = {"shift": shift, "baseline": baseline, "scale": scale, "extremes": extremes, "weights": weights}
    whole, g = fit_baseline(table, **settings), scale_named(scale)
    if whole.n <= FEWEST_MODELS:
        raise AnalysisError(f"leaving one of {whole.n} baseline models out leaves no line: expected 4 or more.")
    joined = panel(check_table(table, "group"), shift)
    joined = joined[joined["group"] == baseline]
    x, _ = inside(joined["reference"], joined["n_reference"], g, extremes=extremes)
    y, _ = inside(joined["shifted"], joined["n_shifted"], g, extremes=extremes)
    rows = []
    for row in np.flatnonzero(usable_rows(x, y)):
        model = joined.index[row]
        fit = fit_baseline(table[table["model"] != model], **settings)
        residual = float(g.forward(y[row : row + 1])[0] - fit.line(x[row]))
        change = float(fit.predict(x[row]) - whole.predict(x[row]))
        rows.append(
            {"model": model, "slope": fit.slope, "intercept": fit.intercept, "r2": fit.r2, "residual": residual, "change": change}
        )
    result = pd.DataFrame(rows)
    return result.sort_values("change", key=np.abs, ascending=False, ignore_index=True)


def _warnings(rows: pd.DataFrame, r2: float, n: int) -> list[str]:
    notes = []
    if r2 < LOW_R2:
        notes.append(f"R^2 is {r2:.2f}: reference accuracy explains little of the accuracy under this shift")
    if {"recipe", "run"} & set(rows.columns):
        runs = len(set(runs_of(rows)))
        if runs < FEWEST_MODELS:
            notes.append(f"the {n} points are epochs of {counted(runs, 'run')}: the interval is conditional on it")
    return notes
