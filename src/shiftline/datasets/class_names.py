"""Labels as tables and archives write them, and the classes that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftline.contracts.require import counted, near
from shiftline.data.listing import in_class_order
from shiftline.errors import DataError


def labels_in_classes(values: Sequence[str], classes: Sequence[str] | None, *, where: str) -> tuple[list[int], tuple[str, ...]]:
    """Return the labels of written values, and the names of the classes.

    Parameters
    ----------
    values : sequence of str
        One per example: the name of its class, or a whole number.
    classes : sequence of str, optional
        Names in the order of the labels. Values are then among them, or their positions. Without, the classes are the values that
        there are: sorted as text, or in the order of the numbers where all are whole numbers.
    where : str
        For messages: "the column 'y' of labels.csv".

    Raises
    ------
    DataError
        A value is blank, or none of the classes.
    """
    if blank := [row for row, value in enumerate(values, start=1) if not value]:
        raise DataError(
            f"{where} is blank in {counted(len(blank), 'row')}, the first is row {blank[0]}: every image needs a label."
        )
    if classes is None:
        ordered, _ = in_class_order(set(values))
        label_of = {name: label for label, name in enumerate(ordered)}
        return [label_of[value] for value in values], tuple(ordered)
    label_of = {name: label for label, name in enumerate(classes)}
    by_position = {str(label): label for label in range(len(classes))}
    for known in (label_of, by_position):
        if all(value in known for value in values):
            return [known[value] for value in values], tuple(classes)
    foreign = next(value for value in values if value not in label_of)
    raise DataError(
        f"{where} has {foreign!r}, which is none of the {counted(len(classes), 'class', 'classes')}{near(foreign, classes)} "
        f"Expected their names, or their positions 0 to {len(classes) - 1}."
    )


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the names of classes from a text file: one a line, in the order of the labels.

    Raises
    ------
    DataError
        There is no such file, it is no UTF-8 text, or has a name twice.
    """
    if not path.is_file():
        raise DataError(f"there is no file of class names {path} (looked in {Path.cwd()}).")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start}): expected one class name a line.") from error
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} has the class {twice[0]!r} twice: expected one name a line, in the order of the labels.")
    return tuple(names)
