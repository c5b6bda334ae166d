"""Metrics of stored predictions. Higher is better for every one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Metric = Callable[[Tensor, Tensor], float]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of examples whose label has the highest logit."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def recalls(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracy within each class that is present, float64."""
    hits, counts = _counts(logits, labels)[0], torch.bincount(labels, minlength=logits.shape[1]).double()
    return (hits / counts)[counts > 0]


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes that are present of the accuracy within the class."""
    return float(recalls(logits, labels).mean())


def worst_class_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Lowest accuracy within a class that is present."""
    return float(recalls(logits, labels).min())


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Mean F1 over the classes that are present among the labels; a class that is never predicted has 0."""
    hits, predicted = _counts(logits, labels)
    present = torch.bincount(labels, minlength=logits.shape[1]).double()
    scores = 2 * hits / (predicted + present)
    return float(scores[present > 0].mean())


def log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Mean log probability of the labels, in nats: 0 at best."""
    return -float(nn.functional.cross_entropy(logits.double(), labels))


def _counts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return hits and predictions per class, float64, shape (C,)."""
    predicted = logits.argmax(dim=1)
    classes = logits.shape[1]
    hits = torch.bincount(labels[predicted == labels], minlength=classes).double()
    return hits, torch.bincount(predicted, minlength=classes).double()


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced-accuracy": balanced_accuracy,
    "worst-class-accuracy": worst_class_accuracy,
    "macro-f1": macro_f1,
    "log-likelihood": log_likelihood,
}


def variance_of_mean(metric: str, logits: Tensor, labels: Tensor) -> float:
    """Return the squared standard error of a metric that is a mean over examples (ddof 0, as of a proportion)."""
    if metric == "accuracy":
        values = (logits.argmax(dim=1) == labels).double()
    else:
        values = -nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    return float(values.var(correction=0)) / len(labels)


def within_one_standard_error(values: list[float], variances: list[float]) -> int:
    """Return the first position whose value is within one standard error of the highest value's.

    The rule of Breiman et al. 1984, with the order of preference given by the positions.
    """
    best = max(range(len(values)), key=values.__getitem__)
    bar = values[best] - math.sqrt(variances[best])
    return next(row for row, value in enumerate(values) if value >= bar)
