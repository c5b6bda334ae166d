"""Effective robustness with a joint interval: the line, the test images and the seeds.

The three variances are estimated apart and added; resampling runs and images together would count the images' noise twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from shiftline.analysis.axes import Floats
from shiftline.analysis.baseline import runs_of
from shiftline.analysis.correctness import RESAMPLES
from shiftline.analysis.panels import Answers, Panel, resample
from shiftline.analysis.robustness import COLUMNS as PER_MODEL
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_table, shifts_of
from shiftline.errors import AnalysisError

COLUMNS = (*PER_MODEL, "replicates", "sd_line", "sd_images", "sd_seeds", "df", "notes")
BY = ("recipe", "group", "model")
MOST_RUNS_FOR_T = 4
"""With more distinct runs, and several points of one run, the line is bootstrapped by runs."""


def joint_effective_robustness(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    *,
    baseline: str,
    by: str = "recipe",
    shifts: Sequence[str] | None = None,
    reference: str = REFERENCE,
    scale: str = "probit",
    extremes: str = "clip",
    weights: str = "none",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return effective robustness, averaged over replicates, with an interval for all that is uncertain about it.

    With d the distance of a model to the line on the transformed scale, the variance of its mean over m replicates is the sum of

    - the line: ``s^2 (1/n + (x0 - xbar)^2 / Sxx)``; with several points of five or more runs, its variance over resampled runs;
    - the images, as far as replicates share their effect: over resamples of source ids, which all models (the baselines too, whose
      line is fitted again) and both axes share; where a shift has no stored answers, that of the single values, as if replicates
      erred together;
    - the seeds: ``s_d^2 / m``, which holds what the images do to each replicate apart; for one replicate it is unknown, the
      images are counted whole, and the interval is conditional on its seed.

    Half-widths use t with the degrees of freedom of Welch and Satterthwaite; ends are mapped back through g^-1. Averages over
    shifts are averages of per-shift values; their variances are added on the scale of accuracies, with the covariances between
    shifts.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : mapping of str to Answers
        By shift.
    by : str
        What is averaged: "recipe" (replicates: one group, recipe, alpha and epoch, other seeds), "group", or "model" (nothing).
    weights : str
        Of the baseline fit: "none" or "binomial".
    resamples : int
        Of the images.

    Returns
    -------
    DataFrame
        `COLUMNS`: one row per shift and set of models; with several shifts (subsets aside) also one per set for their average.
        Fractions; sd_* are standard deviations of effective robustness, df the degrees of freedom of the interval.

    Raises
    ------
    AnalysisError
        There is no shift, no such group, no line can be fitted, or answers are missing.
    """
    if by not in BY:
        raise AnalysisError(f"by={by!r} does not exist: choose one of {', '.join(BY)}.")
    table = check_table(table, "group")
    chosen = shifts_of(table, shifts, reference=reference)
    settings = {"reference": reference, "scale": scale, "extremes": extremes, "weights": weights}
    panels = [Panel(table, shift, baseline, settings) for shift in chosen]
    sets = _model_sets(table, by)
    resampled = resample(panels, answers, resamples, seed)
    measured = [_measure(one, sets, resampled.get(one.fit.shift), level) for one in panels]
    per_shift = [_rows(one, sets, found) for one, found in zip(panels, measured, strict=True)]
    rows = [row for shift_rows in per_shift for row in shift_rows]
    whole = [chosen.index(shift) for shift in averaged(table, chosen)]
    if len(whole) > 1:
        rows += _average_rows([panels[i] for i in whole], [measured[i] for i in whole], [per_shift[i] for i in whole], sets, level)
    result = pd.DataFrame(rows, columns=list(COLUMNS))
    result.attrs["notes"] = {one.fit.shift: one.fit.notes for one in panels if one.fit.notes}
    return result


@dataclass(frozen=True)
class _ModelSet:
    """Some models that are averaged."""

    label: str
    group: str
    members: NDArray[np.int64]
    key: str
    recipes: int


def _model_sets(table: pd.DataFrame, by: str) -> list[_ModelSet]:
    first = table.drop_duplicates("model").reset_index(drop=True)
    names_of = _recipes(first)
    if by == "recipe":
        names: Sequence[object] = names_of
    else:
        names = first["model" if by == "model" else "group"].tolist()
    found: dict[object, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return [
        _ModelSet(
            str(name) if by == "group" else str(first["model"][positions[0]]),
            str(first["group"][positions[0]]),
            np.array(positions),
            " ".join(first["model"][positions]),
            len({names_of[index] for index in positions}),
        )
        for name, positions in found.items()
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


@dataclass(frozen=True)
class _Measured:
    """Per set of models of one panel: effective robustness with its interval, variances on the transformed scale, and their scale.

    `resampled` is the effective robustness of every model in every resample of the images.
    """

    robustness: Floats
    low: Floats
    high: Floats
    line: Floats
    images: Floats
    seeds: Floats
    df: Floats
    df_line: float
    jacobian: Floats
    resampled: Floats | None
    clustered: bool


def _measure(one: Panel, sets: Sequence[_ModelSet], resampled: Floats | None, level: float) -> _Measured:
    shifted = _means(one.joined["shifted"].to_numpy(float), sets)
    robustness = _means(one.robustness, sets)
    anchor = one.g.forward(shifted - robustness)
    jacobian = 1 / one.g.slope(one.g.inverse(anchor))
    line, df_line, clustered = _line_variance(one, _means(one.x, sets))
    images = _image_share(one, sets, resampled) / jacobian**2
    seeds = _seed_variance(one.robustness, sets) / jacobian**2
    total, df = _combined(line, images, seeds, df_line, sets)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    g = one.g
    # The ends are those of the prediction at the set's own accuracy under shift: asymmetric, as the scale is.
    low, high = shifted - g.inverse(anchor + half), shifted - g.inverse(anchor - half)
    return _Measured(robustness, low, high, line, images, seeds, df, df_line, jacobian, resampled, clustered)


def _image_share(one: Panel, sets: Sequence[_ModelSet], resampled: Floats | None) -> Floats:
    """Return the variance of each set's effective robustness that its members share, from the images."""
    if resampled is None:
        return _means(one.single_variances(), sets)
    return np.maximum(_variance(_means(resampled, sets)) - _apart(resampled, sets), 0.0)


def _means(values: Floats, sets: Sequence[_ModelSet]) -> Floats:
    """Average the last axis over the members of each set; NaN where one of them has no value."""
    return np.stack([values[..., each.members].mean(axis=-1) for each in sets], axis=-1)


def _variance(resampled: Floats) -> Floats:
    """Return variances over the resamples that have a value, ddof=1; NaN with fewer than two."""
    known = np.isfinite(resampled)
    count = known.sum(axis=0)
    mean = np.where(known, resampled, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (resampled - mean) ** 2, 0.0).sum(axis=0)
    return np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)


def _apart(resampled: Floats, sets: Sequence[_ModelSet]) -> Floats:
    """Return the share of a mean's variance over resampled images that its members do not share."""
    found = np.zeros(len(sets))
    for index, each in enumerate(sets):
        members = resampled[:, each.members]
        members = members[np.isfinite(members).all(axis=1)]
        if len(each.members) > 1 and len(members) > 1:
            found[index] = (members - members.mean(axis=0)).var(axis=1, ddof=1).mean() / len(each.members)
    return found


def _seed_variance(distance: Floats, sets: Sequence[_ModelSet]) -> Floats:
    """Return the variance of a mean over replicates; NaN for one of them."""
    return np.array([distance[each.members].var(ddof=1) / len(each.members) if len(each.members) > 1 else np.nan for each in sets])


def _combined(line: Floats, images: Floats, seeds: Floats, df_line: float, sets: Sequence[_ModelSet]) -> tuple[Floats, Floats]:
    """Add variances; degrees of freedom by Welch and Satterthwaite (resampled images have as good as infinitely many)."""
    known = np.nan_to_num(seeds)
    total = line + images + known
    counts = np.array([len(each.members) for each in sets])
    with np.errstate(divide="ignore", invalid="ignore"):
        df = total**2 / (line**2 / df_line + known**2 / np.maximum(counts - 1, 1))
    return total, np.where(np.isfinite(df), df, 1e9)


def _line_variance(one: Panel, x: Floats) -> tuple[Floats, float, bool]:
    """Return the variance of the line at points on the transformed axis, its degrees of freedom, and whether it is by runs."""
    fit = one.fit
    runs = runs_of(one.joined[one.base])
    distinct = np.unique(runs)
    if len(distinct) == len(runs) or len(distinct) <= MOST_RUNS_FOR_T:
        return fit.variance_at(x), float(fit.n - 2), len(distinct) < len(runs)
    generator = np.random.default_rng(0)
    bx, by = one.x[one.base], one.y[one.base]
    weights = fit.weights_of(one.g.inverse(by), one.joined["n_shifted"].to_numpy(float)[one.base])
    members = [np.flatnonzero(runs == run) for run in distinct]
    lines: list[Floats] = []
    while len(lines) < RESAMPLES // 2:
        drawn = np.concatenate([members[index] for index in generator.integers(0, len(members), len(members))])
        if np.ptp(bx[drawn]) > 0:
            slope, intercept = np.polyfit(bx[drawn], by[drawn], 1, w=np.sqrt(weights[drawn]))
            lines.append(slope * x + intercept)
    return np.var(lines, axis=0, ddof=1), float(len(distinct) - 2), False


def _rows(one: Panel, sets: Sequence[_ModelSet], found: _Measured) -> list[dict[str, object]]:
    shifted, reference = (_means(one.joined[c].to_numpy(float), sets) for c in ("shifted", "reference"))
    outside = one.fit.extrapolates(one.g.inverse(one.x))
    keys = one.joined["key"].astype(str).to_numpy() if "key" in one.joined.columns else None
    rows = []
    for index, each in enumerate(sets):
        rows.append(
            {
                "shift": one.fit.shift,
                "model": each.label,
                "group": each.group,
                "replicates": len(each.members),
                "reference": reference[index],
                "shifted": shifted[index],
                "predicted": shifted[index] - found.robustness[index],
                "effective_robustness": found.robustness[index],
                "low": found.low[index],
                "high": found.high[index],
                "sd_line": found.jacobian[index] * np.sqrt(found.line[index]),
                "sd_images": found.jacobian[index] * np.sqrt(found.images[index]),
                "sd_seeds": found.jacobian[index] * np.sqrt(found.seeds[index]),
                "df": found.df[index],
                "scale": one.fit.scale,
                "r2": one.fit.r2,
                "n_baseline": one.fit.n,
                "extrapolated": bool(outside[each.members].any()),
                "notes": "; ".join(_notes(one, each, found)),
                "key": " ".join(keys[each.members]) if keys is not None else each.key,
            }
        )
    return rows


def _notes(one: Panel, each: _ModelSet, found: _Measured) -> list[str]:
    notes = list(one.fit.warnings)
    if each.recipes > 1:
        notes.append(f"{each.recipes} different recipes: their spread, not that of seeds")
    if len(each.members) == 1:
        notes.append("one replicate: conditional on its seed")
    if found.clustered:
        notes.append("several points of few runs: conditional on these runs")
    if found.resampled is None:
        notes.append("no stored answers: images as if replicates erred together")
    return notes


def _average_rows(
    panels: Sequence[Panel],
    measured: Sequence[_Measured],
    per_shift: Sequence[Sequence[dict[str, object]]],
    sets: Sequence[_ModelSet],
    level: float,
) -> list[dict[str, object]]:
    robustness = np.mean([found.robustness for found in measured], axis=0)
    per_model = np.mean([one.robustness for one in panels], axis=0)
    line, df_line = _line_covariance(panels, measured)
    known = [found.resampled for found in measured if found.resampled is not None]
    if len(known) == len(measured):
        resampled = np.mean(known, axis=0)
        images = np.maximum(_variance(_means(resampled, sets)) - _apart(resampled, sets), 0.0)
    else:
        # Without all answers nothing is known of how shifts vary together: as if they did entirely.
        images = np.mean([np.sqrt(found.images) * found.jacobian for found in measured], axis=0) ** 2
    seeds = _seed_variance(per_model, sets)
    total, df = _combined(line, images, seeds, df_line, sets)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    rows: list[dict[str, object]] = []
    for index in range(len(sets)):
        of_set = [shift_rows[index] for shift_rows in per_shift]
        notes = dict.fromkeys(note for row in of_set for note in str(row["notes"]).split("; ") if note)
        means = {name: np.mean([row[name] for row in of_set]) for name in ("reference", "shifted", "predicted", "r2")}
        rows.append(
            of_set[0]
            | means
            | {
                "shift": AVERAGE,
                "effective_robustness": robustness[index],
                "low": robustness[index] - half[index],
                "high": robustness[index] + half[index],
                "sd_line": np.sqrt(line[index]),
                "sd_images": np.sqrt(images[index]),
                "sd_seeds": np.sqrt(seeds[index]),
                "df": df[index],
                "extrapolated": any(row["extrapolated"] for row in of_set),
                "notes": "; ".join(notes),
                "key": " ".join(str(row["key"]) for row in of_set),
            }
        )
    return rows


def _line_covariance(panels: Sequence[Panel], measured: Sequence[_Measured]) -> tuple[Floats, float]:
    """Return the variance of the mean of several lines, on the scale of accuracies: lines over the same models move together."""
    common = np.logical_and.reduce([one.base for one in panels])
    if common.sum() > 2:
        residuals = np.array([one.distance[common] for one in panels])
        spread = residuals @ residuals.T
        scales = np.sqrt(np.diag(spread))
        correlation = spread / np.where(np.outer(scales, scales) > 0, np.outer(scales, scales), 1.0)
    else:
        correlation = np.ones((len(panels), len(panels)))
    errors = np.array([found.jacobian * np.sqrt(found.line) for found in measured])
    return np.einsum("su,st,tu->u", errors, correlation, errors) / len(panels) ** 2, min(found.df_line for found in measured)
