"""The commands for a cluster: freezing, submitting, one line of a submission, logs."""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftline.cli.loading import make_study
from shiftline.cli.options import Devices, Groups, Kinds, Parameters, StudyName
from shiftline.contracts.require import counted
from shiftline.errors import StoreError
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder

DEFAULT_SCRIPT = Path("scripts/slurm_job.sbatch")


def _named_everywhere(study: str) -> str:
    """Name a study so that a worker in another folder finds it."""
    source, colon, chosen = study.partition(":")
    return f"{Path(source).resolve()}{colon}{chosen}" if source.endswith(".py") else study


def freeze(
    study: StudyName,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    group: Groups = None,
    kind: Kinds = None,
    devices: Devices = None,
) -> None:
    """Write the pending jobs of a study to a folder, one execution group a line, by wave."""
    manager = make_study(study, parameters, store)
    frozen = manager.freeze(
        out, study=_named_everywhere(study), parameters=parameters or (), groups=group or (), kinds=kind or (), devices=devices
    )
    for wave in frozen.waves:
        print(f"wave {wave.number}: {counted(wave.count, 'execution group')}, lines {wave.first} to {wave.first + wave.count - 1}")
    print(f"{frozen.folder}: {counted(frozen.count, 'execution group')}")


def submit(
    study: StudyName,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]... [-- SBATCH OPTIONS]", help="Parameters, then options of sbatch.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    group: Groups = None,
    kind: Kinds = None,
    devices: Devices = None,
    script: Annotated[Path, typer.Option("--script", help="The batch script.")] = DEFAULT_SCRIPT,
) -> None:
    """Submit what is missing of a study to SLURM, and is not queued: one array per wave, each after the wave before."""
    from shiftline.launch import slurm

    # Typer leaves the words before and after "--" together: parameters have no dash.
    given = words or []
    cut = next((position for position, word in enumerate(given) if word.startswith("-")), len(given))
    parameters, options = given[:cut], given[cut:]
    slurm.check_slurm()
    manager = make_study(study, parameters, store)
    # What an earlier launch has queued is not submitted again, and this one waits for it.
    after = sorted({int(entry.job.split("_")[0]) for entry in slurm.queued(manager.store).values()})
    # Two launches within a second are two submissions.
    moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = slurm.submissions_folder(manager.store) / f"{manager.name}-{moment}"
    frozen = manager.freeze(
        folder, study=_named_everywhere(study), parameters=parameters, groups=group or (), kinds=kind or (), devices=devices
    )
    if not frozen.count:
        print(f"{manager.name}: nothing to submit, every job is complete or in the queue.")
        return
    arrays = slurm.submit(frozen, script.resolve(), options=options, after=after)
    for array in arrays:
        print(f"wave {array.wave}: array {array.job} of {array.count}")
    jobs = ",".join(str(array.job) for array in arrays)
    watch = f"squeue --jobs {jobs}; shiftline status {' '.join([study, *parameters])}"
    print(f"{counted(frozen.count, 'execution group')} submitted. Watch: {watch}")
    print(f"Cancel: scancel {jobs.replace(',', ' ')}")


def work_line(
    frozen: Annotated[Path, typer.Option("--frozen", help="Folder of the submission.")],
    line: Annotated[int, typer.Option("--line", help="Number of the line, from 0.")],
) -> None:
    """Run one line of a frozen submission."""
    from shiftline.errors import PlanError
    from shiftline.launch import runs
    from shiftline.launch.frozen import read_lines, read_submission

    submission, lines = read_submission(frozen), read_lines(frozen)
    if not 0 <= line < len(lines):
        raise PlanError(f"the submission {frozen} has the lines 0 to {len(lines) - 1}, not {line}.")
    if not submission.store.is_dir():
        import socket

        raise StoreError(f"the store {submission.store} is not there on {socket.gethostname()}: every node has to see it.")
    manager = make_study(submission.study, list(submission.parameters), submission.store, quiet=True)
    outcome = runs.run_line(manager.declaration(), manager.store, manager.run_settings, lines[line])
    for key, error in outcome.failed.items():
        print(f"failed: {key[:12]} {outcome.plan.jobs[key].label}\n  {error}", file=sys.stderr)
    if outcome.interrupted:
        print("stopped: what can go on later is saved.", file=sys.stderr)
    raise typer.Exit(outcome.exit_status)


def logs(
    key: Annotated[str, typer.Argument(help="A key, or its first digits.")],
    store: StoreFolder = DEFAULT_STORE,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Last lines of the log and of SLURM's output.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known, as JSON.")] = False,
) -> None:
    """Show what is known of a job's attempts: its training log, its last failure, its deaths, SLURM's output."""
    from shiftline.launch.slurm import queued
    from shiftline.store.artifacts import Store
    from shiftline.store.attempts import Attempts

    there = Store(store)
    attempts = Attempts(there)
    waiting = queued(there)
    names = {name for name in attempts.started() | there.complete() | waiting.keys() if name.startswith(key)}
    if len(names) != 1:
        what = "no job that was tried" if not names else f"{len(names)} jobs"
        raise StoreError(f"{what} in {store} has a key that starts with {key!r}: expected exactly one.")
    (name,) = names
    log = attempts.log(name)
    known: dict[str, Any] = {
        "key": name,
        "complete": there.has(name),
        "holder": attempts.holder(name),
        "failure": attempts.failure(name),
        "deaths": attempts.deaths(name),
        "log": log.read_text().splitlines()[-lines:] if log.is_file() else [],
    }
    entry = waiting.get(name)
    if entry is not None:
        known["slurm"] = {"job": entry.job, "state": entry.state, "output": str(entry.output)}
        known["output"] = entry.output.read_text().splitlines()[-lines:] if entry.output.is_file() else []
    if as_json:
        print(json.dumps(known, indent=1))
        return
    state = "complete" if known["complete"] else "running" if known["holder"] else "not complete"
    print(f"{name}: {state}{f', SLURM {entry.job} {entry.state.lower()}' if entry is not None else ''}")
    for death in known["deaths"]:
        print(f"died: {death}")
    if known["failure"]:
        print(f"failed on {known['failure']['host']} at {known['failure']['time']}:\n{known['failure']['traceback'].rstrip()}")
    for row in (*known["log"], *known.get("output", [])):
        print(row)
