"""The command that runs a study: in this process, in several for each job, in workers that each take a job at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiftline.cli_data import DEFAULT_STORE, Quiet, StoreFolder
from shiftline.cli_slurm import Devices, Groups, Kinds, Parameters, StudyName
from shiftline.errors import DeclarationError, DeviceError
from shiftline.loading import make_study
from shiftline.manager import ExperimentManager, started_with_others

if TYPE_CHECKING:
    from shiftline.launch.in_process import Outcome
    from shiftline.plan.jobs import Plan


def run(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    workers: Annotated[
        int,
        typer.Option("--workers", help="Processes that each take a job at a time: one per GPU, or several on the CPU."),
    ] = 1,
    devices: Devices = None,
    group: Groups = None,
    kind: Kinds = None,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast/--keep-going", help="Stop at the first failure, or leave out what depends on it."),
    ] = False,
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries", min=0, help="How often a job is tried again whose worker died (not: which raised); 1."
        ),
    ] = None,
    job_timeout: Annotated[
        float | None, typer.Option("--job-timeout", min=1, help="Seconds after which a worker's job counts as hanging.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile networks before they are trained.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write training logs for TensorBoard too.")
    ] = False,
    reader: Annotated[
        str | None,
        typer.Option("--reader", help="Who reads training images: auto, ffcv or plain; the study's unless given."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run every job that is not complete. Ctrl-C saves and stops; the next run goes on."""
    manager = make_study(study, parameters, store, quiet=quiet)
    # Only a process of its own can die, or be killed, without the run.
    if workers != 1 or job_timeout is not None or retries is not None:
        if group or kind:
            raise DeclarationError(
                "--group and --kind choose jobs for one process or for SLURM: leave them out with --workers."
            )
        options = _worker_options(store, compiled=compiled, tensorboard=tensorboard, reader=reader, fail_fast=fail_fast)
        words = [study, *(parameters or []), *options]
        status = _run_in_workers(
            manager, study, words, workers=workers, devices=devices, retries=1 if retries is None else retries,
            timeout=job_timeout, fail_fast=fail_fast, quiet=quiet,
        )  # fmt: skip
        raise typer.Exit(status)
    processes = devices or manager.devices
    if processes > 1 and not started_with_others():
        raise typer.Exit(_run_in_processes(processes, sys.argv[1:], threads=manager.threads))
    manager.reader = reader or manager.reader
    manager.compiled, manager.tensorboard = manager.compiled or compiled, manager.tensorboard or tensorboard
    outcome = manager.run(groups=group or (), kinds=kind or (), fail_fast=fail_fast)
    report(outcome, manager.name, study, quiet=quiet)
    raise typer.Exit(outcome.exit_status)


def _worker_options(
    store: Path, *, compiled: bool, tensorboard: bool, reader: str | None, fail_fast: bool
) -> list[str]:
    flags = {"--compile": compiled, "--tensorboard": tensorboard, "--fail-fast": fail_fast}
    chosen = [] if reader is None else ["--reader", reader]
    return ["--store", str(store), *(flag for flag, given in flags.items() if given), *chosen]


def work(
    study: StudyName,
    since: Annotated[float, typer.Option("--since")],
    parent: Annotated[int, typer.Option("--parent")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    compiled: Annotated[bool, typer.Option("--compile")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard")] = False,
    reader: Annotated[str | None, typer.Option("--reader")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast")] = False,
) -> None:
    """Work as one of the processes of `run --workers`."""
    manager = make_study(study, parameters, store, quiet=True)
    manager.reader = reader or manager.reader
    manager.compiled, manager.tensorboard = manager.compiled or compiled, manager.tensorboard or tensorboard
    raise typer.Exit(manager.work(since=since, parent=parent, fail_fast=fail_fast).exit_status)


def _run_in_workers(
    manager: ExperimentManager,
    study: str,
    words: list[str],
    *,
    workers: int,
    devices: int | None,
    retries: int,
    timeout: float | None,
    fail_fast: bool,
    quiet: bool,
) -> int:
    """Run a study in worker processes; return the exit status."""
    import time

    from shiftline.launch.in_process import Outcome
    from shiftline.launch.progress import WorkersTable
    from shiftline.launch.workers import Workers, check_workers, crowding, worker_command
    from shiftline.store.attempts import Attempts

    if workers < 1:
        raise DeviceError(f"--workers {workers}: expected 1 or more.")
    gpus = check_workers(workers, devices or 1)
    if not gpus and not quiet and (note := crowding(workers, manager.threads)):
        print(f"note: {note}", file=sys.stderr)
    manager.store.check_writable()
    plan = manager.plan()
    before = manager.store.complete()
    attempts, started = Attempts(manager.store), time.time()

    def look() -> tuple[Plan, set[str], set[str]]:
        nonlocal plan
        # Only a selection that has been made changes a plan.
        plan = manager.plan() if plan.deferred else plan
        return plan, manager.store.complete(), attempts.failed_since(started)

    table = WorkersTable(look, quiet=quiet)
    crew = Workers(
        manager.store, lambda since, parent: worker_command(words, since, parent), workers, gpus=gpus, retries=retries,
        timeout=timeout, fail_fast=fail_fast,
    )  # fmt: skip
    with table.showing():
        status = crew.run(table.show)
    plan, complete, failed = look()
    outcome = Outcome(plan, made=len(complete & plan.jobs.keys() - before), seconds=time.time() - started)
    outcome.failed = {
        key: (attempts.failure(key) or {}).get("error", "") for key in plan.jobs if key in failed - complete
    }
    outcome.interrupted = status == 130
    if not outcome.interrupted:
        outcome.blocked = [job for key, job in plan.jobs.items() if key not in complete and key not in outcome.failed]
    report(outcome, manager.name, study, quiet=quiet)
    return outcome.exit_status


def _run_in_processes(devices: int, arguments: list[str], *, threads: int) -> int:
    """Start this command again as several processes, with torchrun; return its exit status."""
    import subprocess

    from shiftline.jobs.ranks import check_devices

    check_devices(devices)
    rest, words = [], iter(arguments)
    for word in words:
        if word == "--devices":
            next(words, None)
        elif not word.startswith("--devices="):
            rest.append(word)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command = [*torchrun, "--module", "shiftline.cli", *rest]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # The processes were asked to stop too: they save, and end.


def report(outcome: Outcome, name: str, study: str, *, quiet: bool) -> None:
    """Print what a run did, and on standard error what it could not do."""
    if outcome.followed:
        return
    total = len(outcome.plan.jobs)
    for key, error in outcome.failed.items():
        job = outcome.plan.jobs[key]
        print(f"failed: {job.kind} {key[:12]} {job.label}\n  {error}", file=sys.stderr)
    if outcome.interrupted:
        print(f"{name}: stopped after {outcome.made} jobs; what was done is kept. Run again to go on.", file=sys.stderr)
    elif outcome.failed or outcome.blocked:
        print(
            f"{name}: {len(outcome.failed)} jobs failed, {len(outcome.blocked)} need them and were not run. "
            "The tracebacks are in the store's attempts folder.",
            file=sys.stderr,
        )
    elif quiet:
        return
    elif not outcome.made:
        print(f"{name}: nothing to do, all {total} jobs are complete.")
    else:
        print(f"{name}: {outcome.made} jobs done in {outcome.seconds:.0f} s, all {total} are complete.")
        print(f"Next: shiftline robustness {study}; shiftline plot {study}")
