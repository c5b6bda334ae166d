"""Image data sets of Hugging Face's `datasets` on disk: Arrow folders of `save_to_disk`, and Parquet files as its hub has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from shiftline.contracts.require import counted, near
from shiftline.data.examples import Example, Inside
from shiftline.data.family import Listing
from shiftline.data.listing import is_hidden
from shiftline.datasets.class_names import alike, labels_in_classes, without
from shiftline.errors import DataError


def hugging_face(
    folder: Path,
    *,
    image: str = "",
    label: str = "",
    group: str = "",
    classes: Sequence[str] | None = None,
    wanted: Sequence[str] = (),
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
    wanted : sequence of str
        Splits to list; all unless given.

    Returns
    -------
    dict of str to Listing
        By split; one, named "", where the folder is one data set without splits.

    Raises
    ------
    DataError
        There is no such data set, or no such column, or rows without a label.
    """
    files = _files(folder)
    if wanted and (absent := [split for split in wanted if split not in files]) and set(files) != {""}:
        raise DataError(f"{folder} has no split {absent[0]!r}: it has {', '.join(files)}.")
    chosen = {split: found for split, found in files.items() if not wanted or split in wanted or split == ""}
    rows = {
        split: [_Shard(file, folder, image=image, label=label, group=group) for file in found] for split, found in chosen.items()
    }
    # One list of classes for all splits, which have the same labels then.
    named = {shard.names for shards in rows.values() for shard in shards}
    if len(named) > 1:
        one, other = sorted(named, key=str)[:2]
        raise DataError(f"the files of {folder} have different lists of classes, {one} and {other}: write them apart.")
    values = [value for shards in rows.values() for shard in shards for value in shard.labels]
    ordered = next(iter(named), None)
    if classes is None and ordered is not None:
        labels = list(map({name: label for label, name in enumerate(ordered)}.__getitem__, values))
    else:
        labels, ordered = labels_in_classes(values, classes, where=f"the labels of {folder}")
    numbers = iter(labels)
    listings = {}
    for split, shards in rows.items():
        examples = [replace(example, label=next(numbers)) for shard in shards for example in shard.examples()]
        if not examples:
            raise DataError(f"{folder} has no rows{f' of {split}' if split else ''}.")
        listings[split] = Listing(examples, ordered, notes=(*without(examples, ordered), *alike(ordered)))
    return listings


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split; "" stands for a data set without splits."""
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist (looked in {Path.cwd()}).")
    if (index := folder / "dataset_dict.json").is_file():
        return {str(split): _arrow(folder / split) for split in _entry(index, "splits")}
    if (folder / "state.json").is_file():
        return {"": _arrow(folder)}
    there = {below: [p for p in sorted(below.glob("*.parquet")) if not is_hidden(p.name)] for below in (folder, folder / "data")}
    tables = [path for found in there.values() for path in found]
    if not tables:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder} is no data set of Hugging Face's datasets on disk (it has {found}): expected state.json or "
            "dataset_dict.json of save_to_disk, or SPLIT-*.parquet."
        )
    if all(there.values()):
        raise DataError(f"{folder} and {folder / 'data'} both have parquet files: move one of them away.")
    found_by: dict[str, list[Path]] = {}
    for table in tables:
        split = re.sub(r"-\d+-of-\d+(-[0-9a-f]+)?$", "", table.stem)
        # The hub's converted files are numbered, in a folder that is named as the split.
        found_by.setdefault(table.parent.name if split.isdigit() else split, []).append(table)
    for split, files in found_by.items():
        shards = [int(number) for file in files for number in re.findall(r"-\d+-of-(\d+)", file.stem)]
        if shards and (len(shards) != len(files) or len(set(shards)) > 1 or shards[0] != len(files)):
            raise DataError(
                f"{folder} has {counted(len(files), 'file')} of {split}, and their names say {max(shards)}: the copy is "
                "not complete, or holds two versions."
            )
    return found_by


def _entry(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[name]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: expected JSON with {name!r} ({type(error).__name__}).") from error


def _arrow(folder: Path) -> list[Path]:
    state = folder / "state.json"
    return [folder / str(entry["filename"]) for entry in _entry(state, "_data_files")] if state.is_file() else [state]


class _Shard:
    """One file of a split: its labels as text, and its examples with a label to be found."""

    def __init__(self, file: Path, folder: Path, *, image: str, label: str, group: str) -> None:
        self._rows, self._folder = Rows(file), folder
        self._image = self._rows.column(image, of="images", kind="Image", usual=("image", "img"))
        column = self._rows.column(label, of="labels", kind="ClassLabel", usual=("label", "labels"))
        self._group = self._rows.column(group, of="groups", kind="", usual=()) if group else ""
        self.names: tuple[str, ...] | None = self._rows.names(column)
        self.labels = [self._label(value, row) for row, value in enumerate(self._rows.values(column))]

    def _label(self, value: Any, row: int) -> str:
        where = f"{self._rows.file}, row {row}"
        if isinstance(value, (list, dict)) or value is None or value == -1:
            raise DataError(f"{where} has the label {value!r}: expected one class per image. Name the splits with labels, --split.")
        if self.names is None:
            return str(value)
        if not isinstance(value, int) or not 0 <= value < len(self.names):
            raise DataError(f"{where} has the label {value!r}: expected 0 to {len(self.names) - 1}.")
        return self.names[value]  # A class label is a position, whatever the names are.

    def examples(self) -> list[Example]:
        """Return the examples, all with the label 0."""
        file, names = self._rows.file, self._rows.names(self._group)
        groups = self._rows.values(self._group) if self._group else [""] * self._rows.count
        read = partial(image_bytes, self._rows.reader(self._image), self._folder)
        said = ["" if value is None else names[value] if names and isinstance(value, int) else str(value) for value in groups]
        return [
            Example(Inside(file, partial(read, row)), 0, group=group, path=f"{file.name}[{row}]") for row, group in enumerate(said)
        ]


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
        try:
            self.features: dict[str, Any] = json.loads(said).get("info", {}).get("features") or {} if said else {}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{file} has damaged metadata of Hugging Face's datasets ({error}).") from error

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

    def names(self, column: str) -> tuple[str, ...] | None:
        """Return the names of a column of class labels; None where it is none."""
        feature = self.features.get(column)
        names = feature.get("names") if isinstance(feature, dict) else None
        return tuple(map(str, names)) if names else None

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
