"""Metrics against scikit-learn and brute force, intervals against closed forms, selections against plain sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sk

from shiftline.declare.metrics import LOWER_IS_BETTER, MEANS
from shiftline.declare.metrics import METRICS as NAMES
from shiftline.errors import DataError
from shiftline.jobs.metrics import (
    METRICS,
    Answers,
    best_position,
    bootstrap_interval,
    group_counts,
    project,
    successes,
    variance_of_mean,
    within_one_standard_error,
    worst_group_accuracy,
)


def random_answers(seed, n, classes, *, groups=3):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    # The last class never appears: it must not count.
    labels = random.integers(0, max(1, classes - 1), n)
    return Answers(logits, labels, random.choice([f"g{i}" for i in range(groups)], n))


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
        return np.mean(
            [area(labels == c, probabilities[:, c], weights) for c in present if (labels[counted] != c).any()]
        )
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


def test_every_metric_that_can_be_declared_is_there():
    assert tuple(METRICS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), classes=st.integers(2, 8), resampled=st.booleans())
def test_metrics_are_scikit_learns_with_and_without_weights(name, seed, n, classes, resampled):
    if name == "top-5-accuracy":
        classes += 4
    if name == "auroc":
        classes = max(classes, 3) if seed % 2 else 2
    answers = random_answers(seed, n, classes)
    if name == "auroc":
        answers.labels[:2] = [0, 1]
    weights = np.random.default_rng(seed).integers(0, 3, n).astype(float) if resampled else np.ones(n)
    weights[:2] += 1
    assert METRICS[name](answers)(weights) == pytest.approx(reference(name, answers, weights), abs=1e-9)


def test_top_5_of_five_classes_is_refused():
    with pytest.raises(DataError, match="top-5-accuracy of 5 classes is always 1"):
        METRICS["top-5-accuracy"](random_answers(0, 10, 5))


def test_ties_go_to_the_earlier_class_in_the_top_five_as_in_the_argmax():
    answers = Answers(np.zeros((7, 7), np.float32), np.arange(7))
    assert successes("accuracy", answers).tolist() == [True] + [False] * 6
    assert successes("top-5-accuracy", answers).tolist() == [True] * 5 + [False] * 2


def test_a_group_can_be_left_out_and_groups_are_counted():
    answers = Answers(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0]), np.array(["a", "a", "b", "Other"]))
    ones = np.ones(4)
    assert worst_group_accuracy(answers)(ones) == 0
    assert worst_group_accuracy(answers, without=["Other"])(ones) == 1
    assert group_counts(answers) == {"a": (2, 2), "b": (1, 1), "Other": (0, 1)}
    assert np.isnan(worst_group_accuracy(answers, without=["a", "b", "Other"])(ones))


def test_a_set_of_frames_is_right_where_all_of_them_are():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 0]]
    accepted = np.zeros((5, 3), bool)
    accepted[[0, 1, 2, 3, 4], [0, 1, 2, 1, 0]] = True
    accepted[1, 2] = True
    answers = Answers(logits, np.array([0, 1, 2, 1, 0]), np.array(["x", "x", "y", "y", "z"]), accepted)
    assert successes("pm-k", answers).tolist() == [True, False, True]


@pytest.mark.parametrize("name", MEANS)
def test_a_standard_error_is_that_of_a_mean(name):
    answers = random_answers(0, 40, 7)
    one = [Answers(answers.logits[i : i + 1], answers.labels[i : i + 1]) for i in range(40)]
    values = [METRICS[name](answer)(np.ones(1)) for answer in one]
    assert variance_of_mean(name, answers) == pytest.approx(np.var(values) / 40)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one():
    answers = random_answers(1, 2000, 3)
    low, high, resamples = bootstrap_interval(METRICS["negative-log-likelihood"](answers), 2000)
    values = -answers.likelihoods[0]
    half = 1.96 * values.std() / np.sqrt(2000)
    assert resamples == 1000
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert bootstrap_interval(METRICS["macro-f1"](answers), 2000)[2] == 1000
    assert bootstrap_interval(METRICS["macro-f1"](answers), 2000, work=1e9)[2] == 100
    assert bootstrap_interval(METRICS["macro-f1"](answers), 2000) == bootstrap_interval(
        METRICS["macro-f1"](answers), 2000
    )


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_projections_are_those_of_a_brute_force_search(seed):
    random = np.random.default_rng(seed)
    classes, own, count = int(random.integers(2, 12)), int(random.integers(1, 6)), int(random.integers(1, 5))
    outputs = random.integers(-1, count, classes)
    outputs[: min(count, classes)] = np.arange(min(count, classes))
    count = int(outputs.max()) + 1
    places = random.integers(-1, count, own)
    logits, labels = random.normal(size=(20, classes)).astype(np.float32), random.integers(0, own, 20)
    found, new_labels, kept = project(logits, labels, outputs, places, count)
    rows = [row for row in range(20) if places[labels[row]] >= 0]
    assert np.flatnonzero(kept).tolist() == rows
    assert new_labels.tolist() == [places[labels[row]] for row in rows]
    for row, projected in zip(rows, found, strict=True):
        for group in range(count):
            assert projected[group] == max(logits[row, c] for c in range(classes) if outputs[c] == group)
        # The prediction is the class of the highest logit among all members.
        members = [c for c in range(classes) if outputs[c] >= 0]
        assert projected.argmax() == outputs[max(members, key=lambda c: logits[row, c])]


def test_one_standard_error_takes_the_first_that_is_close_enough():
    variances = [0.01**2] * 4
    assert within_one_standard_error("accuracy", [0.80, 0.895, 0.90, 0.85], variances) == 1
    assert within_one_standard_error("accuracy", [0.80, 0.889, 0.90, 0.85], variances) == 2
    assert within_one_standard_error("accuracy", [0.9, 0.9], [0.0, 0.0]) == 0
    assert within_one_standard_error("negative-log-likelihood", [0.5, 0.405, 0.40], variances[:3]) == 1


def test_the_best_of_a_loss_is_the_lowest():
    assert best_position("accuracy", [0.1, 0.3, 0.3]) == 1
    assert [best_position(name, [0.1, 0.3, 0.05]) for name in LOWER_IS_BETTER] == [2, 2]
