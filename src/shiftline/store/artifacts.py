"""Artifacts: immutable directories, published by one rename, with a manifest that is written last.

<root>/artifacts/<first two digits>/<key>/manifest.json + files
<root>/attempts/<key>/            what was tried: logs, failures, the state of a training that can go on
<root>/data/  backbones/  studies/   written data, resolved backbones, the keys of the studies that ran
<root>/schema.json                which canonical form its keys are made of
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftline.errors import StoreError
from shiftline.store.files import disk_errors, read_record, sha256_of, sync, temporary_beside, write_record
from shiftline.store.provenance import provenance

MANIFEST = "manifest.json"
SCHEMA_FILE = "schema.json"
MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """What is recorded of an artifact.

    Attributes
    ----------
    key, kind : str
    document : mapping
        What the key is the digest of.
    files : mapping
        Name -> {"sha256", "size" in bytes}.
    summary : mapping
        Small results of the job that tables read: counts, the winner, the final loss.
    provenance : mapping
        Versions, hardware and time; "device", "seconds" of work, "peak_memory" in bytes, and "images" where a network ran:
        recorded and shown, not part of identity.
    """

    key: str
    kind: str
    document: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]


class Draft:
    """An artifact that is being written: put files into `folder`, results into `summary`, what was measured into `cost`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: dict[str, Any] = {}
        self.cost: dict[str, Any] = {}


class Store:
    """The folder of a study's results. Several studies and several processes can share one."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, key: str) -> Path:
        """Return the directory of an artifact, whether it exists or not."""
        return self.root / "artifacts" / key[:2] / key

    def has(self, key: str) -> bool:
        """Return whether an artifact is there: its directory appears in one rename, whole."""
        return self.path(key).is_dir()

    def complete(self) -> set[str]:
        """Return the keys of all artifacts: 256 directory listings, nothing is asked of any artifact itself."""
        found: set[str] = set()
        try:
            shards = list(os.scandir(self.root / "artifacts"))
        except FileNotFoundError:
            return found
        for shard in shards:
            if len(shard.name) == 2:
                found.update(entry.name for entry in os.scandir(shard.path) if len(entry.name) == 64)
        return found

    def check_writable(self) -> None:
        """Raise `StoreError` unless files can be made in the store: found before any time is spent."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = temporary_beside(self.root / "probe")
            probe.write_bytes(b"")
            probe.unlink()

    def check_schema(self, schema: int) -> None:
        """Raise `StoreError` where the keys of the store are made of another canonical form. Writes nothing.

        A store from before this was recorded is known by its first manifest.
        """
        if (path := self.root / SCHEMA_FILE).is_file():
            found = read_record(path, what="the schema of the store", mend="Delete it: the next run records it again.")["schema"]
        elif (key := next(iter(self.complete()), None)) is not None:
            found = self.manifest(key).document.get("schema")
        else:
            return
        if found not in (schema, None):
            raise StoreError(
                f"the store {self.root} was written with schema {found}, this version of shiftline has schema {schema}: the same "
                f"study has other keys, and would be computed again beside the old results. Name another folder (--store DIR; "
                f"its written data can be kept: move {self.root / 'data'} there), or use the version of shiftline that wrote it."
            )

    def record_schema(self, schema: int) -> None:
        """Record which canonical form the keys of the store are made of."""
        if not (path := self.root / SCHEMA_FILE).is_file():
            write_record(path, {"schema": schema})

    @contextmanager
    def publish(self, key: str, kind: str, document: Mapping[str, Any]) -> Iterator[Draft]:
        """Write an artifact: it appears whole when the block ends, or not at all.

        Where another process published the same key first, its artifact stays and this one is dropped.
        """
        final = self.path(key)
        started = time.time()
        with disk_errors(self.root):
            if "schema" in document:
                self.record_schema(document["schema"])
            final.parent.mkdir(parents=True, exist_ok=True)
            folder = temporary_beside(final)
            folder.mkdir()
            try:
                draft = Draft(folder)
                yield draft
                files = {}
                for path in sorted(folder.iterdir()):
                    sync(path)
                    files[path.name] = {"sha256": sha256_of(path), "size": path.stat().st_size}
                body = {
                    "schema": MANIFEST_SCHEMA,
                    "key": key,
                    "kind": kind,
                    "document": document,
                    "files": files,
                    "summary": draft.summary,
                    "provenance": provenance(started) | draft.cost,
                }
                write_record(folder / MANIFEST, body)
                sync(folder)
                try:
                    folder.rename(final)
                except OSError:
                    if not self.has(key):
                        raise
                sync(final.parent)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, key: str) -> Manifest:
        """Read what is recorded of an artifact.

        Raises
        ------
        StoreError
            There is none, or it is damaged.
        """
        path = self.path(key) / MANIFEST
        try:
            body = read_record(path, what=f"the manifest of {key[:12]}", always_sealed=True)
        except FileNotFoundError as error:
            if self.has(key):
                raise StoreError(
                    f"the manifest of {key[:12]} is missing ({path}). `shiftline verify --repair` moves it aside, and the "
                    "next run makes it again."
                ) from error
            raise StoreError(
                f"{key[:12]} is not in the store {self.root}: expected {path}. Run the study: it makes what is missing."
            ) from error
        return Manifest(key, body["kind"], body["document"], body["files"], body["summary"], body["provenance"])

    def file(self, key: str, name: str) -> Path:
        """Return the path of an artifact's file, its size checked.

        Raises
        ------
        StoreError
            The artifact has no such file, or the file has another size than was recorded.
        """
        recorded = self.manifest(key).files.get(name)
        path = self.path(key) / name
        if recorded is None:
            raise StoreError(f"{key[:12]} has no file {name!r}: it has {', '.join(self.manifest(key).files)}.")
        size = path.stat().st_size if path.exists() else 0
        if size != recorded["size"]:
            raise StoreError(
                f"{path} is damaged: {recorded['size']} bytes were recorded, it has {size}. "
                "`shiftline verify --repair` moves the artifact aside, and the next run makes it again."
            )
        return path
