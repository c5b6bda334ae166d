"""Several references: the line predicts from the accuracies on all of them (multi-ID effective robustness, Shi et al. 2023)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import shiftline as sl
from conftest import TinyStudy
from shiftline.errors import AnalysisError, DeclarationError
from test_cli import error, ok


class Twice(TinyStudy):
    """Two references: the digits with the tint of training, and without."""

    name = "twice"
    references = {"plain": sl.handwritten_digits().test.shifted(sl.Tint(p=0.0, seed=1))}
    shifts = {"blur": TinyStudy.shifts["blur"], "noise": TinyStudy.reference.test.shifted(sl.Noise(0.1))}


@pytest.fixture(scope="module")
def twice(tiny):
    study = Twice(store=tiny.store.root, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0
    # Only predictions and scores on the new reference are made.
    assert {outcome.plan.jobs[key].kind for key in set(outcome.plan.jobs) - set(tiny.plan().jobs)} == {"predict", "score"}
    return study


def test_the_line_is_the_least_squares_plane(twice):
    values = twice.results().query("primary").pivot_table(index="model", columns="distribution", values="value", sort=False)
    z = stats.norm.ppf(values[["reference", "plain", "blur"]])
    base = values.index.str.startswith("from scratch")
    design = np.column_stack([np.ones(len(z)), z[:, :2]])
    coefficients, *_ = np.linalg.lstsq(design[base], z[base, 2], rcond=None)
    expected = values["blur"] - stats.norm.cdf(design @ coefficients)
    found = twice.effective_robustness(by="model", shifts=["blur"]).set_index("model")["effective_robustness"]
    np.testing.assert_allclose(found[values.index], expected, atol=1e-9)


def test_references_may_be_chosen(twice, tiny):
    one = twice.effective_robustness(reference="reference", shifts=["blur"], resamples=100)
    pd.testing.assert_frame_equal(one, tiny.effective_robustness(shifts=["blur"], resamples=100))
    other = twice.effective_robustness(reference="plain", resamples=100)
    values = twice.results().query("primary").pivot_table(index="model", columns="distribution", values="value")
    rows = other[other["shift"] == "blur"].set_index("model")
    assert rows["reference"].to_dict() == values.loc[rows.index, "plain"].to_dict()
    with pytest.raises(AnalysisError, match="no reference 'plan': it has 'reference', 'plain'"):
        twice.effective_robustness(reference="plan")


def test_a_further_reference_is_no_shift(twice):
    assert list(twice.effective_robustness(resamples=10)["shift"].unique()) == ["blur", "noise", "average"]
    figures = twice.figures()
    assert "predicted from reference, plain" in figures["robustness"][0].axes[0].get_xlabel()
    curve = figures["alpha-table"][1]
    assert "plain" not in curve.columns
    assert list(twice.answers()) == ["blur", "noise"]
    assert len(twice.answers()["blur"].more) == 1
    assert twice.compare("probe", "zero-shot")["shift"].tolist() == ["blur", "noise", "average"]
    twice.claims = [sl.Claim("one", sl.effective_robustness("probe") >= 0)]
    first = twice.effective_robustness(reference="reference", by="model").set_index(["shift", "model"])
    assert twice.verdicts().loc[0, "value"] == pytest.approx(first.loc[("average", "probe"), "effective_robustness"])
    twice.claims = []


def test_other_label_spaces_have_all_references(new_store):
    class Few(Twice):
        name = "few"
        shifts = {
            "few": TinyStudy.reference.test.shifted(sl.Blur(1)).in_label_space(
                sl.sub_list("even", ("zero", "two", "four", "six", "eight"))
            )
        }

    plan = Few(store=new_store, quiet=True).plan()
    scored = {(score.distribution, score.space) for score in plan.models[0].scores}
    assert {("reference", "even"), ("plain", "even"), ("few", "even")} <= scored


def test_what_is_no_further_reference_is_refused(tmp_path):
    for references, message in (
        ({"blur": Twice.references["plain"]}, "'blur' is a shift and a reference"),
        ({"reference": Twice.references["plain"]}, "cannot be named 'reference'"),
        ({"plain": 3}, "is a int"),
        ([1], "are a list"),
    ):
        study = TinyStudy(store=tmp_path)
        study.references = references
        with pytest.raises(DeclarationError, match=message):
            study.declaration()


def test_references_are_options_of_the_commands(twice, tmp_path):
    study = tmp_path / "study.py"
    study.write_text("from test_references import Twice\n\n\nclass Again(Twice):\n    pass\n")
    name = f"{study}:Again"
    both = ok("robustness", name, "--store", twice.store.root, "--format", "csv", "--by", "group")
    one = ok("robustness", name, "--store", twice.store.root, "--format", "csv", "--by", "group", "--reference", "reference")
    assert both != one
    assert ok("compare", name, "probe", "zero-shot", "--store", twice.store.root, "--reference", "plain", "--format", "csv")
    assert "no reference 'x'" in error("robustness", name, "--store", twice.store.root, "--reference", "x")
