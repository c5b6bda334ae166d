"""Data comes first: built-in sets are written on first use, others must be there before a study is planned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shiftline.data.sidecar import DataFolder
from shiftline.data.writer import Encoding, Example, write_split
from shiftline.declare.distributions import Split
from shiftline.errors import DataError
from shiftline.plan.records import SplitRecord

BUILT_IN = {
    Split("digits", "train"), Split("digits", "val"), Split("digits", "test"), Split("typed-digits", "test"),
}  # fmt: skip
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def split_records(folder: DataFolder, splits: Iterable[Split]) -> dict[Split, SplitRecord]:
    """Return the records of all splits, writing the built-in ones that are missing.

    Raises
    ------
    DataError
        A split has not been written or has changed. All splits are looked at before anything is written.
    """
    splits = list(splits)
    missing = [split for split in splits if not folder.has(split)]
    for split in missing:
        if split not in BUILT_IN:
            folder.open(split)
    for split in missing:
        _write_built_in(folder, split)
    return {split: folder.open(split).record for split in splits}


def _write_built_in(folder: DataFolder, split: Split) -> None:
    from shiftline.data.digits import handwritten, typed

    arrays = handwritten(split.split) if split.dataset == "digits" else typed()
    examples = [
        Example(image, int(label), group=group)
        for image, label, group in zip(arrays.images, arrays.labels, arrays.groups, strict=True)
    ]
    write_split(folder, split, examples, classes=arrays.classes, encoding=Encoding("raw"))


def image_folder(root: Path) -> tuple[list[Example], list[str]]:
    """List the images of ``root/<class>/...``, in the order of their paths.

    Returns
    -------
    examples, classes
        Classes are the sub-folders' names, sorted as text.

    Raises
    ------
    DataError
        The folder is missing or has no images below class folders.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: expected one sub-folder per class with images in it.")
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    examples = [
        Example(path, label, path=str(path.relative_to(root)))
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not examples:
        raise DataError(
            f"{root} has no images: expected one sub-folder per class with images in it, found the sub-folders "
            f"{classes[:8]}."
        )
    return examples, classes
