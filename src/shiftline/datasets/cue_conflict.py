"""Images whose shape is of one class and whose texture is of another (Geirhos et al. 2019), in sixteen classes above ImageNet's."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from shiftline.contracts.label_spaces import LabelSpace, many_to_one
from shiftline.data.examples import Description
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.imagenet import synsets
from shiftline.errors import DataError

SIXTEEN = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385-386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
"""16-class-ImageNet (Geirhos et al. 2018): the labels of ImageNet that each class covers, 207 in all."""


@functools.cache
def sixteen_classes() -> LabelSpace:
    """Return the space of the sixteen classes over ImageNet's WordNet ids."""
    wnids = synsets()
    covered = {}
    for name, ranges in SIXTEEN.items():
        ends = [tuple(map(int, word.split("-"))) for word in ranges.split()]
        covered[f"16:{name}"] = [wnids[label] for end in ends for label in range(end[0], end[-1] + 1)]
    return many_to_one("16-class-imagenet", covered)


class CueConflict(DatasetFamily):
    """The label is the shape's class; the group, and the column `texture` as a label, are the texture's."""

    name = "cue-conflict"
    title = "Cue conflict, shape against texture (Geirhos et al. 2019)"
    splits = ("test",)
    classes = "16, which cover 207 of ImageNet's"
    groups = "class of the texture"
    folders = ("cue-conflict", "style-transfer-preprocessed-512", "texture-vs-shape/stimuli/style-transfer-preprocessed-512")
    layout = "SHAPE/SHAPE1-TEXTURE2.png"
    licence = "see its DATASET_LICENSE"
    source = "https://github.com/rgeirhos/texture-vs-shape (stimuli)"
    counts: ClassVar = {"test": 1280}

    def list_split(self, folder: Path, split: str) -> Listing:
        names = tuple(SIXTEEN)
        examples = []
        for example in self.labelled(folder, self.class_folders(folder, names, split), split):
            found = re.fullmatch(r"([a-z]+)\d+-([a-z]+)\d+", Path(example.path).stem)
            if found is None or found[1] != names[example.label] or found[2] not in names:
                raise DataError(f"{self.name}/{split}: the name {example.path} says no shape and texture: expected {self.layout}.")
            examples.append(replace(example, group=found[2], metadata={"texture": names.index(found[2])}))
        space = sixteen_classes()
        ids = tuple(group[0] for group in space.members)
        return Listing(examples, names, Description(ids, space, ("accuracy", "shape-bias")))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "airplane").is_dir() and (folder / "oven").is_dir()
