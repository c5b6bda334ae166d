"""Sets of images in classes above ImageNet's: cue conflict (Geirhos et al. 2019) and LAION-C (Li et al. 2025)."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


LAION_C = {
    "ball": "429-430 768 805 852 890",
    "bird": SIXTEEN["bird"],
    "boat": "472 510 554 576 625 814 914",
    "bottle": SIXTEEN["bottle"],
    "butterfly": "321-326",
    "car_truck": "436 511 555 569 656 675 717 734 817 864 867",
    "cat": SIXTEEN["cat"],
    "chair": "423 559 703 765 831 857",
    "dog": SIXTEEN["dog"],
    "fish": "0-4 147-148 393-397",
    "fruit": "948-951 953-954",
    "instruments": "401-402 420 432 546 558 566 579 593-594 776 881 889",
    "primate": "365-382",
    "snakes": "52-55 57-68",
    "timekeeping": "409 530-531 826 835 892",
    "tools": "491 499 587 596 740 784 792",
}
"""LAION-C's superclasses, 285 of ImageNet's labels in all."""


def superclass_space(name: str, covered: Mapping[str, str]) -> LabelSpace:
    """Return the label space of classes that cover ranges of ImageNet's labels ("294-297 404")."""
    wnids = synsets()
    members = {}
    for own, ranges in covered.items():
        ends = [tuple(map(int, word.split("-"))) for word in ranges.split()]
        members[f"{name}:{own}"] = [wnids[label] for end in ends for label in range(end[0], end[-1] + 1)]
    return many_to_one(name, members)


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
        space = superclass_space("16-class-imagenet", SIXTEEN)
        ids = tuple(group[0] for group in space.members)
        return Listing(examples, names, Description(ids, space, ("accuracy", "shape-bias")))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "airplane").is_dir() and (folder / "oven").is_dir()


class LaionC(DatasetFamily):
    """Six distortions that web-scale training data do not have, at five levels; a model answers as everywhere here, by its highest
    logit among the members of a class, where the publication takes the mean of their probabilities."""

    name = "laion-c"
    title = "LAION-C (Li et al. 2025)"
    distortions = ("mosaic", "glitched", "vertical_lines", "geometric_shapes", "stickers", "luminance_checkerboard")
    splits = tuple(f"{distortion}-{level}" for distortion in distortions for level in range(1, 6))
    classes = "16, which cover 285 of ImageNet's"
    folders = ("laion-c", "LAION-C", "laionc")
    layout = "DISTORTION/intensity_level_LEVEL/SUPERCLASS/*"
    licence = "MIT (the code; images as LAION's)"
    source = "https://zenodo.org/records/14051887"

    def list_split(self, folder: Path, split: str) -> Listing:
        distortion, _, level = split.rpartition("-")
        below = f"{distortion}/intensity_level_{level}"
        self.require(folder, [below], split)
        names = tuple(LAION_C)
        examples = self.labelled(folder, self.class_folders(folder / below, names, split), split)
        space = superclass_space("laion-c", LAION_C)
        ids = tuple(group[0] for group in space.members)
        return Listing(examples, tuple(name.replace("_", " or ") for name in names), Description(ids, space))

    def has(self, folder: Path, split: str) -> bool:
        distortion, _, level = split.rpartition("-")
        return (folder / distortion / f"intensity_level_{level}").is_dir()
