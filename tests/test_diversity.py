"""Predictions are the user's: read lazily, joined by id, and compared."""

from __future__ import annotations

import mmap
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy import special, stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from shiftline.analysis import (
    centered_kernel_alignment,
    cohen_kappa,
    corrected_examples,
    disagreement,
    diversity_table,
    error_consistency,
    error_overlap,
    prediction_diversity,
    prediction_kl,
)
from shiftline.contracts.predictions import Predictions
from shiftline.errors import AnalysisError, StoreError
from shiftline.store.arrays import mapped, mapped_arrays


def predicted(classes, labels, ids=None):
    """Predictions of given classes, of three."""
    classes = np.asarray(classes)
    return Predictions(np.eye(3, dtype=np.float32)[classes], np.asarray(labels), np.arange(len(labels)) if ids is None else ids)


LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
ONE = predicted([0, 1, 2, 0, 0, 0, 1, 1], LABELS)
OTHER = predicted([0, 1, 0, 0, 0, 1, 0, 1], LABELS)


def test_measures_on_eight_examples_by_hand():
    # Right: 1 1 1 1 0 0 0 1 and 1 1 0 1 0 0 1 1.
    assert prediction_diversity(ONE, OTHER) == 2 / 8
    assert error_overlap(ONE, OTHER) == 2 / 4
    assert disagreement(ONE, OTHER) == 3 / 8
    expected = (5 / 8) ** 2 + (3 / 8) ** 2
    assert error_consistency(ONE, OTHER) == pytest.approx((6 / 8 - expected) / (1 - expected))
    assert cohen_kappa(ONE, OTHER) == cohen_kappa_score(ONE.predicted, OTHER.predicted)
    corrected, broken = corrected_examples(after=ONE, before=OTHER)
    assert (corrected.tolist(), broken.tolist()) == ([2], [6])
    row = diversity_table({"one": ONE, "other": OTHER}).iloc[0]
    assert (row["n"], row["only_a"], row["only_b"], row["error_overlap"]) == (8, 1, 1, 0.5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9000))
def test_divergence_is_that_of_scipy(seed, count):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    a, b = (Predictions(generator.normal(0, 3, (count, 3)).astype(np.float32), labels, np.arange(count)) for _ in range(2))
    p, q = (special.softmax(one.logits.astype(float), axis=1) for one in (a, b))
    assert prediction_kl(a, b) == pytest.approx((stats.entropy(p, q, axis=1) + stats.entropy(q, p, axis=1)).mean() / 2, rel=1e-6)
    assert prediction_kl(a, a) == 0
    table = confusion_matrix(a.correct, b.correct, labels=[False, True])
    assert prediction_diversity(a, b) == pytest.approx((table[0, 1] + table[1, 0]) / count)


def test_alignment_is_that_of_gram_matrices():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(50, 7)), generator.normal(size=(50, 4))
    centre = np.eye(50) - 1 / 50
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert centered_kernel_alignment(x, y) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
    rotation = stats.ortho_group.rvs(7, random_state=1)
    assert centered_kernel_alignment(x, 3 * x @ rotation + 1) == pytest.approx(1)
    many = generator.normal(size=(2, 20_000, 3))
    assert centered_kernel_alignment(*many) < 0.01
    with pytest.raises(AnalysisError, match="as many rows"):
        centered_kernel_alignment(x, y[:-1])
    with pytest.raises(AnalysisError, match="same features"):
        centered_kernel_alignment(np.ones((3, 2)), x[:3])


def test_independent_errors_have_no_consistency():
    generator = np.random.default_rng(2)
    labels = np.zeros(100_000, int)
    a, b = (predicted(np.where(generator.random(100_000) < right, 0, 1), labels) for right in (0.8, 0.6))
    assert error_consistency(a, b) == pytest.approx(0, abs=0.01)
    assert error_overlap(a, b) == pytest.approx(0.08 / (1 - 0.48), abs=0.01)
    perfect = predicted(labels, labels)
    assert np.isnan(error_consistency(perfect, perfect))
    assert np.isnan(error_overlap(perfect, perfect))


@pytest.mark.parametrize(
    "other", [predicted([0] * 7, LABELS[:7]), predicted([0] * 8, LABELS, np.arange(1, 9)), predicted([0] * 8, LABELS[::-1])]
)
def test_other_examples_are_refused(other):
    for measure in (disagreement, error_overlap, error_consistency, prediction_kl, corrected_examples):
        with pytest.raises(AnalysisError, match="other examples"):
            measure(ONE, other)


def test_one_model_has_no_pair():
    with pytest.raises(AnalysisError, match="two or more"):
        diversity_table({"one": ONE})


def test_predictions_of_a_study_are_what_its_scores_say(tiny):
    table = tiny.results()
    rows = table[(table["metric"] == "accuracy") & table["primary"]]
    assert set(rows["distribution"]) == {"reference", "reference val", "blur", "invert"}
    for row in rows.itertuples():
        found = tiny.predictions(row.model, row.distribution)
        assert found.in_space().correct.mean() == pytest.approx(row.value)
        assert (len(found), found.classes, len(found.names)) == (row.n, 10, 10)
        assert len(set(found.ids.tolist())) == row.n
    changed = corrected_examples(after=tiny.predictions("wise-ft alpha=0.5", "blur"), before=tiny.predictions("zero-shot", "blur"))
    values = rows.set_index(["model", "distribution"])["value"]
    gained = values["wise-ft alpha=0.5", "blur"] - values["zero-shot", "blur"]
    assert (len(changed.corrected) - len(changed.broken)) / 697 == pytest.approx(gained)


def test_predictions_are_mapped_from_disk(tiny):
    logits = tiny.predictions("zero-shot", "blur").logits
    base = logits
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert isinstance(base, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        logits[0, 0] = 1


def test_what_there_is_not_is_said(tiny, new_store):
    with pytest.raises(AnalysisError, match="Did you mean 'zero-shot'"):
        tiny.predictions("zeroshot", "blur")
    with pytest.raises(AnalysisError, match="There are 'reference', 'reference val', 'blur', 'invert'"):
        tiny.predictions("zero-shot", "fog of war")
    fresh = type(tiny)(store=new_store, quiet=True)
    fresh.plan()
    with pytest.raises(StoreError, match="has not predicted on 'blur' yet"):
        fresh.predictions("zero-shot", "blur")


def test_mapped_arrays_are_those_of_the_library(tmp_path):
    arrays = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "n": np.array([2, 3]), "none": np.zeros((0, 5), np.uint8)}
    save_file(arrays, tmp_path / "a.safetensors")
    found = mapped_arrays(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    whole = (tmp_path / "a.safetensors").read_bytes()
    for damaged in (b"", whole[:5], whole[:40], b"\xff" * 8 + whole[8:], whole[:-4], b"\x10" + whole[1:]):
        (tmp_path / "b.safetensors").write_bytes(damaged)
        with pytest.raises(StoreError, match="is damaged"):
            mapped_arrays(tmp_path / "b.safetensors")


def test_a_file_that_cannot_be_mapped_is_not_called_damaged(tmp_path):
    """Files of /sys have a size and cannot be mapped, as those of some network file systems."""
    with pytest.raises(StoreError, match="/sys/class/net/lo/mtu cannot be read .*: its file system does not map files"):
        mapped(Path("/sys/class/net/lo/mtu"))
    path = tmp_path / "a.safetensors"
    save_file({"x": np.arange(3)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        for read in (mapped, mapped_arrays):
            with pytest.raises(
                StoreError, match=r"cannot be read \(Too many open files\): .* Allow more, as with `ulimit -n 4096`"
            ):
                read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(StoreError, match="cannot be read .No such file or directory.: nothing was changed. See to it"):
        mapped_arrays(tmp_path / "none.safetensors")
