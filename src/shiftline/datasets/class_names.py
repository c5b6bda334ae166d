"""Labels as tables and archives write them, and the classes that they name."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from shiftline.contracts.require import counted, near
from shiftline.data.examples import Example
from shiftline.data.listing import in_class_order
from shiftline.errors import DataError


def labels_in_classes(values: list[str], classes: Sequence[str] | None, *, where: str) -> tuple[list[int], tuple[str, ...]]:
    """Return the labels of written values, and the names of the classes.

    Parameters
    ----------
    values : list of str
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
    if (unlabelled := values.count("-1")) and (classes is None or "-1" not in classes):
        raise DataError(f"{where} is -1 in {counted(unlabelled, 'row')}, which stands for no label: leave these images out.")
    if classes is None:
        ordered, _ = in_class_order(set(values))
        label_of = {name: label for label, name in enumerate(ordered)}
        return [label_of[value] for value in values], tuple(ordered)
    label_of = {name: label for label, name in enumerate(classes)}
    by_position = {str(label): label for label in range(len(classes))}
    named, placed = ([known.get(value, -1) for value in values] for known in (label_of, by_position))
    if min(named) >= 0 and min(placed) >= 0 and named != placed:
        raise DataError(
            f"{where} holds numbers, and the classes are named by other numbers ({', '.join(classes[:3])}, ...): are they names or "
            "positions? Give the classes names that are no numbers."
        )
    for found in (named, placed):
        if min(found) >= 0:
            return found, tuple(classes)
    foreign = next(value for value in values if value not in label_of and value not in by_position)
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
    if not names:
        raise DataError(f"{path} names no class: expected one a line, in the order of the labels.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} has the class {twice[0]!r} twice: expected one name a line, in the order of the labels.")
    return tuple(names)


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a note where classes may be one that is written in several ways: "01" and "1", "Cat" and "cat"."""
    by_form: dict[str, list[str]] = {}
    for name in classes:
        form = unicodedata.normalize("NFKC", name).casefold().strip()
        by_form.setdefault(str(int(form)) if form.isascii() and form.isdigit() else form, []).append(name)
    several = [names for names in by_form.values() if len(names) > 1]
    return tuple(f"the classes {' and '.join(map(repr, names))} are apart: is it one class?" for names in several[:3])


def without(examples: Sequence[Example], classes: Sequence[str]) -> tuple[str, ...]:
    """Return a note where a split has no example of some classes."""
    there = {example.label for example in examples}
    absent = [name for label, name in enumerate(classes) if label not in there]
    return (f"without {counted(len(absent), 'class', 'classes')}: {', '.join(absent[:5])}",) if absent else ()
