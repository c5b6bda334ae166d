"""SLURM: one array per wave, each after the wave before, and what of them is queued. The engine is SLURM itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shiftline.errors import ShiftlineError
from shiftline.launch.frozen import Line, Submission, read_lines
from shiftline.store.artifacts import Store
from shiftline.store.files import write_json

SUBMISSIONS = "submissions"


class SlurmError(ShiftlineError):
    """SLURM is not there, or refuses what it was asked."""


@dataclass(frozen=True)
class Array:
    """A submitted array: its tasks are lines of a submission, from `first` on."""

    job: int
    wave: int
    first: int
    count: int


def submissions_folder(store: Store) -> Path:
    """Return the folder of a store's frozen submissions."""
    return store.root / SUBMISSIONS


def check_slurm() -> None:
    """Raise `SlurmError` unless sbatch is there."""
    if shutil.which("sbatch") is None:
        raise SlurmError(
            "sbatch was not found: this machine is no login node of a SLURM cluster. Run the study here with `shiftline run STUDY "
            "--workers N`, or start a cluster of one node to try things on: bash scripts/slurm_local_cluster.sh start."
        )


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]} was not found: SLURM's commands are not in PATH.") from error
    if done.returncode != 0:
        raise SlurmError(f"{command[0]} refused: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def largest_array() -> int:
    """Return how many tasks an array may have here (MaxArraySize is one more than the largest index)."""
    lines = _ask("scontrol", "show", "config").splitlines()
    found = next((line.split("=")[1] for line in lines if line.startswith("MaxArraySize")), "1001")
    return int(found)


def submit(submission: Submission, script: Path, *, options: Sequence[str] = (), after: Sequence[int] = ()) -> list[Array]:
    """Submit every wave as one array or, where it is larger than SLURM allows, as several.

    Parameters
    ----------
    script : Path
        The batch script, with the cluster's #SBATCH lines at its top.
    options : sequence of str
        Options of sbatch, which go before the script's own.
    after : sequence of int
        Arrays that are in the queue already, and may make what this submission needs.

    Returns
    -------
    list of Array

    Raises
    ------
    SlurmError
        sbatch is not there or refuses: its own message is shown, and what was submitted before is cancelled.
    """
    check_slurm()
    if not script.is_file():
        raise SlurmError(
            f"the batch script {script} does not exist: expected scripts/slurm_job.sbatch of shiftline, or one like it."
        )
    most = largest_array()
    lines = read_lines(submission.folder)
    arrays: list[Array] = []
    before: list[int] = list(after)
    try:
        for wave in submission.waves:
            submitted = []
            for first, count, tasks in _chunks(wave.first, wave.count, lines, most):
                variables = {
                    "SHIFTLINE_FROZEN": str(submission.folder),
                    "SHIFTLINE_OFFSET": str(first),
                    "SHIFTLINE_PYTHON": sys.executable,
                    "SHIFTLINE_TASKS": str(tasks),
                }
                command = [
                    "sbatch",
                    "--parsable",
                    f"--array=0-{count - 1}",
                    f"--output={submission.folder}/slurm-%A_%a.out",
                    f"--job-name=shiftline-{submission.folder.name[:24]}",
                    f"--ntasks={tasks}",
                    f"--export=ALL,{','.join(f'{name}={value}' for name, value in variables.items())}",
                    *([f"--dependency=afterany:{':'.join(map(str, before))}"] if before else []),
                    *options,
                    str(script),
                ]
                job = int(_ask(*command).strip().split(";")[0])
                submitted.append(job)
                arrays.append(Array(job, wave.number, first, count))
            before = submitted
    except SlurmError:
        for array in arrays:
            subprocess.run(["scancel", str(array.job)], check=False, capture_output=True)
        raise
    write_json(submission.folder / "arrays.json", [vars(array) for array in arrays])
    return arrays


def _chunks(first: int, count: int, lines: Sequence[Line], most: int) -> list[tuple[int, int, int]]:
    """Cut a wave into (first, count, tasks): neighbours that take as many tasks, at most `most` of them."""
    chunks: list[tuple[int, int, int]] = []
    for line in range(first, first + count):
        tasks = lines[line].tasks
        if chunks and chunks[-1][2] == tasks and chunks[-1][1] < most:
            start, length, _ = chunks[-1]
            chunks[-1] = (start, length + 1, tasks)
        else:
            chunks.append((line, 1, tasks))
    return chunks


@dataclass(frozen=True)
class Queued:
    """Where a job is in SLURM's queue: ``ARRAY_TASK``, SLURM's word for its state, and the file of its output."""

    job: str
    state: str
    output: Path


def queued(store: Store) -> dict[str, Queued]:
    """Return the keys that are in SLURM's queue, pending or running. Never writes; empty where there is no SLURM."""
    records = sorted(submissions_folder(store).glob("*/arrays.json"))
    if not records or shutil.which("squeue") is None:
        return {}
    tasks: dict[int, dict[int, str]] = {}
    try:
        listed = _ask("squeue", "--noheader", "--array", "--format=%F %K %T")
    except SlurmError:
        # A controller that does not answer knows nothing for now.
        return {}
    for row in listed.splitlines():
        job, task, state = row.split()
        if task.isdigit():
            tasks.setdefault(int(job), {})[int(task)] = state
    found: dict[str, Queued] = {}
    for path in records:
        arrays = [Array(**row) for row in json.loads(path.read_bytes()) if row["job"] in tasks]
        # Submissions whose tasks have all ended need no further look.
        lines = read_lines(path.parent) if arrays else []
        for array in arrays:
            for number, state in tasks[array.job].items():
                output = path.parent / f"slurm-{array.job}_{number}.out"
                entry = Queued(f"{array.job}_{number}", state, output)
                found.update(dict.fromkeys(lines[array.first + number].keys, entry))
    return found
