"""Effective and relative robustness, per model, replicate, group, and averaged over shifts, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from shiftline.analysis.contrasts import Contrast, Estimate, Term
from shiftline.analysis.correctness import RESAMPLES
from shiftline.analysis.intervals import difference_interval, mean_interval
from shiftline.analysis.notes import codes
from shiftline.analysis.panels import Answers, Panel, panels_of
from shiftline.analysis.settings import LineOptions, LineSettings
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_level, check_table, shifts_of
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
    "notes",
)
PARTS = ("line_low", "line_high", "images_low", "images_high", "seeds")
"""What each source of uncertainty alone would make of the interval: distances from the estimate to its ends."""
BY = ("recipe", "group", "model")


def effective_robustness(
    table: pd.DataFrame,
    *,
    baseline: str,
    shifts: Sequence[str] | None = None,
    reference: str | Sequence[str] = REFERENCE,
    level: float = 0.95,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Accuracy under shift minus what the baseline fit predicts at the model's reference accuracy, from a table alone.

    `joint_effective_robustness` of single models without stored answers: images count by their numbers (the column `n`, or `se`
    for what is no proportion), as if each model had seen others. Compare models with `compare` instead.

    Returns
    -------
    DataFrame
        One row per shift and model, columns `COLUMNS`, and rows of the shift "average".

    Raises
    ------
    AnalysisError
        There is no shift, no such group, or no line can be fitted.
    """
    settings = LineSettings.of(baseline, reference, **line)
    return _robustness(table, {}, settings, by="model", shifts=shifts, level=level, resamples=RESAMPLES, seed=0)[list(COLUMNS)]


def joint_effective_robustness(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    *,
    baseline: str,
    by: str = "recipe",
    shifts: Sequence[str] | None = None,
    reference: str | Sequence[str] = REFERENCE,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Return effective robustness, averaged over replicates, with an interval for all that is uncertain about it.

    ``ER(f) = acc_shift(f) - beta(acc_ref(f))``. With the prediction B and the ends B_lo, B_hi of its interval, and the half-widths
    a of the images and s of the seeds on the scale of accuracies, the interval goes from ``ER - sqrt(a^2 + s^2 + (B_hi - B)^2)``
    to ``ER + sqrt(a^2 + s^2 + (B - B_lo)^2)`` (MOVER, Zou & Donner 2008):

    - the line: t-based from its residuals, over clusters of baseline models where there are some;
    - the images: a bootstrap over source ids, which all models (the baselines too, whose line is fitted again) and both axes
      share; exact binomial ends of the model's own accuracy; where a shift has no stored answers, by numbers of examples alone;
    - the seeds: ``t(m - 1) sd / sqrt(m)`` over m replicates, which holds what the images do to each replicate apart; for one
      replicate it is unknown, and the interval is conditional on its seed.

    Averages over shifts are averages of per-shift values; lines over the same baseline models move together, and so do images.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : mapping of str to Answers
        By shift.
    by : str
        What is averaged: "recipe" (replicates: one group, recipe, alpha and epoch, other seeds), "group", or "model" (nothing).
    line : LineOptions
        scale, extremes, weights, errors, cluster.
    level : float
        Between 0 and 1.
    resamples : int
        Of the images.

    Returns
    -------
    DataFrame
        `COLUMNS`, replicates, and `PARTS`: one row per shift and set of models; with several shifts (subsets aside) also one per
        set for their average. Fractions. `notes` are codes of `shiftline.analysis.notes.LEGEND`; ``attrs["notes"]`` says those of
        the lines with numbers, by shift, and ``attrs["codes"]`` which they are.

    Raises
    ------
    AnalysisError
        There is no shift, no such group, no line can be fitted, or answers are missing or of another table.
    """
    settings = LineSettings.of(baseline, reference, **line)
    return _robustness(table, answers, settings, by=by, shifts=shifts, level=level, resamples=resamples, seed=seed)


def _robustness(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    settings: LineSettings,
    *,
    by: str,
    shifts: Sequence[str] | None,
    level: float,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    if by not in BY:
        raise AnalysisError(f"by={by!r} does not exist: choose one of {', '.join(BY)}.")
    check_level(level)
    table = check_table(table, "group")
    panels = panels_of(table, answers, settings, shifts=shifts, resamples=resamples, seed=seed)
    sets = model_sets(table, by)
    rows = []
    for one in panels:
        models = one.points.models
        keys = [str(key) for key in (models["key"] if "key" in models.columns else models.index)]
        rows += [_row(one, each, keys, level) for each in sets]
    whole = averaged(table, [one.fit.shift for one in panels])
    if len(whole) > 1:
        used = [one for one in panels if one.fit.shift in whole]
        rows += [_average(used, [row for row in rows if row["shift"] in whole], each, level) for each in sets]
    result = pd.DataFrame(rows, columns=[*COLUMNS, "replicates", *PARTS])
    result.attrs["notes"] = {one.fit.shift: tuple(note.text for note in one.fit.notes) for one in panels if one.fit.notes}
    result.attrs["codes"] = {note.code for one in panels for note in one.fit.notes}
    return result


@dataclass(frozen=True)
class ModelSet:
    """Some models that are averaged.

    Attributes
    ----------
    name : str
        Of the first model, or of the group.
    members : int array
        Rows of the table's models.
    recipes : int
        How many different ones they have.
    """

    name: str
    group: str
    members: NDArray[np.int64]
    recipes: int


def model_sets(table: pd.DataFrame, by: str) -> list[ModelSet]:
    """Return the sets that a table's models are averaged over: see `joint_effective_robustness`."""
    first = table.drop_duplicates("model").reset_index(drop=True)
    recipes = _recipes(first)
    names: Sequence[object] = recipes if by == "recipe" else first["model" if by == "model" else "group"].tolist()
    found: dict[object, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return [
        ModelSet(
            str(name) if by == "group" else str(first["model"][rows[0]]),
            str(first["group"][rows[0]]),
            np.array(rows),
            len({recipes[row] for row in rows}),
        )
        for name, rows in found.items()
    ]


def _recipes(models: pd.DataFrame) -> list[object]:
    """Return what two models share that differ in their seeds only.

    The column `replicates_of` says it; in words a recipe tells less, and without one nothing says that two models are replicates.
    """
    if "replicates_of" in models.columns:
        columns = [models["group"], models["replicates_of"]]
    else:
        recipe = models["recipe"] if "recipe" in models.columns else models["model"]
        columns = [models["group"], recipe.astype(str).str.replace(r",? ?\bseed=\d+", "", regex=True)]
        columns += [models[c] for c in ("alpha", "epoch", "step") if c in models.columns]
    return list(zip(*(column.astype(str) for column in columns), strict=True))


def _row(one: Panel, each: ModelSet, keys: Sequence[str], level: float) -> dict[str, object]:
    found = Contrast([Term(one, each.members)]).at(level)
    shifted = one.points.y.value[each.members].mean()
    return {
        "shift": one.fit.shift,
        "model": each.name,
        "group": each.group,
        "key": " ".join(keys[row] for row in each.members),
        "reference": one.points.x.value[each.members, 0].mean(),
        "shifted": shifted,
        "predicted": shifted - found.value,
        "effective_robustness": found.value,
        **_interval(found),
        "scale": one.fit.scale,
        "r2": one.fit.r2,
        "n_baseline": one.fit.n,
        "extrapolated": one.extrapolates(each.members),
        "notes": codes(notes_of(one, each)),
        "replicates": len(each.members),
    }


def _interval(found: Estimate) -> dict[str, float]:
    parts = (*found.line, *found.images, found.seeds.low)
    return {"low": found.low, "high": found.high, **dict(zip(PARTS, parts, strict=True))}


def notes_of(one: Panel, each: ModelSet) -> list[str]:
    """Return the codes of what limits the effective robustness of some models on one shift."""
    found = [note.code for note in one.fit.notes]
    if one.extrapolates(each.members):
        found.append("extrapolated")
    if each.recipes > 1:
        found.append("recipes")
    if len(each.members) == 1:
        found.append("one-seed")
    if one.drawn_y is None or one.published[each.members].any():
        rows, y = each.members, one.points.y
        known = np.isfinite(y.variance(y.value)[rows]).all() and np.isfinite(one.points.x.variance(one.points.x.value)[rows]).all()
        found.append("no-answers" if known else "no-images")
    return found


def _average(panels: Sequence[Panel], rows: Sequence[Mapping[str, object]], each: ModelSet, level: float) -> dict[str, object]:
    share = 1 / len(panels)
    found = Contrast([Term(one, each.members, share, -share) for one in panels]).at(level)
    own = [row for row in rows if row["model"] == each.name and row["group"] == each.group]
    means = {name: np.mean([row[name] for row in own]) for name in ("reference", "shifted", "predicted", "r2")}
    return {
        **own[0],
        **means,
        "shift": AVERAGE,
        "effective_robustness": found.value,
        **_interval(found),
        "extrapolated": any(row["extrapolated"] for row in own),
        "notes": codes(code for row in own for code in str(row["notes"]).split()),
        # An average is traced to all the values it was taken over.
        "key": " ".join(str(row["key"]) for row in own),
    }


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
        shift, model, group, relative_robustness, low, high (fractions; Newcombe's interval for proportions of known `n`, a normal
        one by `se` for other metrics, NaN where both are unknown).

    Raises
    ------
    AnalysisError
        There is no such model, or it lacks a shift.
    """
    table = check_table(table)
    check_level(level)
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
            difference = float(row["value"] - base["value"])
            low, high = _difference_ends(row, base, difference, level)
            rows.append(
                {
                    "shift": shift,
                    "model": model,
                    "group": row.get("group"),
                    "relative_robustness": difference,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def _difference_ends(row: pd.Series, base: pd.Series, difference: float, level: float) -> tuple[float, float]:
    errors = np.array([row["se"], base["se"]], dtype=float)
    if np.isfinite(errors).all():
        half = float(stats.norm.ppf((1 + level) / 2) * np.sqrt((errors**2).sum()))
        return difference - half, difference + half
    known = np.array([row["n"], base["n"], row["value"], base["value"]], dtype=float)
    if not np.isfinite(known).all() or not (row["proportion"] and base["proportion"]):
        return float("nan"), float("nan")
    counts = [round(one["value"] * one["n"]) for one in (row, base)]
    ends = difference_interval(counts[0], int(row["n"]), counts[1], int(base["n"]), level=level)
    return float(ends.low), float(ends.high)


def group_means(robustness: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Average effective robustness over the models of each group, with a t-interval over them (replicates: over seeds).

    Parameters
    ----------
    robustness : DataFrame
        From `effective_robustness`.

    Returns
    -------
    DataFrame
        shift, group, effective_robustness, low, high (NaN ends for one model), models, extrapolated (any of them), notes; NaN where
        a model of the group has no value.
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
                "notes": codes(code for cell in of_group["notes"] for code in cell.split()),
            }
        )
    return pd.DataFrame(rows)
