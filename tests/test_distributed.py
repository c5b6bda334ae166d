"""Several processes: the same curves and predictions as one, every example once, and clear refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from shiftline.cli.loading import load_study
from shiftline.engine.predictions import load_predictions
from shiftline.engine.ranks import ALONE, check_devices, started_ranks
from shiftline.errors import DeviceError
from shiftline.networks.spec import load_model
from shiftline.store.attempts import Attempts

STUDY = """
from torch import nn

from shiftline import *


class Normed(Architecture):
    tag = "tests/ddp-normed"
    size = 32

    def build(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 5, 4, 2), nn.BatchNorm2d(4), nn.Flatten())
        net.num_features = 256
        return net


class Two(ExperimentManager):
    name = "two"
    digits = handwritten_digits()
    reference = Reference(digits.train, digits.val, digits.test)
    shifts = {"blur": digits.test.shifted(Blur(2.0))}
    threads = 1

    def __init__(self, *, only: str = "", epochs: int = 2, **options):
        super().__init__(**options)
        self.only, self.epochs = only, epochs

    def models(self):
        if self.only == "normed":
            return {"normed": FromScratch(Normed(), epochs=1)}
        clip = ZeroShot(glyph_clip(), templates=("the digit {}",))
        # Ragged: 203 = 4 * 50 + 3, and the last batch has 1 and 2 examples on the two processes.
        settings = {"train_on": self.reference.train.indices(range(203)), "epochs": self.epochs, "batch_size": 50}
        settings["optimizer"] = SGD(lr=0.01)
        mixed = {"mix": CutMix(), "accumulate": 3, "augment": [RandomResizedCrop(), Translate(2)]}
        models = {
            "plain": FineTune(clip, **settings),
            "mixed": FineTune(clip, **mixed, **settings),
            "frozen": FineTune(clip, trainable="head", **settings),
        }
        return {self.only: models[self.only]} if self.only else models
"""


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "two_processes.py"
    path.write_text(STUDY)
    return path


def command(file, store, *words, devices=2):
    several = ["--devices", str(devices)] if devices > 1 else []
    # A wall that processes which wait for each other would run into.
    return [sys.executable, "-m", "shiftline.cli.app", "run", f"{file}:Two", *words, "--store", str(store), "--quiet", *several]


def run(file, store, *words, devices=2):
    return subprocess.run(command(file, store, *words, devices=devices), capture_output=True, text=True, timeout=300, check=False)


def stores(tmp_path, data_root):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").symlink_to(data_root)
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.slow
def test_two_processes_have_the_loss_curves_of_one(study_file, tmp_path, data_root):
    one, two = stores(tmp_path, data_root)
    alone = load_study(f"{study_file}:Two")(store=one, quiet=True)
    assert alone.run().exit_status == 0
    second = run(study_file, two)
    assert second.returncode == 0, second.stderr
    plan = alone.plan()
    for job in plan.jobs.values():
        manifests = [_store(place).manifest(job.key) for place in (one, two)]
        if job.kind == "train":
            assert [m.summary["processes"] for m in manifests] == [1, 2]
            curves = [_curve(place, job.key) for place in (one, two)]
            np.testing.assert_allclose(*curves, rtol=1e-4)
            weights = [load_model(_store(place).file(job.key, "model.safetensors"))[0] for place in (one, two)]
            for name, tensor in weights[0].items():
                # Adam divides a gradient by its own size: of a weight whose gradient is all rounding nothing is known.
                assert torch.linalg.norm(weights[1][name] - tensor) <= 1e-4 * torch.linalg.norm(tensor), name
        if job.kind == "predict":
            logits = [load_predictions(_store(place), job.key) for place in (one, two)]
            assert torch.equal(logits[0]["ids"], logits[1]["ids"])
            assert torch.equal(logits[0]["labels"], logits[1]["labels"])


def _store(root):
    from shiftline.store.artifacts import Store

    return Store(root)


def _curve(root, key):
    log = Attempts(_store(root)).log(key)
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()] if log.is_file() else []


@pytest.mark.slow
def test_stopped_processes_go_on_where_they_were(study_file, tmp_path, data_root):
    """Asked to stop, then killed: the third start ends where one process ends that was never stopped."""
    one, two = stores(tmp_path, data_root)
    words = ("only=mixed", "epochs=6")
    study = load_study(f"{study_file}:Two")(store=one, quiet=True, only="mixed", epochs=6)
    assert study.run().exit_status == 0
    (job,) = [job for job in study.plan().jobs.values() if job.kind == "train"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        lines = len(_curve(two, job.key))
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(command(study_file, two, *words), stdout=output, stderr=output, start_new_session=True)
            until = time.monotonic() + 120
            while len(_curve(two, job.key)) <= lines and process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            os.killpg(process.pid, number)
            process.wait(60)
    last = run(study_file, two, *words)
    assert last.returncode == 0, last.stderr
    np.testing.assert_allclose(_curve(one, job.key)[-1], _curve(two, job.key)[-1], rtol=1e-3)


@pytest.mark.slow
def test_batch_norm_over_processes_is_refused_on_the_cpu(study_file, tmp_path, data_root):
    _, two = stores(tmp_path, data_root)
    done = run(study_file, two, "only=normed")
    assert done.returncode == 1
    assert "the network has batch norm, which several processes can share on GPUs only" in done.stderr


@pytest.mark.slow
def test_more_devices_than_there_are_is_refused(study_file, tmp_path, capsys):
    wanted = (os.cpu_count() or 1) + 1
    with pytest.raises(DeviceError, match=f"{wanted} devices were requested, this machine has .* ask for .* or fewer"):
        check_devices(wanted)
    done = run(study_file, tmp_path / "s", devices=wanted)
    assert done.returncode == 1
    assert f"error: {wanted} devices were requested" in done.stderr


def test_an_allocation_is_not_several_processes(monkeypatch):
    """sbatch and salloc set SLURM variables too: only a step of several tasks, started by srun, is several processes."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert started_ranks() == ALONE


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {
                "TORCHELASTIC_RUN_ID": "x",
                "WORLD_SIZE": "4",
                "RANK": "3",
                "LOCAL_RANK": "1",
                "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "localhost",
                "MASTER_PORT": "1",
            },
            (3, 4, 1, 2),
        ),
        (
            {
                "SLURM_STEP_NUM_TASKS": "4",
                "SLURM_NTASKS": "4",
                "SLURM_NTASKS_PER_NODE": "2",
                "SLURM_PROCID": "2",
                "SLURM_LOCALID": "0",
                "SLURM_NODEID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
            },
            (2, 4, 0, 2),
        ),
    ],
)
def test_torchrun_and_srun_are_recognised(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = started_ranks()
    assert (found.rank, found.world, found.local_rank, found.local_world) == expected


def test_nodes_with_different_numbers_of_tasks_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")
    with pytest.raises(DeviceError, match="the same number on each"):
        started_ranks()
