"""Several worker processes on one machine, one per GPU or per share of the cores.

Every worker takes what is ready through the store's claims; this process only starts them, shows what they do, and starts again
what died. A job that raises is not tried again; a job whose process died is, a given number of times.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shiftline.errors import DeviceError
from shiftline.launch.activity import Doing, doing, file_of
from shiftline.launch.cores import WORKERS, available_cores
from shiftline.launch.devices import AUTO
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

LOOK_EVERY = 0.5
"""Seconds between two looks at the workers."""
ORDERLY = (0, 1, 130)
"""Exit statuses of a worker that ended by itself: done, with failures, stopped. Libraries may end a process with 1 too."""
FRUITLESS = 3
"""Workers that die without holding a job, after which no more are started: something is wrong with all of them."""


@dataclass
class Worker:
    """One process and the GPU that it sees."""

    slot: int
    process: subprocess.Popen[bytes]
    timed_out: bool = False


@dataclass
class Workers:
    """The workers of a run.

    Attributes
    ----------
    store : Store
    command : callable
        Returns the command line of a worker that belongs to the process with this id, of a run that began at this time.
    count : int
    gpus : int
        GPUs of this machine; worker k sees the GPU k.
    retries : int
        How often a job is tried again whose process died.
    timeout : float or None
        Seconds after which a job counts as hanging, and its process is killed.
    fail_fast : bool
        Stop all workers once a job has failed.
    since : float
        When the run began, in seconds since 1970.
    """

    store: Store
    command: Callable[[float, int], Sequence[str]]
    count: int
    gpus: int = 0
    retries: int = 1
    timeout: float | None = None
    fail_fast: bool = False
    stopped: bool = False
    since: float = field(default_factory=time.time, repr=False)
    _fruitless: int = field(default=0, repr=False)
    _signalled: list[int] = field(default_factory=list, repr=False)

    def run(self, show: Callable[[list[Doing]], None] = lambda doings: None) -> int:
        """Run until no worker has anything left to do; return 130 where it was stopped, else 0.

        Raises
        ------
        DeviceError
            Workers die before they hold a job.
        """
        workers: list[Worker] = []
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            workers += (self._start(slot) for slot in range(self.count))
            while workers:
                self._pass_on(workers)
                news = {entry.pid: entry for entry in doing(self.store) if self._is_mine(entry)}
                show([news[worker.process.pid] for worker in workers if worker.process.pid in news])
                workers = [kept for worker in workers if (kept := self._look(worker, news)) is not None]
                if self.fail_fast and not self.stopped and self.attempts.failed_since(self.since):
                    self.stopped = True
                    self._signalled.append(signal.SIGTERM)
                time.sleep(LOOK_EVERY)
        finally:
            for worker in workers:
                worker.process.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
        return 130 if self.stopped and not self.attempts.failed_since(self.since) else 0

    def _is_mine(self, entry: Doing) -> bool:
        """Tell news of this run's workers from those of other hosts, and from what an earlier process left behind."""
        return entry.host == socket.gethostname() and entry.held >= self.since

    @property
    def attempts(self) -> Attempts:
        """The attempts of the store."""
        return Attempts(self.store)

    def _start(self, slot: int) -> Worker:
        environment = dict(os.environ) | {WORKERS: str(self.count)}
        # Threads that spin while they wait take the cores from other workers: a training takes four times as long.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.gpus:
            # Where only some GPUs are this user's, workers share those.
            chosen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
            environment["CUDA_VISIBLE_DEVICES"] = chosen[slot] if chosen else str(slot)
        command = self.command(self.since, os.getpid())
        return Worker(slot, subprocess.Popen(command, env=environment, start_new_session=True))

    def _stop(self, number: int, frame: object) -> None:
        if self.stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped = True
        self._signalled.append(number)

    def _pass_on(self, workers: list[Worker]) -> None:
        while self._signalled:
            number = self._signalled.pop()
            for worker in workers:
                if worker.process.poll() is None:
                    worker.process.send_signal(number)

    def _look(self, worker: Worker, news: dict[int, Doing]) -> Worker | None:
        """Return the worker, or the one that takes its place, or nothing where it is done."""
        status = worker.process.poll()
        mine = news.get(worker.process.pid)
        if status is None:
            late = self.timeout is not None and mine is not None and time.time() - mine.held > self.timeout
            if late and mine is not None and not worker.timed_out:
                worker.timed_out = True
                worker.process.kill()
            return worker
        # What it said last may be older than what it held: the claims are what counts.
        held = self.attempts.left_by(worker.process.pid, since=self.since)
        if status in ORDERLY and not held:
            return None
        self._bury(worker, status, held, mine)
        return None if self.stopped else self._start(worker.slot)

    def _bury(self, worker: Worker, status: int, held: Sequence[str], mine: Doing | None) -> None:
        """Count a death for every job that a worker held when it died; one that was tried too often has failed."""
        if worker.timed_out:
            reason = f"it took longer than the {self.timeout:g} s of --job-timeout and was killed"
        elif status < 0:
            reason = f"its process was killed by {signal.Signals(-status).name}"
        else:
            reason = f"its process ended with status {status}"
        for key in held:
            if self.store.has(key):
                continue
            tries = len(self.attempts.deaths(key)) + 1
            if tries > self.retries:
                error = DeviceError(f"{reason} ({tries} times; the last time on {socket.gethostname()})")
                self.attempts.record_failure(key, mine.label if mine and key in mine.keys else key[:12], error)
            # Last: from now on another worker may take it.
            self.attempts.record_death(key, reason, worker.process.pid)
        file_of(self.store, socket.gethostname(), worker.process.pid).unlink(missing_ok=True)
        self._fruitless += not (held or mine or worker.timed_out)
        if self._fruitless >= FRUITLESS:
            raise DeviceError(
                f"{self._fruitless} workers died before they held a job ({reason}): run the study without --workers to see why."
            )


def check_workers(wanted: int, devices: int, device: str = AUTO) -> int:
    """Return the number of GPUs that workers take, each one: 0 where they compute on the CPU.

    Raises
    ------
    DeviceError
        There are fewer GPUs, or on a machine without one fewer cores, than workers; or each of them would take several devices, or
        all of them the same.
    """
    if devices > 1:
        raise DeviceError(
            f"--workers {wanted} and --devices {devices}: several jobs at once, or several processes for one job: choose one."
        )
    if device not in (AUTO, "cpu", "cuda"):
        raise DeviceError(f"--workers {wanted} and the device {device!r}: each worker takes a GPU of its own: say 'cuda' or 'cpu'.")
    # Asked of the driver's files: torch takes seconds to say it.
    gpus = 0 if device == "cpu" else sum(entry.name[6:].isdigit() for entry in Path("/dev").glob("nvidia*"))
    if gpus and (visible := os.environ.get("CUDA_VISIBLE_DEVICES")):
        gpus = len([name for name in visible.split(",") if name])
    if device == "cuda" and not gpus:
        raise DeviceError(f"--workers {wanted} and the device 'cuda': this machine has no GPU: leave --device out, or say 'cpu'.")
    there = gpus or len(os.sched_getaffinity(0))
    if wanted > there:
        what = "GPUs" if gpus else "CPU cores (and no GPU)"
        raise DeviceError(f"--workers {wanted}: this machine has {there} {what}. Ask for {there} or fewer.")
    return gpus


def crowding(workers: int, threads: int) -> str | None:
    """Return what to say where workers on the CPU compute with more threads than there are cores."""
    cores = available_cores()
    if workers * threads <= cores:
        return None
    return (
        f"{workers} workers with {threads} threads each share {cores} cores and slow each other down. threads = "
        f"{max(cores // workers, 1)} in the study is faster (it is declared: results are the same bits for one number of threads)."
    )


def worker_command(arguments: Sequence[str], since: float, parent: int) -> list[str]:
    """Return the command line of a worker, from the words after ``shiftline run``."""
    return [sys.executable, "-m", "shiftline.cli.app", "work", *arguments, "--since", repr(since), "--parent", str(parent)]
