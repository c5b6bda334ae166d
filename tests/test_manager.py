"""The verbs of a study, the checks for users, and two processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import TinyStudy
from shiftline import (
    SGD,
    ExperimentManager,
    FineTune,
    FromScratch,
    LinearProbe,
    LocalWeights,
    Split,
    Transform,
    ZeroShot,
    best,
    glyph_clip,
    glyph_net,
    handwritten_digits,
)
from shiftline.analysis import clopper_pearson
from shiftline.analysis import effective_robustness as plain_effective_robustness
from shiftline.analysis.robustness import PARTS
from shiftline.errors import AnalysisError, DataError, DeclarationError, ModelError, StoreError
from shiftline.store.files import read_record, write_record
from shiftline.store.upkeep import verify
from shiftline.testing.studies import ContractError, check_study
from shiftline.testing.transforms import check_transform
from test_jobs import context_of

COLUMNS = [
    "model",
    "group",
    "recipe",
    "seed",
    "epoch",
    "step",
    "alpha",
    "other_data",
    "order_unverified",
    "distribution",
    "label_space",
    "metric",
    "primary",
    "value",
    "n",
    "low",
    "high",
    "key",
    "model_key",
]
HERE = Path(__file__).parent


def test_results_are_tidy_and_complete(tiny):
    table = tiny.results()
    assert list(table.columns) == COLUMNS
    assert len(table) == 12 * 4
    assert table["value"].between(0, 1).all()
    np.testing.assert_allclose(
        table["low"], clopper_pearson((table["value"] * table["n"]).round().astype(int), table["n"].astype(int)).low
    )
    assert set(table["distribution"]) == {"reference", "reference val", "blur", "invert"}
    assert table.loc[table["distribution"] == "reference", "n"].unique().tolist() == [697]
    assert table["key"].is_unique or table.groupby("key")["value"].nunique().max() == 1
    assert table.loc[table["group"] == "wise-ft", "alpha"].unique().tolist() == [0.0, 0.5, 1.0]
    assert table.loc[table["model"] == "from scratch 4", "epoch"].unique().tolist() == [1]


def test_robustness_of_a_study_is_that_of_its_table(tiny):
    found = tiny.effective_robustness(resamples=50)
    plain = plain_effective_robustness(tiny.results(), baseline="from scratch")
    expected = (
        "shift model group key reference shifted predicted effective_robustness low high scale r2 n_baseline extrapolated notes"
    )
    assert list(plain.columns) == expected.split()
    assert list(found.columns) == [*plain.columns, "replicates", *PARTS]
    # The numbers are the same; the intervals know that all models share their images, and the study knows its runs.
    same = [column for column in plain.columns if column not in ("low", "high", "notes")]
    pd.testing.assert_frame_equal(found[same], plain[same], check_dtype=False)
    assert tiny.effective_robustness(scale="logit")["scale"].unique().tolist() == ["logit"]
    assert tiny.effective_robustness(shifts=["blur"])["shift"].unique().tolist() == ["blur"]


def test_every_row_is_traced_to_the_artifacts_that_it_came_from(tiny):
    plan = tiny.plan()
    for row in tiny.effective_robustness().itertuples():
        for key in row.key.split():
            score = plan.jobs[key]
            assert score.kind == "score"
            assert plan.jobs[score.parents[0]].kind == "predict"
            assert tiny.store.has(key)


def test_running_again_makes_nothing(tiny):
    before = sorted(tiny.store.complete())
    assert tiny.run().made == 0
    assert sorted(tiny.store.complete()) == before
    assert verify(tiny.store) == []
    assert {row.state for row in tiny.status()} == {"complete"}


def test_a_removed_artifact_is_made_again_and_nothing_else(tiny, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny.store.root, copy, symlinks=True)
    study = TinyStudy(store=copy, quiet=True)
    key = next(k for k, job in study.plan().jobs.items() if job.kind == "score")
    shutil.rmtree(study.store.path(key))
    assert [row.job.key for row in study.status() if row.state != "complete"] == [key]
    assert study.run().made == 1
    assert study.store.manifest(key).summary == tiny.store.manifest(key).summary


def test_collect_finds_nothing_to_delete_after_a_run(tiny):
    assert tiny.collect() == []


@pytest.mark.slow
def test_another_run_of_the_same_study_gives_the_same_bits(tiny, new_store):
    study = TinyStudy(store=new_store, quiet=True)
    study.run()
    assert study.store.complete() == tiny.store.complete()
    for key in study.store.complete():
        first, second = study.store.manifest(key), tiny.store.manifest(key)
        assert {n: f["sha256"] for n, f in first.files.items()} == {n: f["sha256"] for n, f in second.files.items()}
        assert first.document == second.document


def test_explain_shows_the_document_and_the_nearest_relative(tiny):
    plan = tiny.plan()
    tuned = [m for m in plan.models if m.named.group == "tuned"]
    explanation = tiny.explain(tuned[1].key[:20])
    assert explanation.job.document["kind"] == "train"
    assert explanation.relative.key == tuned[0].key
    assert [d[0] for d in explanation.differences] == ["declaration.seed"]
    # A seed of 0 is the default, which documents leave out.
    assert explanation.differences[0][1:] == (1, "default")


@pytest.mark.slow
def test_two_runs_at_once_end_well_and_share_the_work(tmp_path, data_root):
    store = tmp_path / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import TinyStudy\n"
        "outcome = TinyStudy(store=sys.argv[2], quiet=True).run()\n"
        "print(outcome.made, len(outcome.plan.jobs)); sys.exit(outcome.exit_status)\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(HERE), str(store)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=200)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    study = TinyStudy(store=store, quiet=True)
    assert verify(study.store) == []
    total = len(study.plan().jobs)
    made = [int(words[0]) for words in outputs]
    assert sum(made) == total
    assert study.run().made == 0


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, data_root, sent, tiny):
    store = tmp_path / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import TinyStudy\n"
        "study = TinyStudy(store=sys.argv[2], quiet=True)\n"
        "study.plan(); print('ready', flush=True)\n"
        "sys.exit(study.run().exit_status)\n"
    )
    command = [sys.executable, "-c", code, str(HERE), str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while not list((store / "artifacts").glob("*/*/manifest.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(sent)
        assert process.wait(timeout=60) == 130
    study = TinyStudy(store=store, quiet=True)
    assert verify(study.store) == []
    outcome = study.run()
    assert outcome.exit_status == 0
    for key in study.store.complete():
        files = [s.store.manifest(key).files for s in (study, tiny)]
        assert {n: f["sha256"] for n, f in files[0].items()} == {n: f["sha256"] for n, f in files[1].items()}


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(tmp_path, data_root):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (small / "data").symlink_to(data_root)
        study = TinyStudy(store=small, quiet=True)
        with pytest.raises(StoreError, match="is full: nothing was published half-way"):
            study.run()
        assert verify(study.store) == []
        kept = study.store.complete()
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert study.run().exit_status == 0
        assert kept <= study.store.complete()
    finally:
        subprocess.run(["umount", small], check=True)


def test_status_and_results_write_nothing(tmp_path):
    study = TinyStudy(store=tmp_path / "none", quiet=True)
    for verb in (study.status, study.results, study.collect, lambda: study.explain("ab")):
        with pytest.raises(StoreError, match="has no data for 'tiny' yet: run the study first"):
            verb()
    assert not (tmp_path / "none").exists()


def test_a_store_that_cannot_be_written_is_found_before_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written.*--store DIR"):
        TinyStudy(store=tmp_path / "file", quiet=True).run()


class Bare(ExperimentManager):
    name = "bare"
    reference = handwritten_digits()

    def models(self):
        return {"a": FromScratch(glyph_net("linear"), train_on=self.reference.train.fraction(0.05), epochs=1, batch_size=8)}


def test_a_study_without_shifts_trains_and_tabulates_but_has_no_robustness(new_store):
    study = Bare(store=new_store, quiet=True)
    assert study.run().exit_status == 0
    assert len(study.results()) == 2
    with pytest.raises(AnalysisError, match="declares no shifts: write shifts"):
        study.effective_robustness()
    study.shifts = {"x": study.reference.test.fraction(0.5)}
    with pytest.raises(AnalysisError, match="declares no baseline: write baseline = GROUP, one of 'a'"):
        study.compare("a 1", "a 2")
    study.baseline = "a"
    with pytest.raises(AnalysisError, match="has 1 models: a line needs at least 3"):
        study.effective_robustness()


def test_a_study_without_reference_or_models_says_so(new_store):
    class NoReference(ExperimentManager):
        name = "x"

    with pytest.raises(DeclarationError, match="has no reference distribution"):
        NoReference(store=new_store).plan()

    class NoModels(ExperimentManager):
        name = "x"
        reference = handwritten_digits()

    with pytest.raises(DeclarationError, match="declares no models: define models"):
        NoModels(store=new_store).plan()


def test_data_that_was_never_written_is_named_with_the_command(new_store):
    class Birds(Bare):
        shifts = {"birds": Split("birds", "test")}

    with pytest.raises(DataError, match="birds/test is not in the data folder.*shiftline data write birds --split test"):
        Birds(store=new_store).run()


def test_data_that_is_written_again_during_a_run_is_noticed(new_store, tmp_path):
    import shutil

    from shiftline.engine.run import run_group

    (new_store / "data").unlink()
    study = Bare(store=new_store, quiet=True)
    context = context_of(study)
    plan = context.plan
    shutil.copy(new_store / "data/digits/val.beton", new_store / "data/digits/train.beton")
    shutil.copy(new_store / "data/digits/val.json", new_store / "data/digits/train.json")
    shutil.copy(new_store / "data/digits/val.parquet", new_store / "data/digits/train.parquet")
    (job,) = [j for j in plan.jobs.values() if j.kind == "train"]
    with pytest.raises(DataError, match="was written again since the study was planned"):
        run_group([job], context)


def test_what_only_labels_tell_is_found_before_the_first_job(new_store):
    class Empty(Bare):
        shifts = {"none": handwritten_digits().test.fraction(0.01).class_rates([1] * 10)}

    study = Empty(store=new_store, quiet=True)
    with pytest.raises(DataError, match="is empty"):
        study.run()
    assert study.store.complete() == set()


def test_a_selection_that_cannot_be_made_ends_the_run(new_store):
    class Stuck(Bare):
        def models(self):
            few, clip = self.reference.train.fraction(0.05), ZeroShot(glyph_clip(), templates=("the digit {}",))
            bad = [FineTune(clip, train_on=few, epochs=1, batch_size=8, optimizer=SGD(lr=lr)) for lr in (1e-3, 1e30)]
            return {"a": best([LinearProbe(clip, inverse_l2=c) for c in (0.1, 1.0)]), "b": best(bad)}

    outcome = Stuck(store=new_store, quiet=True).run()
    assert outcome.exit_status == 1
    assert len(outcome.failed) == 1
    assert outcome.blocked


def test_changed_local_weights_change_the_keys(new_store, tmp_path):
    from safetensors.torch import load_file, save_file

    from shiftline.networks.glyph_clip import ASSET

    file = tmp_path / "clip.safetensors"
    state = load_file(ASSET)
    save_file(state, file)

    class Local(Bare):
        def models(self):
            return {"a": ZeroShot(LocalWeights(glyph_clip(), file), templates=("the digit {}",))}

    study = Local(store=new_store, quiet=True)
    context = context_of(study)
    before = context.plan
    save_file({n: t * 1.01 if t.is_floating_point() else t for n, t in state.items()}, file)
    os.utime(file, (1, 1))
    assert not set(study.plan().jobs) & set(before.jobs)
    from shiftline.engine.run import run_group

    (job,) = [j for j in before.jobs.values() if j.kind == "zero-shot"]
    with pytest.raises(ModelError, match="the weights of .* changed"):
        run_group([job], context)


class Impostor(Transform):
    tag = "blur"
    sigma: float

    def apply(self, images, labels, ids):
        return images


def test_a_tag_of_a_built_in_is_refused(new_store):
    class Own(Bare):
        shifts = {"x": handwritten_digits().test.shifted(Impostor(2.0))}

    with pytest.raises(
        DeclarationError, match="two classes have the tag 'blur': shiftline.shifts.quality.Blur and test_manager.Impostor"
    ):
        Own(store=new_store).plan()


def test_verify_hashes_the_data_too(tiny, tmp_path):
    import shutil

    store = tmp_path / "store"
    shutil.copytree(tiny.store.root / "data", store / "data")
    study = TinyStudy(store=store, quiet=True)
    assert study.verify() == []
    path = store / "data/digits/train.beton"
    data = bytearray(path.read_bytes())
    data[-10_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    (damage,) = study.verify(repair=True)
    assert damage.key == "data/digits/train"
    assert study.plan()
    assert study.verify() == []


class Sepia(Transform):
    """A user's own transform."""

    tag = "test/sepia"
    strength: float = 0.5

    def apply(self, images, labels, ids):
        import torch

        warm = torch.tensor([1.0, 0.8, 0.6])[:, None, None]
        return (images.float() * (1 - self.strength + self.strength * warm)).round().to(torch.uint8)


def test_a_users_own_transform_runs_and_is_checked(new_store):
    class Own(Bare):
        shifts = {"sepia": handwritten_digits().test.shifted(Sepia(0.7))}

    check_transform(Sepia(0.7))
    study = Own(store=new_store, quiet=True)
    assert study.run().exit_status == 0
    path = next((new_store / "extensions").glob("*.json"))
    write_record(path, read_record(path, what="the record") | {"source_sha256": "0" * 64})
    with pytest.raises(
        DeclarationError, match="was changed since results were made with it. If its numbers change, set revision = 2"
    ):
        study.plan()


class Stateful(Transform):
    tag = "test/stateful"
    made = 0

    def apply(self, images, labels, ids):
        Stateful.made += 1
        return images ^ (Stateful.made % 7)


class Blended(Transform):
    tag = "test/blended"

    def apply(self, images, labels, ids):
        return images.float().mean(0, keepdim=True).expand(images.shape).to(images.dtype)


class Shrinking(Transform):
    tag = "test/shrinking"

    def apply(self, images, labels, ids):
        return images[:, :, 1:]


class Spoiling(Transform):
    tag = "test/spoiling"

    def apply(self, images, labels, ids):
        images.add_(1)
        return images


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Stateful(), "other pixels the second time"),
        (Blended(), "depends on the (order|rest) of the batch"),
        (Spoiling(), "changed the images that it was given"),
    ],
)
def test_bad_transforms_are_found(transform, message):
    with pytest.raises(ContractError, match=message):
        check_transform(transform)


def test_a_transform_that_changes_the_shape_is_an_error():
    with pytest.raises(DataError, match="returned torch.uint8 .*: expected uint8"):
        check_transform(Shrinking())


def test_check_study_runs_one_tiny_job_of_each_kind():
    report = check_study(TinyStudy)
    assert set(report.kinds) == {"train", "zero-shot", "features", "probe", "predict", "score", "select"}
    assert report.jobs < 120


def test_check_study_finds_a_study_that_is_no_pure_function():
    class Random(Bare):
        def models(self):
            return {"a": FromScratch(glyph_net("linear"), seed=int.from_bytes(os.urandom(3), "big"))}

    with pytest.raises(ContractError, match="must be a pure function"):
        check_study(Random)
