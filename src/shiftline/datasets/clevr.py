"""Counting the objects of CLEVR's scenes: a task of the patching paper, from VTAB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.held_out import held_out_at_random, subset_of

FEWEST, MOST = 3, 10
"""Objects in a scene."""


class ClevrCounts(DatasetFamily):
    """The label is the number of objects, 3 to 10; "test" is the published validation split, whose test split has no labels."""

    name = "clevr-counts"
    title = "CLEVR, counting objects (Johnson et al. 2017; Zhai et al. 2019)"
    splits = ("train", "val", "test", "train-whole")
    classes = "8"
    folders = ("CLEVR_v1.0", "clevr")
    layout = "images/train/*.png, images/val/*.png, scenes/CLEVR_train_scenes.json, CLEVR_val_scenes.json"
    licence = "CC BY 4.0"
    source = "https://cs.stanford.edu/people/jcjohns/clevr/"
    counts: ClassVar = {"train-whole": 70_000, "test": 15_000}

    def list_split(self, folder: Path, split: str) -> Listing:
        published = "val" if split == "test" else "train"
        scenes = f"scenes/CLEVR_{published}_scenes.json"
        self.require(folder, [scenes, f"images/{published}"], split)
        rows = json.loads((folder / scenes).read_text(encoding="utf-8"))["scenes"]
        names = [f"images/{published}/{row['image_filename']}" for row in rows]
        examples: list[Example] = self.files(folder, names, [len(row["objects"]) - FEWEST for row in rows], split)
        subsets: tuple[str, ...] = ("test",)
        if split != "test":
            examples, subsets = subset_of(examples, held_out_at_random(len(examples)), split, held_out_name="val")
        return Listing(examples, tuple(map(str, range(FEWEST, MOST + 1))), Description(subsets=subsets))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "scenes").is_dir()
