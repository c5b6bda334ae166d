"""Images that a table lists: a row per image, with its file, its label, and perhaps its group and split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shiftline.contracts.require import counted, near
from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.datasets.class_names import alike, labels_in_classes, without
from shiftline.errors import AnalysisError, DataError


def labelled_table(
    path: Path,
    *,
    path_column: str,
    label_column: str,
    group_column: str = "",
    split_column: str = "",
    images: Path | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Listing]:
    """List the images of a table, in the order of its rows.

    Parameters
    ----------
    path : Path
        csv, tsv, xlsx, parquet or jsonl; cells are text as they stand.
    path_column : str
        Column of the files' paths: absolute, or from the folder `images`; from that of the table unless it is given.
    label_column : str
        Column of class names, or of whole numbers.
    group_column, split_column : str
        Columns of groups and of splits, where there are some.
    classes : sequence of str, optional
        Names in the order of the labels: see `labels_in_classes`.

    Returns
    -------
    dict of str to Listing
        By split; one, named "", where no column says which.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column or a label, or names a file that is not there or twice.
    """
    from shiftline.analysis.table_files import as_text, read_table  # It loads pandas: `shiftline data list` does without.

    try:
        table = read_table(path)
    except AnalysisError as error:
        raise DataError(str(error)) from error
    for column in filter(None, (path_column, label_column, group_column, split_column)):
        if column not in table.columns:
            columns = [str(name) for name in table.columns]
            raise DataError(f"{path} has no column {column!r}{near(column, columns)} Its columns are {', '.join(columns)}.")
        if list(table.columns).count(column) > 1:
            raise DataError(f"{path} has the column {column!r} twice: rename one of them.")
    files = [os.path.expanduser(str(cell)) for cell in as_text(table[path_column])]  # noqa: PTH111 - cells stay as they stand.
    values = [str(cell) for cell in as_text(table[label_column])]
    labels, names = labels_in_classes(values, classes, where=f"the column {label_column!r} of {path}")
    groups = [str(cell) for cell in as_text(table[group_column])] if group_column else [""] * len(files)
    splits = [str(cell) for cell in as_text(table[split_column])] if split_column else [""] * len(files)
    _check_files(path, files, images or path.parent)
    if split_column and "" in splits:
        raise DataError(f"the column {split_column!r} of {path} is blank in row {splits.index('') + 1}: say each row's split.")
    root = images or path.parent
    found: dict[str, list[Example]] = {split: [] for split in dict.fromkeys(splits)}
    for file, label, group, split in zip(files, labels, groups, splits, strict=True):
        found[split].append(Example(root / file, label, group=group, path=file))
    return {split: Listing(examples, names, notes=(*without(examples, names), *alike(names))) for split, examples in found.items()}


def _check_files(path: Path, files: Sequence[str], root: Path) -> None:
    # One image under two names, in two splits, would be trained on and tested.
    real = [os.path.realpath(root / file) for file in files]
    if twice := [file for file, times in Counter(real).items() if times > 1]:
        rows = [row for row, file in enumerate(real, start=1) if file == twice[0]]
        raise DataError(
            f"{path} names {files[rows[0] - 1]!r} in the rows {rows[0]} and {rows[1]} ({counted(len(twice), 'file')} twice "
            "or more): expected one row per image."
        )
    missing = [file for file in files if not os.path.isfile(root / file)]  # noqa: PTH113 - a Path per file is slow.
    if missing:
        raise DataError(
            f"{len(missing)} of the {counted(len(files), 'file')} that {path} names are not there; the first is {missing[0]!r}, "
            f"looked for as {root / missing[0]}. Paths begin in the folder that --images names, else beside the table"
            + (", and have / between folders." if "\\" in missing[0] else ".")
        )
