"""Metrics of stored predictions, each with its uncertainty.

A metric is computed in two steps: what the predictions say is extracted once, and a statistic of it is taken under weights
of the examples. Weights of one give the value; the weights of a resample with replacement give one draw of the bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shiftline.declare.metrics import FRAMES, LOWER_IS_BETTER
from shiftline.errors import DataError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]
"""From the weights of the examples, float64 (N,), to a value."""

BINS = 15
"""Of the calibration error (Guo et al. 2017)."""
RESAMPLES = 1000
WORK = 1e8
"""Numbers that all resamples of one metric may go through: beyond, there are fewer of them, but at least 100."""


@dataclass(frozen=True)
class Answers:
    """Predictions on some examples.

    Attributes
    ----------
    logits : ndarray of float32, shape (N, C)
    labels : ndarray of int64, shape (N,)
    groups : ndarray of str, shape (N,), or None
    accepted : ndarray of bool, shape (N, C), or None
        Every class that counts as right, where an example has several.
    """

    logits: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None
    accepted: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class of the highest logit, int64, shape (N,)."""
        return np.asarray(self.logits.argmax(axis=1))

    @cached_property
    def right(self) -> np.ndarray:
        """Whether the prediction is the label, bool, shape (N,)."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def likelihoods(self) -> tuple[Floats, Floats]:
        """Log probability of the label, and probability of the prediction, float64, each of shape (N,)."""
        of_label, of_prediction = np.empty(len(self)), np.empty(len(self))
        for start in range(0, len(self), 4096):
            rows = slice(start, start + 4096)
            logits = self.logits[rows].astype(np.float64)
            highest = logits.max(axis=1)
            total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            of_label[rows] = logits[np.arange(len(logits)), self.labels[rows]] - total
            of_prediction[rows] = np.exp(highest - total)
        return of_label, of_prediction


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda weights: float(np.average(values, weights=weights))


def _sums(places: np.ndarray, weights: Floats, count: int) -> Floats:
    return np.asarray(np.bincount(places, weights=weights, minlength=count), dtype=np.float64)


def accuracy(answers: Answers) -> Statistic:
    """Share of examples whose label has the highest logit."""
    return _mean_of(answers.right)


def in_top_5(answers: Answers) -> np.ndarray:
    """Whether the label is among the five highest logits, bool, shape (N,).

    Raises
    ------
    DataError
        There are five classes or fewer.
    """
    if answers.classes <= 5:
        raise DataError(f"top-5-accuracy of {answers.classes} classes is always 1: leave it out.")
    own = answers.logits[np.arange(len(answers)), answers.labels]
    higher = (answers.logits > own[:, None]).sum(axis=1)
    # Of equal logits the earlier classes come first, as in the argmax.
    earlier = (answers.logits == own[:, None]) & (np.arange(answers.classes) < answers.labels[:, None])
    return np.asarray(higher + earlier.sum(axis=1) < 5)


def top_5_accuracy(answers: Answers) -> Statistic:
    """Share of examples whose label is among the five highest logits."""
    return _mean_of(in_top_5(answers))


def _recalls(answers: Answers) -> Callable[[Floats], Floats]:
    def recalls(weights: Floats) -> Floats:
        totals = _sums(answers.labels, weights, answers.classes)
        hits = _sums(answers.labels, weights * answers.right, answers.classes)
        return hits[totals > 0] / totals[totals > 0]

    return recalls


def balanced_accuracy(answers: Answers) -> Statistic:
    """Mean over the classes that are present of the accuracy within the class."""
    recalls = _recalls(answers)
    return lambda weights: float(recalls(weights).mean())


def worst_class_accuracy(answers: Answers) -> Statistic:
    """Lowest accuracy within a class that is present."""
    recalls = _recalls(answers)
    return lambda weights: float(recalls(weights).min())


def worst_group_accuracy(answers: Answers, *, without: Sequence[str] = ()) -> Statistic:
    """Lowest accuracy within a group that is present; groups in `without` do not count."""
    assert answers.groups is not None
    names, places = np.unique(answers.groups, return_inverse=True)
    counts = np.isin(names, without, invert=True)

    def statistic(weights: Floats) -> float:
        totals = _sums(places, weights, len(names))
        hits = _sums(places, weights * answers.right, len(names))
        present = (totals > 0) & counts
        return float((hits[present] / totals[present]).min()) if present.any() else math.nan

    return statistic


def macro_f1(answers: Answers) -> Statistic:
    """Mean F1 over the classes that are present among the labels; a class that is never predicted has 0."""

    def statistic(weights: Floats) -> float:
        present = _sums(answers.labels, weights, answers.classes)
        predicted = _sums(answers.predicted, weights, answers.classes)
        hits = _sums(answers.labels, weights * answers.right, answers.classes)
        there = present > 0
        return float((2 * hits[there] / (present + predicted)[there]).mean())

    return statistic


def auroc(answers: Answers) -> Statistic:
    """Area under the ROC curve: of the second class for two classes, else the mean over classes of one against all others.

    Scores are differences of logits for two classes and probabilities otherwise; ties count half. Classes without an example,
    or with all of them, are left out of the mean.
    """
    if answers.classes == 2:
        scores = (answers.logits[:, 1] - answers.logits[:, 0])[:, None]
        targets = (answers.labels == 1)[:, None]
    else:
        wide = answers.logits.astype(np.float64)
        shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
        scores = shifted / shifted.sum(axis=1, keepdims=True)
        targets = answers.labels[:, None] == np.arange(answers.classes)
    # Rank of the score among the different scores, per class: sorted once, whatever the weights.
    ranks = [np.unique(scores[:, column], return_inverse=True)[1] for column in range(scores.shape[1])]

    def statistic(weights: Floats) -> float:
        areas = []
        for column, places in enumerate(ranks):
            positive = np.bincount(places, weights=weights * targets[:, column])
            negative = np.bincount(places, weights=weights * ~targets[:, column])
            total = positive.sum() * negative.sum()
            if total > 0:
                below = np.cumsum(negative) - negative
                areas.append(float((positive * (below + negative / 2)).sum() / total))
        return float(np.mean(areas)) if areas else math.nan

    return statistic


def calibration_error(answers: Answers) -> Statistic:
    """Expected calibration error: mean over examples of |accuracy - confidence| of their bin, 15 bins of equal width."""
    confidence = answers.likelihoods[1]
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)

    def statistic(weights: Floats) -> float:
        surplus = _sums(places, weights * (answers.right - confidence), BINS)
        return float(np.abs(surplus).sum() / weights.sum())

    return statistic


def negative_log_likelihood(answers: Answers) -> Statistic:
    """Mean of minus the log probability of the labels, in nats."""
    return _mean_of(-answers.likelihoods[0])


METRICS: dict[str, Callable[[Answers], Statistic]] = {
    "accuracy": accuracy,
    "top-5-accuracy": top_5_accuracy,
    "balanced-accuracy": balanced_accuracy,
    "worst-class-accuracy": worst_class_accuracy,
    "worst-group-accuracy": worst_group_accuracy,
    "macro-f1": macro_f1,
    "auroc": auroc,
    "calibration-error": calibration_error,
    "negative-log-likelihood": negative_log_likelihood,
}


def successes(metric: str, answers: Answers) -> np.ndarray | None:
    """Return what is counted by a metric that is a proportion, as bool; None for other metrics.

    One value per example, or for "pm-k" per set of frames: all of them have to be right (Shankar et al. 2021).
    """
    if metric == "accuracy":
        return answers.right
    if metric == "top-5-accuracy":
        return in_top_5(answers)
    if metric not in FRAMES:
        return None
    assert answers.groups is not None
    assert answers.accepted is not None
    right = answers.accepted[np.arange(len(answers)), answers.predicted]
    if metric == "frame-accuracy":
        return np.asarray(right)
    names, places = np.unique(answers.groups, return_inverse=True)
    return np.asarray(_sums(places, (~right).astype(float), len(names)) == 0)


def group_counts(answers: Answers) -> dict[str, tuple[int, int]]:
    """Return the number of right predictions and of examples in each group."""
    assert answers.groups is not None
    names, places = np.unique(answers.groups, return_inverse=True)
    hits = np.bincount(places, weights=answers.right, minlength=len(names)).astype(int)
    totals = np.bincount(places, minlength=len(names))
    return {str(name): (int(k), int(n)) for name, k, n in zip(names, hits, totals, strict=True)}


def bootstrap_interval(
    statistic: Statistic, count: int, *, work: float | None = None, level: float = 0.95, seed: int = 0
) -> tuple[float, float, int]:
    """Percentile interval over resamples of the examples (Efron 1979).

    Parameters
    ----------
    count : int
        Number of examples.
    work : float, optional
        Numbers that one evaluation goes through; `count` unless given.

    Returns
    -------
    low, high : float
    resamples : int
    """
    resamples = int(np.clip(WORK / max(1.0, count if work is None else work), 100, RESAMPLES))
    random = np.random.default_rng(seed)
    draws = [
        statistic(np.bincount(random.integers(0, count, count), minlength=count).astype(float))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), resamples


def variance_of_mean(metric: str, answers: Answers) -> float:
    """Return the squared standard error of a metric that is a mean over examples (ddof 0, as of a proportion)."""
    found = successes(metric, answers)
    values = -answers.likelihoods[0] if found is None else found.astype(float)
    return float(values.var()) / len(values)


def best_position(metric: str, values: Sequence[float]) -> int:
    """Return the position of the best value, the first of ties."""
    better = min if metric in LOWER_IS_BETTER else max
    return list(values).index(better(values))


def within_one_standard_error(metric: str, values: Sequence[float], variances: Sequence[float]) -> int:
    """Return the first position whose value is within one standard error of the best value's.

    The rule of Breiman et al. 1984, with the order of preference given by the positions.
    """
    best = best_position(metric, values)
    error = math.sqrt(variances[best])
    return next(row for row, value in enumerate(values) if abs(value - values[best]) <= error)


def project(
    logits: np.ndarray, labels: np.ndarray, outputs: Sequence[int], places: Sequence[int], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring predictions into a label space: the highest logit among the members of each class, other classes left out.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, C)
    labels : ndarray of int64, shape (N,)
    outputs : sequence of int, length C
        The class of the space that each logit belongs to, -1 for none.
    places : sequence of int
        The class of the space that each label belongs to, -1 for none.
    count : int
        Number of classes of the space.

    Returns
    -------
    logits : ndarray of float32, shape (M, count)
    labels : ndarray of int64, shape (M,)
    kept : ndarray of bool, shape (N,)
        Examples whose label is in the space.
    """
    of_output = np.asarray(outputs)
    new_labels = np.asarray(places)[labels]
    kept = new_labels >= 0
    used = np.flatnonzero(of_output >= 0)
    order = used[np.argsort(of_output[used], kind="stable")]
    starts = np.searchsorted(of_output[order], np.arange(count))
    members = logits[np.ix_(kept, order)]
    grouped = np.maximum.reduceat(members, starts, axis=1) if len(members) else np.zeros((0, count), np.float32)
    return grouped, new_labels[kept], kept
