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

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.baseline import BaselineFit, fit_baseline, runs_of, usable_rows
from shiftline.analysis.correctness import RESAMPLES, Correctness, resampled_accuracies
from shiftline.analysis.robustness import COLUMNS as PER_MODEL
from shiftline.analysis.robustness import image_variance
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_table, panel, shifts_of
from shiftline.errors import AnalysisError

COLUMNS = (*PER_MODEL, "replicates", "sd_line", "sd_images", "sd_seeds", "df", "notes")
UNITS = ("recipe", "group", "model")
MOST_RUNS_FOR_T = 4
"""With more distinct runs, and several points of one run, the line is bootstrapped by runs."""


@dataclass(frozen=True)
class Answers:
    """The answers behind a panel: on the reference (in the shift's label space) and on the shift."""

    reference: Correctness
    shifted: Correctness


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
      line is fitted anew) and both axes share; where a shift has no stored answers, that of the single values, as if replicates
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
        `COLUMNS`: one row per shift and unit, and with several shifts (parts of others aside) per unit for their average.
        Fractions; sd_* are standard deviations of effective robustness, df the degrees of freedom of the interval.

    Raises
    ------
    AnalysisError
        There is no shift, no such group, no line can be fitted, or answers are missing.
    """
    if by not in UNITS:
        raise AnalysisError(f"by={by!r} does not exist: choose one of {', '.join(UNITS)}.")
    table = check_table(table, "group")
    chosen = shifts_of(table, shifts, reference=reference)
    settings = {"reference": reference, "scale": scale, "extremes": extremes, "weights": weights}
    panels = [_Panel(table, shift, baseline, settings) for shift in chosen]
    units = _units(table, by)
    resampled = _resample(panels, answers, resamples, seed)
    parts = [_measure(one, units, resampled.get(one.fit.shift), level) for one in panels]
    per_shift = [_rows(one, units, part) for one, part in zip(panels, parts, strict=True)]
    rows = [row for shift_rows in per_shift for row in shift_rows]
    whole = [chosen.index(shift) for shift in averaged(table, chosen)]
    if len(whole) > 1:
        rows += _average_rows(
            [panels[i] for i in whole], [parts[i] for i in whole], [per_shift[i] for i in whole], units, level
        )
    result = pd.DataFrame(rows, columns=list(COLUMNS))
    result.attrs["notes"] = {one.fit.shift: one.fit.notes for one in panels if one.fit.notes}
    return result


def resampled_robustness(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    *,
    baseline: str,
    reference: str = REFERENCE,
    scale: str = "probit",
    extremes: str = "clip",
    weights: str = "none",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Return effective robustness of single models with its resamples, by shift that has answers."""
    table = check_table(table, "group")
    settings = {"reference": reference, "scale": scale, "extremes": extremes, "weights": weights}
    chosen = [shift for shift in shifts_of(table, None, reference=reference) if shift in answers]
    panels = [_Panel(table, shift, baseline, settings) for shift in chosen]
    drawn = _resample(panels, answers, resamples, seed)
    return {
        one.fit.shift: Resampled(
            tuple(one.joined.index),
            one.robustness,
            drawn[one.fit.shift],
            one.x,
            1 / one.g.slope(one.predicted),
            one.fit,
        )
        for one in panels
    }


@dataclass(frozen=True)
class Resampled:
    """Effective robustness of single models on one shift.

    Attributes
    ----------
    models : tuple of str
    robustness : array of shape (models,)
        NaN for a model without a value.
    drawn : array of shape (resamples, models)
        The same for every resample of the images.
    x : array of shape (models,)
        Reference accuracies on the transformed scale.
    jacobian : array of shape (models,)
        Of the predicted accuracy by the line on the transformed scale.
    fit : BaselineFit
    """

    models: tuple[str, ...]
    robustness: Floats
    drawn: Floats
    x: Floats
    jacobian: Floats
    fit: BaselineFit


class _Panel:
    """One shift: the joined accuracies on the transformed scale, and the line."""

    def __init__(self, table: pd.DataFrame, shift: str, baseline: str, settings: Mapping[str, str]) -> None:
        self.fit: BaselineFit = fit_baseline(table, shift=shift, baseline=baseline, **settings)
        self.g: Scale = scale_named(settings["scale"])
        self.joined = panel(table, shift, reference=settings["reference"])
        self.extremes, self.weights = settings["extremes"], settings["weights"]
        self.x, self.y = self.transformed(self.joined["reference"], self.joined["shifted"])
        self.base = usable_rows(self.x, self.y) & (self.joined["group"] == baseline).to_numpy()
        self.distance = self.y - self.fit.slope * self.x - self.fit.intercept
        self.predicted = self.fit.predict(self.g.inverse(self.x))
        self.robustness = self.joined["shifted"].to_numpy(float) - self.predicted

    def transformed(self, reference: object, shifted: object) -> tuple[Floats, Floats]:
        """Return accuracies (…, models) on the transformed scale."""
        x, _ = inside(reference, self.joined["n_reference"], self.g, extremes=self.extremes)  # type: ignore[arg-type]
        y, _ = inside(shifted, self.joined["n_shifted"], self.g, extremes=self.extremes)  # type: ignore[arg-type]
        return self.g.forward(x), self.g.forward(y)

    def single_variances(self) -> Floats:
        """Return the variance of each model's effective robustness from its images: both accuracies apart, the line as it is."""
        x, y = (self.g.inverse(values) for values in (self.x, self.y))
        slope = self.fit.slope / self.g.slope(self.predicted)
        x_variance = image_variance(x, self.joined["n_reference"], self.joined["se_reference"], self.g)
        y_variance = image_variance(y, self.joined["n_shifted"], self.joined["se_shifted"], scale_named("linear"))
        return slope**2 * x_variance + y_variance

    def refitted(self, reference: Floats, shifted: Floats) -> Floats:
        """Return effective robustness (resamples, models) about the lines of resampled accuracies."""
        x, y = self.transformed(reference, shifted)
        w = self.fit.weights_of(self.g.inverse(self.y[self.base]), self.joined["n_shifted"].to_numpy(float)[self.base])
        bx, by = x[:, self.base], y[:, self.base]
        mx, my = (bx @ w / w.sum())[:, None], (by @ w / w.sum())[:, None]
        spread = ((bx - mx) ** 2) @ w
        # A resample in which all baseline models have one reference accuracy has no line, and is left out.
        slope = (((bx - mx) * (by - my)) @ w / np.where(spread > 0, spread, np.nan))[:, None]
        line = slope * (x - mx) + my
        return shifted - self.g.inverse(line)


@dataclass(frozen=True)
class _Unit:
    """Some models that are averaged."""

    label: str
    group: str
    members: NDArray[np.int64]
    key: str
    recipes: int


def _units(table: pd.DataFrame, by: str) -> list[_Unit]:
    first = table.drop_duplicates("model").reset_index(drop=True)
    names_of = _recipes(first)
    if by == "recipe":
        names: Sequence[object] = names_of
    else:
        names = first["model" if by == "model" else "group"].tolist()
    found: dict[object, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return [
        _Unit(
            str(name) if by == "group" else str(first["model"][places[0]]), str(first["group"][places[0]]),
            np.array(places), " ".join(first["model"][places]), len({names_of[place] for place in places}),
        )
        for name, places in found.items()
    ]  # fmt: skip


def _recipes(models: pd.DataFrame) -> list[object]:
    """Return what two models share that differ in their seeds only.

    The column `unit` says it; in words a recipe tells less, and without a recipe nothing says that two models are replicates.
    """
    if "unit" in models.columns:
        columns = [models["group"], models["unit"]]
    else:
        recipe = models["recipe"] if "recipe" in models.columns else models["model"]
        columns = [models["group"], recipe.astype(str).str.replace(r",? ?\bseed=\d+", "", regex=True)]
        columns += [models[c] for c in ("alpha", "epoch", "step") if c in models.columns]
    return list(zip(*(column.astype(str) for column in columns), strict=True))


def _resample(panels: Sequence[_Panel], answers: Mapping[str, Answers], resamples: int, seed: int) -> dict[str, Floats]:
    """Return the effective robustness of every model (resamples, models) by shift: the same images for all shifts."""
    axes: dict[str, Correctness] = {}
    for one in panels:
        if (known := answers.get(one.fit.shift)) is not None:
            models = list(one.joined.index[usable_rows(one.x, one.y)])
            axes[f"{one.fit.shift}\0x"], axes[f"{one.fit.shift}\0y"] = (
                known.reference.of(models), known.shifted.of(models)
            )  # fmt: skip
    drawn = resampled_accuracies(axes, resamples=resamples, seed=seed)
    result = {}
    for one in panels:
        if f"{one.fit.shift}\0x" in drawn:
            usable = usable_rows(one.x, one.y)
            pair = []
            for end in "xy":
                whole = np.full((resamples, len(one.joined)), np.nan)
                whole[:, usable] = drawn[f"{one.fit.shift}\0{end}"]
                pair.append(whole)
            result[one.fit.shift] = one.refitted(*pair)
    return result


@dataclass(frozen=True)
class _Measured:
    """Per unit of one panel: effective robustness with its interval, variances on the transformed scale, and their scale.

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


def _measure(one: _Panel, units: Sequence[_Unit], resampled: Floats | None, level: float) -> _Measured:
    shifted = _means(one.joined["shifted"].to_numpy(float), units)
    robustness = _means(one.robustness, units)
    anchor = one.g.forward(shifted - robustness)
    jacobian = 1 / one.g.slope(one.g.inverse(anchor))
    line, df_line, clustered = _line_variance(one, _means(one.x, units))
    images = _image_part(one, units, resampled) / jacobian**2
    seeds = _seed_variance(one.robustness, units) / jacobian**2
    total, df = _combined(line, images, seeds, df_line, units)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    g = one.g
    # The ends are those of the prediction at the unit's own accuracy under shift: asymmetric, as the scale is.
    low, high = shifted - g.inverse(anchor + half), shifted - g.inverse(anchor - half)
    return _Measured(
        robustness, low, high, line, images, seeds, df, df_line, jacobian, resampled, clustered,
    )  # fmt: skip


def _image_part(one: _Panel, units: Sequence[_Unit], resampled: Floats | None) -> Floats:
    """Return the variance of each unit's effective robustness that its members share, from the images."""
    if resampled is None:
        return _means(one.single_variances(), units)
    return np.maximum(_variance(_means(resampled, units)) - _apart(resampled, units), 0.0)


def _means(values: Floats, units: Sequence[_Unit]) -> Floats:
    """Average the last axis over the members of each unit; NaN where one of them has no value."""
    return np.stack([values[..., unit.members].mean(axis=-1) for unit in units], axis=-1)


def _variance(resampled: Floats) -> Floats:
    """Return variances over the resamples that have a value, ddof=1; NaN with fewer than two."""
    known = np.isfinite(resampled)
    count = known.sum(axis=0)
    mean = np.where(known, resampled, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (resampled - mean) ** 2, 0.0).sum(axis=0)
    return np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)


def _apart(resampled: Floats, units: Sequence[_Unit]) -> Floats:
    """Return the part of a mean's variance over resampled images that its members do not share."""
    found = np.zeros(len(units))
    for place, unit in enumerate(units):
        members = resampled[:, unit.members]
        members = members[np.isfinite(members).all(axis=1)]
        if len(unit.members) > 1 and len(members) > 1:
            found[place] = (members - members.mean(axis=0)).var(axis=1, ddof=1).mean() / len(unit.members)
    return found


def _seed_variance(distance: Floats, units: Sequence[_Unit]) -> Floats:
    """Return the variance of a mean over replicates; NaN for one of them."""
    return np.array(
        [distance[unit.members].var(ddof=1) / len(unit.members) if len(unit.members) > 1 else np.nan for unit in units]
    )


def _combined(
    line: Floats, images: Floats, seeds: Floats, df_line: float, units: Sequence[_Unit]
) -> tuple[Floats, Floats]:
    """Add variances; degrees of freedom by Welch and Satterthwaite (resampled images have as good as infinitely many)."""
    known = np.nan_to_num(seeds)
    total = line + images + known
    counts = np.array([len(unit.members) for unit in units])
    with np.errstate(divide="ignore", invalid="ignore"):
        df = total**2 / (line**2 / df_line + known**2 / np.maximum(counts - 1, 1))
    return total, np.where(np.isfinite(df), df, 1e9)


def _line_variance(one: _Panel, x: Floats) -> tuple[Floats, float, bool]:
    """Return the variance of the line at places on the transformed axis, its degrees of freedom, and whether it is by runs."""
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
        drawn = np.concatenate([members[place] for place in generator.integers(0, len(members), len(members))])
        if np.ptp(bx[drawn]) > 0:
            slope, intercept = np.polyfit(bx[drawn], by[drawn], 1, w=np.sqrt(weights[drawn]))
            lines.append(slope * x + intercept)
    return np.var(lines, axis=0, ddof=1), float(len(distinct) - 2), False


def _rows(one: _Panel, units: Sequence[_Unit], part: _Measured) -> list[dict[str, object]]:
    shifted, reference = (_means(one.joined[c].to_numpy(float), units) for c in ("shifted", "reference"))
    outside = one.fit.extrapolates(one.g.inverse(one.x))
    keys = one.joined["key"].astype(str).to_numpy() if "key" in one.joined.columns else None
    rows = []
    for place, unit in enumerate(units):
        rows.append(
            {
                "shift": one.fit.shift, "model": unit.label, "group": unit.group, "replicates": len(unit.members),
                "reference": reference[place], "shifted": shifted[place], "predicted": shifted[place] - part.robustness[place],
                "effective_robustness": part.robustness[place], "low": part.low[place], "high": part.high[place],
                "sd_line": part.jacobian[place] * np.sqrt(part.line[place]),
                "sd_images": part.jacobian[place] * np.sqrt(part.images[place]),
                "sd_seeds": part.jacobian[place] * np.sqrt(part.seeds[place]), "df": part.df[place], "scale": one.fit.scale,
                "r2": one.fit.r2, "n_baseline": one.fit.n, "extrapolated": bool(outside[unit.members].any()),
                "notes": "; ".join(_notes(one, unit, part)),
                "key": " ".join(keys[unit.members]) if keys is not None else unit.key,
            }
        )  # fmt: skip
    return rows


def _notes(one: _Panel, unit: _Unit, part: _Measured) -> list[str]:
    notes = list(one.fit.warnings)
    if unit.recipes > 1:
        notes.append(f"{unit.recipes} different recipes: their spread, not that of seeds")
    if len(unit.members) == 1:
        notes.append("one replicate: conditional on its seed")
    if part.clustered:
        notes.append("several points of few runs: conditional on these runs")
    if part.resampled is None:
        notes.append("no stored answers: images as if replicates erred together")
    return notes


def _average_rows(
    panels: Sequence[_Panel],
    parts: Sequence[_Measured],
    per_shift: Sequence[Sequence[dict[str, object]]],
    units: Sequence[_Unit],
    level: float,
) -> list[dict[str, object]]:
    robustness = np.mean([part.robustness for part in parts], axis=0)
    per_model = np.mean([one.robustness for one in panels], axis=0)
    line, df_line = _line_covariance(panels, parts)
    known = [part.resampled for part in parts if part.resampled is not None]
    if len(known) == len(parts):
        resampled = np.mean(known, axis=0)
        images = np.maximum(_variance(_means(resampled, units)) - _apart(resampled, units), 0.0)
    else:
        # Without all answers nothing is known of how shifts vary together: as if they did entirely.
        images = np.mean([np.sqrt(part.images) * part.jacobian for part in parts], axis=0) ** 2
    seeds = _seed_variance(per_model, units)
    total, df = _combined(line, images, seeds, df_line, units)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    rows: list[dict[str, object]] = []
    for place in range(len(units)):
        of_unit = [shift_rows[place] for shift_rows in per_shift]
        notes = dict.fromkeys(note for row in of_unit for note in str(row["notes"]).split("; ") if note)
        means = {name: np.mean([row[name] for row in of_unit]) for name in ("reference", "shifted", "predicted", "r2")}  # type: ignore[misc]
        rows.append(
            of_unit[0] | means | {
                "shift": AVERAGE, "effective_robustness": robustness[place], "low": robustness[place] - half[place],
                "high": robustness[place] + half[place], "sd_line": np.sqrt(line[place]), "sd_images": np.sqrt(images[place]),
                "sd_seeds": np.sqrt(seeds[place]), "df": df[place], "extrapolated": any(row["extrapolated"] for row in of_unit),
                "notes": "; ".join(notes), "key": " ".join(str(row["key"]) for row in of_unit),
            }
        )  # fmt: skip
    return rows


def _line_covariance(panels: Sequence[_Panel], parts: Sequence[_Measured]) -> tuple[Floats, float]:
    """Return the variance of the mean of several lines, on the scale of accuracies: lines over the same models move together."""
    common = np.logical_and.reduce([one.base for one in panels])
    if common.sum() > 2:
        residuals = np.array([one.distance[common] for one in panels])
        spread = residuals @ residuals.T
        scales = np.sqrt(np.diag(spread))
        correlation = spread / np.where(np.outer(scales, scales) > 0, np.outer(scales, scales), 1.0)
    else:
        correlation = np.ones((len(panels), len(panels)))
    errors = np.array([part.jacobian * np.sqrt(part.line) for part in parts])
    return np.einsum("su,st,tu->u", errors, correlation, errors) / len(panels) ** 2, min(part.df_line for part in parts)
