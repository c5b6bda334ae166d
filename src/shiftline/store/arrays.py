"""Files that are mapped from disk: nothing of them is read before it is looked at."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from shiftline.errors import StoreError

DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
MOST_HEADER = 100 * 2**20


ADVICE = {
    errno.ENODEV: "its file system does not map files into memory. Move the folder to one that does (a local disk, NFS, Lustre), "
    "and name it with --store DIR",
    errno.EMFILE: "this process may open no more files. Allow more, as with `ulimit -n 4096`",
}


def mapped(path: Path) -> np.ndarray:
    """Return the bytes of a file as uint8, read-only.

    Raises
    ------
    StoreError
        The file cannot be read, or not be mapped.
    """
    with reading(path):
        return np.memmap(path, np.uint8, mode="r")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what an operating system says about a file into an error that says what to do: the file is not damaged."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "nothing was changed. See to it, then run again")
        raise StoreError(f"{path} cannot be read ({error.strerror}): {advice}.") from error


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name, read-only.

    Raises
    ------
    StoreError
        The file is no safetensors file, its header does not fit it, or it cannot be read or mapped.
    """
    with reading(path):
        try:
            return _arrays(path)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is damaged ({error}): `shiftline verify --repair` moves it aside, and the next run makes it again."
            ) from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MOST_HEADER, path.stat().st_size):
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if end - start != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"{name} has {end - start} bytes")
        # An empty range of a file cannot be mapped.
        there = end > start
        whole = np.memmap(path, dtype, mode="r", offset=8 + length + start, shape=shape) if there else np.zeros(shape, dtype)
        found[name] = np.asarray(whole)
    return found
