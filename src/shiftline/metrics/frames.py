"""Metrics of sets of video frames, each frame with every label that counts as correct (Shankar et al. 2021)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shiftline.contracts.metrics import Metric
from shiftline.contracts.predictions import Measured, Predictions, projected
from shiftline.metrics.classes import sums


def correct_frames(predictions: Predictions) -> np.ndarray:
    """Return whether the prediction of each frame is an accepted label, bool, shape (N,).

    A frame none of whose labels is in the label space is never correct.
    """
    classes, index = predictions.classes, list(range(predictions.classes))
    if (space := predictions.projection) is not None:
        classes, index = space.count, list(space.labels)
        predictions = replace(predictions, logits=projected(predictions.logits, space), projection=None)
    accepted = np.zeros((len(predictions), classes), dtype=bool)
    for row, words in enumerate(predictions.metadata(["accepted"])["accepted"]):
        accepted[row, [index[int(word)] for word in words.split() if index[int(word)] >= 0]] = True
    return np.asarray(accepted[np.arange(len(accepted)), predictions.logits.argmax(axis=1)])


def _proportion(correct: np.ndarray) -> Measured:
    share = float(correct.mean())
    return Measured(share, len(correct), int(correct.sum()), variance=share * (1 - share) / len(correct))


class FrameAccuracy(Metric):
    """Share of frames whose prediction is an accepted label: it takes the place of accuracy."""

    tag = "frame-accuracy"
    reads_groups = True
    requestable = False
    replaces_accuracy = True

    def measure(self, predictions: Predictions) -> Measured:
        correct = correct_frames(predictions)
        return replace(_proportion(correct), per_example=correct)


class PmK(Metric):
    """Share of sets of neighbouring frames in which every frame is correct."""

    tag = "pm-k"
    reads_groups = True
    requestable = False
    replaces_accuracy = True

    def measure(self, predictions: Predictions) -> Measured:
        names, index = np.unique(predictions.groups, return_inverse=True)
        wrong = sums(index, (~correct_frames(predictions)).astype(float), len(names))
        return _proportion(wrong == 0)
