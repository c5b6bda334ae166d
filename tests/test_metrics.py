"""Metrics against scikit-learn and brute force, intervals against closed forms, selections against plain sorting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sk

from shiftline.contracts.metrics import Metric, bootstrap_interval, group_counts
from shiftline.contracts.plugins import tagged
from shiftline.contracts.predictions import Predictions
from shiftline.metrics.frames import PmK
from shiftline.metrics.groups import WorstGroupAccuracy
from shiftline.operations.selection import within_one_standard_error
from shiftline.plan.spaces import Projection

METRICS = {tag: cls() for tag, cls in tagged(Metric).items() if cls.requestable}


def predictions_of(logits, labels, groups=None):
    columns = pd.DataFrame({"group": groups if groups is not None else [""] * len(labels)})
    return Predictions(logits, labels, np.arange(len(labels)), metadata=lambda names: columns[names])


def value(metric, predictions, weights=None):
    """A metric of weighted examples."""
    weights = np.ones(len(predictions)) if weights is None else weights
    if metric.is_mean:
        return np.average(metric.values(predictions), weights=weights)
    return metric.statistic(predictions)(weights)


def random_predictions(seed, n, classes, *, groups=3):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    # The last class never appears: it must not count.
    labels = random.integers(0, max(1, classes - 1), n)
    return predictions_of(logits, labels, random.choice([f"g{i}" for i in range(groups)], n))


def area(targets, scores, weights):
    return sk.roc_auc_score(targets, scores, sample_weight=weights)


def reference(name, answers, weights):
    labels, predicted, w = answers.labels, answers.logits.argmax(axis=1), {"sample_weight": weights}
    counted = weights > 0
    present = np.unique(labels[counted])
    probabilities = softmax(answers.logits.astype(float), axis=1)
    right = predicted == labels
    if name == "accuracy":
        return sk.accuracy_score(labels, predicted, **w)
    if name == "top-5-accuracy":
        return sk.top_k_accuracy_score(labels, answers.logits, k=5, labels=range(answers.classes), **w)
    if name == "balanced-accuracy":
        return sk.recall_score(labels, predicted, labels=present, average="macro", zero_division=0, **w)
    if name == "worst-class-accuracy":
        return sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0, **w).min()
    if name == "worst-group-accuracy":
        return min(
            sk.accuracy_score(labels[rows], predicted[rows], sample_weight=weights[rows])
            for group in set(answers.groups[counted])
            for rows in [counted & (answers.groups == group)]
        )
    if name == "macro-f1":
        return sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0, **w)
    if name == "auroc":
        if answers.classes == 2:
            return area(labels == 1, answers.logits[:, 1] - answers.logits[:, 0], weights)
        return np.mean([area(labels == c, probabilities[:, c], weights) for c in present if (labels[counted] != c).any()])
    if name == "calibration-error":
        total = 0.0
        for low in np.arange(15) / 15:
            inside = (probabilities.max(axis=1) > low) & (probabilities.max(axis=1) <= low + 1 / 15)
            if weights[inside].sum():
                gap = np.average(right[inside], weights=weights[inside]) - np.average(
                    probabilities.max(axis=1)[inside], weights=weights[inside]
                )
                total += weights[inside].sum() / weights.sum() * abs(gap)
        return total
    return sk.log_loss(labels, probabilities, labels=range(answers.classes), **w)


def test_the_metrics_are_those_that_are_documented():
    assert set(METRICS) == {
        "accuracy",
        "top-5-accuracy",
        "balanced-accuracy",
        "worst-class-accuracy",
        "macro-f1",
        "worst-group-accuracy",
        "auroc",
        "calibration-error",
        "negative-log-likelihood",
    }


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), classes=st.integers(2, 8), resampled=st.booleans())
def test_metrics_are_scikit_learns_with_and_without_weights(name, seed, n, classes, resampled):
    if name == "top-5-accuracy":
        classes += 4
    if name == "auroc":
        classes = max(classes, 3) if seed % 2 else 2
    answers = random_predictions(seed, n, classes)
    if name == "auroc":
        answers.labels[:2] = [0, 1]
    weights = np.random.default_rng(seed).integers(0, 3, n).astype(float) if resampled else np.ones(n)
    weights[:2] += 1
    assert value(METRICS[name], answers, weights) == pytest.approx(reference(name, answers, weights), abs=1e-9)


def test_top_5_of_five_classes_is_refused():
    assert METRICS["top-5-accuracy"].lacks(classes=5, grouped=True) == "have 6 classes or more"
    assert METRICS["top-5-accuracy"].lacks(classes=6, grouped=False) == ""


def test_ties_go_to_the_earlier_class_in_the_top_five_as_in_the_argmax():
    answers = predictions_of(np.zeros((7, 7), np.float32), np.arange(7))
    assert METRICS["accuracy"].values(answers).tolist() == [True] + [False] * 6
    assert METRICS["top-5-accuracy"].values(answers).tolist() == [True] * 5 + [False] * 2


def test_a_group_can_be_left_out_and_groups_are_counted():
    answers = predictions_of(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0]), np.array(["a", "a", "b", "Other"]))
    assert value(WorstGroupAccuracy(), answers) == 0
    assert value(WorstGroupAccuracy(("Other",)), answers) == 1
    assert group_counts(answers) == {"a": (2, 2), "b": (1, 1), "Other": (0, 1)}
    assert np.isnan(value(WorstGroupAccuracy(("a", "b", "Other")), answers))


def test_a_set_of_frames_is_correct_where_all_of_them_are():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 0]]
    columns = pd.DataFrame({"group": ["x", "x", "y", "y", "z"], "accepted": ["0", "1 2", "2", "1", "0"]})
    answers = Predictions(logits, np.array([0, 1, 2, 1, 0]), np.arange(5), metadata=lambda names: columns[names])
    found = PmK().measure(answers)
    assert (found.correct, found.n, found.value) == (2, 3, 2 / 3)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.is_mean])
def test_a_standard_error_is_that_of_a_mean(name):
    answers = random_predictions(0, 40, 7)
    one = [predictions_of(answers.logits[i : i + 1], answers.labels[i : i + 1]) for i in range(40)]
    values = [value(METRICS[name], answer) for answer in one]
    assert METRICS[name].measure(answers).variance == pytest.approx(np.var(values) / 40)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one():
    answers = random_predictions(1, 2000, 3)
    found = METRICS["negative-log-likelihood"].measure(answers)
    values = -answers.likelihoods[0]
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.resamples == 1000
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    macro_f1 = METRICS["macro-f1"].statistic(answers)
    assert bootstrap_interval(macro_f1, 2000)[2] == 1000
    assert bootstrap_interval(macro_f1, 2000, work=1e9)[2] == 100
    assert bootstrap_interval(macro_f1, 2000) == bootstrap_interval(macro_f1, 2000)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_projections_are_those_of_a_brute_force_search(seed):
    random = np.random.default_rng(seed)
    classes, own, count = int(random.integers(2, 12)), int(random.integers(1, 6)), int(random.integers(1, 5))
    outputs = random.integers(-1, count, classes)
    outputs[: min(count, classes)] = np.arange(min(count, classes))
    count = int(outputs.max()) + 1
    of_class = random.integers(-1, count, own)
    logits, labels = random.normal(size=(20, classes)).astype(np.float32), random.integers(0, own, 20)
    space = Projection("some", count, tuple(outputs.tolist()), tuple(of_class.tolist()))
    found = Predictions(logits, labels, np.arange(20), projection=space).in_space()
    rows = [row for row in range(20) if of_class[labels[row]] >= 0]
    assert found.ids.tolist() == rows
    assert found.labels.tolist() == [of_class[labels[row]] for row in rows]
    for row, projected in zip(rows, found.logits, strict=True):
        for group in range(count):
            assert projected[group] == max(logits[row, c] for c in range(classes) if outputs[c] == group)
        # The prediction is the class of the highest logit among all members.
        members = [c for c in range(classes) if outputs[c] >= 0]
        assert projected.argmax() == outputs[max(members, key=lambda c: logits[row, c])]


def test_one_standard_error_takes_the_first_that_is_close_enough():
    assert within_one_standard_error([0.80, 0.895, 0.90, 0.85], 2, 0.01) == 1
    assert within_one_standard_error([0.80, 0.889, 0.90, 0.85], 2, 0.01) == 2
    assert within_one_standard_error([0.9, 0.9], 0, 0.0) == 0
    assert within_one_standard_error([0.5, 0.405, 0.40], 2, 0.01) == 1


def test_the_best_of_a_loss_is_the_lowest():
    assert METRICS["accuracy"].best([0.1, 0.3, 0.3]) == 1
    lower = [name for name, metric in METRICS.items() if not metric.higher_is_better]
    assert sorted(lower) == ["calibration-error", "negative-log-likelihood"]
    assert [METRICS[name].best([0.1, 0.3, 0.05]) for name in lower] == [2, 2]
