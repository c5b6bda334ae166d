"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shiftline.contracts.identity import digest
from shiftline.errors import StoreError

TEMPORARY = ".tmp-"
"""Prefix of everything that is being written; never read, swept by `collect`."""


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def temporary_beside(path: Path) -> Path:
    """Return a fresh name on the same file system, so that a rename is enough to publish."""
    return path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")


def sync(path: Path) -> None:
    """Force a file, or the entries of a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, document: Any) -> None:
    """Write JSON whole; keys keep their order, numbers must be finite."""
    write_whole(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


REPAIR = "`shiftline verify --repair` moves damaged artifacts and data aside, and the next run makes them again."


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object whole, with a digest of its content: a flipped bit often still reads as JSON."""
    write_json(path, {**record, "digest": digest(record)})


def read_record(path: Path, *, what: str, mend: str = REPAIR, always_sealed: bool = False) -> dict[str, Any]:
    """Read what `write_record` wrote.

    A record without a digest is from before its kind had one, and is taken as it is, unless its kind always had one.

    Raises
    ------
    StoreError
        The file is damaged; in the message `what` names it, and `mend` says what to do.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise StoreError(
            f"{what} is damaged: expected JSON in {path}, got {path.stat().st_size} bytes that do not parse ({error}). {mend}"
        ) from error
    written = record.pop("digest", None) if isinstance(record, dict) else ""
    if written != digest(record) and (written is not None or always_sealed):
        raise StoreError(f"{what} is damaged: its digest does not fit its content ({path}). {mend}")
    return record


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what an operating system says about a folder into an error that says what to do."""
    try:
        with full_disk(folder):
            yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                f"{folder} cannot be written ({error.strerror}): expected a folder that you may write to. "
                "Choose another with --store DIR."
            ) from error
        raise


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn an error that comes from a full disk into one that says so; others pass."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not _is_full(folder, error):
            raise
        raise DiskFullError(
            f"the disk of {folder} is full: nothing was published half-way, and what was finished is kept. Free "
            "space (`shiftline collect` lists what can go), then run again: it continues."
        ) from error


def _is_full(folder: Path, error: Exception) -> bool:
    """Tell a full disk from another error: safetensors and torch raise errors of their own, without a number."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error):
        return True
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    # torch says only that writing failed.
    return "writ" in str(error) and state.f_bavail * state.f_frsize < NEARLY_FULL


NEARLY_FULL = 1 << 20


class DiskFullError(StoreError):
    """The disk is full: going on with other jobs makes no sense."""
