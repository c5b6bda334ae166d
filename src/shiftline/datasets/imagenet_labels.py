"""Other labels of ImageNet's images: several right ones (ReaL), what makes an image unusual (X), and a set of hard ones (Hard)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from shiftline.data.examples import Description, Example, Inside
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.hugging_face import Rows, image_bytes
from shiftline.datasets.imagenet import ImageNet, readable, synsets
from shiftline.errors import DataError

MULTI_LABEL = "multi-label-accuracy"


def accepting(example: Example, labels: Iterable[int]) -> Example:
    """Return an example with all labels that count as correct, in the column `accepted`; its own is the first of them."""
    labels = sorted(labels)
    return replace(example, label=labels[0], metadata={"accepted": " ".join(map(str, labels))})


class _OfValidation(DatasetFamily):
    """ImageNet's validation images, with what a file beside `val` says of them."""

    splits = ("val",)
    classes = "ImageNet's 1,000"
    folders = ImageNet.folders
    files_beside: ClassVar[tuple[str, ...]] = ()

    def images(self, folder: Path, split: str) -> Listing:
        self.require(folder, self.files_beside, split)
        return ImageNet().list_split(folder, "val")

    def has(self, folder: Path, split: str) -> bool:
        return all((folder / file).is_file() for file in self.files_beside)


class ImageNetReaL(_OfValidation):
    """ImageNet's validation images with every label that people gave; images without one are left out, as published."""

    name = "imagenet-real"
    title = "ImageNet-ReaL (Beyer et al. 2020)"
    layout = "ImageNet's val/WNID/*.JPEG, and real.json beside it"
    licence = "as ImageNet; the labels Apache 2.0"
    source = "https://github.com/google-research/reassessed-imagenet"
    counts: ClassVar = {"val": 46_837}
    files_beside = ("real.json",)

    def list_split(self, folder: Path, split: str) -> Listing:
        listing = self.images(folder, split)
        labels: list[list[int]] = json.loads((folder / "real.json").read_text(encoding="utf-8"))
        kept = []
        for example in listing.examples:
            # The list is in the order of the images' numbers: ILSVRC2012_val_00000001.JPEG comes first.
            found = labels[int(Path(example.path).stem.rpartition("_")[2]) - 1]
            kept += [accepting(example, found)] if found else []
        return replace(
            listing, examples=kept, description=Description(synsets(), metrics=(MULTI_LABEL,), subsets=("imagenet/val",))
        )


class ImageNetX(_OfValidation):
    """ImageNet's validation images by what is unusual about them: the group is the factor that people named first."""

    name = "imagenet-x"
    title = "ImageNet-X (Idrissi et al. 2022)"
    groups = "top factor of variation"
    layout = "ImageNet's val/WNID/*.JPEG, and imagenet_x_val_top_factor.jsonl and imagenet_x_val_multi_factor.jsonl beside it"
    licence = "as ImageNet; the annotations CC BY-NC 4.0"
    source = "https://github.com/facebookresearch/imagenetx (imagenet_x/annotations)"
    files_beside = ("imagenet_x_val_top_factor.jsonl", "imagenet_x_val_multi_factor.jsonl")
    factors = (
        "multiple_objects background color brighter darker style larger smaller object_blocking person_blocking partial_view "
        "pattern pose shape subcategory texture"
    ).split()

    def list_split(self, folder: Path, split: str) -> Listing:
        listing = self.images(folder, split)
        top, every = (_lines(folder / file) for file in self.files_beside)
        kept = []
        for example in listing.examples:
            name = Path(example.path).name
            if name not in top:
                continue
            group = next((factor for factor in self.factors if top[name].get(factor)), "none")
            found = {factor: int(every.get(name, top[name]).get(factor, 0)) for factor in self.factors}
            kept.append(replace(example, group=group, metadata=found))
        described = Description(synsets(), metrics=("accuracy", "worst-group-accuracy"), subsets=("imagenet/val",))
        if not kept:
            raise DataError(f"{self.name}/{split}: {self.files_beside[0]} names none of the images of {folder}.")
        return replace(listing, examples=kept, description=described)


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {row["file_name"]: row for row in rows}


class ImageNetHard(DatasetFamily):
    """Images of ImageNet and its shifts that models get wrong; several labels may be right."""

    name = "imagenet-hard"
    title = "ImageNet-Hard (Taesiri et al. 2023)"
    splits = ("validation",)
    classes = "ImageNet's 1,000"
    groups = "the set that an image comes from"
    folders = ("imagenet-hard",)
    layout = "data/validation-*.parquet, as Hugging Face's hub has them"
    licence = "MIT; the images as those of their sets"
    source = "https://huggingface.co/datasets/taesiri/imagenet-hard"
    counts: ClassVar = {"validation": 10_980}

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, [], split)
        files = self._files(folder)
        if not files:
            raise DataError(f"{self.name}/{split}: {folder} lacks data/validation-*.parquet. Get them from {self.source}.")
        examples = []
        for file in files:
            rows = Rows(file)
            read = partial(image_bytes, rows.reader("image"), folder)
            for row, (labels, origin) in enumerate(zip(rows.values("label"), rows.values("origin"), strict=True)):
                example = Example(Inside(file, partial(read, row)), 0, group=str(origin), path=f"{file.name}[{row}]")
                examples.append(accepting(example, labels))
        return Listing(examples, readable(synsets()), Description(synsets(), metrics=(MULTI_LABEL,)))

    def has(self, folder: Path, split: str) -> bool:
        return bool(self._files(folder))

    def _files(self, folder: Path) -> list[Path]:
        return [path for below in (folder / "data", folder) for path in sorted(below.glob("validation-*.parquet"))]
