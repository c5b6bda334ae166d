"""What the rest of a study will take: from manifests, by kind and network."""

from __future__ import annotations

import json

import pytest

from shiftline.cli.loading import make_study
from shiftline.launch.cost import expected_cost
from shiftline.store.artifacts import Store
from test_cli import called, ok
from test_workers import PLAIN, small


@pytest.fixture(scope="module")
def begun(tmp_path_factory, data_root):
    """A study of which all linear networks are done, and one of the others."""
    path, store = small(tmp_path_factory.mktemp("begun"), data_root, PLAIN)
    study = make_study(str(path), None, store, quiet=True)
    for model in study.models()["nets"][:3]:
        study.make(model)
    return path, study


def test_manifests_say_what_a_job_took(begun):
    _, study = begun
    for key in study.store.complete():
        manifest = study.store.manifest(key)
        took = manifest.provenance
        assert took["device"] == "cpu"
        assert 0 < took["seconds"] < 60
        assert took["peak_memory"] > 50 << 20
        assert took["images"] == 2 * (manifest.summary["examples"] // 50) * 50


def test_what_is_missing_is_estimated_from_the_same_network(begun, monkeypatch):
    _, study = begun
    took = {"linear": 4.0, "mlp": 10.0}
    plan = study.plan()
    real = Store.manifest

    def manifest(self, key):
        found = real(self, key)
        name = "mlp" if "mlp" in plan.jobs[key].label else "linear"
        found.provenance["seconds"] = took[name]
        return found

    monkeypatch.setattr(Store, "manifest", manifest)
    rows = {(row.kind, row.network): row for row in expected_cost(plan, study.store)}
    assert ("train", "linear") not in rows
    one = rows["train", "mlp"]
    assert (one.missing, one.measured, one.device) == (1, 1, "cpu")
    # The same recipe with another seed passes as many images.
    assert one.seconds == pytest.approx(10.0, rel=1e-6)
    assert one.size == pytest.approx(sum(f["size"] for f in _files(study, plan, "mlp")), rel=0.01)
    peaks = [study.store.manifest(key).provenance["peak_memory"] for key in study.store.complete() if "mlp" in plan.jobs[key].label]
    assert one.memory == max(peaks)
    unknown = rows["predict", "mlp"]
    assert (unknown.measured, unknown.seconds, unknown.size, unknown.memory) == (0, None, None, None)


def _files(study, plan, name):
    key = next(key for key in study.store.complete() if name in plan.jobs[key].label)
    return study.store.manifest(key).files.values()


def test_a_resumed_attempt_counts_for_the_images_that_it_saw(begun, monkeypatch):
    _, study = begun
    real = Store.manifest

    def manifest(self, key):
        found = real(self, key)
        found.provenance["images"] //= 2
        found.provenance["seconds"] = 5.0
        return found

    monkeypatch.setattr(Store, "manifest", manifest)
    (row,) = (row for row in expected_cost(study.plan(), study.store) if row.kind == "train")
    assert row.seconds == pytest.approx(10.0, rel=0.02)


def test_the_command_prints_rows_and_a_sum(begun, tmp_path, data_root):
    path, study = begun
    said = ok("cost", path, "--store", study.store.root)
    assert "small: " in said
    assert "for 1 job, one after another" in said
    assert "peak memory" in said
    assert "of kinds of which none is finished" in said
    rows = json.loads(ok("cost", path, "--store", study.store.root, "--format", "json"))
    assert {row["kind"] for row in rows} >= {"train", "predict", "score"}
    assert next(row for row in rows if row["kind"] == "train")["seconds"] > 0
    (tmp_path / "new").mkdir()
    path, store = small(tmp_path / "new", data_root, PLAIN)
    said = ok("plan", path, "--store", store) and ok("cost", path, "--store", store)
    assert "no job like them is finished: run a few (--group, --kind) first." in said
    assert called("run", path, "--store", store, "--quiet").returncode == 0
    assert ok("cost", path, "--store", store) == "small: nothing is missing.\n"
    assert json.loads(ok("cost", path, "--store", store, "--format", "json")) == []
