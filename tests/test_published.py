"""Lines from published accuracies, and figures of studies that have no line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import shiftline as sl
from conftest import TinyStudy
from shiftline.analysis import fit_baseline
from shiftline.contracts.published import baseline_table
from shiftline.errors import AnalysisError, DeclarationError
from test_cli import TINY, called, error, ok

SLOPE, INTERCEPT = 0.8, -0.3


@pytest.fixture
def testbed(tmp_path):
    """Forty models on a known probit line, in percent."""
    generator = np.random.default_rng(3)
    z = generator.uniform(-1.5, 1.5, 40)
    under_blur = stats.norm.cdf(SLOPE * z + INTERCEPT + generator.normal(0, 0.03, 40))
    table = pd.DataFrame(
        {
            "Model": [f"net {i}" for i in range(40)],
            "Digits": 100 * stats.norm.cdf(z),
            "blur": 100 * under_blur,
            "Family": [f"family {i // 5}" for i in range(40)],
        }
    )
    path = tmp_path / "testbed.csv"
    table.to_csv(path, index=False)
    return path


def declared(path, **changes):
    options = {"model": "Model", "reference": "Digits", "percent": True, "n_reference": 697, "n_shift": 697, **changes}
    return baseline_table(str(path), **options)


def study_with(tiny, baseline):
    study = TinyStudy(store=tiny.store.root, quiet=True)
    study.baseline = baseline
    return study


def test_the_line_is_that_of_the_table(tiny, testbed):
    study = study_with(tiny, declared(testbed))
    found = study.effective_robustness(by="model", resamples=100)
    assert set(found["shift"]) == {"blur"}
    assert found.attrs["notes"]["invert"] == ("left out: the baseline table has no column for it",)
    wide = pd.read_csv(testbed)
    slope, intercept, *_ = stats.linregress(stats.norm.ppf(wide["Digits"] / 100), stats.norm.ppf(wide["blur"] / 100))
    values = tiny.results().query("primary").pivot_table(index="model", columns="distribution", values="value")
    own = found[found["group"] != "published"].set_index("model")
    assert len(own) == 12
    for model, row in own.iterrows():
        predicted = stats.norm.cdf(slope * stats.norm.ppf(values.loc[model, "reference"]) + intercept)
        assert row["effective_robustness"] == pytest.approx(values.loc[model, "blur"] - predicted, abs=1e-9)
        assert row["low"] < row["effective_robustness"] < row["high"]
    published = found[found["group"] == "published"]
    assert len(published) == 40
    assert published["key"].nunique() == 1
    assert (published["low"] < published["effective_robustness"]).all()
    assert published["notes"].str.contains("no-answers").all()


def test_identity_is_the_content_of_the_table(tiny, testbed):
    def key(path, **changes):
        rows = study_with(tiny, declared(path, **changes)).effective_robustness(by="model", resamples=10)
        return rows.loc[rows["group"] == "published", "key"].iloc[0]

    first = key(testbed)
    assert key(testbed) == first
    assert key(testbed, n_shift=500) != first
    text = testbed.read_text().splitlines()
    text[3] = text[3].replace(text[3].split(",")[2], "50.0")
    testbed.write_text("\n".join(text))
    assert key(testbed) != first
    assert not study_with(tiny, declared(testbed)).store.root.joinpath("published").exists()


def test_no_model_is_trained_for_a_published_line(tiny, testbed):
    plan = study_with(tiny, declared(testbed)).plan()
    assert list(plan.jobs) == list(tiny.plan().jobs)


def test_families_are_clusters(tiny, testbed):
    study = study_with(tiny, declared(testbed, family="Family"))
    table = study.figures()["robustness"][1]
    assert set(table["n_baseline"]) == {40}
    from shiftline.report.tables import line_table

    rows, baseline = line_table(study.plan(), study.store)[:2]
    assert fit_baseline(rows, shift="blur", baseline=baseline).clusters == 8


def test_commands_take_a_table(tiny, testbed, tmp_path):
    options = ("--baseline-table", testbed, "--column", "model=Model", "--column", "reference=Digits", "--percent")
    out = ok("robustness", TINY, "--store", tiny.store.root, *options)
    assert "40 baseline models" in out
    assert "invert: left out: the baseline table has no column for it" in out
    done = called("robustness", TINY, "--store", tiny.store.root, *options, "--format", "csv")
    assert "invert: left out: the baseline table has no column for it" in done.stderr
    ok("plot", TINY, "--store", tiny.store.root, *options, "--out", tmp_path / "figures", "--linear-accuracy")
    numbers = pd.read_csv(tmp_path / "figures" / "robustness.csv")
    assert set(numbers.loc[numbers["group"] == "published", "model"]) == {f"net {i}" for i in range(40)}
    assert "name one" in error("robustness", TINY, "--store", tiny.store.root, "--percent")
    assert "roles are model, family" in error("robustness", TINY, "--store", tiny.store.root, *options, "--column", "blr=x")


def test_what_is_wrong_with_a_table_is_said(tiny, testbed, tmp_path):
    def message(**changes):
        with pytest.raises(AnalysisError) as caught:
            study_with(tiny, declared(testbed, **changes)).effective_robustness()
        return str(caught.value)

    assert "no column 'Nets'" in message(model="Nets")
    assert "no column 'Imagenet'" in message(reference="Imagenet")
    assert "holds 9" in message(percent=False)
    assert "no column 'blurred'" in message(shifts={"blur": "blurred"})
    assert "no reference column for 'blur'" in message(reference={"invert": "Digits"})
    wide = pd.read_csv(testbed)
    wide.assign(Model=["zero-shot", *wide["Model"][1:]]).to_csv(testbed, index=False)
    assert "both have a model 'zero-shot'" in message()
    wide.drop(columns="blur").to_csv(testbed, index=False)
    assert "no column for any shift" in message()
    shutil.move(testbed, tmp_path / "moved.csv")
    assert "there is no table" in message()
    study = study_with(tiny, declared(testbed, shifts={"blurr": "blur"}))
    with pytest.raises(DeclarationError, match="no shift of the study"):
        study.declaration()
    with pytest.raises(DeclarationError, match="has a group 'tuned'"):
        study_with(tiny, declared(testbed, group="tuned")).declaration()
    for wrong in ({"n_shift": 0}, {"shifts": "blur"}, {"reference": 3}, {"model": ""}):
        with pytest.raises(DeclarationError, match="baseline_table"):
            declared(testbed, **wrong)


def test_other_classes_need_their_own_reference_column(testbed):
    from shiftline.report.published import with_published

    rows = [("reference", "ten", 0.9), ("reference", "five", 0.95), ("blur", "ten", 0.6), ("few", "five", 0.7)]
    table = pd.DataFrame(rows, columns=["distribution", "label_space", "value"]).assign(
        model="m", group="g", metric="accuracy", proportion=True, subset=False, key="k", n=100.0, alpha=np.nan, published=False
    )
    wide = pd.read_csv(testbed).assign(few=50.0, **{"Digits on five": 80.0})
    wide.to_csv(testbed, index=False)
    with pytest.raises(AnalysisError, match="'few' is scored in the label space 'five'"):
        with_published(table, declared(testbed), shifts=["blur", "few"])
    found = with_published(table, declared(testbed, reference={"blur": "Digits", "few": "Digits on five"}), shifts=["blur", "few"])
    own = found[found["published"]]
    assert own[(own["distribution"] == "reference") & (own["label_space"] == "five")]["value"].unique() == [0.8]
    assert len(own) == 4 * 40
    # A column may have the name that tables give to the reference: each label space still has its own.
    wide.rename(columns={"Digits": "reference"}).to_csv(testbed, index=False)
    columns = {"blur": "reference", "few": "Digits on five"}
    found = with_published(table, declared(testbed, reference=columns), shifts=["blur", "few"])
    ends = found[found["published"] & (found["distribution"] == "reference")].groupby("label_space")["value"]
    assert ends.get_group("five").unique() == [0.8]
    assert ends.get_group("ten").nunique() == 40


class Bare(TinyStudy):
    baseline = None


class Alone(TinyStudy):
    baseline = None
    shifts = {}


def test_studies_without_a_line_are_drawn(tiny, new_store):
    bare = Bare(store=tiny.store.root, quiet=True)
    figures = bare.figures(linear_accuracy=True)
    assert list(figures) == ["shifts", "accuracies", "alpha-curves", "alpha-table"]
    numbers = figures["shifts"][1]
    values = tiny.results().query("primary").pivot_table(index="model", columns="distribution", values="value")
    for row in numbers[numbers["shift"] == "blur"].itertuples():
        assert (row.reference, row.shifted) == (values.loc[row.model, "reference"], values.loc[row.model, "blur"])
    assert set(figures["accuracies"][1]["model"]) == set(values.index)
    alone = Alone(store=tiny.store.root, quiet=True)
    assert list(alone.figures()) == ["accuracies", "alpha-curves", "alpha-table"]


def test_linear_accuracy_lies_between_the_ends(tiny):
    figure, numbers = tiny.figures(linear_accuracy=True)["robustness"]
    straight = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    ends = numbers[(numbers["shift"] == "blur") & numbers["model"].isin(["wise-ft alpha=0", "wise-ft alpha=1"])]
    x, y = (stats.norm.cdf(values) for values in (straight.get_xdata(), straight.get_ydata()))
    np.testing.assert_allclose(x, np.linspace(*ends["reference"], 50))
    np.testing.assert_allclose(y, np.linspace(*ends["shifted"], 50))
    assert not [line for line in tiny.figures()["robustness"][0].axes[0].lines if line.get_linestyle() == "--"]


def test_the_paper_figure_has_points_line_and_curve(testbed, tmp_path):
    rows = [
        {
            "alpha": alpha,
            "exp_name": "e",
            "freeze_encoder": False,
            "Digits:top1": 0.7 + 0.1 * alpha,
            "blur:top1": 0.6 - 0.1 * alpha**2,
        }
        for alpha in (0.0, 0.5, 1.0)
    ]
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(map(json.dumps, rows)))
    arguments = ("scatter-plot", "--eval-datasets", "blur", "--results-db", results, "--reference", "Digits", "--save", tmp_path)
    ok(*arguments, "--baseline-table", testbed, "--column", "model=Model", "--column", "reference=Digits", "--percent")
    numbers = pd.read_csv(tmp_path / "blur.csv")
    assert len(numbers) == 43
    assert numbers["alpha"].notna().sum() == 3
    assert sl.baseline_table is baseline_table
