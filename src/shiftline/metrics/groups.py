"""Metrics of groups that the data were written with: hospitals, regions, backgrounds."""

from __future__ import annotations

import math

import numpy as np

from shiftline.contracts.metrics import Metric
from shiftline.contracts.predictions import Predictions
from shiftline.metrics.classes import Floats, Statistic, sums


class WorstGroupAccuracy(Metric):
    """Lowest accuracy within a group that is present.

    Parameters
    ----------
    without : tuple of str
        Groups that do not count.
    """

    tag = "worst-group-accuracy"
    reads_groups = True
    without: tuple[str, ...] = ()

    def statistic(self, predictions: Predictions) -> Statistic:
        names, index = np.unique(predictions.groups, return_inverse=True)
        counts = np.isin(names, self.without, invert=True)

        def statistic(weights: Floats) -> float:
            totals = sums(index, weights, len(names))
            hits = sums(index, weights * predictions.correct, len(names))
            present = (totals > 0) & counts
            return float((hits[present] / totals[present]).min()) if present.any() else math.nan

        return statistic
