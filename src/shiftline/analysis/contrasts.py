"""Intervals of sums of accuracies and of what the lines predict, which joins the lines, the test images and the seeds.

Effective robustness, its average over shifts, and differences of two models are such sums. What is uncertain lives on two scales:
the lines' errors on the transformed one, at the predictions; those of images and seeds on that of accuracies, at the models' own.
Each is measured where it lives, as the distances from the estimate to two ends, and the distances are combined (MOVER: Zou & Donner
2008, Newcombe 1998): pushing all of it through the line's scale fails where predicted and measured accuracy are far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from shiftline.analysis.axes import Floats
from shiftline.analysis.panels import Axis, Panel
from shiftline.analysis.tables import check_level


class Halves(NamedTuple):
    """Distances from an estimate to the ends of its interval, fractions."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A value with its 95 % interval (or that of another level), and what the interval is made of.

    Attributes
    ----------
    value, low, high : float
        Fractions.
    line, images, seeds : Halves
        What each alone would give; seeds are NaN where no mean over replicates is taken.
    """

    value: float
    low: float
    high: float
    line: Halves
    images: Halves
    seeds: Halves


@dataclass(frozen=True)
class Term:
    """``accuracy * mean accuracy + prediction * mean predicted accuracy`` of some models on one distribution.

    Attributes
    ----------
    axis : Axis
        A `Panel`, unless the prediction's coefficient is 0.
    members : int array
        Rows of the panel; several are replicates, over which means are taken.
    accuracy, prediction : float
        Coefficients: 1 and -1 for effective robustness.
    """

    axis: Axis
    members: NDArray[np.int64]
    accuracy: float = 1.0
    prediction: float = -1.0

    @property
    def panel(self) -> Panel:
        """The axis with its line."""
        return cast("Panel", self.axis)

    @property
    def values(self) -> Floats:
        """One per member, fractions."""
        found = self.accuracy * self.axis.points.y.value[self.members]
        return found + self.prediction * self.panel.predicted[self.members] if self.prediction else found


class Contrast:
    """A sum of terms."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = list(terms)
        self.value = float(sum(t.values.mean() for t in terms))

    def at(self, level: float = 0.95) -> Estimate:
        """Return the estimate with an interval of some level."""
        missing = Halves(np.nan, np.nan)
        if not np.isfinite(self.value):
            return Estimate(np.nan, np.nan, np.nan, missing, missing, missing)
        tail = (1 + check_level(level)) / 2
        line, images, seeds = self._line(tail), self._images(tail), self._seeds(tail)
        low, high = np.linalg.norm([line, images, seeds or (0.0, 0.0)], axis=0)
        return Estimate(self.value, self.value - float(low), self.value + float(high), line, images, seeds or missing)

    def p_value(self, margin: float = 0.0) -> float:
        """Return the two-sided p-value of the hypothesis that the sum is `margin`: 1 minus the level whose interval ends there."""
        distance = self.value - margin
        if not np.isfinite(distance):
            return float("nan")

        def beyond(log_p: float) -> float:
            found = self.at(1 - np.exp(log_p))
            return (found.value - found.low if distance > 0 else found.high - found.value) - abs(distance)

        low, high = np.log(1e-12), np.log(1 - 1e-9)
        if beyond(high) >= 0:
            return 1.0
        if beyond(low) <= 0:
            return 0.0
        return float(np.exp(optimize.brentq(beyond, low, high, xtol=1e-6)))

    # ---- the lines ---------------------------------------------------------------------------------------------------

    @cached_property
    def _worst(self) -> tuple[list[Term], Floats, Floats, float]:
        """Return the terms with a line, where they lie on it, how far one standard error moves each, and degrees of freedom.

        The direction is that in which the sum changes most: lines of several shifts, and of two models, move together.
        """
        terms = [t for t in self.terms if t.prediction]
        anchors = np.array([float(t.panel.g.forward(np.array(_mean(t.panel.predicted, t)))) for t in terms])
        slopes = np.array(
            [t.prediction / float(t.panel.g.slope(t.panel.g.inverse(np.array(z)))) for t, z in zip(terms, anchors, strict=True)]
        )
        rows = [t.panel.design[t.members].mean(axis=0) for t in terms]
        lines = [t.panel.fit.estimate for t in terms]
        along: dict[int, Floats] = {}
        for t, slope, row in zip(terms, slopes, rows, strict=True):
            along[id(t.panel)] = along.get(id(t.panel), 0.0) + slope * row
        # Summed by panel first: two models at one place cancel to exactly nothing here, and only up to rounding afterwards.
        moved = {id(t.panel): (t.panel.fit.estimate, along[id(t.panel)]) for t in terms if along[id(t.panel)].any()}
        variance = sum(float(a @ one.covariance(other) @ b) for one, a in moved.values() for other, b in moved.values())
        if variance <= 0:
            return terms, anchors, np.zeros(len(terms)), np.inf
        steps = np.array(
            [sum(float(a @ one.covariance(other) @ b) for other, b in moved.values()) for a, one in zip(rows, lines, strict=True)]
        )
        df = min(float(estimate.degrees_of_freedom(way[None])[0]) for estimate, way in moved.values())
        return terms, anchors, steps / np.sqrt(variance), df

    def _line(self, tail: float) -> Halves:
        terms, anchors, steps, df = self._worst
        if not steps.any():
            return Halves(0.0, 0.0)
        far = special.stdtrit(df, tail) * steps
        ends = [
            sum(
                t.prediction * float(t.panel.g.inverse(np.array(z + sign * step)) - t.panel.g.inverse(np.array(z)))
                for t, z, step in zip(terms, anchors, far, strict=True)
            )
            for sign in (-1, 1)
        ]
        return Halves(max(-ends[0], 0.0), max(ends[1], 0.0))

    # ---- the images --------------------------------------------------------------------------------------------------

    @cached_property
    def _components(self) -> list[_Component]:
        found = []
        for t in self.terms:
            found += [_Component.of_accuracy(t)] if t.accuracy else []
            found += [_Component.of_prediction(t)] if t.prediction else []
        return found

    @cached_property
    def _correlation(self) -> Floats:
        """Return how the components vary together over resampled images.

        Where nothing is known of that, accuracies on one panel are independent, and different panels agree where that widens the
        interval.
        """
        parts = self._components
        signs = np.sign([part.coefficient for part in parts])
        panels = np.array([id(part.term.axis) for part in parts])
        result = np.where((panels[:, None] != panels) & (signs[:, None] == signs), 1.0, np.eye(len(parts)))
        known = [index for index, part in enumerate(parts) if part.drawn is not None]
        if known:
            covariance = _shared_covariance([parts[index] for index in known])
            sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
            scales = np.outer(sd, sd)
            with np.errstate(invalid="ignore", divide="ignore"):
                correlation = np.where(scales > 0, covariance / scales, 0.0)
            np.fill_diagonal(correlation, 1.0)
            result[np.ix_(known, known)] = np.clip(correlation, -1.0, 1.0)
        return result

    def _images(self, tail: float) -> Halves:
        parts = self._components
        coefficients = np.array([part.coefficient for part in parts])
        halves = np.array([part.halves(tail) for part in parts])
        ends = []
        for side in (0, 1):
            # What is subtracted moves the sum the other way.
            far = np.where(coefficients > 0, halves[:, side], halves[:, 1 - side]) * coefficients
            ends.append(float(np.sqrt(max(far @ self._correlation @ far, 0.0))))
        return Halves(*ends)

    # ---- the seeds ---------------------------------------------------------------------------------------------------

    def _seeds(self, tail: float) -> Halves | None:
        """Return what the means over replicates leave unknown; None where no mean is taken.

        A mean has the t of its own number of replicates, two means have that of Welch and Satterthwaite. These degrees of freedom
        are not pooled with the many of the images: too many would be left where two or three replicates happen to agree.
        """
        sums: dict[tuple[int, ...], Floats] = {}
        for t in self.terms:
            key = tuple(t.members.tolist())
            sums[key] = sums.get(key, 0.0) + t.values
        means = [own for own in sums.values() if len(own) > 1]
        if not means:
            return None
        variances = np.array([own.var(ddof=1) / len(own) for own in means])
        spread = float((variances**2 / np.array([len(own) - 1 for own in means])).sum())
        if spread == 0:
            return Halves(0.0, 0.0)
        total = float(variances.sum())
        return Halves(*[float(special.stdtrit(total**2 / spread, tail) * np.sqrt(total))] * 2)


def _mean(values: Floats, term: Term) -> float:
    return float(values[term.members].mean())


@dataclass(frozen=True, eq=False)
class _Component:
    """One accuracy, or one predicted accuracy, of a sum, and what the images do to it.

    Attributes
    ----------
    drawn : array of shape (resamples, members), or None
        On the scale of accuracies.
    variance : float
        That its members share, from the images: of the accuracy, or of the line's value on the transformed scale.
    """

    term: Term
    coefficient: float
    is_accuracy: bool
    drawn: Floats | None
    variance: float

    @staticmethod
    def of_accuracy(t: Term) -> _Component:
        values = t.axis.points.y
        if t.axis.drawn_y is not None and not t.axis.published[t.members].any():
            drawn = t.axis.drawn_y[:, t.members]
            return _Component(t, t.accuracy, True, drawn, _shared_variance(drawn))
        variance = float(np.mean(values.variance(values.value)[t.members]))
        return _Component(t, t.accuracy, True, None, variance if np.isfinite(variance) else 0.0)

    @staticmethod
    def of_prediction(t: Term) -> _Component:
        panel = t.panel
        if panel.drawn_z is not None and not panel.published[t.members].any():
            drawn = panel.drawn_z[:, t.members]
            return _Component(t, t.prediction, False, panel.g.inverse(drawn), _shared_variance(drawn))
        x = panel.g.inverse(panel.placed.x)
        own = panel.points.x.variance(x) * (panel.g.slope(x) * panel.fit.slopes) ** 2
        variance = float(own[t.members].sum(axis=1).mean())
        return _Component(t, t.prediction, False, None, variance if np.isfinite(variance) else 0.0)

    def halves(self, tail: float) -> Halves:
        t, points = self.term, self.term.axis.points.y
        if not self.is_accuracy:
            panel = t.panel
            z = float(panel.g.forward(np.array(_mean(panel.predicted, t))))
            far = special.ndtri(tail) * np.sqrt(self.variance)
            low, middle, high = (float(panel.g.inverse(np.array(end))) for end in (z - far, z, z + far))
            return Halves(middle - low, high - middle)
        p = _mean(points.value, t)
        counts = points.n[t.members]
        if not points.proportion[t.members].all() or not np.isfinite(counts).all():
            return Halves(*[float(special.ndtri(tail) * np.sqrt(self.variance))] * 2)
        # As many independent examples would give a share of this variance: its exact interval is as skewed as it should be.
        n = float(counts.mean())
        examples = p * (1 - p) / self.variance if self.variance > 0 and 0 < p < 1 else n
        correct = p * examples
        low = special.betaincinv(correct, examples - correct + 1, 1 - tail) if correct > 0 else 0.0
        high = special.betaincinv(correct + 1, examples - correct, tail) if correct < examples else 1.0
        return Halves(p - float(low), float(high) - p)


def _shared_variance(drawn: Floats) -> float:
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    return max(float(drawn.mean(axis=1).var(ddof=1)) - _apart(drawn, drawn), 0.0) if len(drawn) > 1 else 0.0


def _apart(one: Floats, other: Floats) -> float:
    """Return the share of two means' covariance over resampled images that is of each member alone: seeds hold it already."""
    members = one.shape[1]
    if members == 1:
        return 0.0
    a, b = (values - values.mean(axis=0) for values in (one, other))
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (a, b))
    return float((a * b).sum(axis=1).mean() / (members - 1) / members)


def _shared_covariance(parts: Sequence[_Component]) -> Floats:
    means = np.column_stack([part.drawn.mean(axis=1) for part in parts if part.drawn is not None])
    known = np.isfinite(means).all(axis=1)
    covariance: Floats = np.atleast_2d(np.cov(means[known].T, ddof=1))
    for i, one in enumerate(parts):
        for j, other in enumerate(parts):
            if len(one.term.members) > 1 and np.array_equal(one.term.members, other.term.members):
                covariance[i, j] -= _apart(one.drawn[known], other.drawn[known])  # type: ignore[index]
    return covariance
