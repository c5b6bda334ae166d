"""Images that no family knows: class folders, domains of class folders, and any torch dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.contracts.require import counted
from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.data.layout import require
from shiftline.data.listing import IMAGE_SUFFIXES, Tree, folders_of, in_class_order
from shiftline.errors import DataError


def image_folder(root: Path) -> Listing:
    """List the images of ``root/<class>/...``, in the order of their paths.

    Classes are the folders: in the order of numbers where all their names are whole numbers, else sorted as text. Hidden and system
    entries are left out at every depth, links are followed, and what is no image is counted in the notes: see
    `shiftline.data.listing`.

    Raises
    ------
    DataError
        The folder is missing, has no class folders, or one of them holds no images.
    """
    require(root, (), what="the image folder", source="")
    tree = Tree()
    names, notes = in_class_order(folder.name for folder in tree.folders_of(root))
    if not names:
        flat = sum(count for suffix, count in tree.others.items() if suffix in IMAGE_SUFFIXES)
        raise DataError(
            f"{root} holds {counted(flat, 'image')} and no sub-folders: expected one sub-folder per class, with its images in it, "
            f"such as {root / 'cat' / '1.jpg'}."
        )
    images = {name: tree.images_below(root / name) for name in names}
    if not any(images.values()):
        left_out = "; ".join(tree.notes()) or "they are empty"
        raise DataError(
            f"{root} has no images in its sub-folders {', '.join(names[:8])} ({left_out}): expected one sub-folder per class, with "
            f"its images in it. Files are taken that end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    _check_depth(root, images, above="--images")
    if empty := [name for name in names if not images[name]]:
        raise DataError(
            f"{len(empty)} of {len(names)} class folders of {root} hold no images: {', '.join(empty[:5])}"
            f"{' ...' if len(empty) > 5 else ''}. Fill them, or move what is no class away."
        )
    examples = [Example(path, label, path=str(path.relative_to(root))) for label, name in enumerate(names) for path in images[name]]
    return Listing(examples, tuple(names), notes=(*notes, *tree.notes()))


def _check_depth(root: Path, images: Mapping[str, Sequence[Path]], *, above: str) -> None:
    """Refuse folders of classes that hold folders of images only: they are one level too high."""
    if any(path.parent == root / name for name, paths in images.items() for path in paths):
        return
    first = root / next(name for name, paths in images.items() if paths)
    inside = [folder.name for folder in folders_of(first)]
    where = f"{above} {first}" if len(images) == 1 else f"{above} {first} and so on, or --domains {root}"
    raise DataError(
        f"{first} holds no images but the folders {', '.join(inside[:5])}: the classes lie one level deeper below "
        f"{root} than expected. Say {where}."
    )


def domain_folders(root: Path) -> dict[str, Listing]:
    """List ``root/<domain>/<class>/...``: one split per domain, all with the same classes; the group is the domain.

    A class may be missing in some domains. Spaces in a domain's name become dashes in that of its split. Folders are listed as by
    `image_folder`.

    Raises
    ------
    DataError
        There are fewer than two levels of folders, or no images; or two domains have one name without spaces.
    """
    require(root, (), what="the domain folders", source="")
    above = Tree()
    domains = above.folders_of(root)
    trees = {domain: Tree() for domain in domains}
    there = {domain: [folder.name for folder in tree.folders_of(domain)] for domain, tree in trees.items()}
    classes, order = in_class_order({name for names in there.values() for name in names})
    if not classes:
        raise DataError(
            f"{root} has no class folders below its folders ({', '.join(d.name for d in domains[:8]) or 'it has none'}): expected "
            "DOMAIN/CLASS/images. For CLASS/images say --images."
        )
    found: dict[str, Listing] = {}
    for domain, tree in trees.items():
        images = {name: tree.images_below(domain / name) for name in classes if name in there[domain]}
        if not any(images.values()):
            raise DataError(f"the domain {domain} holds no images: expected DOMAIN/CLASS/images.")
        _check_depth(domain, images, above="--domains")
        examples = [
            Example(path, label, group=domain.name, path=str(path.relative_to(root)))  # The group keeps the folder's own name.
            for label, name in enumerate(classes)
            for path in images.get(name, ())
        ]
        split = domain.name.replace(" ", "-")
        if split in found:
            raise DataError(f"{root} has two domains that would become the split {split!r}: rename one of them.")
        empty = [name for name in classes if not images.get(name)]
        absent = (f"without {counted(len(empty), 'class', 'classes')}: {', '.join(empty[:5])}",) if empty else ()
        found[split] = Listing(examples, tuple(classes), notes=(*order, *absent, *tree.notes()))
    if notes := above.notes():
        first = next(iter(found))
        found[first] = replace(found[first], notes=(*found[first].notes, *(f"beside the domains, {note}" for note in notes)))
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
