"""Running a study in worker processes, and in several processes for each job."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shiftline.contracts.study import Study
from shiftline.engine.batches import check_memory
from shiftline.errors import DeviceError
from shiftline.launch.devices import AUTO, chosen_device
from shiftline.launch.in_process import Outcome
from shiftline.launch.planning import plan_study, record_plan
from shiftline.launch.progress import WorkersTable
from shiftline.launch.workers import Workers, check_workers, crowding, worker_command
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts


@dataclass(frozen=True)
class WorkerSettings:
    """How jobs are spread over worker processes.

    Attributes
    ----------
    count : int
        Worker processes.
    threads : int
        CPU threads of each.
    retries : int
        How often a job is tried again whose worker died.
    timeout : float or None
        Seconds after which a job counts as hanging.
    fail_fast : bool
        Stop all workers once a job has failed.
    quiet : bool
        Neither notes nor a table.
    device : str
        What each computes on: "auto", "cpu" or "cuda".
    memory : int
        Of prepared images for predictions in each, MiB.
    """

    count: int
    threads: int
    memory: int
    retries: int = 1
    timeout: float | None = None
    fail_fast: bool = False
    quiet: bool = False
    device: str = AUTO


def run_in_workers(
    study: Study, store: Store, words: Sequence[str], settings: WorkerSettings, *, devices: int | None = None
) -> Outcome:
    """Run a study in worker processes.

    Parameters
    ----------
    words : sequence of str
        The command line of a worker after ``shiftline work``: the study, its parameters, options.
    devices : int, optional
        Processes that share each job, where that was said: workers take jobs alone.

    Raises
    ------
    DeviceError
        There are too few GPUs or cores, or workers die before they hold a job.
    DeclarationError
        The memory does not hold two batches of prepared images.
    """
    if settings.count < 1:
        raise DeviceError(f"--workers {settings.count}: expected 1 or more.")
    gpus = check_workers(settings.count, devices or 1, settings.device)
    if not gpus and not settings.quiet and (note := crowding(settings.count, settings.threads)):
        print(f"note: {note}", file=sys.stderr)
    store.check_writable()
    plan = record_plan(plan_study(study, store), store)
    # Said once, and not by every worker.
    check_memory(plan, store, settings.memory << 20, "cuda" if gpus else "cpu")
    before = store.complete()
    attempts, started = Attempts(store), time.time()

    def look() -> tuple[Plan, set[str], set[str]]:
        nonlocal plan
        # Only a selection that has been made changes a plan.
        plan = plan_study(study, store) if plan.deferred else plan
        return plan, store.complete(), attempts.failed_since(started)

    table = WorkersTable(look, quiet=settings.quiet)
    workers = Workers(
        store,
        lambda since, parent: worker_command(words, since, parent),
        settings.count,
        gpus=gpus,
        retries=settings.retries,
        timeout=settings.timeout,
        fail_fast=settings.fail_fast,
    )
    with table.showing():
        status = workers.run(table.show)
    plan, complete, failed = look()
    outcome = Outcome(plan, made=len(complete & plan.jobs.keys() - before), seconds=time.time() - started)
    outcome.failed = {key: (attempts.failure(key) or {}).get("error", "") for key in plan.jobs if key in failed - complete}
    outcome.interrupted = status == 130
    if not outcome.interrupted:
        outcome.blocked = [job for key, job in plan.jobs.items() if key not in complete and key not in outcome.failed]
    return outcome


def run_in_processes(devices: int, arguments: Sequence[str], *, threads: int, device: str = AUTO) -> int:
    """Start a command again as several processes that share each job, with torchrun; return its exit status.

    Parameters
    ----------
    arguments : sequence of str
        The words after ``shiftline``; ``--devices`` is taken out.
    threads : int
        CPU threads of each.
    device : str
        What they compute on.
    """
    from shiftline.engine.ranks import check_devices

    check_devices(devices, device)
    chosen_device(device, 0)
    rest, words = [], iter(arguments)
    for word in words:
        if word == "--devices":
            next(words, None)
        elif not word.startswith("--devices="):
            rest.append(word)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command = [*torchrun, "--module", "shiftline.cli.app", *rest]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # The processes were signalled too: they save, and end.
