"""Attempts: what was tried for a key. A failure is an attempt with its traceback, never a result."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from shiftline.store.artifacts import Store
from shiftline.store.files import disk_errors, write_json


class Attempts:
    """The attempts of a store, by key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.root = store.root / "attempts"

    def folder(self, key: str) -> Path:
        return self.root / key

    def state(self, key: str) -> Path:
        """Return the folder for the state of a training that can go on (made by the training)."""
        return self.folder(key) / "state"

    def log(self, key: str) -> Path:
        """Return the JSON-lines log of a training."""
        return self.folder(key) / "log.jsonl"

    @contextmanager
    def claim(self, key: str, *, since: float = math.inf) -> Iterator[bool]:
        """Take a key for this process; yields False when another process holds it.

        The claim is a file lock, so that it ends with its process, however that ends. It only saves work: two processes
        that publish the same key do no harm.

        Parameters
        ----------
        key : str
        since : float
            When the workers were started that this process is one of, in seconds since 1970. What one of them has died with is
            not taken before their parent has counted that death (`record_death`).
        """
        with disk_errors(self.root):
            handle = self._open_claim(key)
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # A file system without locks: the work may be done twice, nothing else.
            handle.seek(0)
            left = _claimant(handle.read())
            here = {"host": socket.gethostname(), "parent": os.getppid()}
            if left.items() >= here.items() and left["started"] >= since and not self._counted(key, left["pid"]):
                with suppress(OSError):
                    fcntl.flock(handle, fcntl.LOCK_UN)
                yield False
                return
            handle.truncate(0)
            mine = json.dumps(here | {"pid": os.getpid(), "started": time.time()})
            with disk_errors(self.root):
                os.write(handle.fileno(), mine.encode())
            try:
                yield True
            finally:
                # What is still written in a claim after its process has died is what it held.
                handle.truncate(0)
        if self._store.has(key):
            # A finished job leaves its log, if it has one, and no other file: large studies have as many attempts as artifacts.
            with suppress(OSError):
                (self.folder(key) / "claim").unlink(missing_ok=True)
                self.folder(key).rmdir()

    def _open_claim(self, key: str) -> TextIO:
        while True:
            self.folder(key).mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # The process that finished this key has just removed the folder.
                return (self.folder(key) / "claim").open("a+")

    def left_by(self, pid: int, *, since: float) -> list[str]:
        """Return the keys that a child of this process took after a moment, and held when it died.

        Without the moment, what an earlier process of the same number has left would be counted.
        """
        here = {"host": socket.gethostname(), "parent": os.getpid(), "pid": pid}
        found = []
        for key in sorted(self.started()):
            with suppress(OSError):
                claimant = _claimant((self.folder(key) / "claim").read_text())
                if claimant.items() >= here.items() and claimant["started"] >= since:
                    found.append(key)
        return found

    def started(self) -> set[str]:
        """Return the keys that something was tried for and that may be held or have failed."""
        try:
            return {entry.name for entry in os.scandir(self.root)}
        except FileNotFoundError:
            return set()

    def holder(self, key: str) -> dict[str, Any] | None:
        """Return who works on a key now: {"host", "pid", "parent", "started"}, or None."""
        try:
            with (self.folder(key) / "claim").open("r") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _claimant(handle.read()) or {"host": "?", "pid": 0, "parent": 0, "started": 0.0}
        except OSError:
            pass
        return None

    def record_failure(self, key: str, label: str, error: BaseException) -> None:
        """Write down that a job failed."""
        write_json(
            self.folder(key) / "failure.json",
            {
                "key": key,
                "label": label,
                "error": f"{type(error).__name__}: {error}",
                "traceback": "".join(traceback.format_exception(error)),
                "host": socket.gethostname(),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "moment": time.time(),
            },
        )

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of a key, unless a later attempt went well."""
        try:
            found: dict[str, Any] = json.loads((self.folder(key) / "failure.json").read_bytes())
            return found
        except (FileNotFoundError, ValueError):
            return None

    def failed(self) -> set[str]:
        """Return the keys whose last attempt failed."""
        return {key for key in self.started() if (self.folder(key) / "failure.json").is_file()}

    def record_death(self, key: str, reason: str, pid: int) -> None:
        """Write down that a process of this machine died while it held a key."""
        died = {"reason": reason, "host": socket.gethostname(), "pid": pid}
        write_json(self.folder(key) / "deaths.json", [*self._deaths(key), died])

    def deaths(self, key: str) -> list[str]:
        """Return why the processes died that held a key since it was last finished."""
        return [death["reason"] for death in self._deaths(key)]

    def _deaths(self, key: str) -> list[dict[str, Any]]:
        try:
            return list(json.loads((self.folder(key) / "deaths.json").read_bytes()))
        except (FileNotFoundError, ValueError):
            return []

    def _counted(self, key: str, pid: int) -> bool:
        here = socket.gethostname()
        return any(death["host"] == here and death["pid"] == pid for death in self._deaths(key))

    def has_failed_since(self, key: str, moment: float) -> bool:
        """Return whether a key has failed on this machine since a moment, in seconds since 1970.

        The clocks of other machines say nothing about this one's moments.
        """
        if moment == math.inf:
            return False
        failure = self.failure(key)
        return failure is not None and failure["host"] == socket.gethostname() and failure["moment"] >= moment

    def failed_since(self, moment: float) -> set[str]:
        """Return the keys that have failed on this machine since a moment."""
        if moment == math.inf:
            return set()
        return {key for key in self.failed() if self.has_failed_since(key, moment)}

    def succeed(self, key: str) -> None:
        """Forget what a finished job no longer needs: earlier failures and deaths, and the state of its training."""
        (self.folder(key) / "failure.json").unlink(missing_ok=True)
        (self.folder(key) / "deaths.json").unlink(missing_ok=True)
        shutil.rmtree(self.state(key), ignore_errors=True)


def _claimant(text: str) -> dict[str, Any]:
    """Return what a process wrote into a claim; nothing where it had no time to finish that."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}
