"""Numbers at the limits of the statistics: each gives what is right, or one clear error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from shiftline.analysis import (
    Answers,
    Correctness,
    compare,
    effective_robustness,
    fit_baseline,
    joint_effective_robustness,
    relative_robustness,
)
from shiftline.errors import AnalysisError


def table(slope=0.8, n=20, noise=0.05, metric=None, **columns):
    generator = np.random.default_rng(0)
    x = generator.uniform(-0.5, 1.5, n + 1)
    y = slope * x - 0.3 + np.append(generator.normal(0, noise, n), 0.4)
    names = [*(f"b{i}" for i in range(n)), "new"]
    of_model = {"model": names, "group": [*["base"] * n, "new"]}
    parts = [pd.DataFrame({**of_model, "distribution": d, "value": stats.norm.cdf(z)}) for d, z in (("reference", x), ("blur", y))]
    found = pd.concat(parts, ignore_index=True).assign(**columns)
    return found if metric is None else found.assign(metric=found["distribution"].map(metric))


def new(found):
    return found.set_index("model").loc["new"]


def test_a_negative_slope_is_fitted_and_noted():
    frame = table(slope=-0.8)
    fit = fit_baseline(frame, shift="blur", baseline="base")
    assert fit.slope < 0
    assert "flat" in fit.codes
    row = new(effective_robustness(frame, baseline="base"))
    assert "flat" in row["notes"].split()
    assert row["low"] < row["effective_robustness"] < row["high"]


def test_an_exact_line_says_that_nothing_is_known_of_its_uncertainty():
    frame = table(noise=0.0)
    fit = fit_baseline(frame, shift="blur", baseline="base")
    assert fit.r2 == pytest.approx(1)
    assert fit.codes == ["exact"]
    row = new(effective_robustness(frame.assign(n=1000), baseline="base"))
    expected = stats.norm.cdf(fit.line(row["reference"]) + 0.4) - stats.norm.cdf(fit.line(row["reference"]))
    assert row["effective_robustness"] == pytest.approx(expected)
    assert row["low"] < row["effective_robustness"] < row["high"]


def test_what_is_no_proportion_has_no_binomial_interval():
    frame = table(metric={"reference": "macro-f1", "blur": "macro-f1"}, n=20).assign(n=1000)
    row = new(effective_robustness(frame, baseline="base"))
    assert "no-images" in row["notes"].split()
    known = new(effective_robustness(frame.assign(se=0.01), baseline="base"))
    assert "no-images" not in known["notes"].split()
    assert known["high"] - known["low"] > row["high"] - row["low"]
    with pytest.raises(AnalysisError, match="no share of correct answers"):
        fit_baseline(frame, shift="blur", baseline="base", weights="binomial")
    with pytest.raises(AnalysisError, match="binomial weights need proportions"):
        fit_baseline(table().assign(n=1000, se=0.01), shift="blur", baseline="base", weights="binomial")
    with pytest.raises(AnalysisError, match="binomial weights need proportions"):
        fit_baseline(table(), shift="blur", baseline="base", weights="binomial")


def test_relative_robustness_of_no_proportion_goes_by_standard_errors():
    frame = table(metric={"reference": "macro-f1", "blur": "macro-f1"}).assign(n=1000)
    found = relative_robustness(frame, before="b0").set_index(["shift", "model"])
    assert np.isnan(found.loc[("blur", "new"), "low"])
    row = relative_robustness(frame.assign(se=0.01), before="b0").set_index(["shift", "model"]).loc[("blur", "new")]
    half = stats.norm.ppf(0.975) * 0.01 * np.sqrt(2)
    assert (row["low"], row["high"]) == pytest.approx((row["relative_robustness"] - half, row["relative_robustness"] + half))


def test_axes_of_two_metrics_are_noted():
    frame = table(metric={"reference": "accuracy", "blur": "top-5-accuracy"})
    assert "metrics" in fit_baseline(frame, shift="blur", baseline="base").codes
    mixed = frame.copy()
    mixed.loc[mixed.index[-1], "metric"] = "accuracy"
    with pytest.raises(AnalysisError, match="'blur' has values of the metrics accuracy, top-5-accuracy"):
        effective_robustness(mixed, baseline="base")


def test_numbers_that_cannot_be_are_refused():
    frame = table().assign(n=1000)
    for call, message in (
        (lambda: effective_robustness(frame, baseline="base", level=95), "level=95: expected a fraction"),
        (lambda: effective_robustness(frame.assign(n=0), baseline="base"), "has n=0 on 'reference'"),
        (lambda: joint_effective_robustness(frame, {}, baseline="base", resamples=0), "resamples=0: expected 2 or more"),
        (lambda: joint_effective_robustness(frame, {}, baseline="base", resamples=1), "resamples=1: expected 2 or more"),
        (lambda: effective_robustness(frame.assign(value=frame["value"] * 100), baseline="base"), "expected fractions from 0 to 1"),
    ):
        with pytest.raises(AnalysisError, match=message):
            call()


def test_a_line_never_predicts_more_than_all():
    frame = table(slope=1.5).assign(n=1000)
    frame.loc[(frame["model"] == "new") & (frame["distribution"] == "reference"), "value"] = 0.999
    row = new(effective_robustness(frame, baseline="base", scale="linear"))
    assert row["predicted"] <= 1
    assert row["effective_robustness"] == pytest.approx(row["shifted"] - row["predicted"])
    assert "extrapolated" in row["notes"].split()


def test_values_that_are_not_those_of_the_answers_are_refused():
    frame = table().assign(n=50)
    generator = np.random.default_rng(1)
    models = tuple(frame["model"].unique())
    correct = [
        Correctness(models, (generator.random((21, 50)) < 0.5).astype(np.uint8), np.arange(50), source) for source in ("a", "b")
    ]
    answers = {"blur": Answers(*correct)}
    for call in (
        lambda: joint_effective_robustness(frame, answers, baseline="base"),
        lambda: compare(frame, answers, "new", "b0", baseline="base"),
    ):
        with pytest.raises(AnalysisError, match="give the answers that belong to the table"):
            call()
