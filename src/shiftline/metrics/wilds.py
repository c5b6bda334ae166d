"""What the wilds package's own evaluation reports (Koh et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np

from shiftline.contracts.metrics import Metric, bootstrap_interval, group_counts
from shiftline.contracts.predictions import Measured, Predictions
from shiftline.metrics.classes import BalancedAccuracy, Floats, MacroF1
from shiftline.metrics.groups import WorstGroupAccuracy

SAME: dict[str, Metric] = {
    "F1-macro_all": MacroF1(),
    "recall-macro_all": BalancedAccuracy(),
    "acc_wg": WorstGroupAccuracy(),
    "acc_worst_region": WorstGroupAccuracy(("region=Other",)),
}
"""The same statistics as ours: their intervals are resampled without the package."""


class Wilds(Metric):
    """A number of the wilds package's evaluation; its interval is of the same statistic.

    Parameters
    ----------
    number : str
        As ``dataset.eval`` names it: ``acc_avg``, ``F1-macro_all``, ...
    """

    tag = "wilds"
    reads_metadata = True
    requestable = False
    own_classes_only = True
    number: str

    @property
    def name(self) -> str:
        return f"wilds:{self.number}"

    def measure(self, predictions: Predictions) -> Measured:
        from shiftline.datasets.wilds_package import official_results

        official: dict[str, Any] = dict(predictions.official)
        metadata = predictions.metadata(official["fields"]).to_numpy(np.int64)
        value = official_results(official, predictions.predicted, predictions.labels, metadata)[self.number]
        n = len(predictions)
        if self.number == "acc_avg":
            return Measured(value, n, int(predictions.correct.sum()), per_example=predictions.correct)
        if self.number in SAME:
            low, high, resamples = bootstrap_interval(SAME[self.number].statistic(predictions), n)
            return Measured(value, n, None, low, high, resamples, groups=group_counts(predictions))

        def resampled(weights: Floats) -> float:
            rows = np.repeat(np.arange(n), weights.astype(int))
            predicted, labels = predictions.predicted[rows], predictions.labels[rows]
            return official_results(official, predicted, labels, metadata[rows])[self.number]

        low, high, resamples = bootstrap_interval(resampled, n, work=1e6)
        return Measured(value, n, None, low, high, resamples)
