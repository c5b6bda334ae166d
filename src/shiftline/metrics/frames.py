"""Metrics of images with several labels: accepted ones, those of sets of frames (Shankar et al. 2021), of shape and texture."""

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
    if not len(correct):
        return Measured(float("nan"), 0, 0, variance=float("nan"))
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


class MultiLabelAccuracy(FrameAccuracy):
    """Share of images whose prediction is one of their accepted labels (Beyer et al. 2020): it takes the place of accuracy."""

    tag = "multi-label-accuracy"


class ShapeBias(Metric):
    """Of the images whose shape and texture are of two classes and that are put into one of these, the share of shapes."""

    tag = "shape-bias"
    reads_groups = True
    requestable = False

    def measure(self, predictions: Predictions) -> Measured:
        textures = predictions.metadata(["texture"])["texture"].to_numpy()
        there = predictions.in_space()
        if (space := predictions.projection) is not None:
            kept = np.asarray(space.labels)[predictions.labels] >= 0
            textures = np.asarray(space.labels)[textures][kept]
        conflict = textures != there.labels
        by_shape = conflict & (there.predicted == there.labels)
        decided = by_shape | (conflict & (there.predicted == textures))
        return _proportion(by_shape[decided])


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
