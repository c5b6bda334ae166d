"""Image data sets of Hugging Face's `datasets` on disk: Arrow folders of `save_to_disk`, and Parquet files as its hub has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from shiftline.contracts.require import near
from shiftline.data.examples import Example, Inside
from shiftline.data.family import Listing
from shiftline.data.listing import is_hidden
from shiftline.datasets.class_names import labels_in_classes
from shiftline.errors import DataError


def hugging_face(
    folder: Path, *, image: str = "", label: str = "", group: str = "", classes: Sequence[str] | None = None
) -> dict[str, Listing]:
    """List a data set that lies in a folder, in the order of its rows.

    Parameters
    ----------
    folder : Path
        What `save_to_disk` wrote (one data set, or several by split), or a folder with ``SPLIT-*.parquet``, perhaps in ``data``.
    image, label, group : str
        Columns; the only column of images, and "label" or the only one of class labels, unless given.
    classes : sequence of str, optional
        Names in the order of the labels; those of the column's `ClassLabel` unless given.

    Returns
    -------
    dict of str to Listing
        By split; one, named "", where the folder is one data set without splits.

    Raises
    ------
    DataError
        There is no such data set, or no such column, or rows without a label.
    """
    return {
        split: _listing(files, folder, image=image, label=label, group=group, classes=classes)
        for split, files in _files(folder).items()
    }


def _files(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist (looked in {Path.cwd()}).")
    if (index := folder / "dataset_dict.json").is_file():
        return {split: _arrow(folder / split) for split in json.loads(index.read_text(encoding="utf-8"))["splits"]}
    if (folder / "state.json").is_file():
        return {"": _arrow(folder)}
    tables = [p for below in (folder, folder / "data") for p in sorted(below.glob("*.parquet")) if not is_hidden(p.name)]
    if not tables:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder} is no data set of Hugging Face's datasets on disk (it has {found}): expected state.json or "
            "dataset_dict.json of save_to_disk, or SPLIT-*.parquet."
        )
    found_by: dict[str, list[Path]] = {}
    for table in tables:
        found_by.setdefault(re.sub(r"-\d+-of-\d+(-[0-9a-f]+)?$", "", table.stem), []).append(table)
    return found_by


def _arrow(folder: Path) -> list[Path]:
    state = folder / "state.json"
    if not state.is_file():
        raise DataError(f"{folder} has no state.json: the copy is not complete.")
    return [folder / entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]


def _listing(files: Sequence[Path], folder: Path, *, image: str, label: str, group: str, classes: Sequence[str] | None) -> Listing:
    examples: list[Example] = []
    values: list[str] = []
    names: Sequence[str] | None = classes
    for file in files:
        rows = Rows(file)
        image_column = rows.column(image, of="images", kind="Image", usual=("image", "img"))
        label_column = rows.column(label, of="labels", kind="ClassLabel", usual=("label", "labels"))
        names = names or rows.features.get(label_column, {}).get("names")
        values += [_as_label(value, file, row) for row, value in enumerate(rows.values(label_column))]
        groups = map(str, rows.values(rows.column(group, of="groups", kind="", usual=()))) if group else [""] * rows.count
        read = partial(image_bytes, rows.reader(image_column), folder)
        examples += [
            Example(Inside(file, partial(read, row)), 0, group=said, path=f"{file.name}[{row}]") for row, said in enumerate(groups)
        ]
    if not examples:
        raise DataError(f"{folder} has no rows.")
    labels, ordered = labels_in_classes(values, names, where=f"the labels of {folder}")
    labelled = [Example(e.source, number, e.group, e.path) for e, number in zip(examples, labels, strict=True)]
    return Listing(labelled, ordered)


def _as_label(value: Any, file: Path, row: int) -> str:
    if isinstance(value, (list, dict)) or value is None or value == -1:
        raise DataError(f"{file}, row {row} has the label {value!r}: expected one class per image. Write splits with labels only.")
    return str(value)


class Rows:
    """The rows of one Arrow or Parquet file; labels are read whole, images one by one."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.file = file
        self._parquet: Any = None
        self._table: Any = None
        try:
            if file.suffix == ".parquet":
                self._parquet = parquet.ParquetFile(file)
            else:
                self._table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file} cannot be read ({error}): it is missing, cut off, or no Arrow or Parquet file.") from error
        schema: Any = self._parquet.schema_arrow if self._parquet else self._table.schema
        self.columns: list[str] = schema.names
        self.count: int = self._parquet.metadata.num_rows if self._parquet else self._table.num_rows
        said = (schema.metadata or {}).get(b"huggingface")
        self.features: dict[str, Any] = json.loads(said)["info"]["features"] if said else {}

    def column(self, name: str, *, of: str, kind: str, usual: Sequence[str]) -> str:
        """Return the column of a name, or the only one that there is of a kind."""
        if name:
            if name not in self.columns:
                raise DataError(f"{self.file} has no column {name!r}{near(name, self.columns)} It has {', '.join(self.columns)}.")
            return name
        typed = [c for c, feature in self.features.items() if isinstance(feature, dict) and feature.get("_type") == kind]
        found = [c for c in usual if c in self.columns] or typed
        if len(found) != 1:
            option = "--image-column" if kind == "Image" else "--label-column"
            raise DataError(f"{self.file}: which column has the {of}? Say {option}; it has {', '.join(self.columns)}.")
        return found[0]

    def values(self, name: str) -> list[Any]:
        table = self._parquet.read(columns=[name]) if self._parquet else self._table
        found: list[Any] = table[name].to_pylist()
        return found

    def reader(self, name: str) -> Callable[[int], Any]:
        """Return a function from a row to its cell; of a Parquet file two row groups are kept."""
        if self._parquet is None:
            return lambda row: self._table[name][row].as_py()
        whole = self._parquet
        starts = [0]
        for group in range(whole.num_row_groups):
            starts.append(starts[-1] + whole.metadata.row_group(group).num_rows)

        @lru_cache(maxsize=2)
        def cells(group: int) -> Any:
            return whole.read_row_group(group, columns=[name])[name]

        def read(row: int) -> Any:
            group = next(number for number, start in enumerate(starts[1:]) if row < start)
            return cells(group)[row - starts[group]].as_py()

        return read


def image_bytes(read: Callable[[int], Any], folder: Path, row: int) -> bytes:
    """Return the bytes of an image file that a cell holds, or names.

    Raises
    ------
    ValueError
        It is no image.
    """
    cell = read(row)
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, dict) and cell.get("bytes"):
        return bytes(cell["bytes"])
    if isinstance(cell, dict) and cell.get("path"):
        data: bytes = (folder / cell["path"]).read_bytes()
        return data
    raise ValueError(f"row {row} holds no image: expected the bytes of an image file, got {type(cell).__name__}")
