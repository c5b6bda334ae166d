"""Predictions on their way: logits are appended to a file, and what is there goes on where it was."""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from shiftline.contracts.files import LOGITS
from shiftline.errors import StoreError
from shiftline.store.files import disk_errors, write_json

STATE = "predictions.json"


class PartialPredictions:
    """The logits of one model on the first examples of a distribution, as the file of the finished prediction begins.

    Memory does not grow with the number of examples or models. A stop, or the death of the process, loses what was not yet saved:
    how many rows are good, and their checksum, are recorded after they have reached the disk.

    Parameters
    ----------
    folder : Path
        For the file, until it is published.
    count : int
        Examples of the distribution.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        # A file of its own: where two processes work on one job at once, neither writes into what the other publishes.
        self.path = folder / f"{uuid.uuid4().hex}.safetensors"
        self.rows, self._sum, self._classes = self._saved()

    def append(self, logits: Tensor) -> None:
        """Add the logits (float32, shape (B, C)) of the next examples.

        Raises
        ------
        StoreError
            Another process has taken the file.
        """
        values = np.ascontiguousarray(logits.numpy(), dtype="<f4")
        with self._writing():
            if self.rows == 0:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._classes = values.shape[1]
                self.path.write_bytes(_header(self.count, self._classes))
            with self.path.open("r+b") as file:
                file.seek(self._end)
                file.write(values.data)
        self.rows += len(values)
        self._sum = zlib.crc32(values.data, self._sum)

    def save(self) -> None:
        """Let the next attempt go on from here."""
        with self._writing():
            with self.path.open("r+b") as file:
                os.fsync(file.fileno())
            self._record()

    def finish(self, draft: Path, labels: Tensor, ids: Tensor) -> None:
        """Put labels and ids behind the logits, and the file into a draft.

        Raises
        ------
        StoreError
            The file does not hold what was written to it.
        """
        assert self.rows == self.count
        with self._writing():
            if not self._is_whole():
                raise StoreError(f"the logits in {self.path} are damaged: they are not what was written. Run the study again.")
            with self.path.open("r+b") as file:
                file.seek(self._end)
                file.truncate()
                for tensor in (labels, ids):
                    file.write(np.ascontiguousarray(tensor.numpy(), dtype="<i8").data)
            self.path.rename(draft / LOGITS)
        (self.folder / STATE).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with disk_errors(self.folder):
                yield
        except FileNotFoundError as error:
            raise StoreError(f"another process has gone on with {self.path}: this one leaves the job to it.") from error

    def cut(self, rows: int) -> None:
        """Go back to fewer rows: several models go on from one example together."""
        if rows < self.rows:
            self.rows = rows
            self._sum = self._checksum(rows)

    @property
    def _end(self) -> int:
        return len(_header(self.count, self._classes)) + 4 * self.rows * self._classes

    def _record(self) -> None:
        state = {"file": self.path.name, "rows": self.rows, "classes": self._classes, "crc32": self._sum}
        write_json(self.folder / STATE, state)

    def _saved(self) -> tuple[int, int, int]:
        """Take over what an earlier attempt has saved; what it left beside that is removed."""
        try:
            state = json.loads((self.folder / STATE).read_bytes())
            (self.folder / Path(state["file"]).name).rename(self.path)
            self.rows, self._sum, self._classes = int(state["rows"]), int(state["crc32"]), int(state["classes"])
            # What is on the disk must be what was recorded: else it is made again.
            if self._is_whole():
                self._record()
                return self.rows, self._sum, self._classes
        except (OSError, ValueError, KeyError, TypeError):
            pass
        finally:
            for left in self.folder.glob("*.safetensors"):
                if left != self.path:
                    left.unlink(missing_ok=True)
        return 0, 0, 0

    def _is_whole(self) -> bool:
        try:
            return self._checksum(self.rows) == self._sum
        except ValueError:
            return False

    def _checksum(self, rows: int) -> int:
        head = _header(self.count, self._classes)
        left, total = 4 * rows * self._classes, 0
        with self.path.open("rb") as file:
            if file.read(len(head)) != head:
                raise ValueError("another distribution")
            while left:
                block = file.read(min(left, 1 << 20))
                if not block:
                    raise ValueError("too short")
                total, left = zlib.crc32(block, total), left - len(block)
        return total


def _header(count: int, classes: int) -> bytes:
    """Return how a safetensors file of logits, labels and ids begins."""
    ends = np.cumsum([0, 4 * count * classes, 8 * count, 8 * count]).tolist()
    entries = {
        "logits": {"dtype": "F32", "shape": [count, classes], "data_offsets": ends[0:2]},
        "labels": {"dtype": "I64", "shape": [count], "data_offsets": ends[1:3]},
        "ids": {"dtype": "I64", "shape": [count], "data_offsets": ends[2:4]},
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
