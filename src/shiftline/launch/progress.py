"""Progress of a run on the terminal: jobs done of all, and the jobs at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from shiftline.plan.jobs import Job, Plan

if TYPE_CHECKING:
    from shiftline.launch.activity import Doing


class RunProgress:
    """Two bars on standard error; nothing when quiet or when standard error is no terminal."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._all = self._bars.add_task(name, total=None)
        self._job = self._bars.add_task("", total=None, visible=False)

    @contextmanager
    def showing(self) -> Iterator[None]:
        with self._bars:
            yield

    def announce(self, done: int, total: int) -> None:
        """Report jobs done of all."""
        self._bars.update(self._all, completed=done, total=total)

    def hold(self, jobs: Sequence[Job]) -> None:
        """Say which jobs are worked on: the bars show the label that the work itself gives."""

    def begin(self, label: str, total: int) -> None:
        self._bars.reset(self._job, description=label[:60], total=total, visible=True)

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._job, steps)


class WorkersTable:
    """A live table on standard error: the waves of a plan, and what every worker does; nothing when quiet or no terminal.

    Parameters
    ----------
    look : callable
        Returns the plan as the store has it now, the keys that are complete, and those that have failed.
    """

    EVERY_SECONDS = 2.0
    """Between two looks at the store."""

    def __init__(self, look: Callable[[], tuple[Plan, set[str], set[str]]], *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._look, self._started, self._first, self._seen = look, time.monotonic(), -1, 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal and not quiet else None
        self._waves: Table | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        if self._live is None:
            yield
            return
        with self._live:
            yield

    def show(self, doings: list[Doing]) -> None:
        """Draw the tables again; the store is looked at every other second."""
        if self._live is None:
            return
        if self._waves is None or time.monotonic() - self._seen > self.EVERY_SECONDS:
            self._seen, self._waves = time.monotonic(), self.waves(*self._look(), doings)
        self._live.update(Group(self._waves, self.workers(doings)), refresh=True)

    def waves(self, plan: Plan, complete: set[str], failed: set[str], doings: list[Doing]) -> Table:
        """Return one row per wave: running, done, failed and all jobs, and the time that is left at the pace so far."""
        running = {key for entry in doings for key in entry.keys} - complete
        done = len(complete & plan.jobs.keys())
        self._first = done if self._first < 0 else self._first
        elapsed, made = time.monotonic() - self._started, done - self._first
        left = f"{elapsed / made * (len(plan.jobs) - done) / 60:.0f} min left" if made else ""
        table = Table("wave", "running", "done", "failed", "jobs", title=f"{plan.study.name} {left}")
        for number, wave in enumerate(plan.waves(), start=1):
            keys = {job.key for job in wave}
            counts = (len(keys & running), len(keys & complete), len(keys & failed - complete), len(keys))
            table.add_row(str(number), *(str(count or "") for count in counts))
        return table

    def workers(self, doings: list[Doing]) -> Table:
        """Return one row per worker: what it does, how far it is, and how fast."""
        table = Table("process", "kind", "job", "progress", "per second")
        for entry in doings:
            share = f"{entry.done} of {entry.total}" if entry.total else ""
            table.add_row(str(entry.pid), entry.kind, entry.label[:70], share, f"{entry.per_second:.0f}" if entry.done else "")
        return table
