"""What every process of a run is doing, for those who look: one small file per process, rewritten at most once a second."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Store
from shiftline.store.files import temporary_beside

if TYPE_CHECKING:
    from shiftline.engine.context import Progress

EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Doing:
    """What a process works on.

    Attributes
    ----------
    host : str
    pid : int
    keys : tuple of str
        Of the jobs that it holds.
    kind, label : str
        Of the first of them.
    held, started, seen : float
        When the jobs were taken, when the present part of the work began, and when this was written, in seconds since 1970 on the
        clock of `host`.
    done, total : int
        Steps of the work: images, batches.
    """

    host: str
    pid: int
    keys: tuple[str, ...]
    kind: str
    label: str
    held: float
    started: float
    seen: float
    done: int
    total: int

    @property
    def per_second(self) -> float:
        """Steps per second since the work began."""
        return self.done / max(self.seen - self.started, 1e-9)


class Activity:
    """This process's file; also a `Progress` that passes on what it is told."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._path = file_of(store, socket.gethostname(), os.getpid())
        self._inner = progress
        self._state: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        self._written = 0.0

    def hold(self, jobs: Sequence[Job]) -> None:
        """Say which jobs are worked on from now; none where there are none."""
        if not jobs:
            self.end()
            return
        self._state |= {
            "keys": [job.key for job in jobs],
            "kind": jobs[0].kind,
            "label": jobs[0].label,
            "held": time.time(),
            "started": time.time(),
            "done": 0,
            "total": 0,
        }
        self._write()

    def begin(self, label: str, total: int) -> None:
        self._inner.begin(label, total)
        self._state |= {"label": label, "total": total, "done": 0, "started": time.time()}
        self._write()

    def advance(self, steps: int = 1) -> None:
        self._inner.advance(steps)
        self._state["done"] = self._state.get("done", 0) + steps
        if time.monotonic() - self._written > EVERY_SECONDS:
            self._write()

    def end(self) -> None:
        """Say that nothing is worked on."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        temporary = temporary_beside(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._state | {"seen": time.time()}))
            temporary.replace(self._path)
        except OSError:
            # A full disk is found by the job itself; news about it must not hide the reason.
            temporary.unlink(missing_ok=True)


def file_of(store: Store, host: str, pid: int) -> Path:
    """Return the file of a process."""
    return store.root / "activity" / f"{host}-{pid}.json"


def doing(store: Store) -> list[Doing]:
    """Return what processes said last; one that died may still be there."""
    found = []
    for path in sorted((store.root / "activity").glob("*.json")):
        try:
            state = json.loads(path.read_bytes())
            found.append(
                Doing(
                    state["host"],
                    state["pid"],
                    tuple(state["keys"]),
                    state["kind"],
                    state["label"],
                    state["held"],
                    state["started"],
                    state["seen"],
                    state["done"],
                    state["total"],
                )
            )
        except (OSError, ValueError, KeyError):
            continue
    return found
