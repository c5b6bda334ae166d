"""Metrics against scikit-learn, selections against plain sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from shiftline.declare.sweeps import MEANS
from shiftline.declare.sweeps import METRICS as NAMES
from shiftline.jobs.metrics import METRICS, variance_of_mean, within_one_standard_error


def reference(name, logits, labels):
    predicted = logits.argmax(dim=1).numpy()
    present = np.unique(labels)
    if name == "accuracy":
        return sk.accuracy_score(labels, predicted)
    if name == "balanced-accuracy":
        return sk.recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    if name == "worst-class-accuracy":
        return sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0).min()
    if name == "macro-f1":
        return sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    return -sk.log_loss(labels, logits.double().softmax(dim=1), labels=range(logits.shape[1]))


def test_every_metric_that_can_be_declared_is_there():
    assert tuple(METRICS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), classes=st.integers(2, 6))
def test_metrics_are_scikit_learns(name, seed, n, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    # The last class never appears: it must not count.
    labels = torch.randint(0, max(1, classes - 1), (n,), generator=generator)
    assert METRICS[name](logits, labels) == pytest.approx(reference(name, logits, labels.numpy()), abs=1e-9)


@pytest.mark.parametrize("name", MEANS)
def test_a_standard_error_is_that_of_a_mean(name):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(40, 3, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    values = [METRICS[name](logits[i : i + 1], labels[i : i + 1]) for i in range(40)]
    assert variance_of_mean(name, logits, labels) == pytest.approx(np.var(values) / 40)


def test_one_standard_error_takes_the_first_that_is_close_enough():
    variances = [0.01**2] * 4
    assert within_one_standard_error([0.80, 0.895, 0.90, 0.85], variances) == 1
    assert within_one_standard_error([0.80, 0.889, 0.90, 0.85], variances) == 2
    assert within_one_standard_error([0.9, 0.9], [0.0, 0.0]) == 0
    assert math.isclose(0.90 - 0.01, 0.89)
