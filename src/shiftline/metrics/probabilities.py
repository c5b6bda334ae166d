"""Metrics of what a model says of its own certainty."""

from __future__ import annotations

import math

import numpy as np

from shiftline.contracts.metrics import Metric
from shiftline.contracts.predictions import Predictions
from shiftline.metrics.classes import Floats, Statistic, sums


class NegativeLogLikelihood(Metric):
    """Mean of minus the log probability of the labels, in nats."""

    tag = "negative-log-likelihood"
    higher_is_better = False
    percent = False
    unit = "nats"

    def per_example(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        return -Predictions(logits, labels, np.arange(len(labels))).likelihoods[0]


class CalibrationError(Metric):
    """Expected calibration error (Guo et al. 2017): mean over examples of |accuracy - confidence| of their bin.

    Parameters
    ----------
    bins : int
        Of equal width.
    """

    tag = "calibration-error"
    higher_is_better = False
    bins: int = 15

    def statistic(self, predictions: Predictions) -> Statistic:
        confidence = predictions.likelihoods[1]
        index = np.clip(np.ceil(confidence * self.bins).astype(int) - 1, 0, self.bins - 1)

        def statistic(weights: Floats) -> float:
            surplus = sums(index, weights * (predictions.correct - confidence), self.bins)
            return float(np.abs(surplus).sum() / weights.sum())

        return statistic


class AUROC(Metric):
    """Area under the ROC curve: of the second class for two classes, else the mean over classes of one against all others.

    Scores are differences of logits for two classes and probabilities otherwise; ties count half. Classes without an example,
    or with all of them, are left out of the mean.
    """

    tag = "auroc"

    def cost(self, predictions: Predictions) -> float:
        return float(len(predictions) * predictions.classes)

    def statistic(self, predictions: Predictions) -> Statistic:
        if predictions.classes == 2:
            scores = (predictions.logits[:, 1] - predictions.logits[:, 0])[:, None]
            targets = (predictions.labels == 1)[:, None]
        else:
            wide = predictions.logits.astype(np.float64)
            shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
            scores = shifted / shifted.sum(axis=1, keepdims=True)
            targets = predictions.labels[:, None] == np.arange(predictions.classes)
        # Rank of the score among the different scores, per class: sorted once, whatever the weights.
        ranks = [np.unique(scores[:, column], return_inverse=True)[1] for column in range(scores.shape[1])]

        def statistic(weights: Floats) -> float:
            areas = []
            for column, index in enumerate(ranks):
                positive = np.bincount(index, weights=weights * targets[:, column])
                negative = np.bincount(index, weights=weights * ~targets[:, column])
                total = positive.sum() * negative.sum()
                if total > 0:
                    below = np.cumsum(negative) - negative
                    areas.append(float((positive * (below + negative / 2)).sum() / total))
            return float(np.mean(areas)) if areas else math.nan

        return statistic
