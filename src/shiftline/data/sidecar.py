"""The sidecar of a .beton file: what it holds, from what, and its fingerprint. JSON, so that planning needs no more.

Per-example metadata (source digest, group, path) lie in a Parquet file beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftline.contracts.distributions import Split
from shiftline.contracts.label_spaces import LabelSpace
from shiftline.contracts.records import SplitRecord
from shiftline.errors import DataError, StoreError
from shiftline.store.files import read_record, sha256_of

SCHEMA = 3


@dataclass(frozen=True)
class Sidecar:
    """The description of a written split; `record` is the part that planning reads."""

    split: Split
    beton: Path
    record: SplitRecord
    recipe: Mapping[str, Any]
    file: Mapping[str, Any]
    official: Mapping[str, Any]
    skipped: Sequence[str]
    chosen: Sequence[str]
    files: Mapping[str, Any]


class DataFolder:
    """The folder of written splits: ``<root>/<dataset>/<split>.beton``, ``.json`` and ``.parquet``."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def beton(self, split: Split) -> Path:
        return self.root / split.dataset / f"{split.split}.beton"

    def sidecar(self, split: Split) -> Path:
        return self.beton(split).with_suffix(".json")

    def metadata(self, split: Split) -> Path:
        return self.beton(split).with_suffix(".parquet")

    def has(self, split: Split) -> bool:
        return self.sidecar(split).is_file()

    def is_outdated(self, split: Split) -> bool:
        """Another version of shiftline wrote the description of a split."""
        document = read_record(self.sidecar(split), what=f"the sidecar of {split}")
        return bool(document.get("schema") != SCHEMA)

    def open(self, split: Split) -> Sidecar:
        """Read the description of a split, and check that the file beside it is the one that was described.

        The check compares size and time, and hashes the file again where they differ.

        Raises
        ------
        DataError
            The split has not been written, or the file has changed since.
        """
        path, beton = self.sidecar(split), self.beton(split)
        if not path.is_file():
            raise DataError(self._missing(split))
        document = read_record(path, what=f"the sidecar of {split}")
        if document.get("schema") != SCHEMA:
            raise DataError(
                f"{split} was written by another version of shiftline (schema {document.get('schema')}, this one writes "
                f"{SCHEMA}). Delete {path} and write the split again: its fingerprint, and the results made from it, stay."
            )
        file = document["file"]
        if not beton.is_file():
            raise DataError(f"{split}: {beton} is missing, its description {path} is there. Restore it, or write it again.")
        state = beton.stat()
        if state.st_size != file["size"] or (state.st_mtime_ns != file["mtime_ns"] and sha256_of(beton) != file["sha256"]):
            raise DataError(
                f"{split}: fingerprint {document['fingerprint'][:12]}... was recorded for a file of {file['size']} bytes "
                f"with sha256 {file['sha256'][:12]}..., the file has {state.st_size} bytes and sha256 "
                f"{sha256_of(beton)[:12]}... ({beton}). Results computed from the former do not describe this file. "
                f"Restore it, or delete {beton.name} and {path.name} and write the split again."
            )
        metadata, recorded = self.metadata(split), document["metadata_file"]
        if not metadata.is_file() or metadata.stat().st_size != recorded["size"]:
            raise DataError(
                f"{split}: {metadata} {'has another size than was recorded' if metadata.is_file() else 'is missing'}: it has "
                "the groups of the examples. Restore it, or write the split again."
            )
        space = document["space"]
        record = SplitRecord(
            document["fingerprint"],
            document["count"],
            tuple(document["classes"]),
            tuple(document["class_counts"]),
            class_ids=tuple(document["class_ids"]),
            space=None if space is None else LabelSpace(space["name"], tuple(map(tuple, space["members"]))),
            metrics=tuple(document["metrics"]),
            metadata=document["metadata"],
            grouped=document["grouped"],
            subsets=tuple(document["parts"]),
            listing=document["listing"],
            shares={(name, found["fingerprint"]): found["count"] for name, found in document.get("shares", {}).items()},
            is_sorted=document.get("sorted", False),
        )
        return Sidecar(
            split,
            beton,
            record,
            document["recipe"],
            file,
            document["official"],
            document["skipped"],
            document.get("chosen", ()),
            document.get("files", {}),
        )

    def written(self) -> list[Split]:
        """Return every split that is written, by name."""
        return [Split(path.parent.name, path.stem) for path in sorted(self.root.glob("*/*.json"))]

    def damaged(self) -> dict[Split, str]:
        """Hash every written split again; return what is wrong with those that are damaged."""
        problems = {}
        for split in self.written():
            try:
                document = read_record(self.sidecar(split), what=f"the sidecar of {split}")
                for path, entry in ((self.beton(split), "file"), (self.metadata(split), "metadata_file")):
                    if sha256_of(path) != document[entry]["sha256"]:
                        problems[split] = f"{path.name} has another content than was recorded"
            except (StoreError, KeyError, TypeError, OSError) as error:
                problems[split] = f"it cannot be read ({type(error).__name__})"
        return problems

    def move_aside(self, split: Split, target: Path) -> None:
        """Move the files of a split to another folder, so that it can be written again."""
        target.mkdir(parents=True, exist_ok=True)
        for path in (self.sidecar(split), self.beton(split), self.metadata(split)):
            if path.exists():
                path.rename(target / f"{split.dataset}-{path.name}-{int(time.time())}")

    def _missing(self, split: Split) -> str:
        folder = self.root / split.dataset
        written = sorted(path.stem for path in folder.glob("*.json"))
        there = f"there are the splits {', '.join(written)}" if written else "no split of it has been written"
        return (
            f"{split} is not in the data folder: expected {self.beton(split)}; {there}. Write it first: "
            f"shiftline data write {split.dataset} --split {split.split} --root FOLDER (--images FOLDER for images of your own)."
        )
