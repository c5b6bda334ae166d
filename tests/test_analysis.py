"""Every statistic against an independent implementation: statsmodels, scipy, brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from shiftline.analysis import (
    SCALES,
    alpha_curve,
    choose_alpha,
    clopper_pearson,
    effective_robustness,
    fit_baseline,
    group_means,
    mean_interval,
    relative_robustness,
)
from shiftline.analysis.axes import inside
from shiftline.analysis.intervals import difference_interval
from shiftline.errors import AnalysisError

G = {"probit": stats.norm.ppf, "logit": lambda p: np.log(p / (1 - p)), "linear": lambda p: p}
INVERSE = {"probit": stats.norm.cdf, "logit": lambda z: 1 / (1 + np.exp(-z)), "linear": lambda z: z}


def rows(model, group, **values):
    return [{"model": model, "group": group, "distribution": d, "value": v} for d, v in values.items()]


def table(n=12, *, seed=0, with_n=None):
    rng = np.random.default_rng(seed)
    reference = np.sort(rng.uniform(0.3, 0.9, n))
    shifted = {
        s: stats.norm.cdf(0.8 * stats.norm.ppf(reference) + b + rng.normal(0, 0.1, n)) for s, b in (("blur", -0.3), ("noise", -0.8))
    }
    made = []
    for i in range(n):
        made += rows(f"b{i}", "base", reference=reference[i], blur=shifted["blur"][i], noise=shifted["noise"][i])
    made += rows("zero-shot", "pretrained", reference=0.7, blur=0.8, noise=0.6)
    made += rows("tuned 0", "tuned", reference=0.85, blur=0.82, noise=0.7)
    made += rows("tuned 1", "tuned", reference=0.95, blur=0.9, noise=0.75)
    frame = pd.DataFrame(made)
    return frame if with_n is None else frame.assign(n=with_n)


def ols(frame, shift, scale):
    wide = frame[frame["group"] == "base"].pivot(index="model", columns="distribution", values="value")
    x, y = G[scale](wide["reference"].to_numpy()), G[scale](wide[shift].to_numpy())
    return sm.OLS(y, sm.add_constant(x)).fit()


@pytest.mark.parametrize("scale", SCALES)
def test_the_baseline_fit_is_statsmodels_ols(scale):
    frame = table()
    fit, model = fit_baseline(frame, shift="blur", baseline="base", scale=scale), ols(frame, "blur", scale)
    np.testing.assert_allclose([fit.intercept, fit.slope], model.params, rtol=1e-9)
    np.testing.assert_allclose(fit.r2, model.rsquared, rtol=1e-9)
    np.testing.assert_allclose(fit.residual_std, np.sqrt(model.mse_resid), rtol=1e-9)
    at = np.array([0.2, 0.5, 0.8, 0.95])
    for level in (0.95, 0.8):
        summary = model.get_prediction(sm.add_constant(G[scale](at), has_constant="add")).summary_frame(alpha=1 - level)
        for band, low, high in (
            (fit.confidence(at, level=level), "mean_ci_lower", "mean_ci_upper"),
            (fit.prediction(at, level=level), "obs_ci_lower", "obs_ci_upper"),
        ):
            np.testing.assert_allclose(band.predicted, INVERSE[scale](summary["mean"]), rtol=1e-9)
            np.testing.assert_allclose(band.low, INVERSE[scale](summary[low]), rtol=1e-9)
            np.testing.assert_allclose(band.high, INVERSE[scale](summary[high]), rtol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_inverse_and_their_slopes_are_derivatives(scale):
    g, p = SCALES[scale], np.linspace(0.02, 0.98, 49)
    np.testing.assert_allclose(g.forward(p), G[scale](p), rtol=1e-12)
    np.testing.assert_allclose(g.inverse(g.forward(p)), p, rtol=1e-12)
    np.testing.assert_allclose(g.slope(p), (g.forward(p + 1e-6) - g.forward(p - 1e-6)) / 2e-6, rtol=1e-5)


def test_effective_robustness_is_the_distance_to_the_line():
    frame = table()
    found = effective_robustness(frame, baseline="base").set_index(["shift", "model"])
    for shift in ("blur", "noise"):
        model = ols(frame, shift, "probit")
        for name in ("zero-shot", "tuned 0", "b3"):
            values = frame[frame["model"] == name].set_index("distribution")["value"]
            expected = values[shift] - stats.norm.cdf(model.params @ [1, stats.norm.ppf(values["reference"])])
            assert found.loc[(shift, name), "effective_robustness"] == pytest.approx(expected, abs=1e-12)
            assert found.loc[(shift, name), "n_baseline"] == 12


def test_without_counts_the_interval_is_that_of_the_line():
    frame = table()
    fit = fit_baseline(frame, shift="blur", baseline="base")
    row = effective_robustness(frame, baseline="base", shifts=["blur"]).set_index("model").loc["zero-shot"]
    band = fit.confidence([0.7])
    assert row["low"] == pytest.approx(0.8 - band.high[0])
    assert row["high"] == pytest.approx(0.8 - band.low[0])


def test_with_counts_the_interval_adds_distances_to_the_ends_of_its_parts():
    """Zou & Donner (2008): each part has its own ends on the scale of accuracies, and their distances add as squares."""
    frame = table(with_n=500)
    row = effective_robustness(frame, baseline="base", shifts=["blur"]).set_index("model").loc["zero-shot"]
    theirs = ols(frame, "blur", "probit").get_prediction(np.array([[1.0, stats.norm.ppf(0.7)]]))
    (middle,), (line,) = theirs.predicted_mean, theirs.conf_int(alpha=0.05)
    own = proportion_confint(400, 500, method="beta")
    # The spread of g(reference accuracy) over simulated test sets, instead of the delta method.
    x = stats.norm.ppf(np.random.default_rng(1).binomial(500, 0.7, 200_000) / 500)
    along = stats.norm.cdf(middle + stats.norm.ppf([0.025, 0.975]) * ols(frame, "blur", "probit").params[1] * x.std())
    predicted = stats.norm.cdf(middle)
    low = np.linalg.norm([0.8 - own[0], stats.norm.cdf(line[1]) - predicted, along[1] - predicted])
    high = np.linalg.norm([own[1] - 0.8, predicted - stats.norm.cdf(line[0]), predicted - along[0]])
    assert row["effective_robustness"] - row["low"] == pytest.approx(low, rel=5e-3)
    assert row["high"] - row["effective_robustness"] == pytest.approx(high, rel=5e-3)


def test_averages_over_shifts_are_averages_of_per_shift_values():
    found = effective_robustness(table(), baseline="base")
    for model, part in found.groupby("model"):
        average = part[part["shift"] == "average"].iloc[0]
        rest = part[part["shift"] != "average"]
        assert average["effective_robustness"] == pytest.approx(rest["effective_robustness"].mean()), model
        assert average["shifted"] == pytest.approx(rest["shifted"].mean())


def test_extrapolation_is_flagged():
    found = effective_robustness(table(), baseline="base").set_index(["shift", "model"])["extrapolated"]
    assert found[("blur", "tuned 1")]
    assert found[("average", "tuned 1")]
    assert not found[("blur", "zero-shot")]


def test_a_missing_cell_is_a_gap_and_never_joined_by_position():
    frame = table()
    gappy = frame[~((frame["model"] == "zero-shot") & (frame["distribution"] == "noise"))].sample(frac=1, random_state=3)
    whole = effective_robustness(frame, baseline="base").set_index(["shift", "model"])["effective_robustness"]
    found = effective_robustness(gappy, baseline="base").set_index(["shift", "model"])["effective_robustness"]
    gaps = {("noise", "zero-shot"), ("average", "zero-shot")}
    assert set(found.index) == set(whole.index)
    assert set(found[found.isna()].index) == gaps
    for key, value in found.dropna().items():
        assert value == pytest.approx(whole[key], abs=1e-12)
    assert fit_baseline(frame[frame["model"] != "b2"], shift="blur", baseline="base").n == 11
    lost = frame[~((frame["model"] == "b2") & (frame["distribution"] == "blur"))]
    assert fit_baseline(lost, shift="blur", baseline="base").missing == 1


def test_accuracies_of_zero_and_one_follow_the_policy():
    p, clipped = inside([0.0, 0.5, 1.0], [100, 100, 50], SCALES["probit"], extremes="clip")
    np.testing.assert_allclose(p, [0.005, 0.5, 0.99])
    assert clipped.tolist() == [True, False, True]
    p, clipped = inside([0.0, 0.5], [np.nan, np.nan], SCALES["logit"], extremes="clip")
    assert np.isnan(p[0])
    p, clipped = inside([0.0, 1.0], [10, 10], SCALES["linear"])
    assert p.tolist() == [0.0, 1.0]
    assert not clipped.any()
    assert np.isnan(inside([1.0], [10], SCALES["probit"])[0]).all()


def test_extreme_baselines_are_counted():
    frame = table(with_n=200)
    frame.loc[(frame["model"] == "b0") & (frame["distribution"] == "blur"), "value"] = 0.0
    clipped = fit_baseline(frame, shift="blur", baseline="base", extremes="clip")
    excluded = fit_baseline(frame, shift="blur", baseline="base")
    assert (clipped.n, clipped.clipped, clipped.excluded) == (12, 1, 0)
    assert (excluded.n, excluded.clipped, excluded.excluded) == (11, 0, 1)


def test_a_baseline_model_at_zero_does_not_turn_the_line():
    """ImageNet-A was filtered against one network, whose accuracy is 0 on it: clipped, it is worth all others."""
    frame = table(4, seed=1, with_n=2000)
    frame.loc[(frame["model"] == "b0") & (frame["distribution"] == "blur"), "value"] = 0.0
    whole = fit_baseline(table(4, seed=1), shift="blur", baseline="base")
    found = fit_baseline(frame, shift="blur", baseline="base")
    assert found.r2 > 0.9
    assert found.slope == pytest.approx(whole.slope, rel=0.3)
    clipped = fit_baseline(frame, shift="blur", baseline="base", extremes="clip")
    assert clipped.r2 < 0.8
    assert "excluded" in found.codes
    assert "clipped" in clipped.codes


def test_a_group_that_lacks_a_replicate_has_no_mean():
    frame = table()
    partial = frame[~((frame["model"] == "tuned 1") & (frame["distribution"] == "noise"))]
    found = group_means(effective_robustness(partial, baseline="base")).set_index(["shift", "group"])
    assert np.isnan(found.loc[("noise", "tuned"), "effective_robustness"])
    assert np.isfinite(found.loc[("blur", "tuned"), "effective_robustness"])
    assert found.loc[("noise", "tuned"), "models"] == 2


def test_another_reference_is_not_a_shift():
    frame = table().replace({"distribution": {"reference": "imagenet"}})
    found = effective_robustness(frame, baseline="base", reference="imagenet")
    assert set(found["shift"]) == {"blur", "noise", "average"}


def test_each_use_of_the_policy_is_reported_with_the_table():
    frame = table(with_n=200)
    frame.loc[(frame["model"] == "b0") & (frame["distribution"] == "blur"), "value"] = 0.0
    lost = frame[~((frame["model"] == "b3") & (frame["distribution"] == "blur"))]
    found = effective_robustness(lost, baseline="base")
    few, excluded, missing = found.attrs["notes"]["blur"]
    assert few == "fewer than twelve baseline models: a curve, or more scatter at one end, would not be seen (10 models)"
    assert excluded == "baseline models with an accuracy of 0 or 1 are not in the fit (1 of 12)"
    assert missing == "baseline models without both accuracies are not in the fit (1 of 12)"
    assert (
        found.query("shift == 'blur' and model == 'zero-shot'")["notes"].item() == "one-seed few-models excluded missing no-answers"
    )


def uneven(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1.5, n)
    y = 0.9 * x - 0.4 + rng.normal(0, 0.01 + 0.06 * (x + 1))
    made = []
    for i in range(n):
        made += rows(f"b{i}", "base", reference=stats.norm.cdf(x[i]), blur=stats.norm.cdf(y[i]))
    return pd.DataFrame(made)


def test_uneven_scatter_is_seen_and_allowed_for():
    frame = uneven()
    model = ols(frame, "blur", "probit")
    p = het_breuschpagan(model.resid, model.model.exog, robust=True)[1]
    assert p < 1e-3
    fit, plain, each = (fit_baseline(frame, shift="blur", baseline="base", cluster=cluster) for cluster in ("auto", None, "model"))
    (note,) = [note.text for note in fit.notes if note.code == "uneven"]
    assert note.endswith(f"(p = {p:.2g}; the interval allows for it)")
    assert "does not allow for it, cluster='model' does" in next(note.text for note in plain.notes if note.code == "uneven")
    np.testing.assert_allclose(fit.estimate.covariance(), model.cov_HC2, rtol=1e-9)
    np.testing.assert_allclose(each.estimate.covariance(), model.cov_HC2, rtol=1e-9)
    np.testing.assert_allclose(plain.estimate.covariance(), model.cov_params(), rtol=1e-9)
    assert (fit.slope, fit.intercept) == (plain.slope, plain.intercept)
    even = fit_baseline(table(n=60), shift="blur", baseline="base")
    assert "uneven" not in even.codes
    np.testing.assert_allclose(even.estimate.covariance(), ols(table(n=60), "blur", "probit").cov_params(), rtol=1e-9)


def test_warnings_name_low_r2_and_epochs_of_one_run():
    rng = np.random.default_rng(0)
    made = []
    for i in range(20):
        made += rows(f"b{i}", "base", reference=rng.uniform(0.3, 0.9), blur=rng.uniform(0.3, 0.9))
    frame = pd.DataFrame(made)
    assert fit_baseline(frame, shift="blur", baseline="base").codes == ["low-r2", "flat"]
    frame = table().assign(run=lambda f: np.where(f["group"] == "base", "one", f["model"]))
    fit = fit_baseline(frame, shift="blur", baseline="base")
    assert fit.codes == ["few-clusters"]
    assert fit.notes[0].text.endswith("conditional on these (1 run)")
    assert fit_baseline(table(), shift="blur", baseline="base").notes == ()


@given(st.integers(1, 400), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_clopper_pearson_is_statsmodels(n, data, level):
    k = data.draw(st.integers(0, n))
    low, high = clopper_pearson(k, n, level=level)
    expected = proportion_confint(k, n, alpha=1 - level, method="beta")
    np.testing.assert_allclose([low, high], expected, rtol=1e-9, atol=1e-12)


def test_clopper_pearson_takes_arrays_and_refuses_nonsense():
    found = clopper_pearson(np.array([0, 5, 10]), np.array([10, 10, 10]))
    assert found.low[0] == 0.0
    assert found.high[2] == 1.0
    for k, n in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(AnalysisError, match="0 <= k <= n"):
            clopper_pearson(k, n)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_mean_over_seeds_has_scipys_t_interval(values):
    found = mean_interval(values)
    spread = stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=spread) if spread > 0 else (found.mean,) * 2
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-6, atol=1e-9)


def test_a_single_seed_has_no_interval():
    assert np.isnan(mean_interval([0.5]).low)
    with pytest.raises(AnalysisError, match="no values"):
        mean_interval([])


@given(st.integers(5, 200), st.integers(5, 200), st.data())
def test_the_interval_of_a_difference_is_statsmodels_newcombe(n1, n2, data):
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    expected = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff")
    np.testing.assert_allclose(difference_interval(k1, n1, k2, n2), expected, atol=1e-9)


def test_relative_robustness_is_the_difference_to_the_model_before():
    found = relative_robustness(table(with_n=1000), before="zero-shot").set_index(["shift", "model"])
    row = found.loc[("blur", "tuned 0")]
    assert row["relative_robustness"] == pytest.approx(0.02)
    assert row["low"] < 0.02 < row["high"]
    assert found.loc[("blur", "zero-shot"), "relative_robustness"] == 0
    with pytest.raises(AnalysisError, match="no model 'x' to compare with"):
        relative_robustness(table(), before="x")


def test_group_means_have_t_intervals_over_models():
    er = effective_robustness(table(), baseline="base")
    found = group_means(er).set_index(["shift", "group"]).loc[("blur", "tuned")]
    values = er[(er["shift"] == "blur") & (er["group"] == "tuned")]["effective_robustness"]
    low, high = stats.t.interval(0.95, 1, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([found["low"], found["high"]], [low, high])
    assert found["models"] == 2


def curve(reference_val, average, n=100):
    made = []
    for alpha, v, a in zip(np.linspace(0, 1, len(average)), reference_val, average, strict=True):
        values = {"reference": 0.8, "reference val": v, "s1": a - 0.1, "s2": a + 0.1}
        made += [r | {"alpha": alpha, "n": n} for r in rows(f"m{alpha}", "wise", **values)]
    return pd.DataFrame(made)


def test_alpha_curves_and_their_two_choices():
    frame = curve([0.7, 0.9, 0.9, 0.85, 0.8], [0.5, 0.55, 0.6, 0.7, 0.4])
    found = alpha_curve(frame, group="wise")
    np.testing.assert_allclose(found["average"], [0.5, 0.55, 0.6, 0.7, 0.4])
    choice = choose_alpha(frame, group="wise")
    assert (choice.validated, choice.oracle) == (0.25, 0.75)
    assert choice.cost == pytest.approx(0.15)
    careful = choose_alpha(curve([0.88, 0.9, 0.91, 0.85, 0.8], [0.5] * 5), group="wise", one_standard_error=True)
    # The standard error at 0.91 of 100 is 0.029: 0.88 is not within it, 0.9 is.
    assert careful.validated == 0.25


def test_an_average_over_fewer_shifts_is_a_gap():
    frame = curve([0.7, 0.9, 0.8], [0.5, 0.6, 0.4])
    lost = frame[~((frame["alpha"] == 0.5) & (frame["distribution"] == "s2"))]
    assert np.isnan(alpha_curve(lost, group="wise")["average"][0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: fit_baseline(f, shift="rain", baseline="base"), "no shift 'rain': there are 'blur', 'noise'"),
        (lambda f: fit_baseline(f, shift="blur", baseline="scratch"), "no baseline group 'scratch': the groups are 'base'"),
        (lambda f: fit_baseline(f, shift="blur", baseline="tuned"), "has 2 usable models on 'blur' .of 2 declared.: a line needs"),
        (
            lambda f: fit_baseline(f, shift="blur", baseline="base", scale="log"),
            "'log' does not exist: choose one of probit, logit",
        ),
        (lambda f: fit_baseline(f, shift="blur", baseline="base", extremes="drop"), "choose one of exclude, clip"),
        (lambda f: fit_baseline(f, shift="blur", baseline="base", reference="val"), "no rows for 'val'"),
        (lambda f: fit_baseline(f.assign(value=f["value"] * 100), shift="blur", baseline="base"), "expected fractions"),
        (lambda f: fit_baseline(pd.concat([f, f]), shift="blur", baseline="base"), "has two values on"),
        (lambda f: fit_baseline(f.drop(columns="group"), shift="blur", baseline="base"), "no column 'group': it has model"),
        (lambda f: effective_robustness(f[f["distribution"] == "reference"], baseline="base"), "needs a shifted distribution"),
        (
            lambda f: fit_baseline(f.assign(metric=["a"] * (len(f) - 1) + ["b"]), shift="blur", baseline="base"),
            "has values of the metrics a, b: keep one",
        ),
        (lambda f: alpha_curve(f.assign(alpha=np.nan), group="base"), "has no mixing coefficients"),
        (
            lambda f: fit_baseline(
                f.assign(value=f["value"].where(f["distribution"] != "reference", 0.5)), shift="blur", baseline="base"
            ),
            "all 12 baseline models have the accuracy 0.5000 on 'reference'",
        ),
    ],
)
def test_what_is_not_defined_is_refused(call, message):
    with pytest.raises(AnalysisError, match=message):
        call(table())


def test_two_curves_in_one_group_are_refused():
    frame = curve([0.7, 0.9], [0.5, 0.6])
    with pytest.raises(AnalysisError, match="holds several curves"):
        alpha_curve(pd.concat([frame, frame.assign(model=frame["model"] + "b")]), group="wise")
