"""Joint intervals, comparisons and their parts, against independent implementations and planted truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from scipy.special import ndtr, ndtri
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

from shiftline.analysis import (
    Correctness,
    compare,
    effective_robustness,
    fit_baseline,
    holm,
    joint_effective_robustness,
    leave_one_out,
    mcnemar,
)
from shiftline.analysis.correctness import resampled_accuracies
from shiftline.errors import AnalysisError

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from joint_intervals import SETTINGS, simulate


def study(seed=0, **changes):
    return simulate(np.random.default_rng(seed), **SETTINGS["images and seeds"] | changes)


def wide(table):
    return table.pivot(index="model", columns="distribution", values="value")


# ---- resampled images ------------------------------------------------------------------------------------------------


def test_resampled_images_are_shared_by_models_and_axes():
    """An axis that shows the same images has the same resamples; one of another source has others."""
    generator = np.random.default_rng(0)
    right = generator.integers(0, 2, size=(2, 500)).astype(np.uint8)
    ids = np.arange(500)
    axes = {
        "a": Correctness(("m", "n"), right, ids, "test"),
        "b": Correctness(("m", "n"), right[::-1], ids, "test"),
        "other": Correctness(("m", "n"), right, ids, "elsewhere"),
    }
    drawn = resampled_accuracies(axes, resamples=600)
    assert drawn["a"].shape == (600, 2)
    np.testing.assert_allclose(drawn["a"], drawn["b"][:, ::-1])
    assert abs(np.corrcoef(drawn["a"][:, 0], drawn["other"][:, 0])[0, 1]) < 0.2


def test_resampled_accuracies_vary_as_the_covariance_of_right_answers_says():
    generator = np.random.default_rng(1)
    first = generator.integers(0, 2, 800)
    second = np.where(generator.random(800) < 0.7, first, 1 - first)
    right = np.stack([first, second]).astype(np.uint8)
    drawn = resampled_accuracies({"a": Correctness(("m", "n"), right, np.arange(800), "s")}, resamples=4000)["a"]
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(right, ddof=0) / 800, rtol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=0), right.mean(axis=1), atol=0.002)


def test_a_subset_of_a_source_is_resampled_with_it():
    right = np.random.default_rng(2).integers(0, 2, size=(1, 400)).astype(np.uint8)
    ids = np.arange(400)
    axes = {"all": Correctness(("m",), right, ids, "s"), "half": Correctness(("m",), right[:, 200:], ids[200:], "s")}
    drawn = resampled_accuracies(axes, resamples=800)
    assert 0.5 < np.corrcoef(drawn["all"][:, 0], drawn["half"][:, 0])[0, 1] < 0.9


def test_answers_of_another_shape_or_of_a_missing_model_are_refused():
    with pytest.raises(AnalysisError, match=r"need the shape \(1, 3\), got \(1, 2\)"):
        Correctness(("m",), np.zeros((1, 2), np.uint8), np.arange(3), "s")
    with pytest.raises(AnalysisError, match="'x' has no stored answers on s"):
        Correctness(("m",), np.zeros((1, 3), np.uint8), np.arange(3), "s").of(["x"])


# ---- the joint interval ----------------------------------------------------------------------------------------------


def test_the_estimate_is_the_mean_over_replicates_of_what_single_models_have():
    table, answers, _ = study()
    single = effective_robustness(table, baseline="baseline").set_index(["shift", "model"])["effective_robustness"]
    joint = joint_effective_robustness(table, answers, baseline="baseline", resamples=50)
    row = joint[(joint["group"] == "new") & (joint["shift"] == "shift 0")].iloc[0]
    assert row["replicates"] == 3
    assert row["effective_robustness"] == pytest.approx(np.mean([single["shift 0", f"new {i}"] for i in range(3)]))
    averaged = joint[(joint["group"] == "new") & (joint["shift"] == "average")].iloc[0]
    both = joint[(joint["group"] == "new") & (joint["shift"] != "average")]["effective_robustness"]
    assert averaged["effective_robustness"] == pytest.approx(both.mean())


def test_the_parts_are_what_they_say():
    """Line: statsmodels' standard error of the mean; seeds: of the replicates; images: a plain bootstrap, one image at a time."""
    table, answers, _ = study(replicates=4, images=300)
    joint = joint_effective_robustness(table, answers, baseline="baseline", resamples=4000)
    row = joint[(joint["group"] == "new") & (joint["shift"] == "shift 1")].iloc[0]
    values = wide(table)
    z = pd.DataFrame(ndtri(values), index=values.index, columns=values.columns)
    base, new = z[z.index.str.startswith("base")], z[z.index.str.startswith("new")]
    model = sm.OLS(base["shift 1"], sm.add_constant(base["reference"])).fit()
    at = model.get_prediction(np.array([[1.0, new["reference"].mean()]]))
    anchor = ndtri(row["shifted"] - row["effective_robustness"])
    assert row["sd_line"] == pytest.approx(stats.norm.pdf(anchor) * at.se_mean[0], rel=1e-6)

    def robustness(reference, shifted):
        x, y = ndtri(reference), ndtri(shifted)
        slope, intercept = np.polyfit(x[:24], y[:24], 1)
        return shifted[24:] - ndtr(slope * x[24:] + intercept)

    pair = answers["shift 1"]
    whole = robustness(pair.reference.accuracies, pair.shifted.accuracies)
    assert row["sd_seeds"] == pytest.approx(whole.std(ddof=1) / 2, rel=1e-6)
    generator = np.random.default_rng(3)
    drawn = []
    for _ in range(1500):
        rows, others = (generator.integers(0, 300, 300) for _ in range(2))
        drawn.append(robustness(pair.reference.correct[:, rows].mean(axis=1), pair.shifted.correct[:, others].mean(axis=1)))
    drawn = np.array(drawn)
    apart = (drawn - drawn.mean(axis=0)).var(axis=1, ddof=1).mean() / 4
    assert row["sd_images"] == pytest.approx(np.sqrt(max(drawn.mean(axis=1).var(ddof=1) - apart, 0)), rel=0.12)
    assert row["low"] < row["effective_robustness"] < row["high"]


def test_images_of_one_source_go_together():
    """A shift of the reference's own images: what makes an image hard moves both axes, and partly cancels."""
    same, apart = (study(seed=5, same_images=flag, shared=0.99, images=400) for flag in (True, False))
    sds = [
        joint_effective_robustness(table, answers, baseline="baseline", by="model", resamples=500)
        .query("group == 'new' and shift == 'shift 0'")["sd_images"]
        .mean()
        for table, answers, _ in (same, apart)
    ]
    assert sds[0] < 0.95 * sds[1]


def test_units_are_recipes_groups_or_models():
    table, answers, _ = study()
    found = {
        by: joint_effective_robustness(table, answers, baseline="baseline", by=by, resamples=20)
        for by in ("recipe", "group", "model")
    }
    counts = {by: len(rows[rows["shift"] == "shift 0"]) for by, rows in found.items()}
    assert counts == {"recipe": 25, "group": 2, "model": 27}
    one = found["model"].query("model == 'new 1' and shift == 'shift 0'").iloc[0]
    assert np.isnan(one["sd_seeds"])
    assert "one replicate: conditional on its seed" in one["notes"]
    with pytest.raises(AnalysisError, match="choose one of recipe, group, model"):
        joint_effective_robustness(table, answers, baseline="baseline", by="seed")


def test_what_differs_in_more_than_its_seed_is_no_replicate():
    """Words leave much of a recipe out: the column `replicates_of` tells recipes apart, `run` trainings."""
    table, answers, _ = study()
    number = table["model"].str.extract(r"(\d+)$")[0].astype(int)
    table = table.assign(replicates_of=np.where(number % 2 == 0, "one decay", "another decay"), recipe="the same words")
    found = joint_effective_robustness(table, answers, baseline="baseline", resamples=20).query("shift == 'shift 0'")
    assert sorted(found.loc[found["group"] == "new", "replicates"]) == [1, 2]
    by_group = joint_effective_robustness(table, answers, baseline="baseline", by="group", resamples=20)
    assert "2 different recipes" in by_group.loc[by_group["group"] == "new", "notes"].iloc[0]


def test_an_average_has_the_degrees_of_freedom_of_its_least_certain_line():
    table, _, _ = study(seed=4)
    base = table["group"] == "baseline"
    number = table["model"].str.extract(r"(\d+)$")[0].astype(int)
    runs = table.assign(recipe=np.where(base, "net " + (number // 4).astype(str) + " @ epoch 1", table["recipe"]))
    rows = joint_effective_robustness(runs, {}, baseline="baseline", by="model").query("model == 'new 0'").set_index("shift")
    line = rows.assign(share=rows["sd_line"] ** 2 / (rows["sd_line"] ** 2 + rows["sd_images"] ** 2))
    # Six runs: four degrees of freedom for the line's share of the variance.
    for row in line.itertuples():
        assert row.df == pytest.approx(4 / row.share**2, rel=1e-6)


@pytest.mark.slow
def test_a_comparison_knows_what_is_uncertain_about_the_line():
    """Two models on the line at its two ends: their images alone would often call them different."""
    wrong = 0
    for number in range(40):
        table, answers, _ = study(seed=100 + number, images=4000, replicates=1, seed_spread=0.0)
        few = [f"baseline {i}" for i in range(24)]
        values = wide(table).loc[few, "reference"].sort_values()
        kept = [*values.index[8:14], values.index[0], values.index[-1]]
        table = table[table["model"].isin(kept)].assign(
            group=lambda t, ends=(values.index[0], values.index[-1]): np.where(t["model"].isin(ends), "ends", "baseline")
        )
        found = compare(table, answers, values.index[0], values.index[-1], baseline="baseline", resamples=200)
        wrong += (found["p_er"] < 0.05).sum()
    # 80 comparisons; the scatter of the two models themselves is no error of the test.
    assert wrong / 80 < 0.3


def test_without_answers_images_count_as_single_values_do():
    table, _, _ = study()
    joint = joint_effective_robustness(table, {}, baseline="baseline", by="model")
    row = joint.query("model == 'new 0' and shift == 'shift 0'").iloc[0]
    values = wide(table).loc["new 0"]
    fit = fit_baseline(table, shift="shift 0", baseline="baseline")
    p, q = values["reference"], values["shift 0"]
    slope = fit.slope * stats.norm.pdf(fit.line(p)) / stats.norm.pdf(ndtri(p))
    assert row["sd_images"] == pytest.approx(np.sqrt(q * (1 - q) / 1000 + slope**2 * p * (1 - p) / 1000))
    assert "no stored answers" in row["notes"]


def test_checkpoints_of_runs_are_resampled_by_runs():
    """Twelve models that are epochs of six runs: what a run adds to all of its points widens the line's interval."""
    table, _, _ = study(seed=4)
    base = table["group"] == "baseline"
    number = table["model"].str.extract(r"(\d+)$")[0].astype(int)
    clustered = table.assign(recipe=np.where(base, "net, seed=" + (number // 4).astype(str) + " @ epoch 1", table["recipe"]))
    shifted = clustered["distribution"] == "shift 0"
    offset = np.random.default_rng(0).normal(0, 0.06, 6)[np.minimum(number // 4, 5)]
    clustered = clustered.assign(value=np.where(base & shifted, clustered["value"] + offset, clustered["value"]))
    plain = clustered.assign(recipe=np.where(base, clustered["model"], clustered["recipe"]))
    sds = {
        name: joint_effective_robustness(t, {}, baseline="baseline", by="group")
        .query("group == 'new' and shift == 'shift 0'")["sd_line"]
        .item()
        for name, t in (("runs", clustered), ("models", plain))
    }
    assert sds["runs"] > 1.2 * sds["models"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_coverage_is_near_nominal(setting):
    from joint_intervals import coverage

    for share in coverage(250, resamples=200, **SETTINGS[setting]).values():
        # 250 studies know a share of 0.95 to 0.014.
        assert 0.89 < share <= 0.99


# ---- weights, influence ----------------------------------------------------------------------------------------------


def test_binomial_weights_are_those_of_weighted_least_squares():
    table, _, _ = study()
    table = table.assign(n=np.where(table["model"].str.endswith("3"), 100, 5000))
    fit = fit_baseline(table, shift="shift 0", baseline="baseline", weights="binomial")
    values = wide(table[table["group"] == "baseline"])
    n = table[table["group"] == "baseline"].drop_duplicates("model").set_index("model")["n"][values.index]
    p = values["shift 0"]
    weights = n / (p * (1 - p)) * stats.norm.pdf(ndtri(p)) ** 2
    theirs = sm.WLS(ndtri(p), sm.add_constant(ndtri(values["reference"])), weights=weights).fit()
    assert (fit.intercept, fit.slope) == pytest.approx(tuple(theirs.params))
    assert fit.r2 == pytest.approx(theirs.rsquared)
    at = theirs.get_prediction(np.array([[1.0, 0.7]]))
    assert np.sqrt(fit.variance_at(np.array(0.7))) == pytest.approx(at.se_mean[0])
    with pytest.raises(AnalysisError, match="need the number of examples"):
        fit_baseline(table.drop(columns="n"), shift="shift 0", baseline="baseline", weights="binomial")
    with pytest.raises(AnalysisError, match="choose none or binomial"):
        fit_baseline(table, shift="shift 0", baseline="baseline", weights="poisson")


def test_leaving_a_model_out_is_what_statsmodels_says():
    table, _, _ = study(seed=2)
    found = leave_one_out(table, shift="shift 0", baseline="baseline").set_index("model")
    values = wide(table[table["group"] == "baseline"])
    x, y = ndtri(values["reference"]), ndtri(values["shift 0"])
    influence = sm.OLS(y, sm.add_constant(x)).fit().get_influence()
    # The residual to the line without the model is e / (1 - h).
    np.testing.assert_allclose(found.loc[values.index, "residual"], influence.resid_press, rtol=1e-9)
    assert found["change"].abs().is_monotonic_decreasing
    few = table[table["model"].isin([*[f"baseline {i}" for i in range(3)], "new 0"])]
    with pytest.raises(AnalysisError, match="leaves no line"):
        leave_one_out(few, shift="shift 0", baseline="baseline")


# ---- comparisons -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(only_a, only_b):
    theirs = their_mcnemar([[10, only_a], [only_b, 10]], exact=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(min(theirs, 1.0))


@pytest.mark.slow
@settings(max_examples=20)
@given(arrays.arrays(float, st.integers(1, 4), elements=st.floats(0, 1, width=16)))
def test_holm_is_that_of_statsmodels(values):
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1])
    with_gap = holm([*values, np.nan])
    np.testing.assert_allclose(with_gap[:-1], holm(values))
    assert np.isnan(with_gap[-1])


def test_a_comparison_finds_what_was_planted():
    table, answers, truth = study(seed=1, images=4000, seed_spread=0.02)
    found = compare(table, answers, "new", "baseline 3", baseline="baseline", resamples=400).set_index("shift")
    assert (found["p_er_holm"] < 0.001).all()
    assert found["p_images"].isna().all()
    assert ((found["er_low"] < found["er_difference"]) & (found["er_difference"] < found["er_high"])).all()
    assert abs(found.loc["shift 0", "er_difference"] - truth["shift 0"]) < 0.1
    pair = compare(table, answers, "new 0", "new 1", baseline="baseline", resamples=400).set_index("shift")
    right = answers["shift 0"].shifted.of(["new 0", "new 1"]).correct.astype(int)
    assert pair.loc["shift 0", "only_a"] == ((right[0] == 1) & (right[1] == 0)).sum()
    assert pair.loc["shift 0", "accuracy_difference"] == pytest.approx(right[0].mean() - right[1].mean())
    with pytest.raises(AnalysisError, match="no model or group 'newer'"):
        compare(table, answers, "newer", "new 0", baseline="baseline")
    with pytest.raises(AnalysisError, match="no stored answers to compare"):
        compare(table, {}, "new 0", "new 1", baseline="baseline")


@pytest.mark.slow
def test_the_tests_are_wrong_as_often_as_they_say():
    """Two models of one ability: 5 % of the comparisons find a difference, of the images and of the seeds."""
    settings = {"images": 400, "replicates": 8, "seed_spread": 0.05, "shared": 0.5, "same_images": False}
    images, er, seeds = [], [], []
    for number in range(300):
        table, answers, _ = simulate(np.random.default_rng([number, 3]), **settings | {"seed_spread": 0.0})
        found = compare(table, answers, "new 0", "new 1", baseline="baseline", resamples=200, seed=number)
        images.append(found["p_images"].iloc[0])
        er.append(found["p_er"].iloc[0])
        table, answers, _ = simulate(np.random.default_rng([number, 4]), **settings)
        table = table.assign(group=table["group"].where(~table["model"].isin([f"new {i}" for i in range(4)]), "first"))
        seeds.append(compare(table, answers, "first", "new", baseline="baseline", resamples=10)["p_seeds"].iloc[0])
    for p_values, most in ((images, 0.09), (er, 0.09), (seeds, 0.09)):
        assert 0.015 < np.mean(np.array(p_values) < 0.05) < most
