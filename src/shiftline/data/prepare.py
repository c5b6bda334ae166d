"""Data comes first: built-in sets are written on first use, others must be there before a study is planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shiftline.data import beton
from shiftline.data.families.family import Listing
from shiftline.data.families.folders import torch_dataset
from shiftline.data.readers import PlainReader
from shiftline.data.sidecar import DataFolder, Sidecar
from shiftline.data.writer import Description, Encoding, Example, write_split
from shiftline.declare.distributions import Split
from shiftline.errors import DataError
from shiftline.plan.records import SplitRecord

BUILT_IN = {
    Split("digits", "train"), Split("digits", "val"), Split("digits", "test"), Split("typed-digits", "test"),
    Split("typed-letters", "train"), Split("typed-letters", "val"),
}  # fmt: skip


def split_records(folder: DataFolder, splits: Iterable[Split]) -> dict[Split, SplitRecord]:
    """Return the records of all splits, writing the built-in ones that are missing.

    Raises
    ------
    DataError
        A split has not been written or has changed. All splits are looked at before anything is written.
    """
    splits = list(splits)
    missing = [split for split in splits if not folder.has(split) or (split in BUILT_IN and folder.is_outdated(split))]
    absent = [split for split in missing if split not in BUILT_IN]
    if len(absent) > 1:
        commands: dict[str, str] = {}
        for split in absent:
            commands[split.dataset] = (
                commands.get(split.dataset, f"shiftline data write {split.dataset}") + f" --split {split.split}"
            )
        raise DataError(
            f"{len(absent)} splits are not in the data folder {folder.root}: {', '.join(map(str, absent))}. Write them first (with "
            "--root FOLDER where the data sets are, or --images FOLDER for images of your own):\n  "
            + "\n  ".join(commands.values())
        )
    if absent:
        folder.open(absent[0])
    for split in missing:
        _write_built_in(folder, split)
    return {split: folder.open(split).record for split in splits}


def _write_built_in(folder: DataFolder, split: Split) -> None:
    from shiftline.data.digits import handwritten, typed, typed_letters

    if split.dataset == "typed-digits":
        arrays = typed()
    else:
        arrays = (handwritten if split.dataset == "digits" else typed_letters)(split.split)
    examples = [
        Example(image, int(label), group=group)
        for image, label, group in zip(arrays.images, arrays.labels, arrays.groups, strict=True)
    ]
    write_split(folder, split, examples, classes=arrays.classes, encoding=Encoding("raw"))


def write_listing(
    folder: DataFolder,
    split: Split,
    listing: Listing,
    *,
    encoding: Encoding,
    workers: int = 2,
    skip_damaged: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Sidecar:
    """Write what was listed as a split: see `shiftline.data.writer.write_split`."""
    return write_split(
        folder, split, listing.examples, classes=listing.classes, encoding=encoding, description=listing.description,
        workers=workers, skip_damaged=skip_damaged, advance=advance,
    )  # fmt: skip


def write_dataset(
    dataset: Any,
    split: Split,
    *,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    store: str | os.PathLike[str] = "results",
    encoding: Encoding = Encoding(),
    workers: int = 2,
) -> Split:
    """Write any map-style torch dataset of (image, label) pairs as a split, so that studies can name it.

    ::

        from shiftline import Split, write_dataset

        birds = write_dataset(MyBirds(root, transform=None), Split("my-birds", "test"))

    Parameters
    ----------
    dataset
        Images are PIL images or uint8 arrays (H, W, 3), labels whole numbers.
    classes : sequence of str, optional
        Names by label; the dataset's `classes` unless given.
    groups : sequence of str, optional
        One per example: environments, regions, backgrounds.
    store : path
        The folder of results that the data are written to.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        The dataset is none, or an image cannot be read; nothing is written then.
    """
    if not isinstance(split, Split):
        raise DataError(f'the split is {split!r}: expected a name, Split("my-set", "test").')
    listing = torch_dataset(dataset, classes=classes, groups=groups)
    write_listing(DataFolder(Path(store) / "data"), split, listing, encoding=encoding, workers=workers)
    return split


def join_splits(folder: DataFolder, into: Split, sources: Sequence[Split], *, workers: int = 2) -> Sidecar:
    """Write the examples of several splits to one file, in their order, with their bytes unchanged.

    Labels are those of the first split's classes; the group of an example is the split that it comes from, and the columns
    `source_id` and `source` hold its id there and the position of the split in `sources`.

    Raises
    ------
    DataError
        A split is not written, or has classes that the first one lacks.
    """
    opened = [folder.open(source) for source in sources]
    first = opened[0].record
    examples: list[Example] = []
    for number, sidecar in enumerate(opened):
        labels = _labels_in(first, sidecar)
        index = beton.read_index(sidecar.beton)
        reader = PlainReader(index)
        examples += [
            Example(
                partial(reader.stored, row), labels[index.labels[row]], group=str(sidecar.split), path=f"{sidecar.split}[{row}]",
                metadata={"source": number, "source_id": row},
            )
            for row in range(len(index))
        ]  # fmt: skip
    parts = tuple(dict.fromkeys(part for sidecar in opened for part in sidecar.record.parts))
    description = Description(first.class_ids, parts=parts)
    return write_split(folder, into, examples, classes=first.classes, description=description, workers=workers)


def _labels_in(first: SplitRecord, other: Sidecar) -> list[int]:
    """Return the label among the first split's classes of each class of another one: the first that it covers.

    Raises
    ------
    DataError
        A class is none of them and covers none of them.
    """
    place = {class_id: label for label, class_id in enumerate(first.ids)}
    covers = {} if other.record.space is None else {group[0]: group for group in other.record.space.members}
    labels = []
    for class_id in other.record.ids:
        found = [place[member] for member in (class_id, *covers.get(class_id, ())) if member in place]
        if not found:
            raise DataError(
                f"{other.split} has the class {class_id!r}, which is none of the first split's and covers none of them: "
                "name the split with the most classes first."
            )
        labels.append(found[0])
    return labels
