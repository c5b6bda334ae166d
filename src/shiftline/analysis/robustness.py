"""Effective and relative robustness, per model and averaged over shifts and groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.baseline import BaselineFit, fit_baseline
from shiftline.analysis.intervals import difference_interval, mean_interval
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_table, panel, shifts_of
from shiftline.errors import AnalysisError

COLUMNS = (
    "shift",
    "model",
    "group",
    "key",
    "reference",
    "shifted",
    "predicted",
    "effective_robustness",
    "low",
    "high",
    "scale",
    "r2",
    "n_baseline",
    "extrapolated",
)


def effective_robustness(
    table: pd.DataFrame,
    *,
    baseline: str,
    shifts: Sequence[str] | None = None,
    reference: str = REFERENCE,
    scale: str = "probit",
    extremes: str = "clip",
    weights: str = "none",
    level: float = 0.95,
) -> pd.DataFrame:
    """Accuracy under shift minus what the baseline fit predicts at the model's reference accuracy.

    ``ER(f) = acc_shift(f) - beta(acc_ref(f))``. The interval adds, on the transformed scale, the variance of the line at
    the model and the variances of the model's two values (delta method: binomial by `n`, or by the column `se` for what is no
    proportion; left out where both are unknown); its half-width is ``t_{n-2}`` times the root of the sum, and its ends are
    mapped back through g^-1. Images that two models share are not taken into account: compare models with a paired test instead.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    baseline : str
        The group that fixes the line.
    shifts : sequence of str, optional
        All shifts of the table unless given.

    Returns
    -------
    DataFrame
        One row per shift and model, columns `COLUMNS`; fractions, NaN where a value is missing. ``attrs["notes"]`` holds what a
        reader has to know of each shift's line. With several shifts (subsets of others aside), rows of the shift "average" hold
        the averages of the per-shift values (of the interval's ends too: its width is that of fully correlated lines).

    Raises
    ------
    AnalysisError
        There is no shift, no such group, or no line can be fitted.
    """
    table = check_table(table, "group")
    chosen = shifts_of(table, shifts, reference=reference)
    settings = {"baseline": baseline, "reference": reference, "scale": scale, "extremes": extremes, "weights": weights}
    fits = {shift: fit_baseline(table, shift=shift, **settings) for shift in chosen}
    rows = pd.concat([_rows(panel(table, shift, reference=reference), fit, extremes, level) for shift, fit in fits.items()])
    if len(whole := averaged(table, chosen)) > 1:
        rows = pd.concat([rows, _averages(rows[rows["shift"].isin(whole)])])
    result = rows[list(COLUMNS)].reset_index(drop=True)
    result.attrs["notes"] = {shift: fit.notes for shift, fit in fits.items() if fit.notes}
    return result


def _rows(joined: pd.DataFrame, fit: BaselineFit, extremes: str, level: float) -> pd.DataFrame:
    g = scale_named(fit.scale)
    x, _ = inside(joined["reference"], joined["n_reference"], g, extremes=extremes)
    y, _ = inside(joined["shifted"], joined["n_shifted"], g, extremes=extremes)
    middle = fit.line(x)
    variance = (
        fit.line_variance(x)
        + fit.slope**2 * image_variance(x, joined["n_reference"], joined["se_reference"], g)
        + image_variance(y, joined["n_shifted"], joined["se_shifted"], g)
    )
    half = stats.t.ppf((1 + level) / 2, fit.n - 2) * np.sqrt(variance)
    shifted = joined["shifted"].to_numpy(float)
    return pd.DataFrame(
        {
            "shift": fit.shift,
            "model": joined.index,
            "group": joined["group"].to_numpy(),
            "key": joined["key"].to_numpy() if "key" in joined.columns else None,
            "reference": joined["reference"].to_numpy(float),
            "shifted": shifted,
            "predicted": g.inverse(middle),
            "effective_robustness": shifted - g.inverse(middle),
            "low": shifted - g.inverse(middle + half),
            "high": shifted - g.inverse(middle - half),
            "scale": fit.scale,
            "r2": fit.r2,
            "n_baseline": fit.n,
            "extrapolated": fit.extrapolates(x),
        }
    )


def image_variance(p: Floats, n: pd.Series, se: pd.Series, g: Scale) -> Floats:
    """Variance of g(value) from the finite number of images: binomial, or by its standard error; 0 where both are unknown."""
    counts, errors = n.to_numpy(float), se.to_numpy(float)
    with np.errstate(invalid="ignore"):
        variance = np.where(np.isfinite(errors), errors**2, p * (1 - p) / counts) * g.slope(p) ** 2
    return np.where(np.isfinite(counts) | np.isfinite(errors), variance, 0.0)


def _averages(rows: pd.DataFrame) -> pd.DataFrame:
    """Average per-shift values; a model that lacks a shift has NaN, rather than an average over other shifts."""
    numbers = ["reference", "shifted", "predicted", "effective_robustness", "low", "high", "r2"]
    grouped = rows.groupby("model", sort=False)
    means = grouped[numbers].agg(lambda values: values.mean(skipna=False))
    first = grouped[["group", "scale", "n_baseline"]].first()
    # An average is traced to all the values it was taken over.
    first["key"] = grouped["key"].agg(lambda keys: " ".join(map(str, keys)))
    flags = grouped["extrapolated"].any()
    result = pd.concat([means, first, flags], axis=1)
    return result.reset_index().assign(shift=AVERAGE)


def relative_robustness(
    table: pd.DataFrame, *, before: str, shifts: Sequence[str] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Accuracy under shift minus that of the model before the intervention: ``RR(f', f) = acc(f') - acc(f)``.

    Parameters
    ----------
    before : str
        A value of the column `model`.

    Returns
    -------
    DataFrame
        shift, model, group, relative_robustness, low, high (fractions; Newcombe's interval, NaN where `n` is unknown).

    Raises
    ------
    AnalysisError
        There is no such model, or it lacks a shift.
    """
    table = check_table(table)
    table = table.assign(n=table["n"].astype(float), value=table["value"].astype(float))
    models = list(dict.fromkeys(table["model"]))
    if before not in models:
        raise AnalysisError(f"there is no model {before!r} to compare with: there are {', '.join(map(repr, models))}.")
    rows = []
    for shift in shifts_of(table, shifts):
        on_shift = table[table["distribution"] == shift].set_index("model")
        if before not in on_shift.index:
            raise AnalysisError(f"{before!r} has no value on {shift!r}: evaluate it there first.")
        base = on_shift.loc[before]
        for model, row in on_shift.iterrows():
            low = high = np.nan
            if np.isfinite([row["n"], base["n"], row["value"], base["value"]]).all():
                counts = [round(r["value"] * r["n"]) for r in (row, base)]
                ends = difference_interval(counts[0], int(row["n"]), counts[1], int(base["n"]), level=level)
                low, high = float(ends.low), float(ends.high)
            rows.append(
                {
                    "shift": shift,
                    "model": model,
                    "group": row.get("group"),
                    "relative_robustness": row["value"] - base["value"],
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def group_means(robustness: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Average effective robustness over the models of each group, with a t-interval over them (replicates: over seeds).

    Parameters
    ----------
    robustness : DataFrame
        From `effective_robustness`.

    Returns
    -------
    DataFrame
        shift, group, effective_robustness, low, high (NaN ends for one model), models, extrapolated (any of them); NaN where a
        model of the group has no value.
    """
    rows = []
    for (shift, group), of_group in robustness.groupby(["shift", "group"], sort=False):
        mean = mean_interval(of_group["effective_robustness"], level=level)
        rows.append(
            {
                "shift": shift,
                "group": group,
                "effective_robustness": mean.mean,
                "low": mean.low,
                "high": mean.high,
                "models": mean.n,
                "extrapolated": bool(of_group["extrapolated"].any()),
            }
        )
    return pd.DataFrame(rows)
