"""Claims: what may be said, and verdicts by intervals that hold together."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import shiftline as sl
from conftest import TinyStudy
from shiftline.analysis import compare, joint_effective_robustness, verdicts
from shiftline.errors import AnalysisError, DeclarationError
from shiftline.report.tables import axis_table
from test_cli import called, error


def planted(n=2000, baselines=30, gap=0.4, seed=0):
    """A table of numbers alone: baselines on a probit line, and two models above it."""
    generator = np.random.default_rng(seed)
    z = np.append(generator.uniform(-0.8, 1.2, baselines), [0.3, 0.5])
    y = 0.9 * z - 0.4 + np.append(generator.normal(0, 0.05, baselines), [gap, 0.1])
    names = [*(f"net {i}" for i in range(baselines)), "robust", "other"]
    rows = {"model": names, "group": [*["base"] * baselines, "robust", "other"], "n": float(n)}
    return pd.concat(
        [
            pd.DataFrame({**rows, "distribution": "reference", "value": stats.norm.cdf(z)}),
            pd.DataFrame({**rows, "distribution": "s", "value": stats.norm.cdf(y)}),
        ]
    )


def judged(table, *conditions, **options):
    claims = [sl.Claim(f"claim {i}", condition) for i, condition in enumerate(conditions)]
    return verdicts(table, {}, claims, baseline="base", **options)


def test_intervals_are_those_of_the_statistics_at_the_level_of_all_claims():
    table = planted()
    measures = [sl.effective_robustness("robust", on="s"), sl.gain("robust", over="other", on="s"), sl.accuracy("robust", on="s")]
    found = judged(table, *(measure >= 0 for measure in measures), level=0.9)
    assert found["level"].tolist() == pytest.approx([1 - 0.1 / 3] * 3)
    same = joint_effective_robustness(table, {}, baseline="base", level=1 - 0.1 / 3).set_index("model").loc["robust"]
    assert tuple(found.loc[0, ["value", "low", "high"]]) == pytest.approx(tuple(same[["effective_robustness", "low", "high"]]))
    values = table[table["distribution"] == "s"].set_index("model")["value"]
    other = joint_effective_robustness(table, {}, baseline="base").set_index("model").loc["other"]
    assert found.loc[1, "value"] == pytest.approx(same["effective_robustness"] - other["effective_robustness"])
    k = values["robust"] * 2000
    exact = [stats.beta.ppf(0.05 / 3, k, 2000 - k + 1), stats.beta.ppf(1 - 0.05 / 3, k + 1, 2000 - k)]
    assert tuple(found.loc[2, ["low", "high"]]) == pytest.approx(exact)


def test_a_verdict_follows_from_the_interval():
    table = planted()
    er = sl.effective_robustness("robust", on="s")
    row = judged(table, er >= 0).iloc[0]
    low, high, value = row["low"], row["high"], row["value"]
    cases = {
        (er >= low - 1e-6): "holds",
        (er >= low + 1e-6): "cannot tell",
        (er >= high + 1e-6): "fails",
        (er <= high + 1e-6): "holds",
        (er < value): "cannot tell",
        (er <= low - 1e-6): "fails",
        er.between(low - 1e-6, high + 1e-6): "holds",
        er.between(low + 1e-6, 1): "cannot tell",
        er.between(high + 1e-6, 1): "fails",
    }
    for condition, verdict in cases.items():
        assert judged(table, condition).loc[0, "verdict"] == verdict, condition.text


def test_measures_are_sums():
    table = planted()
    difference = sl.effective_robustness("robust", on="s") - sl.effective_robustness("other", on="s")
    twice = 2 * (sl.accuracy("robust", on="s") + sl.accuracy("other", on="s"))
    found = judged(table, difference >= 0, sl.gain("robust", over="other", on="s") >= 0, twice >= 1, sl.accuracy("other", "s") >= 0)
    assert tuple(found.loc[0, ["value", "low", "high"]]) == tuple(found.loc[1, ["value", "low", "high"]])
    values = table[table["distribution"] == "s"].set_index("model")["value"]
    assert found.loc[2, "value"] == pytest.approx(2 * (values["robust"] + values["other"]))
    relative = judged(table, sl.relative_robustness("robust", over="other", on="s") >= 0).loc[0, "value"]
    assert relative == pytest.approx(values["robust"] - values["other"])


def test_r_squared_has_the_interval_of_the_correlation():
    table = planted()
    wide = table[table["group"] == "base"].pivot(index="model", columns="distribution", values="value")
    found = judged(table, sl.r2("s") >= 0.9).iloc[0]
    pearson = stats.pearsonr(stats.norm.ppf(wide["reference"]), stats.norm.ppf(wide["s"]))
    ends = pearson.confidence_interval(0.95)
    assert found["value"] == pytest.approx(pearson.statistic**2)
    assert (found["low"], found["high"]) == pytest.approx((ends.low**2, ends.high**2))


@pytest.mark.parametrize("side", [-1, 1])
def test_as_many_images_as_are_asked_for_settle_it(side):
    table = planted(n=200, baselines=400)
    accuracy = sl.accuracy("robust", on="s")
    bound = table.loc[(table["model"] == "robust") & (table["distribution"] == "s"), "value"].iloc[0] + side * 0.02
    row = judged(table, accuracy >= bound).iloc[0]
    assert row["verdict"] == "cannot tell"
    assert row["settled_by"].endswith(f"times the images ({row['images_needed']:,.0f} in the place of 200)")
    # The rule goes by the root of the number, the interval is exact: they agree to some percent.
    assert judged(table.assign(n=1.1 * row["images_needed"]), accuracy >= bound).loc[0, "verdict"] != "cannot tell"
    assert judged(table.assign(n=0.9 * row["images_needed"]), accuracy >= bound).loc[0, "verdict"] == "cannot tell"


def test_what_no_number_of_images_can_settle():
    table = planted(n=10_000, baselines=4)
    er = sl.effective_robustness("robust", on="s")
    value = judged(table, er >= 0).loc[0, "value"]
    row = judged(table, er >= value - 0.001).iloc[0]
    assert row["verdict"] == "cannot tell"
    assert math.isnan(row["images_needed"])
    assert row["settled_by"] == "no number of images, seeds or baseline models alone"
    row = judged(table.assign(n=1e6), er >= value - 0.01).iloc[0]
    assert row["baselines_needed"] > 4
    assert "baseline models" in row["settled_by"]


def test_a_model_without_a_place_on_the_axis_is_said():
    table = planted()
    table.loc[(table["model"] == "robust") & (table["distribution"] == "reference"), "value"] = 1.0
    row = judged(table, sl.effective_robustness("robust", on="s") >= 0).iloc[0]
    assert row["verdict"] == "cannot tell"
    assert row["settled_by"] == "extremes='clip' or the linear scale: an accuracy on the reference is 0 or 1"
    assert judged(table, sl.effective_robustness("robust", on="s") >= -1, extremes="clip").loc[0, "verdict"] == "holds"
    assert judged(table, sl.accuracy("robust", on="s") >= 0).loc[0, "verdict"] == "holds"


def test_claims_of_a_study_use_its_answers_seeds_and_curves(tiny):
    class Claiming(TinyStudy):
        claims = [
            sl.Claim("one", sl.gain("tuned", over="zero-shot", on="blur") >= 0),
            sl.Claim("two", sl.accuracy("wise-ft@validated", on="reference") >= 0.5),
            sl.Claim("three", sl.accuracy("wise-ft@oracle") >= 0.2),
        ]

    study = Claiming(store=tiny.store.root, quiet=True)
    found = study.verdicts()
    plan = study.plan()
    table = axis_table(plan, study.store)
    pair = compare(table, study.answers(), "tuned", "zero-shot", baseline="from scratch", level=1 - 0.05 / 3).set_index("shift")
    assert tuple(found.loc[0, ["value", "low", "high"]]) == pytest.approx(
        tuple(pair.loc["blur", ["er_difference", "er_low", "er_high"]])
    )
    curve = table[table["group"] == "wise-ft"].pivot_table(index="alpha", columns="distribution", values="value")
    chosen = curve["reference val"].idxmax()
    assert found.loc[1, "value"] == pytest.approx(curve.loc[chosen, "reference"])
    exact = stats.binomtest(round(697 * found.loc[1, "value"]), 697).proportion_ci(1 - 0.05 / 3, method="exact")
    assert (found.loc[1, "low"], found.loc[1, "high"]) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert found.loc[2, "value"] == pytest.approx(curve[["blur", "invert"]].mean(axis=1).max())
    assert "oracle" in found.loc[2, "notes"].split()
    assert "oracle" not in found.loc[1, "notes"].split()
    assert study.plan().jobs.keys() == tiny.plan().jobs.keys()


def test_the_command_has_verdicts_and_an_exit_status(tiny, tmp_path):
    def study(*conditions):
        claims = ", ".join(f"sl.Claim('claim {i}', {condition})" for i, condition in enumerate(conditions))
        path = tmp_path / "claiming.py"
        path.write_text(
            "import shiftline as sl\nfrom conftest import TinyStudy\n\n\n"
            f"class Claiming(TinyStudy):\n    name = 'claiming'\n    claims = [{claims}]\n"
        )
        return ("claims", f"{path}:Claiming", "--store", tiny.store.root)

    holds, fails, unknown = (f"sl.accuracy('zero-shot', on='blur') {words}" for words in (">= 0", ">= 1", ">= {:.4f}"))
    value = tiny.results().query("model == 'zero-shot' and distribution == 'blur' and primary")["value"].iloc[0]
    unknown = unknown.format(value)
    assert called(*study(holds)).returncode == 0
    assert called(*study(holds, fails, unknown)).returncode == 3
    done = called(*study(holds, unknown))
    assert done.returncode == 4
    assert "cannot tell" in done.stdout
    done = called(*study(holds, unknown), "--format", "json")
    rows = json.loads(done.stdout)
    assert [row["verdict"] for row in rows] == ["holds", "cannot tell"]
    assert rows[1]["value"] == pytest.approx(value)
    assert "there are no claims" in error(*study())


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (lambda: sl.accuracy("nobody") >= 0, "no model or group. Groups are 'from scratch'"),
        (lambda: sl.accuracy("tuned@validated") >= 0, "has no mixing coefficients"),
        (lambda: sl.accuracy("tuned", on="fog") >= 0, "is about 'fog': expected one of 'blur', 'invert', 'average', 'reference'"),
        (lambda: sl.effective_robustness("tuned", on="reference") >= 0, "is about 'reference': expected one of 'blur'"),
        (lambda: sl.r2("average") >= 0, "is about 'average'"),
    ],
)
def test_what_a_study_cannot_answer_is_refused_before_anything_runs(tmp_path, condition, message):
    study = TinyStudy(store=tmp_path)
    study.claims = [sl.Claim("words", condition())]
    with pytest.raises(DeclarationError, match=message):
        study.declaration()
    assert not list(tmp_path.iterdir())


def test_what_is_no_claim_is_refused(tmp_path):
    er = sl.effective_robustness("a")
    for wrong in (lambda: sl.Claim("", er >= 0), lambda: sl.Claim("x", er), lambda: er >= "0", lambda: er >= math.nan):
        with pytest.raises(DeclarationError):
            wrong()
    with pytest.raises(DeclarationError, match=r"between\(a, b\)"):
        _ = 0 <= er <= 1
    with pytest.raises(DeclarationError, match="mixes an R"):
        sl.Claim("x", sl.r2("s") - sl.r2("t") >= 0)
    with pytest.raises(DeclarationError, match="smaller number first"):
        er.between(0.1, 0)
    with pytest.raises(DeclarationError, match="choose one of"):
        sl.gain("a", over="b", of="loss")
    with pytest.raises(DeclarationError, match="compare with numbers"):
        _ = er - 0.02
    study = TinyStudy(store=tmp_path)
    study.claims = [sl.Claim("x", sl.accuracy("tuned") >= 0)] * 2
    with pytest.raises(DeclarationError, match="two claims"):
        study.declaration()
    study.claims = ["x"]
    with pytest.raises(DeclarationError, match="expected sl.Claim"):
        study.declaration()


def test_a_curve_is_no_model(tiny):
    study = TinyStudy(store=tiny.store.root)
    study.claims = [sl.Claim("x", sl.accuracy("wise-ft") >= 0)]
    with pytest.raises(AnalysisError, match="wise-ft@validated"):
        study.verdicts()


@pytest.mark.slow
def test_a_claim_on_the_border_is_rarely_called_true():
    """The bound is the truth: of 300 studies few may hold, and few may fail."""
    called_true = called_false = 0
    for seed in range(300):
        generator = np.random.default_rng([seed, 5])
        table = planted(n=2000, gap=0.3, seed=seed)
        noisy = generator.binomial(2000, table["value"]) / 2000
        z, y = 0.3, 0.9 * 0.3 - 0.4
        truth = stats.norm.cdf(y + 0.3) - stats.norm.cdf(0.9 * z - 0.4)
        verdict = judged(table.assign(value=noisy), sl.effective_robustness("robust", on="s") >= truth).loc[0, "verdict"]
        called_true += verdict == "holds"
        called_false += verdict == "fails"
    # Two-sided 95 %: 2.5 % on each side, of 300 with room for chance.
    assert called_true <= 15
    assert called_false <= 15
