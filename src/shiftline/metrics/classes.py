"""Metrics of classes: within each class, and over the classes that are present."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shiftline.contracts.metrics import Metric
from shiftline.contracts.predictions import Predictions

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]


def sums(index: np.ndarray, weights: Floats, count: int) -> Floats:
    """Return the sum of the weights at each index, shape (count,)."""
    return np.asarray(np.bincount(index, weights=weights, minlength=count), dtype=np.float64)


def _recalls(predictions: Predictions, weights: Floats) -> Floats:
    """Return the accuracy within each class that is present."""
    totals = sums(predictions.labels, weights, predictions.classes)
    hits = sums(predictions.labels, weights * predictions.correct, predictions.classes)
    return hits[totals > 0] / totals[totals > 0]


class BalancedAccuracy(Metric):
    """Mean over the classes that are present of the accuracy within the class."""

    tag = "balanced-accuracy"

    def statistic(self, predictions: Predictions) -> Statistic:
        return lambda weights: float(_recalls(predictions, weights).mean())


class WorstClassAccuracy(Metric):
    """Lowest accuracy within a class that is present."""

    tag = "worst-class-accuracy"

    def statistic(self, predictions: Predictions) -> Statistic:
        return lambda weights: float(_recalls(predictions, weights).min())


class MacroF1(Metric):
    """Mean F1 over the classes that are present among the labels; a class that is never predicted has 0."""

    tag = "macro-f1"

    def statistic(self, predictions: Predictions) -> Statistic:
        def statistic(weights: Floats) -> float:
            present = sums(predictions.labels, weights, predictions.classes)
            predicted = sums(predictions.predicted, weights, predictions.classes)
            hits = sums(predictions.labels, weights * predictions.correct, predictions.classes)
            there = present > 0
            return float((2 * hits[there] / (present + predicted)[there]).mean())

        return statistic
