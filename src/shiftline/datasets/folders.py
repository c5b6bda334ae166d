"""Images that no family knows: class folders, domains of class folders, and any torch dataset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.data.layout import folders_of, images_below, is_image, labelled, require
from shiftline.errors import DataError


def image_folder(root: Path) -> Listing:
    """List the images of ``root/<class>/...``, in the order of their paths; classes are the folders, sorted as text.

    Raises
    ------
    DataError
        The folder is missing, has no class folders, or one of them holds no images.
    """
    require(root, (), what="the image folder", source="wherever it was")
    folders = folders_of(root)
    if not folders or not any(images_below(folder) for folder in folders):
        raise DataError(
            f"{root} has no images in class folders: expected one sub-folder per class with images in it, found the sub-folders "
            f"{[folder.name for folder in folders[:8]]}."
        )
    _check_depth(root, folders, above="--images")
    examples = labelled(root, folders, what=str(root), source="wherever it was")
    return Listing(examples, tuple(folder.name for folder in folders))


def _check_depth(root: Path, classes: Sequence[Path], *, above: str) -> None:
    """Refuse folders of classes that hold folders of images only: they are one level too high."""
    if any(is_image(entry.name) for folder in classes for entry in folder.iterdir()):
        return
    inside = [folder.name for folder in folders_of(classes[0])]
    where = f"{above} {classes[0]}" if len(classes) == 1 else f"{above} {classes[0]} and so on, or --domains {root}"
    raise DataError(
        f"{classes[0]} holds no images but the folders {', '.join(inside[:5])}: the classes lie one level deeper below "
        f"{root} than expected. Say {where}."
    )


def domain_folders(root: Path) -> dict[str, Listing]:
    """List ``root/<domain>/<class>/...``: one split per domain, all with the same classes; the group is the domain.

    A class may be missing in some domains. Spaces in a domain's name become dashes in that of its split.

    Raises
    ------
    DataError
        There are fewer than two levels of folders, or no images.
    """
    require(root, (), what="the domain folders", source="wherever they were")
    domains = folders_of(root)
    classes = sorted({folder.name for domain in domains for folder in folders_of(domain)})
    if not classes:
        raise DataError(
            f"{root} has no class folders below its folders ({', '.join(d.name for d in domains[:8]) or 'it has none'}): expected "
            "DOMAIN/CLASS/images. For CLASS/images say --images."
        )
    found = {}
    for domain in domains:
        folders = [domain / name for name in classes]
        _check_depth(domain, [folder for folder in folders if folder.is_dir()], above="--domains")
        examples = [
            Example(path, label, group=domain.name, path=str(path.relative_to(root)))  # The group keeps the folder's own name.
            for label, folder in enumerate(folders)
            if folder.is_dir()
            for path in images_below(folder)
        ]
        if not examples:
            raise DataError(f"the domain {domain} holds no images: expected DOMAIN/CLASS/images.")
        found[domain.name.replace(" ", "-")] = Listing(examples, tuple(classes))
    return found


def torch_dataset(dataset: Any, *, classes: Sequence[str] | None = None, groups: Sequence[str] | None = None) -> Listing:
    """List any map-style torch dataset of (image, label) pairs.

    Parameters
    ----------
    dataset
        With ``len()`` and indexing; images are PIL images or uint8 arrays (H, W, 3). Labels are taken from its `targets` or
        `labels` where it has them, else every item is read once for its label.
    classes : sequence of str, optional
        Names by label; its `classes` unless given.
    groups : sequence of str, optional
        One per example.

    Raises
    ------
    DataError
        The dataset has no length or no items, a label is no whole number, or nobody says what the classes are.
    """
    try:
        count = len(dataset)
    except TypeError as error:
        raise DataError(
            f"{type(dataset).__name__} has no length: expected a map-style torch dataset of (image, label) pairs."
        ) from error
    names = classes if classes is not None else getattr(dataset, "classes", None)
    if names is None:
        raise DataError(f"{type(dataset).__name__} has no attribute classes: give classes=[...], names in the order of the labels.")
    labels = None
    if getattr(dataset, "target_transform", None) is None:
        labels = next((getattr(dataset, a) for a in ("targets", "labels") if hasattr(dataset, a)), None)
    if labels is None:
        labels = [_pair(dataset, row)[1] for row in range(count)]
    if len(labels) != count or (groups is not None and len(groups) != count):
        raise DataError(
            f"{type(dataset).__name__} has {count} items, {len(labels)} labels"
            f"{'' if groups is None else f' and {len(groups)} groups'}: expected as many of each."
        )
    whole = [_whole(label, f"{type(dataset).__name__}, item {row}") for row, label in enumerate(labels)]
    said = [""] * count if groups is None else [str(group) for group in groups]
    examples = [
        Example(partial(_item, dataset, row, label), label, group=group, path=str(row))
        for row, (label, group) in enumerate(zip(whole, said, strict=True))
    ]
    return Listing(examples, tuple(map(str, names)))


def _pair(dataset: Any, row: int) -> tuple[Any, Any]:
    try:
        image, label, *_ = dataset[row]
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{type(dataset).__name__}, item {row} is no pair of an image and a label ({error}).") from error
    return image, label


def _whole(label: Any, where: str) -> int:
    try:
        number = np.asarray(label).item()
        if int(number) == number:
            return int(number)
    except (TypeError, ValueError):
        pass
    raise DataError(f"{where}: the label {label!r} is no whole number.")


def _item(dataset: Any, row: int, label: int) -> Any:
    image, found = _pair(dataset, row)
    if _whole(found, f"item {row}") != label:
        raise ValueError(f"item {row} has the label {found}, the dataset's list of labels says {label}")
    if hasattr(image, "convert"):
        return image
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            f"item {row} is {pixels.dtype} of shape {pixels.shape}: expected a PIL image or uint8 (H, W, 3). Leave the dataset's "
            "transform out"
        )
    return Image.fromarray(pixels)
