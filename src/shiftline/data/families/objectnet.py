"""ObjectNet: 113 of its classes cover 125 of ImageNet's; its own mapping files say which."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.imagenet import synsets
from shiftline.data.families.layout import class_folders, images_below, require, require_split
from shiftline.data.writer import Description, Example
from shiftline.declare.label_spaces import many_to_one
from shiftline.errors import DataError

MAPPINGS = (
    "folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json", "pytorch_to_imagenet_2012_id.json",
    "imagenet_to_label_2012_v2",
)  # fmt: skip
BORDER = 2
"""Width in pixels of the red border around every image."""


def mapped_classes(mappings: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return name and WordNet ids of every class folder that overlaps with ImageNet, by folder.

    Raises
    ------
    DataError
        The mapping files contradict each other.
    """
    label_of = json.loads((mappings / MAPPINGS[0]).read_text())
    imagenet_of = json.loads((mappings / MAPPINGS[1]).read_text())
    # From the position in the order of the ILSVRC 2012 ids to the label in alphabetical order of WordNet ids.
    place = {number: int(label) for label, number in json.loads((mappings / MAPPINGS[2]).read_text()).items()}
    lines = (mappings / MAPPINGS[3]).read_text().splitlines()
    folder_of = {label: folder for folder, label in label_of.items()}
    found = {}
    try:
        wnid_of = {line.strip(): synsets()[place[number]] for number, line in enumerate(lines) if line.strip()}
        for label, names in imagenet_of.items():
            found[folder_of[label]] = (label, tuple(wnid_of[name] for name in names.split("; ")))
    except (KeyError, IndexError) as error:
        raise DataError(
            f"the mapping files in {mappings} do not fit each other ({error} is in one and not in another). Get them again from "
            f"{OBJECTNET.source}."
        ) from error
    return found


def _without_border(path: Path) -> Any:
    from PIL import Image

    image = Image.open(path)
    return image.crop((BORDER, BORDER, image.width - BORDER, image.height - BORDER))


def _objectnet(root: Path, split: str) -> Listing:
    what = f"objectnet/{split}"
    require_split(split, ("test",), what="objectnet")
    require(root, ["images", *(f"mappings/{name}" for name in MAPPINGS)], what=what, source=OBJECTNET.source)
    classes = dict(sorted(mapped_classes(root / "mappings").items()))
    present = [folder for folder in classes if (root / "images" / folder).is_dir()]
    if len(present) < len(classes):
        class_folders(root / "images", list(classes), what=what, source=OBJECTNET.source)
    if empty := [folder for folder in classes if not images_below(root / "images" / folder)]:
        raise DataError(
            f"{what}: {len(empty)} of {len(classes)} class folders of {root / 'images'} hold no images: {', '.join(empty[:5])}. "
            f"The download is not complete; get it from {OBJECTNET.source}."
        )
    examples = [
        Example(partial(_without_border, path), label, path=str(path.relative_to(root)))
        for label, folder in enumerate(classes)
        for path in images_below(root / "images" / folder)
    ]
    space = many_to_one("objectnet", {f"objectnet:{folder}": wnids for folder, (_, wnids) in classes.items()})
    return Listing(
        examples, tuple(name.lower() for name, _ in classes.values()),
        Description(tuple(f"objectnet:{folder}" for folder in classes), space, parts=("test",)),
    )  # fmt: skip


OBJECTNET = Family(
    "objectnet", "ObjectNet (Barbu et al. 2019)", ("test",), "113, which cover 125 of ImageNet's", ("objectnet-1.0", "objectnet"),
    "images/FOLDER/*.png; mappings/ with its four files", "CC BY 4.0, never to be trained on; the red border of 2 px is cut off",
    "https://objectnet.dev", _objectnet, lambda root, _: (root / "mappings").is_dir(), counts={"test": 18_574},
)  # fmt: skip
FAMILIES = (OBJECTNET,)
