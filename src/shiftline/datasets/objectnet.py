"""ObjectNet: 113 of its classes cover 125 of ImageNet's; its own mapping files say which."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from shiftline.contracts.label_spaces import many_to_one
from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.data.listing import images_below
from shiftline.datasets.imagenet import synsets
from shiftline.errors import DataError

MAPPINGS = (
    "folder_to_objectnet_label.json",
    "objectnet_to_imagenet_1k.json",
    "pytorch_to_imagenet_2012_id.json",
    "imagenet_to_label_2012_v2",
)
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
    position = {number: int(label) for label, number in json.loads((mappings / MAPPINGS[2]).read_text()).items()}
    lines = (mappings / MAPPINGS[3]).read_text().splitlines()
    folder_of = {label: folder for folder, label in label_of.items()}
    found = {}
    try:
        wnid_of = {line.strip(): synsets()[position[number]] for number, line in enumerate(lines) if line.strip()}
        for label, names in imagenet_of.items():
            found[folder_of[label]] = (label, tuple(wnid_of[name] for name in names.split("; ")))
    except (KeyError, IndexError) as error:
        raise DataError(
            f"the mapping files in {mappings} do not fit each other ({error} is in one and not in another). Get them again from "
            f"{ObjectNet.source}."
        ) from error
    return found


def _without_border(path: Path) -> Any:
    from PIL import Image

    image = Image.open(path)
    return image.crop((BORDER, BORDER, image.width - BORDER, image.height - BORDER))


class ObjectNet(DatasetFamily):
    """Objects at unusual angles and in unusual rooms; the red border of its images is cut off."""

    name = "objectnet"
    title = "ObjectNet (Barbu et al. 2019)"
    splits = ("test",)
    classes = "113, which cover 125 of ImageNet's"
    folders = ("objectnet-1.0", "objectnet")
    layout = "images/FOLDER/*.png; mappings/ with its four files"
    licence = "CC BY 4.0, never to be trained on; the red border of 2 px is cut off"
    source = "https://objectnet.dev"
    counts: ClassVar = {"test": 18_574}

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, ["images", *(f"mappings/{name}" for name in MAPPINGS)], split)
        classes = dict(sorted(mapped_classes(folder / "mappings").items()))
        if any(not (folder / "images" / name).is_dir() for name in classes):
            self.class_folders(folder / "images", list(classes), split)
        if empty := [name for name in classes if not images_below(folder / "images" / name)]:
            raise DataError(
                f"objectnet/{split}: {len(empty)} of {len(classes)} class folders of {folder / 'images'} hold no images: "
                f"{', '.join(empty[:5])}. The download is not complete; get it from {self.source}."
            )
        examples = [
            Example(partial(_without_border, path), label, path=str(path.relative_to(folder)))
            for label, name in enumerate(classes)
            for path in images_below(folder / "images" / name)
        ]
        space = many_to_one("objectnet", {f"objectnet:{name}": wnids for name, (_, wnids) in classes.items()})
        ids = tuple(f"objectnet:{name}" for name in classes)
        readable = tuple(name.lower() for name, _ in classes.values())
        return Listing(examples, readable, Description(ids, space, subsets=("test",)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "mappings").is_dir()
