"""Nothing is lost: kills at random moments, full disks, damage, deletions, read-only and moved stores."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from shiftline import (
    DFR,
    SGD,
    AdamW,
    Blur,
    EmbeddingClassifier,
    ExperimentManager,
    FineTune,
    FineTunedClassifier,
    FromScratch,
    LinearProbe,
    LocalWeights,
    Merge,
    Published,
    Recipe,
    Reference,
    SupportSplit,
    ZeroShot,
    average,
    best,
    ensemble,
    fisher_average,
    glyph_clip,
    glyph_net,
    greedy_soup,
    handwritten_digits,
    materialize,
    with_batch_norm,
)
from shiftline import timm as timm_named
from shiftline.backbones.glyphs import PROMPTS
from shiftline.contracts.distributions import Split
from shiftline.contracts.models import Model
from shiftline.data.sidecar import DataFolder
from shiftline.datasets.prepare import split_records
from shiftline.engine.loop import TrainingRun
from shiftline.errors import DataError, StoreError
from shiftline.launch import planning
from shiftline.plan.checks import backbones
from shiftline.plan.jobs import REPLICATE, job_kinds
from shiftline.store import artifacts, attempts, files, upkeep
from shiftline.store.artifacts import MANIFEST, Store
from shiftline.store.attempts import Attempts
from shiftline.store.files import DiskFullError, sha256_of
from shiftline.store.upkeep import collect, verify
from test_cli import called, ok
from test_expressions_end_to_end import SmallNormed
from test_workers import PLAIN, content, small

KINDS = sorted((job_kinds() | {Recipe.kind, Merge.kind}) - {REPLICATE})
"""Kinds of artifacts."""


class Mean(Merge):
    """A user's own merge."""

    tag = "tests/faults-mean"

    def merge(self, states):
        return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


class Halved(Recipe):
    """A user's own recipe."""

    tag = "tests/faults-halved"
    of: Model

    def make(self, work):
        model = work.model(self.of)
        model.head.weight.data.mul_(0.5)
        return model


class OneOfEach(ExperimentManager):
    """Every kind of job once or twice."""

    name = "one-of-each"
    digits = handwritten_digits()
    reference = Reference(digits.train, digits.val.indices(range(60)), digits.test.indices(range(90)))
    blur = reference.test.shifted(Blur(1.0))
    tuned = FineTunedClassifier(glyph_clip(), learning_rates=(1e-5,), epochs=1, batch_size=32)
    quick = SupportSplit(reference.train.fraction(0.1), EmbeddingClassifier(glyph_clip()), folds=2)
    published = SupportSplit(reference.train.fraction(0.1), tuned, folds=2)
    shifts = {
        "blur": reference.test.shifted(Blur(2.0)),
        "in": blur.in_support(quick, threshold=1e-9),
        "in, fine-tuned": blur.in_support(published, threshold=1e-9),
    }
    baseline = "tuned"
    threads = 1
    weights = ""

    def models(self):
        few = self.reference.train.few_shot(5)
        clip = ZeroShot(glyph_clip(), templates=PROMPTS[:1])
        quick = {"train_on": few, "epochs": 2, "batch_size": 16}
        tuned = [FineTune(clip, optimizer=AdamW(lr=lr), save=(1,), **quick) for lr in (1e-3, 1e-4, 1e-5)]
        normed = FromScratch(SmallNormed(), optimizer=SGD(lr=0.05), **quick)
        return {
            "tuned": tuned,
            "clip": clip,
            "probes": [LinearProbe(clip, train_on=few), DFR(tuned[0], train_on=few)],
            "combined": [greedy_soup(tuned), materialize(average(tuned)), with_batch_norm(normed)[1]],
            "fisher": fisher_average(tuned[:2], examples=6, train_on=few),
            "own": [Halved(tuned[0]), Mean(tuple(tuned[:2]))],
            "published": Published(LocalWeights(timm_named("test_vit"), self.weights)),
            "outputs": ensemble([tuned[0], clip]),
            "chosen": best(tuned[:2]),
        }


@pytest.fixture(scope="module")
def complete(tmp_path_factory, data_root):
    """A store in which the study has run; not to be changed."""
    root = tmp_path_factory.mktemp("complete") / "store"
    root.mkdir()
    shutil.copytree(data_root, root / "data")
    OneOfEach.weights = str(tmp_path_factory.mktemp("published") / "weights.safetensors")
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", num_classes=10).state_dict(), OneOfEach.weights)
    study = OneOfEach(store=root, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    assert {job.kind for job in outcome.plan.jobs.values()} == set(KINDS)
    return study


# ---- kills -----------------------------------------------------------------------------------------------------------


def _run(path, store):
    from shiftline.cli.loading import make_study

    os._exit(make_study(path, None, store, quiet=True).run().exit_status)


def _watch(store, over, found):
    """Look at everything that can be seen in a store until it is over, and report what is there in parts."""
    looks = 0
    while not over.is_set():
        for key in Store(store).complete():
            folder = Store(store).path(key)
            try:
                manifest = Store(store).manifest(key)
                for name, recorded in manifest.files.items():
                    if sha256_of(folder / name) != recorded["sha256"]:
                        found.put(f"{folder / name} is another")
                looks += 1
            except (StoreError, OSError) as error:
                found.put(str(error))
        for state in Path(store, "attempts").glob("*/state/*"):
            try:
                if state.name == "state.pt" and not zipfile.is_zipfile(state):
                    found.put(f"{state} is a part of a state")
            except FileNotFoundError:
                continue
    found.put(looks)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills_at_random_moments_change_no_bit_and_show_nothing_in_parts(tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    # Processes that begin with everything imported: moments are those of the study, not of importing torch.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "shiftline.study", "shiftline.engine.run", "shiftline.cli.loading"])
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "data").symlink_to(data_root)
    whole = processes.Process(target=_run, args=(str(path), undisturbed))
    started = time.monotonic()
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    length = time.monotonic() - started

    over, found = processes.Event(), processes.Queue()
    chance, kills, ends = random.Random(5), 0, 0
    while kills < 50:
        shutil.rmtree(store)
        store.mkdir()
        (store / "data").symlink_to(data_root)
        watcher = processes.Process(target=_watch, args=(store, over, found))
        watcher.start()
        while True:
            worker = processes.Process(target=_run, args=(str(path), store))
            worker.start()
            worker.join(chance.uniform(0, length / 4) if kills < 50 else None)
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
                kills += 1
            else:
                assert worker.exitcode == 0
                break
        over.set()
        watcher.join()
        looks = found.get()
        assert isinstance(looks, int), looks
        assert looks > 0
        over.clear()
        assert content(store) == content(undisturbed)
        assert verify(Store(store)) == []
        ends += 1
    assert ends >= 1


# ---- full disks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small disk; called, it is filled to the last byte, and called again, emptied of that."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", root], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")

    def fill(full=True):
        filler = root / "filler"
        if not full:
            filler.unlink(missing_ok=True)
            return
        with filler.open("wb", buffering=0) as stream:
            try:
                while stream.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass

    fill.root = root
    yield fill
    subprocess.run(["umount", "--lazy", root], check=True)


def _publishing(kind):
    """The moment when the files of an artifact of this kind are about to be written."""

    def before(monkeypatch, fill):
        publish = artifacts.Store.publish

        def filled(self, key, made, document):
            if made == kind:
                fill()
            return publish(self, key, made, document)

        monkeypatch.setattr(artifacts.Store, "publish", filled)

    return before


def _calling(owner, name):
    def before(monkeypatch, fill):
        original = getattr(owner, name)

        def filled(*args, **kwargs):
            fill()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, filled)

    return before


def _backbone(monkeypatch, fill):
    _calling(planning, "write_record")(monkeypatch, fill)


def _data(monkeypatch, fill):
    from shiftline.datasets import prepare

    _calling(prepare, "write_split")(monkeypatch, fill)


def _state(monkeypatch, fill):
    train = TrainingRun.train

    def saving_often(self):
        self.context.save_seconds = 0.0
        train(self)

    monkeypatch.setattr(TrainingRun, "train", saving_often)
    _calling(TrainingRun, "save")(monkeypatch, fill)


WRITES = {
    "written data": _data,
    "the record of a backbone": _backbone,
    "the record of a study": _calling(planning, "record_study"),
    "a claim": _calling(attempts.Attempts, "_open_claim"),
    "the log of a training": _calling(TrainingRun, "_log"),
    "the state of a training": _state,
    "the weights of an epoch": _calling(TrainingRun, "_keep_checkpoint"),
    **{f"an artifact: {kind}": _publishing(kind) for kind in KINDS},
}


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES)
def test_a_disk_that_fills_at_any_write_loses_nothing(write, disk, monkeypatch, data_root, complete):
    store = disk.root / "store"
    store.mkdir()
    if write != "written data":
        (store / "data").symlink_to(data_root)
    # What is not looked at is there already.
    kind = write.removeprefix("an artifact: ")
    if write.startswith("an artifact") and kind != "train":
        needed = {key for key in complete.store.complete() if complete.store.manifest(key).kind == "train"}
        for key in needed:
            shutil.copytree(complete.store.path(key), Store(store).path(key))
    study = OneOfEach(store=store, quiet=True)
    with monkeypatch.context() as patched:
        WRITES[write](patched, disk)
        with pytest.raises(DiskFullError, match="is full: nothing was published half-way.*shiftline collect"):
            study.run()
    assert verify(Store(store)) == []
    assert Attempts(Store(store)).failed() == set()
    disk(full=False)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    assert content(store) == content(complete.store.root)


@pytest.mark.slow
def test_a_disk_that_fills_while_a_study_is_frozen_or_drawn_is_one_clear_error(disk, complete, monkeypatch):
    disk()
    with pytest.raises(DiskFullError, match="is full"):
        complete.freeze(disk.root / "frozen", study="x")
    with pytest.raises(DiskFullError, match="is full"):
        complete.plot(disk.root / "figures")
    disk(full=False)
    assert complete.plot(disk.root / "figures")


# ---- damage ----------------------------------------------------------------------------------------------------------


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_cut, _flip])
@pytest.mark.parametrize("what", ["files", "manifests"])
def test_damage_in_every_kind_of_artifact_is_found_and_mended(what, damage, tmp_path, complete):
    store = Store(tmp_path / "store")
    shutil.copytree(complete.store.root, store.root)
    hit = {}
    for key in sorted(store.complete()):
        manifest = store.manifest(key)
        names = [MANIFEST] if what == "manifests" else list(manifest.files)
        if manifest.kind not in hit and names:
            hit[manifest.kind] = key
            damage(store.path(key) / names[0])
    # Selections and tunings are their manifests.
    assert set(hit) >= set(KINDS) - (set() if what == "manifests" else {"select", "domain-tuning"})
    written = next(iter((store.root / "data").glob("**/*.beton")))
    damage(written)
    study = OneOfEach(store=store.root, quiet=True)
    found = study.verify()
    assert {d.key for d in found if not d.key.startswith("data/")} == set(hit.values())
    assert sum(d.key.startswith("data/") for d in found) == 1
    study.verify(repair=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    assert content(store.root) == content(complete.store.root)
    assert study.verify() == []


@pytest.mark.slow
def test_damaged_records_of_backbones_are_made_again(tmp_path, complete):
    store = tmp_path / "store"
    shutil.copytree(complete.store.root, store)
    for number, path in enumerate(sorted((store / "backbones").iterdir())):
        (_cut, _flip)[number % 2](path) if number else path.write_bytes(b"")
    assert OneOfEach(store=store, quiet=True).run().made == 0


def test_no_flipped_bit_changes_a_record_of_a_backbone_in_silence(tmp_path):
    class Linear(ExperimentManager):
        name = "linear"
        reference = handwritten_digits()

        def models(self):
            return {"net": FromScratch(timm_named("test_vit"), epochs=1)}

    store = Store(tmp_path / "store")
    study = Linear(store=store.root, quiet=True).declaration()
    planning.backbone_records(study, store, backbones(study))
    (path,) = (store.root / "backbones").iterdir()
    _flip_every_bit(path, lambda: planning.backbone_records(study, store, backbones(study), write=False))


def test_no_flipped_bit_changes_a_record_in_silence(tmp_path):
    """Neither a record of a store nor the description of a written split: every bit is flipped once."""
    path, recorded = tmp_path / "record.json", {"keys": ["ab", "cd"], "count": 12, "share": 0.5, "name": None}
    files.write_record(path, recorded)
    _flip_every_bit(path, lambda: {name: files.read_record(path, what="the record").get(name) for name in recorded})

    split = Split("digits", "test")
    folder = DataFolder(tmp_path)
    split_records(folder, [split])
    _flip_every_bit(folder.sidecar(split), lambda: folder.open(split))


def _flip_every_bit(path, read):
    sound, expected, refused = path.read_bytes(), read(), 0
    for position in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            found = read()
        except (StoreError, DataError):
            refused += 1
        else:
            assert found == expected, position
    path.write_bytes(sound)
    assert refused > 7 * len(sound)


class Deletes(Recipe):
    """Deletes what it is made from, before it reads it: as a careless hand would."""

    tag = "tests/faults-deletes"
    of: Model
    store: str
    once: str

    def make(self, work):
        if not Path(self.once).exists():
            Path(self.once).touch()
            store = Store(self.store)
            for key in store.complete():
                if store.manifest(key).kind == "train":
                    shutil.rmtree(store.path(key))
        return work.model(self.of)


def test_a_parent_that_is_deleted_while_a_child_runs_is_made_again(tmp_path, data_root):
    store = tmp_path / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)

    class Careless(ExperimentManager):
        name = "careless"
        reference = handwritten_digits()

        def models(self):
            net = FromScratch(glyph_net("linear"), epochs=1, optimizer=SGD(lr=0.02))
            return {"child": Deletes(net, str(store), str(tmp_path / "once"))}

    study = Careless(store=store, quiet=True)
    first = study.run()
    (failed,) = first.failed.values()
    assert "is not in the store" in failed
    assert "Run the study: it makes what is missing" in failed
    assert study.run().exit_status == 0
    assert {row.state for row in study.status()} == {"complete"}


# ---- stores elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_read_only_store_can_be_analysed(tmp_path, complete):
    place = tmp_path / "read-only"
    place.mkdir()
    if subprocess.run(["mount", "--bind", complete.store.root, place], capture_output=True, check=False).returncode:
        pytest.skip("mounting a store read-only needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        study = OneOfEach(store=place, quiet=True)
        assert {row.state for row in study.status()} == {"complete"}
        assert study.results().equals(complete.results())
        assert len(study.effective_robustness())
        assert study.verify() == []
        assert study.plot(tmp_path / "figures")
        assert study.candidates()["chosen"].sum() == 1
        assert study.collect() == []
        with pytest.raises(StoreError, match=r"cannot be written \(Read-only file system\).*Choose another with --store"):
            study.run()
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_a_store_that_was_copied_elsewhere_goes_on_there(tmp_path, complete):
    elsewhere = tmp_path / "another machine" / "store"
    shutil.copytree(complete.store.root, elsewhere)
    study = OneOfEach(store=elsewhere, quiet=True)
    assert study.run().made == 0
    doomed = next(key for key in sorted(study.store.complete()) if study.store.manifest(key).kind == "predict")
    shutil.rmtree(study.store.path(doomed))
    assert study.run().made == 1
    assert content(elsewhere) == content(complete.store.root)


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_clocks_that_differ_between_machines_do_not_matter(tmp_path, monkeypatch):
    store = Store(tmp_path)
    tried = Attempts(store)
    before = time.time()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "another-machine")
        elsewhere.setattr("time.time", lambda: before + 7200)
        tried.record_failure("a" * 64, "a job", ValueError("broken"))
    tried.record_failure("b" * 64, "another job", ValueError("broken"))
    # Another machine's failure of an hour ago looks as if it were to come: it says nothing about this run.
    assert tried.failed_since(before - 1) == {"b" * 64}
    assert tried.failed() == {"a" * 64, "b" * 64}
    young = store.root / "artifacts" / f"{files.TEMPORARY}live"
    young.mkdir(parents=True)
    for hours in (-20, 0, 20):
        os.utime(young, (before + 3600 * hours,) * 2)
        assert collect(store, needed=[]) == []
    os.utime(young, (before - 3600 * (upkeep.STALE_HOURS + 1),) * 2)
    assert [item.path for item in collect(store, needed=[])] == [young]


# ---- a job that takes its process along ------------------------------------------------------------------------------

DYING = """
import ctypes, resource

import numpy as np

from shiftline import *
from shiftline.contracts.models import Model


class Dies(Recipe):
    tag = "tests/dies"
    how: str
    of: Model

    def make(self, work):
        if self.how == "segfault":
            ctypes.string_at(0)
        if self.how == "memory":
            # What a cgroup does to a job that wants too much, or the allocator where there is a limit.
            resource.setrlimit(resource.RLIMIT_AS, (1 << 34, 1 << 34))
            np.ones((1 << 36,), np.uint8)
        return work.model(self.of)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [("segfault", "its process was killed by SIGSEGV (2 times"), ("memory", "MemoryError: Unable to allocate 64.0 GiB")],
)
def test_a_job_that_segfaults_or_runs_out_of_memory_blocks_only_what_needs_it(how, said, tmp_path, data_root):
    body = PLAIN.replace("from shiftline import *", DYING).replace(
        '"soup": uniform_soup(nets[:2])', f'"dies": Dies({how!r}, nets[0])'
    )
    path, store = small(tmp_path, data_root, body)
    done = called("run", path, "--store", store, "--workers", "1", "--retries", "1", "--quiet")
    assert done.returncode == 1
    assert said in done.stderr
    states = [row["state"] for row in json.loads(ok("status", path, "--store", store, "--format", "json"))]
    assert (states.count("failed"), states.count("blocked"), states.count("missing")) == (1, 6, 0)
