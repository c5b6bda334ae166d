"""Worker processes on one machine: the same artifacts as one process, whatever dies on the way."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from shiftline import SGD, ExperimentManager, FromScratch, Recipe, glyph_net, handwritten_digits
from shiftline.cli.loading import make_study
from shiftline.contracts.models import Model
from shiftline.engine.context import NoProgress
from shiftline.launch import runs
from shiftline.launch.activity import Activity, doing
from shiftline.launch.workers import crowding
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts
from shiftline.store.upkeep import verify
from test_cli import called, error

STUDY = '''
import os, signal, time

from shiftline import *
from shiftline.contracts.models import Model


class Trouble(Recipe):
    """Does what it is told to do, once or always."""

    tag = "tests/trouble"
    what: str = "raise"
    once: str = ""
    init: Model | None = None

    def make(self, work):
        if self.once and os.path.exists(self.once):
            return work.model(self.init)
        if self.once:
            open(self.once, "w").close()
        if self.what == "raise":
            raise ValueError("this recipe is broken")
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "exit":
            os._exit(1)
        if self.what == "hang":
            time.sleep(600)
        return work.model(self.init)
'''


def small(tmp_path, data_root, body):
    """A study file whose models() is given, and a store that shares the written data."""
    path = tmp_path / "study.py"
    path.write_text(body)
    store = tmp_path / "store"
    store.mkdir(exist_ok=True)
    if not (store / "data").exists():
        (store / "data").symlink_to(data_root)
    return path, store


PLAIN = """
from shiftline import *

class Small(ExperimentManager):
    name = "small"
    reference = handwritten_digits()
    shifts = {"blur": handwritten_digits().test.shifted(Blur(2))}
    threads = 1

    def models(self):
        nets = [FromScratch(glyph_net(n), epochs=2, batch_size=50, optimizer=SGD(lr=0.05), seed=s) for n in ("linear", "mlp") for s in (0, 1)]
        return {"nets": nets, "best": best(nets), "soup": uniform_soup(nets[:2])}
"""


def content(store):
    """What every artifact holds, without when and where it was made."""
    found = {}
    for key in Store(store).complete():
        manifest = Store(store).manifest(key)
        found[key] = (manifest.kind, {name: entry["sha256"] for name, entry in manifest.files.items()}, dict(manifest.summary))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data_root):
    """The small study, run in one process that nothing disturbs."""
    path, store = small(tmp_path_factory.mktemp("alone"), data_root, PLAIN)
    assert make_study(f"{path}", None, store, quiet=True).run().exit_status == 0
    return content(store)


def command(path, store, *options):
    return [sys.executable, "-m", "shiftline.cli.app", "run", str(path), "--store", str(store), *options]


@pytest.mark.slow
def test_workers_make_what_one_process_makes(tmp_path, data_root, alone):
    path, store = small(tmp_path, data_root, PLAIN)
    done = subprocess.run(command(path, store, "--workers", "2"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"small: {len(alone)} jobs done" in done.stdout
    assert content(store) == alone
    assert doing(Store(store)) == []
    again = subprocess.run(command(path, store, "--workers", "2"), capture_output=True, text=True, check=False)
    assert "nothing to do" in again.stdout


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(tmp_path, data_root, alone):
    """SIGKILL of a random worker at random moments until the study is done; a reader looks at the store all the time."""
    path, store = small(tmp_path, data_root, PLAIN)
    chance, killed = random.Random(0), set()
    process = subprocess.Popen(command(path, store, "--workers", "2", "--retries", "50", "--quiet"))
    while process.poll() is None:
        time.sleep(chance.uniform(0.02, 0.6))
        for key in Store(store).complete():
            # Nothing is ever seen in parts.
            assert Store(store).manifest(key).key == key
        if len(killed) < 12 and (busy := {entry.pid for entry in doing(Store(store))} - killed):
            victim = chance.choice(sorted(busy))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
    assert process.returncode == 0
    assert len(killed) >= 3
    assert content(store) == alone
    assert verify(Store(store)) == []


@pytest.mark.slow
def test_a_parent_that_is_killed_leaves_no_worker_behind_and_the_next_run_goes_on(tmp_path, data_root, alone):
    path, store = small(tmp_path, data_root, PLAIN)
    process = subprocess.Popen(command(path, store, "--workers", "2", "--quiet"))
    while not doing(Store(store)):
        time.sleep(0.1)
    pids = [entry.pid for entry in doing(Store(store))]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert subprocess.run(command(path, store, "--quiet"), check=False).returncode == 0
    assert content(store) == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("raise", [], "ValueError: this recipe is broken"),
        ("kill", ["--retries", "1"], "its process was killed by SIGKILL (2 times"),
        ("exit", ["--retries", "0"], "its process ended with status 1 (1 times"),
        (
            "hang",
            ["--retries", "0", "--job-timeout", "40"],
            "it took longer than the 40 s of --job-timeout and was killed (1 times",
        ),
    ],
)
def test_a_job_that_cannot_be_done_blocks_only_what_needs_it(what, options, said, tmp_path, data_root):
    body = PLAIN.replace("from shiftline import *", STUDY).replace(
        '"soup": uniform_soup(nets[:2])', f'"trouble": Trouble(what={what!r}, init=nets[0])'
    )
    path, store = small(tmp_path, data_root, body)
    done = subprocess.run(command(path, store, "--workers", "2", *options), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "1 job failed; 6 jobs did not run" in done.stderr
    states = json.loads(
        subprocess.run(
            [sys.executable, "-m", "shiftline.cli.app", "status", str(path), "--store", str(store), "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    counts = {state: sum(row["state"] == state for row in states) for state in ("failed", "blocked", "missing")}
    assert counts == {"failed": 1, "blocked": 6, "missing": 0}
    (failed,) = [row for row in states if row["state"] == "failed"]
    assert (
        said.split(" (")[0]
        in subprocess.run(
            [sys.executable, "-m", "shiftline.cli.app", "logs", failed["key"], "--store", str(store)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "--workers 0: expected 1 or more"),
        (["--workers", "9999"], "this machine has"),
        (["--workers", "2", "--devices", "2"], "several jobs at once, or several processes for one job"),
    ],
)
def test_bad_numbers_of_workers_are_one_clear_error(options, message):
    assert message in error("run", "digits", *options)


def test_workers_that_crowd_the_cores_are_said(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    assert crowding(2, 2) is None
    assert "2 workers with 4 threads each share 4 cores" in crowding(2, 4)
    assert "threads = 2 in the study is faster" in crowding(2, 4)


def test_what_a_process_holds_is_seen_and_forgotten(tmp_path):
    from types import SimpleNamespace

    activity = Activity(Store(tmp_path), NoProgress())
    activity.hold([SimpleNamespace(key="k" * 64, kind="train", label="a net")])
    activity.begin("a net", 10)
    activity._written = 0.0
    activity.advance(4)
    (entry,) = doing(Store(tmp_path))
    assert (entry.keys, entry.kind, entry.label, entry.done, entry.total) == (("k" * 64,), "train", "a net", 4, 10)
    assert entry.pid == os.getpid()
    (tmp_path / "activity" / "other-1.json").write_text("{")
    assert len(doing(Store(tmp_path))) == 1
    activity.end()
    assert doing(Store(tmp_path)) == []


def test_deaths_are_counted_until_a_job_is_done(tmp_path):
    attempts = Attempts(Store(tmp_path))
    for reason in ("first", "second"):
        attempts.record_death("k", reason, 1)
    assert attempts.deaths("k") == ["first", "second"]
    attempts.succeed("k")
    assert attempts.deaths("k") == []
    before = time.time()
    attempts.record_failure("j", "label", ValueError("x"))
    assert attempts.failed_since(before - 1) == {"j"}
    assert attempts.failed_since(time.time() + 60) == set()


def test_what_a_worker_died_with_is_not_taken_by_another_before_that_is_counted(tmp_path):
    attempts, since = Attempts(Store(tmp_path)), time.time()

    def worker(what, since=math.inf):
        program = (
            "import os, sys; from math import inf; from pathlib import Path; from shiftline.store.artifacts import Store; "
            "from shiftline.store.attempts import Attempts\n"
            f"attempts = Attempts(Store(Path({str(tmp_path)!r})))\n"
            f"with attempts.claim('k', since={since}) as mine: {what}"
        )
        process = subprocess.Popen([sys.executable, "-c", program])
        return process.wait(), process.pid

    def take(since):
        return worker("sys.exit(0 if mine else 9)", since)[0] == 0

    _, dead = worker("os.kill(os.getpid(), 9)")
    assert attempts.left_by(dead, since=since) == ["k"]
    assert attempts.left_by(dead + 1, since=since) == attempts.left_by(dead, since=time.time()) == []
    assert not take(since)
    # For workers that were started later it is another run's affair, and for processes that are no workers.
    assert take(time.time())
    _, dead = worker("os.kill(os.getpid(), 9)")
    with attempts.claim("k") as mine:
        assert mine
    assert attempts.left_by(dead, since=since) == []
    _, dead = worker("os.kill(os.getpid(), 9)")
    # Who is refused holds no lock meanwhile: another run can take it.
    assert worker("sys.exit(mine or not attempts.claim('k').__enter__())", since)[0] == 0
    _, dead = worker("os.kill(os.getpid(), 9)")
    assert not take(since)
    attempts.record_death("k", "killed", dead)
    assert take(since)


class Spoiler(Recipe):
    """While it is made, what SPOILED names fails in another process."""

    tag = "tests/spoiler"
    number: int
    init: Model

    def make(self, work):
        for key in SPOILED:
            Attempts(STORES[0]).record_failure(key, "spoiled", ValueError("in another worker"))
        return work.model(self.init)


SPOILED: list[str] = []
STORES: list[Store] = []


def test_what_fails_in_another_worker_meanwhile_is_not_tried_again(tmp_path, data_root):
    class Spoiled(ExperimentManager):
        name = "spoiled"
        reference = handwritten_digits()

        def models(self):
            net = FromScratch(glyph_net("linear"), epochs=1, batch_size=50, optimizer=SGD(lr=0.05))
            return {"spoilers": [Spoiler(number, net) for number in range(2)]}

    (tmp_path / "data").symlink_to(data_root)
    study = Spoiled(store=tmp_path, quiet=True)
    own = [job.key for job in study.plan().jobs.values() if job.kind == "own"]
    SPOILED[:], STORES[:] = own, [study.store]
    runs.work(study.declaration(), study.store, study.run_settings, since=time.time() - 60, parent=os.getppid())
    assert sum(map(study.store.has, own)) == 1


def test_a_released_claim_says_nothing(tmp_path):
    attempts = Attempts(Store(tmp_path))
    with attempts.claim("k"):
        assert "pid" in (tmp_path / "attempts/k/claim").read_text()
    assert (tmp_path / "attempts/k/claim").read_text() == ""


def test_fail_fast_starts_nothing_more(tmp_path, data_root):
    body = PLAIN.replace("from shiftline import *", STUDY).replace(
        'return {"nets": nets', 'return {"trouble": Trouble(init=nets[0]), "nets": nets'
    )
    path, store = small(tmp_path, data_root, body)
    done = called("run", path, "--store", store, "--fail-fast", "--quiet")
    assert done.returncode == 1
    assert "ValueError: this recipe is broken" in done.stderr
    kinds = [Store(store).manifest(key).document["kind"] for key in Store(store).complete()]
    assert "predict" not in kinds


@pytest.mark.slow
def test_workers_that_cannot_begin_are_no_finished_run(tmp_path, data_root):
    body = "import pathlib\nfrom shiftline.errors import DataError\nseen = pathlib.Path(__file__).with_suffix('.seen')\nif seen.exists():\n"
    body += "    raise DataError('the share is not mounted')\nseen.touch()\n"
    path, store = small(tmp_path, data_root, PLAIN)
    path.write_text(path.read_text().replace("from shiftline import *", f"from shiftline import *\n{body}"))
    done = subprocess.run(command(path, store, "--retries", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the share is not mounted" in done.stderr
    assert "41 jobs did not run" in done.stderr
    assert "nothing to do" not in done.stdout


def test_a_reader_that_is_none_is_refused_before_a_worker_begins(tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    done = called("run", path, "--store", store, "--workers", "2", "--reader", "dali")
    assert done.stderr == "error: there is no reader 'dali': choose auto, ffcv, plain.\n"
    assert not (store / "attempts").exists()


def test_cores_are_those_that_this_process_may_use(monkeypatch, tmp_path):
    from shiftline.launch import cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "CGROUP", tmp_path / "cpu.max")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delenv(cores.WORKERS, raising=False)
    assert cores.available_cores() == 8
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores.available_cores() == 8
    (tmp_path / "cpu.max").write_text("350000 100000\n")
    assert cores.available_cores() == 4
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert cores.available_cores() == 3
    assert cores.decode_threads() == 3
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv(cores.WORKERS, "2")
    assert cores.decode_threads() == 2
    assert cores.decode_threads(2) == 1
    monkeypatch.setenv(cores.WORKERS, "100")
    assert cores.decode_threads() == 1
