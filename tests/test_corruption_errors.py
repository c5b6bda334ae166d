"""mCE and relative mCE: planted, against loops over severities, and through a study on a miniature of CIFAR-10-C."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import miniatures
from shiftline.analysis import corruption_errors
from shiftline.analysis.corruption_errors import ALEXNET_CLEAN, ALEXNET_ERRORS, what_is_missing
from shiftline.errors import AnalysisError
from test_cli import error, ok

WHOLE = {f"{name} {severity}": (name, severity) for name in ALEXNET_ERRORS for severity in range(1, 6)}


def tidy(models, corruptions):
    rows = [(model, "g", d, 1 - e) for model, (clean, errors) in models.items() for d, e in [("reference", clean), *errors.items()]]
    return pd.DataFrame(rows, columns=["model", "group", "distribution", "value"])


def test_alexnet_has_an_mce_of_100_and_half_its_errors_50():
    alexnet = {d: ALEXNET_ERRORS[name] + 0.01 * (severity - 3) for d, (name, severity) in WHOLE.items()}
    half = {d: value / 2 for d, value in alexnet.items()}
    found = corruption_errors(tidy({"a": (ALEXNET_CLEAN, alexnet), "b": (ALEXNET_CLEAN / 2, half)}, WHOLE), WHOLE)
    means = found[found["corruption"] == "mean"].set_index("model")
    np.testing.assert_allclose(means.loc["a", ["ce", "relative_ce"]].astype(float), 1)
    np.testing.assert_allclose(means.loc["b", ["ce", "relative_ce"]].astype(float), 0.5)
    assert means.loc["a", "severities"] == 75
    assert what_is_missing(WHOLE) == ""


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5))
def test_errors_are_those_of_a_loop(seed, kinds, severities):
    rng = np.random.default_rng(seed)
    corruptions = {f"k{kind}/{s}": (f"k{kind}", s) for kind in range(kinds) for s in range(1, severities + 1)}
    models = {m: (rng.uniform(0.1, 0.3), {d: rng.uniform(0.4, 0.9) for d in corruptions}) for m in ("base", "other")}
    found = corruption_errors(tidy(models, corruptions), corruptions, baseline="base")
    ces, relatives = [], []
    for kind in range(kinds):
        sums = {m: sum(models[m][1][f"k{kind}/{s}"] for s in range(1, severities + 1)) / severities for m in models}
        ces.append(sums["other"] / sums["base"])
        relatives.append((sums["other"] - models["other"][0]) / (sums["base"] - models["base"][0]))
    row = found[(found["model"] == "other") & (found["corruption"] == "mean")].iloc[0]
    assert row["ce"] == pytest.approx(np.mean(ces))
    assert row["relative_ce"] == pytest.approx(np.mean(relatives))


def test_what_is_not_the_published_benchmark_is_said():
    some = {d: found for d, found in WHOLE.items() if found[0] not in ("fog", "snow") and found != ("frost", 5)}
    some["extra"] = ("spatter", 1)
    assert what_is_missing(some) == (
        "not the published mCE: 2 corruptions not evaluated (snow, fog); 2 corruptions at fewer than five severities (frost, spatter); "
        "1 corruption beside the fifteen (spatter). Of these the mean leaves out what has no published error."
    )
    table = tidy({"a": (0.4, dict.fromkeys(some, 0.5))}, some)
    found = corruption_errors(table, some)
    assert found.set_index("corruption").loc[["frost", "spatter"], "ce"].isna().all()
    assert found.set_index("corruption").loc["mean", "ce"] == pytest.approx(
        np.mean([0.5 / ALEXNET_ERRORS[name] for name in ALEXNET_ERRORS if name not in ("snow", "fog", "frost")])
    )
    with pytest.raises(AnalysisError, match="there is no model 'alexnte': did you mean alexnet?"):
        corruption_errors(table, some, baseline="alexnte")
    with pytest.raises(AnalysisError, match="no shift is of ImageNet-C or CIFAR-10-C"):
        corruption_errors(table, {})


def test_a_study_on_corruptions_prints_them(tmp_path):
    miniatures.cifar10(tmp_path)
    miniatures.cifar10_c(tmp_path)
    (tmp_path / "study.py").write_text(
        "import shiftline as sl\n\n\nclass Corrupted(sl.ExperimentManager):\n    name = 'corrupted'\n"
        "    reference = sl.Reference(train=sl.Split('cifar10', 'train'), val=None, test=sl.Split('cifar10', 'test'))\n"
        "    shifts = {f'noise {s}': sl.Split('cifar10-c', f'shot_noise-{s}') for s in (1, 2)}\n\n"
        "    def models(self):\n"
        "        return {net: sl.FromScratch(sl.glyph_net(net), epochs=1, batch_size=8) for net in ('linear', 'mlp')}\n"
    )
    ok("data", "write", "cifar10", "--root", ".", "--split", "train", "--split", "test", cwd=tmp_path)
    ok("data", "write", "cifar10-c", "--root", ".", "--split", "shot_noise-1", "--split", "shot_noise-2", cwd=tmp_path)
    ok("run", "study.py", cwd=tmp_path)
    shown = ok("corruption-errors", "study.py", "--baseline", "linear", cwd=tmp_path)
    assert "mCE: errors as a share of those of linear" in shown
    assert "14 corruptions not evaluated" in shown
    rows = json.loads(ok("corruption-errors", "study.py", "--baseline", "linear", "--format", "json", cwd=tmp_path))
    assert {(row["model"], row["corruption"]) for row in rows} == {
        (m, c) for m in ("linear", "mlp") for c in ("shot_noise", "mean")
    }
    assert [row["ce"] for row in rows if row["model"] == "linear"] == [1.0, 1.0]
    assert "AlexNet has no published errors on CIFAR-10-C" in error("corruption-errors", "study.py", cwd=tmp_path)
    assert "did you mean linear?" in error("corruption-errors", "study.py", "--baseline", "linaer", cwd=tmp_path)
