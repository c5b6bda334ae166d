"""Agreement on the line: planted models, whose accuracies are estimated without labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import optimize, stats

from shiftline.analysis import Classes, agreement_on_the_line, agreements
from shiftline.errors import AnalysisError
from test_cli import TINY, error, ok


def planted(models=12, examples=40_000, seed=0):
    """Models whose accuracies and agreements lie on one probit line: of two classes, errors independent given the difficulty."""
    generator = np.random.default_rng(seed)
    ability = np.linspace(0.2, 1.4, models)
    names = tuple(f"m{i}" for i in range(models))
    found = []
    for slope, bias in ((1.0, 0.0), (0.7, -0.2)):
        difficulty = generator.normal(size=examples)
        z = slope * ability + bias
        right = z[:, None] - np.sqrt(0.5) * difficulty > np.sqrt(0.5) * generator.normal(size=(models, examples))
        # Those that err choose one of nine other classes.
        wrong = generator.integers(1, 10, size=(models, examples))
        found.append((Classes(names, np.where(right, 0, wrong)), right.mean(axis=1)))
    return found


def test_agreements_are_those_of_every_pair():
    generator = np.random.default_rng(1)
    predicted = generator.integers(0, 3, size=(5, 100))
    first, second = np.triu_indices(5, 1)
    expected = [(predicted[i] == predicted[j]).mean() for i, j in zip(first, second, strict=True)]
    np.testing.assert_allclose(agreements(predicted), expected)


def test_accuracy_is_estimated_without_labels():
    (reference, accuracies), (shifted, truth) = planted()
    found = agreement_on_the_line(reference, shifted, accuracies.tolist())
    assert found["r2"].iloc[0] > 0.95
    # These agreements are near the line of accuracies, not on it.
    assert np.abs(found["aline_d"] - truth).mean() < 0.05
    assert np.abs(found["aline_d"] - truth).mean() < 0.3 * np.abs(accuracies - truth).mean()
    assert np.corrcoef(found["aline_d"], truth)[0, 1] > 0.99


def test_the_line_and_the_pairwise_solution_are_least_squares():
    (reference, accuracies), (shifted, _) = planted(models=6, examples=500, seed=2)
    found = agreement_on_the_line(reference, shifted, accuracies.tolist(), scale="logit")
    x, y = (np.log(a / (1 - a)) for a in (agreements(classes.predicted) for classes in (reference, shifted)))
    line = np.polyfit(x, y, 1)
    assert (found["slope"].iloc[0], found["intercept"].iloc[0]) == pytest.approx(tuple(line))
    own = np.log(accuracies / (1 - accuracies))
    first, second = np.triu_indices(6, 1)

    def residuals(w):
        return (w[first] + w[second]) / 2 - y - line[0] * ((own[first] + own[second]) / 2 - x)

    solved = optimize.least_squares(residuals, own).x
    np.testing.assert_allclose(found["aline_d"], 1 / (1 + np.exp(-solved)), atol=1e-6)
    np.testing.assert_allclose(found["aline_s"], 1 / (1 + np.exp(-(line[0] * own + line[1]))))


def test_models_that_never_differ_are_left_out():
    (reference, accuracies), (shifted, _) = planted(models=5, examples=2000)
    twins = [Classes((*c.models, "twin"), np.vstack([c.predicted, c.predicted[-1]])) for c in (reference, shifted)]
    found = agreement_on_the_line(*twins, [*accuracies, accuracies[-1]])
    assert found["pairs"].iloc[0] == 14
    assert found["aline_d"].notna().all()


def test_what_has_no_line_of_agreements_is_refused():
    (reference, accuracies), (shifted, _) = planted(models=4, examples=100)
    with pytest.raises(AnalysisError, match="needs 3 models"):
        agreement_on_the_line(*(Classes(c.models[:2], c.predicted[:2]) for c in (reference, shifted)), accuracies[:2].tolist())
    with pytest.raises(AnalysisError, match="same models"):
        agreement_on_the_line(reference, Classes(("a", "b", "c", "d"), shifted.predicted), accuracies.tolist())
    same = Classes(reference.models, np.zeros_like(reference.predicted))
    with pytest.raises(AnalysisError, match="trained apart"):
        agreement_on_the_line(same, shifted, accuracies.tolist())


def test_agreement_off_the_line_is_noted():
    generator = np.random.default_rng(3)
    classes = [Classes(("a", "b", "c", "d"), generator.integers(0, 3, size=(4, 50))) for _ in range(2)]
    assert agreement_on_the_line(*classes, [0.3, 0.4, 0.5, 0.6])["notes"].tolist() == ["off-agreement"] * 4


def test_agreement_of_a_study_is_that_of_its_predictions(tiny):
    found = tiny.agreement(shifts=["blur"], groups=["from scratch", "zero-shot", "probe"])
    assert list(found["model"]) == [*(f"from scratch {i}" for i in range(5)), "zero-shot", "probe"] or len(found) == 7
    predicted = [np.stack([tiny.predictions(m, d).predicted for m in found["model"]]) for d in ("reference", "blur")]
    x, y = (stats.norm.ppf(agreements(p)) for p in predicted)
    usable = np.isfinite(x) & np.isfinite(y)
    assert found["slope"].iloc[0] == pytest.approx(stats.linregress(x[usable], y[usable]).slope)
    values = tiny.results().query("primary and distribution == 'blur'").set_index("model")["value"]
    assert found.set_index("model")["shifted"].to_dict() == values[found["model"]].to_dict()
    with pytest.raises(AnalysisError, match="no group 'nobody'"):
        tiny.agreement(groups=["nobody"])


def test_the_command_prints_estimates(tiny):
    out = ok("agreement", TINY, "--store", tiny.store.root, "--shift", "blur")
    assert "ALine-D" in out
    assert "mean absolute error" in out
    rows = json.loads(ok("agreement", TINY, "--store", tiny.store.root, "--format", "json"))
    assert {row["shift"] for row in rows} == {"blur", "invert"}
    assert "no shift 'fog'" in error("agreement", TINY, "--store", tiny.store.root, "--shift", "fog")
