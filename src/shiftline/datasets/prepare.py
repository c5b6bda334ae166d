"""Data comes first: sets that make their own images are written on first use, others must be there before a study is planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shiftline.contracts.distributions import Split
from shiftline.contracts.records import SplitRecord
from shiftline.data import beton
from shiftline.data.examples import Description, Encoding, Example
from shiftline.data.family import Listing
from shiftline.data.readers import PlainReader
from shiftline.data.sidecar import DataFolder, Sidecar
from shiftline.data.writer import write_split
from shiftline.datasets.catalogue import Catalogue, catalogue
from shiftline.datasets.folders import torch_dataset
from shiftline.errors import DataError


def split_records(folder: DataFolder, splits: Iterable[Split], *, known: Catalogue | None = None) -> dict[Split, SplitRecord]:
    """Return the records of all splits, writing those that are missing of data sets that make their own images.

    Parameters
    ----------
    known : Catalogue, optional
        shiftline's and installed plug-ins' unless given.

    Raises
    ------
    DataError
        A split has not been written or has changed. All splits are looked at before anything is written.
    """
    splits = list(splits)
    missing = [split for split in splits if not folder.has(split) or folder.is_outdated(split)]
    known = known or (catalogue() if missing else Catalogue({}))
    missing = [split for split in missing if not folder.has(split) or known.generates(split.dataset)]
    absent = [split for split in missing if not known.generates(split.dataset)]
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
        family = known.named(split.dataset)
        write_listing(folder, split, family.listing(folder.root, split.split), encoding=family.encoding(split.split))
    return {split: folder.open(split).record for split in splits}


def write_listing(
    folder: DataFolder,
    split: Split,
    listing: Listing,
    *,
    encoding: Encoding,
    threads: int = 2,
    skip_damaged: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Sidecar:
    """Write what was listed as a split: see `shiftline.data.writer.write_split`."""
    return write_split(
        folder,
        split,
        listing.examples,
        classes=listing.classes,
        encoding=encoding,
        description=listing.description,
        threads=threads,
        skip_damaged=skip_damaged,
        advance=advance,
    )


def write_dataset(
    dataset: Any,
    split: Split,
    *,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    store: str | os.PathLike[str] = "results",
    encoding: Encoding = Encoding(),
    threads: int = 2,
) -> Split:
    """Write any map-style torch dataset of (image, label) pairs as a split, so that studies can name it.

    ::

        birds = sl.write_dataset(MyBirds(root, transform=None), sl.Split("my-birds", "test"))

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
    write_listing(DataFolder(Path(store) / "data"), split, listing, encoding=encoding, threads=threads)
    return split


def join_splits(folder: DataFolder, into: Split, sources: Sequence[Split], *, threads: int = 2) -> Sidecar:
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
        origin = str(sidecar.split)
        examples += [
            Example(
                partial(reader.stored, row),
                labels[index.labels[row]],
                group=origin,
                path=f"{origin}[{row}]",
                metadata={"source": number, "source_id": row},
            )
            for row in range(len(index))
        ]
    subsets = tuple(dict.fromkeys(subset for sidecar in opened for subset in sidecar.record.subsets))
    description = Description(first.class_ids, subsets=subsets)
    return write_split(folder, into, examples, classes=first.classes, description=description, threads=threads)


def _labels_in(first: SplitRecord, other: Sidecar) -> list[int]:
    """Return the label among the first split's classes of each class of another one: the first that it covers.

    Raises
    ------
    DataError
        A class is none of them and covers none of them.
    """
    label_of = {class_id: label for label, class_id in enumerate(first.ids)}
    covers = {} if other.record.space is None else {group[0]: group for group in other.record.space.members}
    labels = []
    for class_id in other.record.ids:
        found = [label_of[member] for member in (class_id, *covers.get(class_id, ())) if member in label_of]
        if not found:
            raise DataError(
                f"{other.split} has the class {class_id!r}, which is none of the first split's and covers none of them: "
                "name the split with the most classes first."
            )
        labels.append(found[0])
    return labels
