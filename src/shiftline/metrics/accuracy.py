"""Shares of examples that are classified correctly."""

from __future__ import annotations

import numpy as np

from shiftline.contracts.metrics import Metric


class Accuracy(Metric):
    """Share of examples whose label has the highest logit."""

    tag = "accuracy"

    def per_example(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        return np.asarray(logits.argmax(axis=1) == labels)


class Top5Accuracy(Metric):
    """Share of examples whose label is among the five highest logits; of equal logits the earlier classes come first."""

    tag = "top-5-accuracy"
    fewest_classes = 6

    def per_example(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        own = logits[np.arange(len(labels)), labels]
        higher = (logits > own[:, None]).sum(axis=1)
        earlier = (logits == own[:, None]) & (np.arange(logits.shape[1]) < labels[:, None])
        return np.asarray(higher + earlier.sum(axis=1) < 5)
