"""Real SLURM arrays on a cluster of two nodes: the same bits as in one process, whatever becomes of tasks and nodes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shiftline.launch.activity import doing
from shiftline.launch.slurm import queued
from shiftline.store.artifacts import Store
from test_cli import ok
from test_workers import PLAIN, alone, content, small  # noqa: F401 - a fixture.

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/slurm_job.sbatch"
FOLDER = "/tmp/shiftline-test-cluster"
NODES = ("local1", "local2")

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster():
    """A SLURM of two nodes; arrays have at most 6 tasks. Called, it restarts the controller."""
    if os.getuid() != 0:
        pytest.skip("starting a cluster needs root")
    environment = os.environ | {"SHIFTLINE_CLUSTER": FOLDER, "SHIFTLINE_MAX_ARRAY": "7", "SHIFTLINE_NODES": "2"}
    script = str(ROOT / "scripts/slurm_local_cluster.sh")
    subprocess.run(["bash", script, "start"], env=environment, check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = f"{FOLDER}/slurm.conf"
    yield lambda: subprocess.run(["bash", script, "restart-controller"], env=environment, check=True)
    subprocess.run(["scancel", "--user=root"], check=False)
    subprocess.run(["bash", script, "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)
    del os.environ["SLURM_CONF"]


LONG = """
import os, time

from shiftline import *
from shiftline.contracts.identity import speed_only


class Pause(Augmentation):
    'Changes nothing, slowly until a file is there: a training takes as long as a test needs, on any machine.'

    tag = "tests/pause"
    until: str = speed_only(default="")

    def apply(self, images, ids, *, seed, epoch):
        if self.until and not os.path.exists(self.until):
            time.sleep(0.5)
        return images


class Long(ExperimentManager):
    name = "long"
    reference = handwritten_digits()
    threads = 1

    def __init__(self, *, seeds: int = 1, devices: int = 1, until: str = "", **options):
        super().__init__(**options)
        # 20 steps an epoch.
        self.settings = {
            "train_on": self.reference.train.indices(range(900)), "epochs": 20, "batch_size": 45, "devices": devices,
            "optimizer": SGD(lr=0.05), "augment": [Pause(until)],
        }
        self.seeds = seeds

    def models(self):
        return {"nets": [FromScratch(glyph_net("conv-narrow"), seed=s, **self.settings) for s in range(self.seeds)]}
"""


@pytest.fixture(autouse=True)
def _both_nodes(cluster):
    """Begin each test with both nodes: SLURM drains a node whose tasks it could not kill in time, as on a loaded machine."""
    del cluster
    if drained := slurm("sinfo", "--noheader", "--Node", "--format=%N", "--states=down,drain,fail").split():
        print("resumed:", slurm("sinfo", "-R"))
        slurm("scontrol", "update", f"nodename={','.join(drained)}", "state=resume")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_root):
    """Return what the long study gives with some parameters where nothing happens to it."""

    @functools.cache
    def run(*parameters, options=()):
        path, store = small(tmp_path_factory.mktemp("undisturbed"), data_root, LONG)
        words = [sys.executable, "-m", "shiftline.cli.app", "run", path, *parameters, "--store", store, "--quiet", *options]
        subprocess.run(list(map(str, words)), check=True)
        return content(store)

    return run


def launched(path, store, *words):
    out = ok("submit", path, "--store", store, "--script", SCRIPT, *words)
    return [int(line.split("array ")[1].split()[0]) for line in out.splitlines() if line.startswith("wave")]


def slurm(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def finished(jobs, *, seconds=500):
    """Wait until no task of these arrays is in the queue; what was requeued is let go."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = slurm("squeue", "--noheader", "--array", "--format=%F %F_%K %r").splitlines()
        if not any(int(row.split()[0]) in jobs for row in rows):
            return
        for _, task, reason in (row.split(maxsplit=2) for row in rows):
            if reason == "BeginTime":
                _release(task)
        time.sleep(0.5)
    raise AssertionError(f"still in the queue after {seconds} s:\n{_condition()}")


def in_an_epoch(store, *, after=0):
    """Wait until a training is under way, and further than some steps; return how far it is."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for entry in doing(Store(store)):
            if entry.kind == "train" and after < entry.done < entry.total:
                return entry.done
        time.sleep(0.1)
    raise AssertionError(f"no training got further than {after} steps: {doing(Store(store))}\n{_condition()}\n{outputs(store)}")


def _condition():
    """Return what SLURM says of its queue and its nodes."""
    return slurm("squeue", "--array", "--format=%i %T %r %N %M") + slurm("sinfo", "--Node", "--long") + slurm("sinfo", "-R")


def outputs(store):
    return "\n".join(path.read_text() for path in sorted(store.glob("submissions/*/slurm-*.out")))


def test_a_study_through_slurm_arrays_has_the_same_keys_and_bits(cluster, tmp_path, data_root, alone):  # noqa: F811
    path, store = small(tmp_path, data_root, PLAIN)
    jobs = launched(path, store, "--", "--cpus-per-task=1")
    states = {row["state"] for row in json.loads(ok("status", path, "--store", store, "--format", "json"))}
    assert states <= {"queued", "running", "complete"}
    # Launching again finds everything in the queue; the controller may be restarted meanwhile.
    assert "nothing to submit" in ok("submit", path, "--store", store, "--script", SCRIPT)
    cluster()
    finished(jobs)
    assert content(store) == alone
    assert "nothing to submit" in ok("submit", path, "--store", store, "--script", SCRIPT)
    assert queued(Store(store)) == {}


def test_a_time_limit_that_is_reached_three_times_changes_nothing(cluster, tmp_path, data_root, undisturbed):
    path, store, gate = *small(tmp_path, data_root, LONG), tmp_path / "gate"
    # The limit is one minute, and SLURM, which looks every 30 s, warns when 15 to 45 s of it are over.
    jobs = launched(path, store, f"until={gate}", "--", "--cpus-per-task=1", "--time=1", "--signal=B:USR1@15")
    while outputs(store).count("stopped: what can go on later is saved") < 3:
        _released(jobs[0])
    gate.touch()
    finished(jobs)
    assert content(store) == undisturbed()


def test_a_training_that_is_requeued_in_an_epoch_goes_on_where_it_was(cluster, tmp_path, data_root, undisturbed):
    """Once by the signal that comes before a time limit, once by an administrator."""
    path, store, gate = *small(tmp_path, data_root, LONG), tmp_path / "gate"
    jobs = launched(path, store, f"until={gate}", "--", "--cpus-per-task=1")
    reached = in_an_epoch(store)
    slurm("scancel", "--batch", "--signal=USR1", f"{jobs[0]}_0")
    _released(jobs[0])
    further = in_an_epoch(store, after=reached)
    slurm("scontrol", "requeue", f"{jobs[0]}_0")
    _released(jobs[0])
    in_an_epoch(store, after=further)
    gate.touch()
    finished(jobs)
    assert content(store) == undisturbed()


def _released(job):
    """Wait until a requeued task is held back, and let it go."""
    deadline = time.monotonic() + 120
    while "BeginTime" not in slurm("squeue", "--noheader", "--array", "--format=%r", f"--jobs={job}"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    _release(f"{job}_0")


def _release(task):
    """Let a requeued task go: SLURM holds it back for two minutes, of which its daemons need some seconds."""
    time.sleep(3)
    slurm("scontrol", "update", f"jobid={task}", "starttime=now")


def test_half_an_array_that_is_cancelled_is_launched_again(cluster, tmp_path, data_root, undisturbed):
    path, store, gate = *small(tmp_path, data_root, LONG), tmp_path / "gate"
    jobs = launched(path, store, "seeds=2", f"until={gate}", "--", "--cpus-per-task=1")
    in_an_epoch(store)
    slurm("scancel", f"{jobs[0]}_1")
    gate.touch()
    finished(jobs)
    rows = json.loads(ok("status", path, "seeds=2", "--store", store, "--format", "json"))
    assert sum(row["state"] == "complete" for row in rows) >= 1
    assert sum(row["state"] == "missing" and row["kind"] == "train" for row in rows) == 1
    assert "blocked: " in outputs(store)
    again = launched(path, store, "seeds=2", "--", "--cpus-per-task=1")
    finished(again)
    assert content(store) == undisturbed("seeds=2")


def test_a_node_that_is_drained_or_lost_costs_time_only(cluster, tmp_path, data_root, undisturbed):
    path, store, gate = *small(tmp_path, data_root, LONG), tmp_path / "gate"
    slurm("scontrol", "update", f"nodename={NODES[1]}", "state=drain", "reason=test")
    jobs = launched(path, store, f"until={gate}", "--", "--cpus-per-task=1")
    in_an_epoch(store)
    # A drained node finishes what it runs; one that is down loses it, and SLURM queues it again.
    slurm("scontrol", "update", f"nodename={NODES[0]}", "state=drain", "reason=test")
    slurm("scontrol", "update", f"nodename={NODES[0]}", "state=down", "reason=test")
    for node in NODES:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
    gate.touch()
    finished(jobs)
    assert content(store) == undisturbed()


def test_two_tasks_on_two_nodes_share_a_training(cluster, tmp_path, data_root, undisturbed, monkeypatch):
    # Both nodes are this machine, whose name for a node resolves to nothing.
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    path, store, gate = *small(tmp_path, data_root, LONG), tmp_path / "gate"
    jobs = launched(path, store, "devices=2", f"until={gate}", "--", "--cpus-per-task=1", "--nodes=2-2", "--ntasks-per-node=1")
    in_an_epoch(store)
    slurm("scancel", "--batch", "--signal=USR1", f"{jobs[0]}_0")
    _released(jobs[0])
    gate.touch()
    finished(jobs)
    assert outputs(store).count("stopped: what can go on later is saved") == 1
    made = content(store)
    assert made == undisturbed("devices=2")
    assert [summary["processes"] for kind, _, summary in made.values() if kind == "train"] == [2]
