"""Arrays of a safetensors file, mapped from disk: nothing is read before it is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shiftline.errors import StoreError

DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
MOST_HEADER = 100 * 2**20


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name, read-only.

    Raises
    ------
    StoreError
        The file is no safetensors file, or its header does not fit it.
    """
    try:
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
            whole = (
                np.memmap(path, dtype, mode="r", offset=8 + length + start, shape=shape) if end > start else np.zeros(shape, dtype)
            )
            found[name] = np.asarray(whole)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}): `shiftline verify --repair` moves it aside, and the next run makes it again."
        ) from error
    return found
