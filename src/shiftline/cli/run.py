"""The command that runs a study: in this process, in several for each job, in workers that each take a job at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from shiftline.cli.loading import make_study
from shiftline.cli.options import Devices, Groups, Kinds, Parameters, StudyName
from shiftline.errors import DeclarationError
from shiftline.launch import runs
from shiftline.study import ExperimentManager
from shiftline.terminal.options import DEFAULT_STORE, Quiet, StoreFolder
from shiftline.terminal.outcome import print_outcome


def run(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes that each take a job at a time: one per GPU, or several on the CPU.")
    ] = 1,
    devices: Devices = None,
    group: Groups = None,
    kind: Kinds = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failure, or leave out what depends on it.")
    ] = False,
    retries: Annotated[
        int | None,
        typer.Option("--retries", min=0, help="How often a job is tried again whose worker died (not: which raised); 1."),
    ] = None,
    job_timeout: Annotated[
        float | None, typer.Option("--job-timeout", min=1, help="Seconds after which a worker's job counts as hanging.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile networks before they are trained.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write training logs for TensorBoard too.")] = False,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Who reads training images: auto, ffcv or plain; the study's unless given.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Where networks run: auto, cpu, cuda, cuda:N or mps; the study's unless given.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option("--memory", min=1, help="MiB of prepared images for predictions; the study's unless given.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run every job that is not complete. Ctrl-C saves and stops; the next run goes on."""
    manager = make_study(study, parameters, store, quiet=quiet)
    chosen = _Chosen(compiled=compiled, tensorboard=tensorboard, reader=reader, device=device, memory=memory)
    chosen.put_into(manager)
    # Only a process of its own can die, or be killed, without the run.
    if workers != 1 or job_timeout is not None or retries is not None:
        from shiftline.launch.in_workers import WorkerSettings, run_in_workers

        if group or kind:
            raise DeclarationError("--group and --kind choose jobs for one process or for SLURM: leave them out with --workers.")
        words = [study, *(parameters or []), "--store", str(store), *chosen.words(), *(["--fail-fast"] if fail_fast else [])]
        tries = 1 if retries is None else retries
        settings = WorkerSettings(workers, manager.threads, manager.memory, tries, job_timeout, fail_fast, quiet, manager.device)
        outcome = run_in_workers(manager.declaration(), manager.store, words, settings, devices=devices)
    else:
        processes = devices or runs.device_count(manager.declaration())
        if processes > 1 and not runs.started_with_others():
            from shiftline.launch.in_workers import run_in_processes

            raise typer.Exit(run_in_processes(processes, sys.argv[1:], threads=manager.threads, device=manager.device))
        outcome = manager.run(groups=group or (), kinds=kind or (), fail_fast=fail_fast)
    print_outcome(outcome, manager.name, study, quiet=quiet)
    raise typer.Exit(outcome.exit_status)


@dataclass(frozen=True)
class _Chosen:
    """What a command says in the place of what the study says."""

    compiled: bool
    tensorboard: bool
    reader: str | None
    device: str | None
    memory: int | None

    def put_into(self, manager: ExperimentManager) -> None:
        from shiftline.data.readers import check_reader

        for name, value in vars(self).items():
            if value:
                setattr(manager, name, value)
        check_reader(manager.reader)

    def words(self) -> list[str]:
        """Return the options that say the same to a worker."""
        flags = {"--compile": self.compiled, "--tensorboard": self.tensorboard}
        values = {"--reader": self.reader, "--device": self.device, "--memory": self.memory}
        given = ((flag, str(value)) for flag, value in values.items() if value is not None)
        return [*(flag for flag, on in flags.items() if on), *(word for pair in given for word in pair)]


def work(
    study: StudyName,
    since: Annotated[float, typer.Option("--since")],
    parent: Annotated[int, typer.Option("--parent")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    compiled: Annotated[bool, typer.Option("--compile")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard")] = False,
    reader: Annotated[str | None, typer.Option("--reader")] = None,
    device: Annotated[str | None, typer.Option("--device")] = None,
    memory: Annotated[int | None, typer.Option("--memory")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast")] = False,
) -> None:
    """Work as one of the processes of `run --workers`."""
    manager = make_study(study, parameters, store, quiet=True)
    _Chosen(compiled=compiled, tensorboard=tensorboard, reader=reader, device=device, memory=memory).put_into(manager)
    where = manager.declaration(), manager.store, manager.run_settings
    raise typer.Exit(runs.work(*where, since=since, parent=parent, fail_fast=fail_fast).exit_status)
