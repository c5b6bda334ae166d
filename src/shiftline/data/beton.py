"""The .beton format (FFCV's, version 2): layout, writing of the parts, and a check of the structure on opening.

    header | field descriptors | one metadata row per example | pages of data | allocation table

Ours hold one image field named "image" and one integer field named "label"; files that FFCV wrote are read too, as long
as they hold one RGB image and one integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shiftline.errors import DataError

VERSION = 2
PAGE = 1 << 23
JPEG, RAW = 0, 1
_TYPE_INT, _TYPE_IMAGE = 1, 2

HEADER = np.dtype(
    [("version", "<u2"), ("num_fields", "<u2"), ("page_size", "<u4"), ("num_samples", "<u8"), ("alloc_table_ptr", "<u8")],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", ("<u1", 16)), ("arguments", ("<u1", (1024,)))], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
ROW = np.dtype([("", IMAGE), ("", "<i8")], align=True)
"""Metadata of one example: f0 the image, f1 the label."""


@dataclass(frozen=True)
class Index:
    """Where the examples of a .beton file lie.

    Attributes
    ----------
    path : Path
    mode : ndarray of uint8, shape (N,)
        `JPEG` or `RAW`.
    height, width : ndarray of uint16, shape (N,)
    pointer, size : ndarray of uint64, shape (N,)
        Position and length in bytes of each image's data.
    labels : ndarray of int64, shape (N,)
    """

    path: Path
    mode: np.ndarray
    height: np.ndarray
    width: np.ndarray
    pointer: np.ndarray
    size: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def check_ids(self, ids: np.ndarray) -> np.ndarray:
        """Return ids as int64.

        Raises
        ------
        DataError
            They are not whole numbers in the range of the file: a foreign pointer would be read otherwise.
        """
        ids = np.asarray(ids)
        if ids.dtype == bool or not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"example ids must be whole numbers, got {ids.dtype}: use np.flatnonzero on a mask.")
        if ids.ndim != 1:
            raise DataError(f"example ids must be one list of numbers, got an array of shape {ids.shape}.")
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self)):
            bad = ids.min() if ids.min() < 0 else ids.max()
            raise DataError(f"example id {bad} is out of range: {self.path.name} has ids 0 to {len(self) - 1}.")
        return ids.astype(np.int64)


def header_bytes(count: int, table_pointer: int, *, page: int = PAGE) -> bytes:
    """Return the header and the descriptors of the two fields."""
    header = np.zeros(1, dtype=HEADER)
    header["version"], header["num_fields"], header["page_size"] = VERSION, 2, page
    header["num_samples"], header["alloc_table_ptr"] = count, table_pointer
    fields = np.zeros(2, dtype=FIELD)
    for row, (type_id, name) in enumerate(((_TYPE_IMAGE, b"image"), (_TYPE_INT, b"label"))):
        fields[row]["type_id"] = type_id
        fields[row]["name"][: len(name)] = np.frombuffer(name, dtype="<u1")
    return header.tobytes() + fields.tobytes()


def data_start(count: int, *, page: int = PAGE) -> int:
    """Position of the first page: after header, descriptors and metadata, at a multiple of the page size."""
    used = HEADER.itemsize + 2 * FIELD.itemsize + count * ROW.itemsize
    return -(-used // page) * page


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path} is damaged or no .beton file: {problem}. Write it again (`shiftline data write`, or for a built-in set "
        "delete the file and its .json)."
    )


def read_index(path: Path) -> Index:
    """Read where the examples lie, and check every number against the file before it is used.

    Raises
    ------
    DataError
        The file is cut, foreign, or points outside itself.
    """
    total = path.stat().st_size
    if total < HEADER.itemsize:
        raise _damaged(path, f"it has {total} bytes, fewer than a header")
    header = np.fromfile(path, dtype=HEADER, count=1)[0]
    if header["version"] != VERSION:
        raise _damaged(path, f"it says version {header['version']}, expected {VERSION}")
    count, table, number = int(header["num_samples"]), int(header["alloc_table_ptr"]), int(header["num_fields"])
    if not 0 < number < 256 or not 0 < table <= total:
        raise _damaged(path, "its header was never completed: the writer was interrupted")
    if HEADER.itemsize + number * FIELD.itemsize > total:
        raise _damaged(path, "it ends inside the field descriptors")
    fields = np.fromfile(path, dtype=FIELD, count=number, offset=HEADER.itemsize)
    types = list(fields["type_id"])
    if types.count(_TYPE_IMAGE) != 1 or types.count(_TYPE_INT) != 1 or number != 2:
        raise _damaged(path, f"expected one RGB image and one integer field, got the type ids {types}")
    image_at, label_at = f"f{types.index(_TYPE_IMAGE)}", f"f{types.index(_TYPE_INT)}"
    row = ROW if image_at == "f0" else np.dtype([("", "<i8"), ("", IMAGE)], align=True)
    start = HEADER.itemsize + number * FIELD.itemsize
    if start + count * row.itemsize > table:
        raise _damaged(path, f"{count} examples do not fit before its allocation table")
    if (total - table) % ALLOCATION.itemsize or (total - table) // ALLOCATION.itemsize != count:
        raise _damaged(path, f"its allocation table should have {count} rows, {total - table} bytes are there")
    rows = np.fromfile(path, dtype=row, count=count, offset=start)
    allocations = np.fromfile(path, dtype=ALLOCATION, count=count, offset=table)
    image = rows[image_at]
    order = np.argsort(allocations["ptr"], kind="stable")
    found = np.searchsorted(allocations["ptr"][order], image["data_ptr"])
    matched = order[np.minimum(found, count - 1)] if count else order
    if count and not (allocations["ptr"][matched] == image["data_ptr"]).all():
        bad = int(np.flatnonzero(allocations["ptr"][matched] != image["data_ptr"])[0])
        raise _damaged(path, f"example {bad} points to data that was never allocated")
    size = allocations["size"][matched]
    if count and int((image["data_ptr"] + size).max()) > table:
        raise _damaged(path, "an image lies beyond its data pages")
    if not np.isin(image["mode"], (JPEG, RAW)).all():
        raise _damaged(path, "an image is neither raw nor JPEG")
    raw = image["mode"] == RAW
    expected = image["height"].astype(np.uint64) * image["width"].astype(np.uint64) * np.uint64(3)
    if (size[raw] != expected[raw]).any():
        raise _damaged(path, "the size of a raw image does not fit its height and width")
    return Index(
        path,
        image["mode"].copy(),
        image["height"].copy(),
        image["width"].copy(),
        image["data_ptr"].copy(),
        size,
        rows[label_at].astype(np.int64),
    )
