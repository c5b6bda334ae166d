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
    Answers,
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
    """Line: statsmodels' interval of the mean; seeds: of the replicates; images: a plain bootstrap, one image at a time."""
    table, answers, _ = study(replicates=4, images=300)
    joint = joint_effective_robustness(table, answers, baseline="baseline", resamples=4000)
    row = joint[(joint["group"] == "new") & (joint["shift"] == "shift 1")].iloc[0]
    values = wide(table)
    z = pd.DataFrame(ndtri(values), index=values.index, columns=values.columns)
    base, new = z[z.index.str.startswith("base")], z[z.index.str.startswith("new")]
    model = sm.OLS(base["shift 1"], sm.add_constant(base["reference"])).fit()
    at = model.get_prediction(np.array([[1.0, new["reference"].mean()]]))
    anchor = ndtri(row["shifted"] - row["effective_robustness"])
    far = stats.t.ppf(0.975, 22) * at.se_mean[0]
    assert row["line_low"] == pytest.approx(ndtr(anchor + far) - ndtr(anchor), rel=1e-6)
    assert row["line_high"] == pytest.approx(ndtr(anchor) - ndtr(anchor - far), rel=1e-6)

    def robustness(reference, shifted):
        x, y = ndtri(reference), ndtri(shifted)
        slope, intercept = np.polyfit(x[:24], y[:24], 1)
        return shifted[24:] - ndtr(slope * x[24:] + intercept)

    pair = answers["shift 1"]
    whole = robustness(pair.reference.accuracies, pair.shifted.accuracies)
    assert row["seeds"] == pytest.approx(stats.t.ppf(0.975, 3) * whole.std(ddof=1) / 2, rel=1e-6)
    generator = np.random.default_rng(3)
    drawn = []
    for _ in range(1500):
        rows, others = (generator.integers(0, 300, 300) for _ in range(2))
        drawn.append(robustness(pair.reference.correct[:, rows].mean(axis=1), pair.shifted.correct[:, others].mean(axis=1)))
    drawn = np.array(drawn)
    apart = (drawn - drawn.mean(axis=0)).var(axis=1, ddof=1).mean() / 4
    for side in ("low", "high"):
        whole_half = np.linalg.norm([row[f"line_{side}"], row[f"images_{side}"], row["seeds"]])
        assert abs(row[side] - row["effective_robustness"]) == pytest.approx(whole_half, rel=1e-9)
    images = (row["images_low"] + row["images_high"]) / 2
    assert images == pytest.approx(1.96 * np.sqrt(max(drawn.mean(axis=1).var(ddof=1) - apart, 0)), rel=0.12)
    assert row["low"] < row["effective_robustness"] < row["high"]


def test_images_of_one_source_go_together():
    """A shift of the reference's own images: what makes an image hard moves both axes, and partly cancels."""
    same, apart = (study(seed=5, same_images=flag, shared=0.99, images=400) for flag in (True, False))
    widths = [
        joint_effective_robustness(table, answers, baseline="baseline", by="model", resamples=500)
        .query("group == 'new' and shift == 'shift 0'")["images_low"]
        .mean()
        for table, answers, _ in (same, apart)
    ]
    assert widths[0] < 0.95 * widths[1]


def test_units_are_recipes_groups_or_models():
    table, answers, _ = study()
    found = {
        by: joint_effective_robustness(table, answers, baseline="baseline", by=by, resamples=20)
        for by in ("recipe", "group", "model")
    }
    counts = {by: len(rows[rows["shift"] == "shift 0"]) for by, rows in found.items()}
    assert counts == {"recipe": 25, "group": 2, "model": 27}
    one = found["model"].query("model == 'new 1' and shift == 'shift 0'").iloc[0]
    assert np.isnan(one["seeds"])
    assert one["notes"] == "one-seed"
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
    assert by_group.loc[by_group["group"] == "new", "notes"].iloc[0] == "recipes"


def test_lines_of_several_shifts_move_together():
    """The same baseline models fix both lines: where a model is off both, the average is no surer than one of them."""
    table, _, _ = study(seed=4)
    twin = table[table["distribution"] == "shift 0"].assign(distribution="shift 1")
    table = pd.concat([table[table["distribution"] != "shift 1"], twin], ignore_index=True)
    rows = joint_effective_robustness(table, {}, baseline="baseline", by="model").query("model == 'new 0'").set_index("shift")
    for part in ("low", "high", "line_low", "line_high"):
        assert rows.loc["average", part] == pytest.approx(rows.loc["shift 0", part], rel=1e-6), part


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
    alone = effective_robustness(table, baseline="baseline").query("model == 'new 0' and shift == 'shift 0'").iloc[0]
    assert (row["low"], row["high"]) == (alone["low"], alone["high"])
    assert row["notes"] == "one-seed no-answers"


def runs_of_a_line(generator, *, runs, epochs, apart=0.08, own=0.02):
    """Epochs of runs about ``y = 0.9 x - 0.4``: what a run is off the line is the same for all of its epochs."""
    run = np.repeat(np.arange(runs), epochs)
    x = np.concatenate([np.linspace(-0.5, end, epochs) for end in generator.uniform(0.5, 1.5, runs)])
    y = 0.9 * x - 0.4 + generator.normal(0, apart, runs)[run] + generator.normal(0, own, len(run))
    names = [f"{r}.{i}" for i, r in enumerate(run)]
    models = pd.DataFrame({"model": names, "group": "baseline", "run": [f"run {r}" for r in run]})
    new = pd.DataFrame({"model": ["new"], "group": ["new"], "run": ["new"]})
    frame = pd.concat([models, new], ignore_index=True)
    values = {"reference": [*x, 0.8], "s": [*y, 0.9 * 0.8 - 0.4]}
    return pd.concat([frame.assign(distribution=d, value=ndtr(v)) for d, v in values.items()], ignore_index=True)


def test_the_line_is_as_uncertain_as_its_clusters_say():
    """CR2 with the degrees of freedom of Bell and McCaffrey (2002), written down as matrices."""
    table = runs_of_a_line(np.random.default_rng(1), runs=6, epochs=5)
    fit = fit_baseline(table, shift="s", baseline="baseline")
    assert fit.clusters == 6
    values = wide(table).drop("new")
    x, y = ndtri(values["reference"].to_numpy()), ndtri(values["s"].to_numpy())
    run = values.index.str.split(".").str[0].to_numpy()
    design = np.column_stack([np.ones(30), x])
    bread = np.linalg.inv(design.T @ design)
    hat = design @ bread @ design.T
    errors = y - design @ bread @ design.T @ y
    at = np.array([1.0, 0.8])
    meat, columns = np.zeros((2, 2)), []
    for name in np.unique(run):
        rows = run == name
        values_, vectors = np.linalg.eigh((np.eye(30) - hat)[np.ix_(rows, rows)])
        root = vectors @ np.diag(values_**-0.5) @ vectors.T
        score = design[rows].T @ root @ errors[rows]
        meat += np.outer(score, score)
        columns.append((np.eye(30) - hat)[:, rows] @ root @ design[rows] @ bread @ at)
    variance = at @ bread @ meat @ bread @ at
    products = np.array(columns) @ np.array(columns).T
    df = np.trace(products) ** 2 / (products**2).sum()
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    band = fit.confidence([ndtr(0.8)])
    assert 2 < df < 6
    assert ndtri(band.high[0]) - ndtri(band.predicted[0]) == pytest.approx(half, rel=1e-6)


def test_epochs_of_a_few_runs_are_no_independent_models():
    """Eight runs of twelve epochs: the interval that takes 96 models for independent misses the truth in every third study."""
    held = {None: [], "auto": []}
    for seed in range(80):
        table = runs_of_a_line(np.random.default_rng([seed, 8]), runs=8, epochs=12)
        for cluster, found in held.items():
            band = fit_baseline(table, shift="s", baseline="baseline", cluster=cluster).confidence([ndtr(0.8)])
            found.append(band.low[0] <= ndtr(0.9 * 0.8 - 0.4) <= band.high[0])
    assert np.mean(held[None]) < 0.75
    assert 0.88 < np.mean(held["auto"]) <= 0.99
    few = runs_of_a_line(np.random.default_rng(0), runs=3, epochs=12)
    assert fit_baseline(few, shift="s", baseline="baseline").codes == ["few-clusters"]
    with pytest.raises(AnalysisError, match="there is no column 'paper' to take clusters from"):
        fit_baseline(few, shift="s", baseline="baseline", cluster="paper")


# ---- where the line and the model are far apart ------------------------------------------------------------------------


def far_study(generator, *, predicted, accuracy, images=2000, baselines=32):
    """A model whose accuracy is far from what the line predicts, among baselines on a line with scatter."""
    x = np.append(generator.uniform(0.4, 1.4, baselines), 0.8)
    y = 0.9 * x + ndtri(predicted) - 0.72 + generator.normal(0, 0.06, baselines + 1)
    y[-1] = ndtri(accuracy)
    names = tuple([f"baseline {i}" for i in range(baselines)] + ["new"])
    axes = {
        name: Correctness(
            names, (generator.random((baselines + 1, images)) < ndtr(z)[:, None]).astype(np.uint8), np.arange(images), name
        )
        for name, z in (("reference", x), ("s", y))
    }
    group = ["baseline"] * baselines + ["new"]
    parts = [
        pd.DataFrame({"model": names, "group": group, "distribution": d, "value": c.accuracies, "n": images})
        for d, c in axes.items()
    ]
    return pd.concat(parts, ignore_index=True), {"s": Answers(axes["reference"], axes["s"])}


@pytest.mark.slow
@pytest.mark.parametrize(("predicted", "accuracy"), [(0.026, 0.596), (0.97, 0.67)])
def test_intervals_hold_where_a_model_is_far_from_the_line(predicted, accuracy):
    """Pushed through the line's scale at the prediction, these intervals held the truth in 30 to 70 % of the studies."""
    held = []
    for seed in range(80):
        table, answers = far_study(np.random.default_rng([seed, 5]), predicted=predicted, accuracy=accuracy)
        for found, least in (
            (effective_robustness(table, baseline="baseline"), 1.0),
            (joint_effective_robustness(table, answers, baseline="baseline", resamples=100), 0.75),
        ):
            row = found.query("model == 'new'").iloc[0]
            held.append(row["low"] <= accuracy - predicted <= row["high"])
            own = stats.binomtest(round(row["shifted"] * 2000), 2000).proportion_ci(method="exact")
            # No surer than the model's own accuracy; a hundred resamples know its spread to 7 %.
            assert row["high"] - row["low"] > least * (own.high - own.low)
    assert 0.90 < np.mean(held) < 0.985


@pytest.mark.slow
def test_the_noise_of_reference_accuracies_flattens_the_line_and_is_taken_off():
    """Baselines between 0.66 and 0.76 of 500 images: a fifth of the spread of the reference accuracies is noise."""
    slopes, robustness, codes = {"none": [], "in-x": []}, {"none": [], "in-x": []}, []
    for seed in range(150):
        generator = np.random.default_rng([seed, 6])
        x = np.append(generator.uniform(ndtri(0.66), ndtri(0.76), 32), ndtri(0.76))
        y = 0.9 * x - 0.4
        values = {d: generator.binomial(n, ndtr(z)) / n for d, z, n in (("reference", x, 500), ("s", y, 20_000))}
        frame = pd.DataFrame({"model": [f"m{i}" for i in range(33)], "group": ["baseline"] * 32 + ["new"]})
        table = pd.concat(
            [frame.assign(distribution=d, value=v, n={"reference": 500, "s": 20_000}[d]) for d, v in values.items()],
            ignore_index=True,
        )
        for errors in slopes:
            fit = fit_baseline(table, shift="s", baseline="baseline", errors=errors)
            slopes[errors].append(fit.slope)
            robustness[errors].append(ndtr(y[-1]) - fit.predict([0.76])[0])
        codes.append(fit_baseline(table, shift="s", baseline="baseline").codes)
    assert np.mean(slopes["none"]) < 0.8 * 0.9
    assert np.median(slopes["in-x"]) == pytest.approx(0.9, abs=0.05)
    assert np.mean(robustness["none"]) > 0.008
    assert abs(np.median(robustness["in-x"])) < 0.004
    assert np.mean(["noisy-x" in found for found in codes]) > 0.95


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
    band = fit.confidence([ndtr(0.7)])
    assert ndtri(band.high[0]) - 0.7 * fit.slope - fit.intercept == pytest.approx(stats.t.ppf(0.975, 22) * at.se_mean[0])
    with pytest.raises(AnalysisError, match="need proportions of known numbers of examples"):
        fit_baseline(table.drop(columns="n"), shift="shift 0", baseline="baseline", weights="binomial")
    with pytest.raises(AnalysisError, match="choose one of none, binomial"):
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
    with pytest.raises(AnalysisError, match="2 baseline models are left, which is no line"):
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
    table, answers, truth = study(seed=1, images=4000, replicates=6, seed_spread=0.02)
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


@pytest.mark.parametrize("seed", range(12))
def test_models_at_one_place_have_no_line_between_them(seed):
    """Equal accuracies on the reference: the line moves both alike, exactly, whatever the rounding of its covariance."""
    table, answers, _ = study(seed, replicates=2, images=400)
    for pair in answers.values():
        pair.reference.correct[-1] = pair.reference.correct[-2]
    at = (table["distribution"] == "reference") & (table["model"] == "new 1")
    table.loc[at, "value"] = answers["shift 0"].reference.of(["new 1"]).correct.mean()
    found = compare(table, answers, "new 0", "new 1", baseline="baseline", resamples=50)
    assert found["p_er"].between(0, 1).all()


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
