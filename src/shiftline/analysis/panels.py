"""Panels: every shift against the reference with its line, and what resampled images do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.baseline import BaselineFit, Placed, fit_points, image_noise, line_weights, place
from shiftline.analysis.correctness import RESAMPLES, Correctness, resampled_accuracies
from shiftline.analysis.line import Noise
from shiftline.analysis.settings import LineSettings
from shiftline.analysis.tables import REFERENCE, Points, check_table, panel, reference_once, shifts_of
from shiftline.errors import AnalysisError


@dataclass(frozen=True)
class Answers:
    """The answers behind a panel: on the reference (in the shift's label space) and on the shift.

    Attributes
    ----------
    more : tuple of Correctness
        On further references, in their order.
    """

    reference: Correctness
    shifted: Correctness
    more: tuple[Correctness, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """Accuracies of all models in every resample of the images; NaN for models without answers.

    Attributes
    ----------
    x : array of shape (resamples, models, references)
    y : array of shape (resamples, models)
    """

    x: Floats
    y: Floats


class Axis:
    """The models' accuracies on one distribution.

    Attributes
    ----------
    points : Points
    published : array of bool, shape (models,)
        Models that stand in a table of published accuracies, and have no answers.
    drawn_y : array of shape (resamples, models), or None
        Accuracies in every resample of the images.
    """

    def __init__(self, points: Points, drawn: Drawn | None) -> None:
        self.points = points
        self.published = _published(points)
        self.drawn_y: Floats | None = None if drawn is None else drawn.y


class Panel(Axis):
    """One shift: the models' accuracies, the line, and its predictions.

    Attributes
    ----------
    placed : Placed
    fit : BaselineFit
    design : array of shape (models, references + 1)
        A constant and the reference accuracies, transformed.
    z : array of shape (models,)
        The line at each model, transformed scale.
    predicted, robustness : arrays of shape (models,)
        Fractions.
    drawn_z : array of shape (resamples, models), or None
        The line that is fitted again in every resample of the images, transformed scale.
    """

    def __init__(self, points: Points, settings: LineSettings, drawn: Drawn | None) -> None:
        super().__init__(points, drawn)
        self.placed: Placed = place(points, settings)
        self.g: Scale = scale_named(settings.scale)
        weights = None if drawn is None else line_weights(points, self.placed, settings)
        moved = None if drawn is None else self._transformed(drawn)
        # Published models are on no resampled image: their noise follows from numbers of examples.
        known = moved is not None and not self.published[self.placed.base].any()
        noise = self._noise(*moved, weights) if known and moved is not None and weights is not None else None
        self.fit: BaselineFit = fit_points(points, settings, noise)
        self.design = np.column_stack([np.ones(len(self.placed.x)), self.placed.x])
        self.z: Floats = self.fit.estimate.at(self.placed.x)
        self.predicted: Floats = self.g.inverse(self.z)
        self.robustness: Floats = points.y.value - self.predicted
        self.drawn_z: Floats | None = None
        if moved is not None and weights is not None:
            taken = None
            if settings.errors == "in-x":
                # Resampled accuracies have the noise of the images twice; published ones are not resampled.
                taken = Noise(2 * noise.xx, 2 * noise.xy) if noise else image_noise(points, self.placed, settings, weights)
            self.drawn_z = self._refitted(*moved, weights, taken)

    def extrapolates(self, members: NDArray[np.int64]) -> bool:
        """Return whether the line is a guess at the reference accuracy of one of some models."""
        x = self.points.x.value[members]
        return bool(self.fit.extrapolates(x[:, 0] if x.shape[1] == 1 else x).any())

    def _transformed(self, drawn: Drawn) -> tuple[Floats, Floats]:
        """Put resampled accuracies on the axes; those at their ends are clipped, lest extreme resamples be left out."""
        x, _ = inside(drawn.x, self.points.x.n, self.g, extremes="clip")
        y, _ = inside(drawn.y, self.points.y.n, self.g, extremes="clip")
        return self.g.forward(x), self.g.forward(y)

    def _moments(self, x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return means (..., k) and (...,), and sums of products about them (..., k, k) and (..., k), of the baseline models."""
        bx, by = x[..., self.placed.base, :], y[..., self.placed.base]
        share = weights / weights.sum()
        mx, my = np.einsum("...nk,n->...k", bx, share), by @ share
        cx, cy = bx - mx[..., None, :], by - my[..., None]
        weighted = cx * weights[:, None]
        return mx, my, np.einsum("...nk,...nl->...kl", weighted, cx), np.einsum("...nk,...n->...k", weighted, cy)

    def _noise(self, x: Floats, y: Floats, weights: Floats) -> Noise:
        """Return what the images add to the moments: as much as resampling them adds once more."""
        _, _, xx, xy = self._moments(x, y, weights)
        _, _, xx0, xy0 = self._moments(self.placed.x, self.placed.y, weights)
        return Noise(xx.mean(axis=0) - xx0, xy.mean(axis=0) - xy0)

    def _refitted(self, x: Floats, y: Floats, weights: Floats, taken: Noise | None) -> Floats:
        """Return the lines of resampled accuracies at every model, shape (resamples, models)."""
        mx, my, xx, xy = self._moments(x, y, weights)
        if taken is not None:
            xx, xy = xx - taken.xx, xy - taken.xy
        # A resample in which all baseline models have one reference accuracy has no line, and is left out.
        known = np.linalg.det(xx) > 0
        slopes = np.full_like(xy, np.nan)
        slopes[known] = np.linalg.solve(xx[known], xy[known][..., None])[..., 0]
        line: Floats = my[:, None] + np.einsum("rmk,rk->rm", x - mx[:, None, :], slopes)
        return line


def panels_of(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    settings: LineSettings,
    *,
    shifts: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Panel]:
    """Return a panel per shift, all of the table's unless some are named; the same images are drawn for all of them.

    Parameters
    ----------
    answers : mapping of str to Answers
        By shift, as far as there are any.
    resamples : int
        Of the images, 2 or more.

    Raises
    ------
    AnalysisError
        There is no shift, no line can be fitted, or stored answers are not those of the table's values.
    """
    chosen = shifts_of(table, shifts, references=settings.references)
    panels, _ = axes_of(table, answers, settings, lined=chosen, resamples=resamples, seed=seed)
    return list(panels.values())


def axes_of(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    settings: LineSettings | None,
    *,
    lined: Sequence[str] = (),
    plain: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Panel], dict[str, Axis]]:
    """Return distributions with their lines, and others without, by name; the same images are drawn for all of them.

    Parameters
    ----------
    settings : LineSettings or None
        May be None where no line is asked for.
    lined, plain : sequence of str
        Shifts; without a line also the reference, in its own classes.
    """
    if resamples < 2:
        raise AnalysisError(f"resamples={resamples}: expected 2 or more, some hundred for an interval.")
    table = check_table(table, "group")
    references = (REFERENCE,) if settings is None else settings.references
    points = [panel(table, name, references=references) for name in lined]
    # An axis without a line is its own reference, so that a model needs no other value.
    own = [panel(reference_once(table, reference=name), name, references=[name]) for name in plain]
    shown = [(one, answers.get(one.shift), references) for one in points]
    for one in own:
        found = answers.get(one.shift)
        shown.append((one, None if found is None else Answers(found.shifted, found.shifted), (one.shift,)))
    drawn = _drawn(shown, resamples, seed)
    panels = {} if settings is None else {one.shift: Panel(one, settings, d) for one, d in zip(points, drawn, strict=False)}
    return panels, {one.shift: Axis(one, d) for one, d in zip(own, drawn[len(points) :], strict=True)}


def _drawn(shown: Sequence[tuple[Points, Answers | None, Sequence[str]]], resamples: int, seed: int) -> list[Drawn | None]:
    """Draw images once for all panels: points, answers, and names of references of each; None for those without answers."""
    axes: dict[tuple[int, int], Correctness] = {}
    used: dict[int, NDArray[np.bool_]] = {}
    for row, (one, found, references) in enumerate(shown):
        if found is None:
            continue
        there = np.isfinite(one.x.value).all(axis=1) & np.isfinite(one.y.value)
        used[row] = there & ~_published(one)
        models = list(one.models.index[used[row]])
        ends = [found.reference, *found.more][: len(references)]
        if len(ends) < len(references):
            raise AnalysisError(f"{one.shift!r} has answers on {len(ends)} of {len(references)} references.")
        for number, end in enumerate(ends):
            axes[row, number] = _checked(end.of(models), one.x.value[used[row], number], references[number])
        axes[row, -1] = _checked(found.shifted.of(models), one.y.value[used[row]], one.shift)
    accuracies = resampled_accuracies(axes, resamples=resamples, seed=seed)
    result: list[Drawn | None] = []
    for row, (one, _, references) in enumerate(shown):
        if row not in used:
            result.append(None)
            continue
        constant = _published(one)
        x = np.full((resamples, len(constant), len(references)), np.nan)
        y = np.full((resamples, len(constant)), np.nan)
        x[:, constant], y[:, constant] = one.x.value[constant], one.y.value[constant]
        for number in range(len(references)):
            x[:, used[row], number] = accuracies[row, number]
        y[:, used[row]] = accuracies[row, -1]
        result.append(Drawn(x, y))
    return result


def _published(points: Points) -> NDArray[np.bool_]:
    """Return which models stand in a table of published accuracies, and have no answers: the column `published` says it."""
    if "published" not in points.models.columns:
        return np.zeros(len(points.models), bool)
    return np.asarray(points.models["published"], dtype=bool)


def _checked(correct: Correctness, values: Floats, distribution: str) -> Correctness:
    apart = np.abs(correct.accuracies - values) > 1e-6
    if apart.any():
        row = int(np.flatnonzero(apart)[0])
        raise AnalysisError(
            f"{correct.models[row]!r} has the value {values[row]:.4f} on {distribution!r}, and stored answers of which "
            f"{correct.accuracies[row]:.4f} are correct: give the answers that belong to the table."
        )
    return correct
