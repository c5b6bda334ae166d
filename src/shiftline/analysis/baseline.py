"""The baseline fit: accuracy under shift as a function of reference accuracy, over the models that fix the line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from shiftline.analysis.axes import Floats, Scale, inside, scale_named
from shiftline.analysis.line import Line, Noise
from shiftline.analysis.line_notes import FEWEST_CLUSTERS, UNEVEN_P, line_notes, uneven_p
from shiftline.analysis.notes import Note
from shiftline.analysis.settings import AUTO, CLUSTERS, EACH, LineOptions, LineSettings
from shiftline.analysis.tables import REFERENCE, Points, check_table, panel, shifts_of
from shiftline.errors import AnalysisError

FEWEST_MODELS = 3


class Band(NamedTuple):
    """Predicted accuracy under shift with the ends of an interval, fractions."""

    predicted: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class BaselineFit:
    """A least-squares line on transformed axes (Taori et al. 2020; Miller et al. 2021).

    ``g(shifted) = slope * g(reference) + intercept``; with several references (Shi et al. 2023) a slope for each.

    Attributes
    ----------
    settings : LineSettings
    shift : str
    estimate : Line
        On the transformed scale.
    r2 : float
        On the transformed scale.
    x_low, x_high : arrays of shape (references,)
        Smallest and largest reference accuracy of a baseline model: outside, the line is a guess.
    reliability : float
        Share of the variance of the baseline models' transformed reference accuracies that is not noise of the images; NaN where
        the numbers of images are unknown.
    clusters : int
        Runs or families that the baseline models come from; as many as models where they are independent.
    clipped, excluded, missing : int
        Baseline models whose accuracy of 0 or 1 was clipped, or that are not in the fit because of it; that lack an accuracy.
    notes : tuple of Note
        What limits the line.
    """

    settings: LineSettings
    shift: str
    estimate: Line
    r2: float
    x_low: Floats
    x_high: Floats
    reliability: float
    clusters: int
    clipped: int
    excluded: int
    missing: int
    notes: tuple[Note, ...]

    @property
    def scale(self) -> str:
        return self.settings.scale

    @property
    def n(self) -> int:
        """Baseline models in the fit."""
        return int(self.estimate.n)

    @property
    def slopes(self) -> Floats:
        """One per reference, transformed scale."""
        return self.estimate.coefficients[1:]

    @property
    def slope(self) -> float:
        """The slope of the first reference."""
        return float(self.slopes[0])

    @property
    def intercept(self) -> float:
        return float(self.estimate.coefficients[0])

    @property
    def residual_std(self) -> float:
        """``sqrt(SSE / (n - 2))``, transformed scale; with several references n minus their number minus 1."""
        return float(np.sqrt(self.estimate.sse / self.estimate.df))

    @property
    def codes(self) -> list[str]:
        """The codes of its notes."""
        return [note.code for note in self.notes]

    @property
    def g(self) -> Scale:
        """The transformation of both axes."""
        return scale_named(self.scale)

    def predict(self, reference: ArrayLike) -> Floats:
        """Return the accuracy under shift that reference accuracy alone predicts: ``g^-1(slope * g(x) + intercept)``.

        Parameters
        ----------
        reference : array
            Fractions; with several references the last axis goes over them.
        """
        return self.g.inverse(self.line(reference))

    def line(self, reference: ArrayLike) -> Floats:
        """Return the prediction on the transformed scale."""
        return self.estimate.at(self._columns(reference))

    def confidence(self, reference: ArrayLike, *, level: float = 0.95) -> Band:
        """Return the interval of the line, ends mapped back through g^-1.

        ``t_{n-2} s sqrt(1/n + (x0 - xbar)^2/Sxx)``; by clusters where these are few or errors are in x: see `Line`.
        """
        return self._band(reference, level, 0.0)

    def prediction(self, reference: ArrayLike, *, level: float = 0.95) -> Band:
        """Return the interval for one more baseline model: ``+1`` under the root."""
        return self._band(reference, level, self.residual_std**2)

    def _band(self, reference: ArrayLike, level: float, more: float) -> Band:
        x = self._columns(reference)
        directions = np.concatenate([np.ones((*x.shape[:-1], 1)), x], axis=-1)
        variance = np.einsum("...a,ab,...b->...", directions, self.estimate.covariance(), directions) + more
        df = self.estimate.degrees_of_freedom(directions.reshape(-1, directions.shape[-1])).reshape(variance.shape)
        half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)
        middle = self.estimate.at(x)
        return Band(self.g.inverse(middle), self.g.inverse(middle - half), self.g.inverse(middle + half))

    def extrapolates(self, reference: ArrayLike) -> NDArray[np.bool_]:
        """Return where a reference accuracy lies outside those of the baseline models."""
        x = np.asarray(reference, dtype=float)
        x = x[..., None] if len(self.slopes) == 1 else x
        # The ends went through g and back: a baseline model does not lie outside of itself.
        slack = 1e-9
        return np.asarray(((x < self.x_low - slack) | (x > self.x_high + slack)).any(axis=-1))

    def _columns(self, reference: ArrayLike) -> Floats:
        x = self.g.forward(np.asarray(reference, dtype=float))
        return x[..., None] if len(self.slopes) == 1 else x


def fit_baseline(
    table: pd.DataFrame, *, shift: str, baseline: str, reference: str | Sequence[str] = REFERENCE, **line: Unpack[LineOptions]
) -> BaselineFit:
    """Fit the line over the models of the baseline group.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    shift : str
        A value of the column `distribution`.
    baseline : str
        The value of the column `group` that marks the baseline models.
    reference : str or sequence of str
        Values of the column `distribution`; several of them share the prediction (multi-ID effective robustness, Shi et al. 2023).
    line : LineOptions
        scale, extremes, weights, errors, cluster.

    Raises
    ------
    AnalysisError
        The group does not exist or has fewer than three usable models, all have one reference accuracy, or what weights,
        corrections or clusters need is not in the table.
    """
    settings = LineSettings.of(baseline, reference, **line)
    table = check_table(table, "group")
    (shift,) = shifts_of(table, [shift], references=settings.references)
    return fit_points(panel(table, shift, references=settings.references), settings)


@dataclass(frozen=True)
class Placed:
    """The points of a panel on the transformed scale, and which of them fix the line.

    Attributes
    ----------
    x : array of shape (models, references)
    y : array of shape (models,)
        NaN where an accuracy is missing, or at the end of the axis and excluded.
    base : array of bool, shape (models,)
        Baseline models with both.
    clipped, excluded, missing : int
        Of the baseline models.
    """

    x: Floats
    y: Floats
    base: NDArray[np.bool_]
    clipped: int
    excluded: int
    missing: int


def place(points: Points, settings: LineSettings) -> Placed:
    """Put accuracies on the transformed axes.

    Raises
    ------
    AnalysisError
        There is no such group.
    """
    g = scale_named(settings.scale)
    groups = points.models["group"]
    if settings.baseline not in set(groups):
        raise AnalysisError(
            f"there is no baseline group {settings.baseline!r}: the groups are {', '.join(map(repr, dict.fromkeys(groups)))}."
        )
    x, extreme_x = inside(points.x.value, points.x.n, g, extremes=settings.extremes)
    y, extreme_y = inside(points.y.value, points.y.n, g, extremes=settings.extremes)
    of_group = (groups == settings.baseline).to_numpy()
    there = np.isfinite(points.x.value).all(axis=1) & np.isfinite(points.y.value)
    usable = np.isfinite(x).all(axis=1) & np.isfinite(y)
    extreme = extreme_x.any(axis=1) | extreme_y
    return Placed(
        g.forward(x),
        g.forward(y),
        usable & of_group,
        clipped=int((usable & extreme & of_group).sum()),
        excluded=int((there & ~usable & of_group).sum()),
        missing=int((~there & of_group).sum()),
    )


def fit_points(points: Points, settings: LineSettings, noise: Noise | None = None) -> BaselineFit:
    """Fit the line of a panel.

    Parameters
    ----------
    noise : Noise, optional
        What the images add to the moments, where stored answers say it; otherwise it follows from the numbers of examples.
    """
    placed = place(points, settings)
    shift, base = points.shift, placed.base
    n, g, k = int(base.sum()), scale_named(settings.scale), len(settings.references)
    declared = int((points.models["group"] == settings.baseline).sum())
    if n < FEWEST_MODELS + k - 1:
        raise AnalysisError(
            f"the baseline group {settings.baseline!r} has {n} usable models on {shift!r} (of {declared} declared"
            + (f", {placed.excluded} have an accuracy of 0 or 1, extremes='clip' keeps them" if placed.excluded else "")
            + f"): a line needs at least {FEWEST_MODELS + k - 1}. Add models to the group: other architectures, training-set sizes "
            "or epochs."
        )
    gx, gy = placed.x[base], placed.y[base]
    for column, name in enumerate(settings.references):
        if np.ptp(gx[:, column]) == 0:
            raise AnalysisError(
                f"all {n} baseline models have the accuracy {g.inverse(gx[0, column]):.4f} on {name!r}: no line can be fitted. Add "
                "models of other accuracies."
            )
    weights = line_weights(points, placed, settings)
    noise = noise or image_noise(points, placed, settings, weights)
    if settings.errors == "in-x" and noise is None:
        raise AnalysisError(
            "errors='in-x' takes the noise of the images off the reference accuracies: give the table their numbers, a column n."
        )
    clusters, name = _clusters(points.models, base, settings.cluster)
    rows = np.flatnonzero(base)
    try:
        line = Line(gx, gy, weights, clusters, noise if settings.errors == "in-x" else None, points=rows)
        uneven = uneven_p(line) if line.is_classical else 1.0
        if uneven < UNEVEN_P and settings.cluster == AUTO:
            line = Line(gx, gy, weights, rows, points=rows)
    except AnalysisError:
        why = "repeat each other" if k > 1 else "differ by no more than their images do"
        raise AnalysisError(
            f"the reference accuracies of the {n} baseline models {why}: no line can be fitted on {shift!r}. Add models of other "
            "accuracies."
        ) from None
    r2 = 1 - line.sse / line.total if line.total > 0 else 0.0
    reliability = float("nan") if noise is None else _reliability(gx, weights, noise)
    counts = {"clipped": placed.clipped, "excluded": placed.excluded, "missing": placed.missing}
    return BaselineFit(
        settings,
        shift,
        line,
        r2=r2,
        x_low=g.inverse(gx.min(axis=0)),
        x_high=g.inverse(gx.max(axis=0)),
        reliability=reliability,
        clusters=n if clusters is None else len(np.unique(clusters)),
        **counts,
        notes=line_notes(
            line,
            r2=r2,
            reliability=reliability,
            corrected=settings.errors == "in-x",
            families=_families(points.models[base], name),
            counts=counts,
            metrics=points.metrics,
            uneven=uneven,
        ),
    )


def line_weights(points: Points, placed: Placed, settings: LineSettings) -> Floats:
    """Return the weights of the baseline models in the fit, with mean 1.

    Raises
    ------
    AnalysisError
        They are binomial, and a value is no proportion of a known number of examples.
    """
    base = placed.base
    if settings.weights == "none":
        return np.ones(int(base.sum()))
    g = scale_named(settings.scale)
    n, y = points.y.n[base], g.inverse(placed.y[base])
    if not (np.isfinite(n) & points.y.proportion[base]).all() or np.isfinite(points.y.se[base]).any():
        raise AnalysisError(
            f"binomial weights need proportions of known numbers of examples on {points.shift!r}: give the table a column n, or "
            "leave the weights at none for metrics that are no share of correct answers."
        )
    raw = n / np.maximum(y * (1 - y), 1 / (4 * n)) / g.slope(y) ** 2
    scaled: Floats = raw / raw.mean()
    return scaled


def image_noise(points: Points, placed: Placed, settings: LineSettings, weights: Floats) -> Noise | None:
    """Return what independent images add to the moments of the baseline models; None where a number of images is unknown."""
    g, base = scale_named(settings.scale), placed.base
    x = g.inverse(placed.x[base])
    rows = points.x
    variance = type(rows)(*(getattr(rows, name)[base] for name in ("value", "n", "se", "proportion"))).variance(x) * g.slope(x) ** 2
    if not np.isfinite(variance).all():
        return None
    return Noise(np.diag(weights @ variance), np.zeros(x.shape[1]))


def _reliability(gx: Floats, weights: Floats, noise: Noise) -> float:
    spread = weights @ (gx - np.average(gx, axis=0, weights=weights)) ** 2
    return float((1 - np.diag(noise.xx) / spread).min())


def _clusters(models: pd.DataFrame, base: NDArray[np.bool_], cluster: str | None) -> tuple[NDArray[np.int64] | None, str]:
    """Return the cluster of each baseline model (None where they are independent), and the column that says it."""
    if cluster is None:
        return None, ""
    if cluster == EACH:
        return np.flatnonzero(base), ""
    if cluster != AUTO and cluster not in models.columns:
        raise AnalysisError(f"there is no column {cluster!r} to take clusters from: the table has {', '.join(models.columns)}.")
    for name in reversed(CLUSTERS) if cluster == AUTO else [cluster]:
        if name not in models.columns:
            continue
        # Labels over all models of the table: those of two panels are compared.
        labels = pd.factorize(models[name].astype(str))[0][base]
        count = len(np.unique(labels))
        if cluster != AUTO and count < 2:
            raise AnalysisError(f"all baseline models have one {cluster!r}: clusters need two values or more.")
        if cluster != AUTO or FEWEST_CLUSTERS <= count < len(labels):
            return labels, name
    return None, ""


def _families(models: pd.DataFrame, cluster: str) -> dict[str, int]:
    """Return how many families the baseline models come from: by the column of the clusters, or by those that could be it."""
    columns = (cluster,) if cluster else CLUSTERS
    return {name: int(models[name].astype(str).nunique()) for name in columns if name in models.columns}
