"""Progress of a run on the terminal: jobs done of all, and the job at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RunProgress:
    """Two bars on standard error; nothing when quiet or when standard error is no terminal."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal, transient=True,
        )  # fmt: skip
        self._all = self._bars.add_task(name, total=None)
        self._job = self._bars.add_task("", total=None, visible=False)

    @contextmanager
    def showing(self) -> Iterator[None]:
        with self._bars:
            yield

    def announce(self, done: int, total: int) -> None:
        """Report jobs done of all."""
        self._bars.update(self._all, completed=done, total=total)

    def begin(self, label: str, total: int) -> None:
        self._bars.reset(self._job, description=label[:60], total=total, visible=True)

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._job, steps)
