"""A panel: one shift against the reference, its line, and what resampled images do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.baseline import BaselineFit, fit_baseline, usable_rows
from shiftline.analysis.correctness import RESAMPLES, Correctness, resampled_accuracies
from shiftline.analysis.robustness import image_variance
from shiftline.analysis.tables import REFERENCE, check_table, panel, shifts_of


@dataclass(frozen=True)
class Answers:
    """The answers behind a panel: on the reference (in the shift's label space) and on the shift."""

    reference: Correctness
    shifted: Correctness


class Panel:
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
    panels = [Panel(table, shift, baseline, settings) for shift in chosen]
    drawn = resample(panels, answers, resamples, seed)
    return {
        one.fit.shift: Resampled(
            tuple(one.joined.index), one.robustness, drawn[one.fit.shift], one.x, 1 / one.g.slope(one.predicted), one.fit
        )
        for one in panels
    }


def resample(panels: Sequence[Panel], answers: Mapping[str, Answers], resamples: int, seed: int) -> dict[str, Floats]:
    """Return the effective robustness of every model (resamples, models) by shift: the same images for all shifts."""
    axes: dict[str, Correctness] = {}
    for one in panels:
        if (known := answers.get(one.fit.shift)) is not None:
            models = list(one.joined.index[usable_rows(one.x, one.y)])
            axes[f"{one.fit.shift}\0x"], axes[f"{one.fit.shift}\0y"] = (known.reference.of(models), known.shifted.of(models))
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
