"""OODSelect: planted images on which better models are worse, and images where there are none."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from shiftline.analysis import Correctness, ood_select
from shiftline.analysis.ood_select import select_images
from shiftline.errors import AnalysisError
from test_cli import TINY, error, ok


def planted(inverse=100, images=1000, models=40, seed=0):
    """Answers of models of growing ability; on the first images the better ones are worse."""
    generator = np.random.default_rng(seed)
    ability = np.linspace(-0.5, 1.5, models)
    sign = np.where(np.arange(images) < inverse, -1, 1)
    z = sign * ability[:, None] + generator.normal(0, 0.7, images) + np.where(sign < 0, 0.5, 0)
    correct = (z > generator.normal(size=(models, images))).astype(np.uint8)
    return Correctness(tuple(f"m{i}" for i in range(models)), correct, np.arange(images) + 7, "s"), stats.norm.cdf(ability)


def test_planted_images_are_found():
    answers, accuracies = planted()
    found = ood_select(answers, accuracies.tolist(), shares=[0.1])
    row = found.table.iloc[0]
    assert row["n"] == 100
    assert np.isin(found.ids[0.1], np.arange(100) + 7).mean() > 0.9
    assert row["r_whole"] > 0.9
    assert row["r_held_out"] < -0.9
    assert row["high"] < 0
    assert row["p"] < 1e-6


def test_where_nothing_is_planted_the_held_out_models_say_so():
    held_out, selected = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        # Answers that have nothing to do with reference accuracy.
        correct = (generator.random((20, 400)) < 0.5).astype(np.uint8)
        answers = Correctness(tuple(map(str, range(20))), correct, np.arange(400), "s")
        row = ood_select(answers, np.linspace(0.3, 0.9, 20).tolist(), shares=[0.2], seed=seed).table.iloc[0]
        held_out.append(row["p"] < 0.05)
        selected.append(row["r_selected"])
    assert np.mean(selected) < -0.8
    assert np.mean(held_out) <= 0.2


def test_the_search_is_as_good_as_trying_all_subsets():
    from itertools import combinations

    for seed in range(5):
        generator = np.random.default_rng(seed)
        correct = (generator.random((12, 12)) < 0.5).astype(np.float32)
        x = generator.normal(size=12)

        def correlation(rows, x=x, correct=correct):
            y = correct[:, list(rows)].mean(axis=1)
            return np.corrcoef(x, y)[0, 1] if np.ptp(y) > 0 else 0.0

        best = min(correlation(rows) for rows in combinations(range(12), 4))
        assert correlation(select_images(x, correct, 4)) <= best + 0.1


def test_models_of_one_run_are_in_one_half():
    answers, accuracies = planted(models=12)
    with pytest.raises(AnalysisError, match="do not split into two halves"):
        ood_select(answers, accuracies.tolist(), together=["one"] * 12)
    runs = [f"run {i // 2}" for i in range(12)]
    assert ood_select(answers, accuracies.tolist(), together=runs).table["models"].tolist() == [12] * 5


def test_too_little_is_refused():
    answers, accuracies = planted(models=9)
    with pytest.raises(AnalysisError, match="expected 10 or more"):
        ood_select(answers, accuracies.tolist())
    answers, accuracies = planted(models=10)
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        ood_select(answers, accuracies.tolist(), shares=[1.0])


def test_the_command_writes_the_images(tiny, tmp_path):
    arguments = ("ood-select", TINY, "blur", "--store", tiny.store.root)
    assert "held out" in ok(*arguments)
    rows = json.loads(ok(*arguments, "--share", "0.2", "--format", "json", "--ids", tmp_path / "deep" / "ids.csv"))
    assert rows[0]["n"] == round(0.2 * 697)
    written = pd.read_csv(tmp_path / "deep" / "ids.csv")
    assert len(written) == rows[0]["n"]
    assert set(written["id"]) == set(tiny.ood_select("blur", shares=[0.2]).ids[0.2].tolist())
    assert "no shift 'fog'" in error("ood-select", TINY, "fog", "--store", tiny.store.root)
