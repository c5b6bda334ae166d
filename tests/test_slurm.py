"""What is frozen and submitted, with SLURM's commands as scripts that write down how they were called."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from shiftline.cli.loading import make_study
from shiftline.errors import PlanError
from shiftline.launch.frozen import read_lines, read_submission
from shiftline.launch.slurm import Array, SlurmError, queued, submit
from shiftline.store.artifacts import Store
from test_cli import called, error, ok
from test_workers import PLAIN, small

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/slurm_job.sbatch"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """SLURM's commands as scripts that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    programs = {
        "sbatch": f'echo "$@" >>{calls}; n=$(wc -l <{calls}); [ -e {tmp_path}/refuse ] && {{ echo "Invalid partition" >&2; exit 1; }}; echo $((100 + n))',
        "scancel": f'echo cancel "$@" >>{calls}',
        "scontrol": "echo 'MaxArraySize            = 4'",
        "squeue": f"cat {tmp_path}/queue 2>/dev/null",
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lambda: calls.read_text().splitlines()


def test_a_wave_that_is_larger_than_slurm_allows_goes_out_in_chunks_after_the_wave_before(fake, tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    out = ok("submit", path, "--store", store, "--script", SCRIPT, "--", "--partition=gpu", "--time=1:00")
    calls, arrays = fake(), [line for line in out.splitlines() if line.startswith("wave")]
    assert len(calls) == len(arrays)
    (folder,) = (store / "submissions").iterdir()
    submission, lines = read_submission(folder), read_lines(folder)
    assert sum(int(call.split("--array=0-")[1].split()[0]) + 1 for call in calls) == len(lines) == submission.count
    assert all(int(call.split("--array=0-")[1].split()[0]) < 4 for call in calls)
    offsets = [int(call.split("SHIFTLINE_OFFSET=")[1].split(",")[0]) for call in calls]
    assert offsets == sorted(offsets)
    assert all("--partition=gpu --time=1:00" in call for call in calls)
    first = submission.waves[0]
    before = [row for row in json.loads((folder / "arrays.json").read_text()) if row["wave"] == first.number]
    second = next(
        call
        for call, row in zip(calls, json.loads((folder / "arrays.json").read_text()), strict=True)
        if row["wave"] != first.number
    )
    assert f"--dependency=afterany:{':'.join(str(row['job']) for row in before)}" in second
    # What is in the queue is not submitted again; what is not any more, is.
    tasks = [(row["job"], task) for row in json.loads((folder / "arrays.json").read_text()) for task in range(row["count"])]
    (tmp_path / "queue").write_text("\n".join(f"{job} {task} PENDING" for job, task in tasks[:-1]) + "\n")
    assert len(queued(Store(store))) == len({k for line in lines[:-1] for k in line.keys})
    assert "1 execution group submitted" in ok("submit", path, "--store", store, "--script", SCRIPT)
    (key, *_) = lines[0].keys
    assert f"{tasks[0][0]}_0 pending" in ok("logs", key, "--store", store)


@pytest.mark.slow
def test_the_launch_script_passes_parameters_and_options_on(fake, tmp_path, data_root):
    body = PLAIN.replace(
        "    threads = 1\n",
        "    threads = 1\n\n    def __init__(self, *, seeds: int = 2, **options):\n        super().__init__(**options)\n        self.seeds = seeds\n",
    )
    path, store = small(
        tmp_path,
        data_root,
        body.replace("for s in (0, 1)", "for s in range(self.seeds)").replace(', "soup": uniform_soup(nets[:2])', ""),
    )
    command = ["bash", str(ROOT / "scripts/slurm_launch.sh"), path.name, "seeds=1", "--store", store.name, "--", "--partition=gpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (store / "submissions").iterdir()
    assert read_submission(folder).parameters == ("seeds=1",)
    assert [line.kind for line in read_lines(folder)].count("train") == 2
    assert all(f"--partition=gpu {SCRIPT}" in call for call in fake())


def test_several_devices_are_several_tasks(fake, tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    ok("submit", path, "--store", store, "--script", SCRIPT, "--devices", "2")
    (folder,) = (store / "submissions").iterdir()
    lines, arrays = read_lines(folder), [Array(**row) for row in json.loads((folder / "arrays.json").read_text())]
    for call, array in zip(fake(), arrays, strict=True):
        kinds = {lines[array.first + task].kind for task in range(array.count)}
        assert ("--ntasks=2" in call) == (kinds <= {"train", "predict"})


def test_a_recipe_that_asks_for_devices_has_as_many_tasks(fake, tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN.replace("seed=s)", "seed=s, devices=2 - s)"))
    ok("submit", path, "--store", store, "--script", SCRIPT)
    (folder,) = (store / "submissions").iterdir()
    lines = read_lines(folder)
    assert sorted(line.tasks for line in lines if line.kind == "train") == [1, 1, 2, 2]
    assert {line.tasks for line in lines if line.kind != "train"} == {1}
    tasks = [int(call.split("--ntasks=")[1].split()[0]) for call in fake()]
    assert tasks.count(2) in (1, 2)
    # Devices change no key: what was made with one is not made again with two.
    before = set(make_study(f"{path}", None, store).plan().jobs)
    path.write_text(PLAIN)
    assert set(make_study(f"{path}", None, store).plan().jobs) == before
    path.write_text(PLAIN.replace("seed=s)", "seed=s, devices=0)"))
    assert "FromScratch.devices is 0: expected 1 or more" in error("plan", path, "--store", store)


def test_groups_are_launched_with_what_they_need(fake, tmp_path, data_root):
    path, store = small(tmp_path, data_root, PLAIN)
    out = ok("freeze", path, "--store", store, "--out", tmp_path / "frozen", "--group", "best")
    kinds = [line.kind for line in read_lines(tmp_path / "frozen")]
    assert kinds.count("train") == 4
    assert "select" in kinds
    assert out.endswith(f"{len(kinds)} execution groups\n")
    assert "has no group 'worst'. Its groups are 'nets', 'best', 'soup'" in error(
        "freeze", path, "--store", store, "--out", tmp_path / "x", "--group", "worst"
    )


def test_lines_below_a_selection_get_their_keys_when_it_is_made(fake, tmp_path, data_root, monkeypatch):
    """Every line is run in its order by hand: provisional keys become those of the plan that knows the winner."""
    copies = '"best": best(nets), "copies": replicates(best(nets), [0, 5]), "soup"'
    path, store = small(tmp_path, data_root, PLAIN.replace('"best": best(nets), "soup"', copies))
    ok("freeze", path, "--store", store, "--out", tmp_path / "frozen")
    lines = read_lines(tmp_path / "frozen")
    # The trainings of replicates are those of the winner, which nobody knows yet.
    assert [line.kind for line in lines].count("replicate") == 2
    for number in range(len(lines)):
        assert called("work-line", "--frozen", tmp_path / "frozen", "--line", number).returncode == 0
    study = make_study(f"{path}", None, store)
    assert {row.state for row in study.status()} == {"complete"}
    assert set(study.plan().jobs) == Store(store).complete()
    assert [job.kind for job in study.plan().jobs.values()].count("train") == 5


def test_what_is_queued_is_known_after_its_selection_too(fake, tmp_path, data_root):
    """Lines that were frozen with provisional keys are not submitted again when the winner is known; later waves wait for them."""
    body = PLAIN.replace('"best": best(nets), "soup": uniform_soup(nets[:2])', '"copies": replicates(best(nets), [0, 5])')
    path, store = small(tmp_path, data_root, body.replace("seed=s)", "seed=s, devices=2)"))
    ok("submit", path, "--store", store, "--script", SCRIPT)
    (folder,) = (store / "submissions").iterdir()
    lines = read_lines(folder)
    assert {line.tasks for line in lines if line.kind == "replicate"} == {2}
    chosen = [n for n, line in enumerate(lines) if line.kind == "select"][-1]
    for number in range(chosen + 1):
        assert called("work-line", "--frozen", folder, "--line", number).returncode == 0
    arrays = [Array(**row) for row in json.loads((folder / "arrays.json").read_text())]
    rows = [(a.job, task) for a in arrays for task in range(a.count) if a.first + task > chosen]
    (tmp_path / "queue").write_text("\n".join(f"{job} {task} PENDING" for job, task in rows) + "\n")
    states = [row["state"] for row in json.loads(ok("status", path, "--store", store, "--format", "json"))]
    assert states.count("missing") == 0
    assert states.count("queued") > 0
    assert "nothing to submit" in ok("submit", path, "--store", store, "--script", SCRIPT)
    # More of the study, while some of it is queued: the new arrays wait for the old ones.
    path.write_text(body.replace("seed=s)", "seed=s, devices=2)").replace("[0, 5]", "[0, 5, 6]"))
    before = len(fake())
    ok("submit", path, "--store", store, "--script", SCRIPT)
    first = fake()[before]
    assert all(str(job) in first.split("--dependency=afterany:")[1].split()[0].split(":") for job in {job for job, _ in rows})


def test_bad_submissions_are_one_clear_error(fake, tmp_path, data_root, monkeypatch):
    path, store = small(tmp_path, data_root, PLAIN)
    assert "batch script" in error("submit", path, "--store", store, "--script", tmp_path / "none.sbatch")
    (tmp_path / "refuse").touch()
    assert "sbatch refused: Invalid partition" in error("submit", path, "--store", store, "--script", SCRIPT, "--", "--partition=x")
    ok("freeze", path, "--store", store, "--out", tmp_path / "frozen")
    assert "has the lines 0 to" in error("work-line", "--frozen", tmp_path / "frozen", "--line", "999")
    assert "holds no frozen submission" in error("work-line", "--frozen", tmp_path / "nowhere", "--line", "0")
    lines = read_lines(tmp_path / "frozen")
    last = str(len(lines) - 1)
    assert "blocked: " in error("work-line", "--frozen", tmp_path / "frozen", "--line", last)
    path.write_text(PLAIN.replace("lr=0.05", "lr=0.04"))
    message = error("work-line", "--frozen", tmp_path / "frozen", "--line", "0")
    assert "the study has changed since it was frozen: it has no train" in message
    assert "lr=0.04" in message
    path.rename(tmp_path / "elsewhere.py")
    assert f"{path} does not exist" in error("work-line", "--frozen", tmp_path / "frozen", "--line", "0")
    store.rename(tmp_path / "moved")
    assert "every node has to see it" in error("work-line", "--frozen", tmp_path / "frozen", "--line", "0")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "sbatch was not found" in error("submit", path, "--store", store, "--script", SCRIPT)
    with pytest.raises(SlurmError, match="sbatch was not found"):
        submit(read_submission(tmp_path / "frozen"), SCRIPT)
    with pytest.raises(PlanError, match="holds no frozen submission"):
        read_submission(tmp_path / "nowhere")
