"""ImageNet and the shifts of it that are folders of images: V2, Sketch, R, A, C."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from shiftline.contracts.label_spaces import sub_list
from shiftline.data.examples import Description
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.held_out import held_out_by_class, listing_digest, subset_of
from shiftline.errors import DataError

HELD_OUT_SHARE = 0.02
FIRST_SYNSET = "n01440764"
"""A class folder to look for: the others need a library to name them."""
CORRUPTIONS = tuple(
    (
        "gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog brightness "
        "contrast elastic_transform pixelate jpeg_compression speckle_noise gaussian_blur spatter saturate"
    ).split()
)
"""The fifteen corruptions of Hendrycks & Dietterich 2019, and four that they kept for validation."""


@functools.cache
def synsets() -> tuple[str, ...]:
    """Return the WordNet ids of the 1,000 classes in the order of their labels (from timm)."""
    return _of_timm("imagenet_synsets.txt")


@functools.cache
def sub_synsets(name: str) -> tuple[str, ...]:
    """Return the WordNet ids of the 200 classes of ImageNet-R ("r") or -A ("a"), sorted (from timm)."""
    return _of_timm(f"imagenet_{name}_synsets.txt")


def _of_timm(file: str) -> tuple[str, ...]:
    return tuple(importlib.resources.files("timm.data").joinpath("_info", file).read_text().split())


@functools.cache
def names_by_synset() -> dict[str, str]:
    """Return the readable class names that zero-shot heads are written with (Radford et al. 2021; from open_clip)."""
    from open_clip import IMAGENET_CLASSNAMES

    return dict(zip(synsets(), IMAGENET_CLASSNAMES, strict=True))


def readable(wnids: Sequence[str]) -> tuple[str, ...]:
    """Return the names of some classes."""
    return tuple(names_by_synset()[wnid] for wnid in wnids)


class ImageNet(DatasetFamily):
    """ImageNet; "held-out" is a seeded 2 % of each class of the training images."""

    name = "imagenet"
    title = "ImageNet, ILSVRC 2012 (Russakovsky et al. 2015)"
    splits = ("train", "held-out", "val", "train-whole")
    classes = "1,000"
    folders = ("imagenet", "ImageNet", "imagenet-1k", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
    layout = "train/WNID/*.JPEG; val/WNID/*.JPEG (or val_in_folder)"
    licence = "research and education only, by agreement with image-net.org"
    source = "https://image-net.org/download"
    training = ("train", "train-whole")
    short_side = 256
    counts: ClassVar = {"val": 50_000, "train-whole": 1_281_167}

    def list_split(self, folder: Path, split: str) -> Listing:
        names = ("val", "val_in_folder") if split == "val" else ("train",)
        images = next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])
        self.require(folder, [images.name], split)
        if not (images / FIRST_SYNSET).is_dir() and any(path.suffix == ".JPEG" for path in images.iterdir()):
            raise DataError(
                f"imagenet/{split}: the images of {images} lie in one folder: sort them into one folder per class (torchvision's "
                "valprep.sh does)."
            )
        examples = self.labelled(folder, self.class_folders(images, synsets(), split), split)
        if split == "val":
            return Listing(examples, readable(synsets()), Description(synsets(), subsets=("val",)))
        held_out, listing = held_out_by_class(examples, share=HELD_OUT_SHARE), listing_digest(examples)
        examples, subsets = subset_of(examples, held_out, split, held_out_name="held-out")
        return Listing(examples, readable(synsets()), Description(synsets(), subsets=subsets, listing=listing))

    def has(self, folder: Path, split: str) -> bool:
        names = ("val", "val_in_folder") if split == "val" else ("train",)
        return any((folder / name / FIRST_SYNSET).is_dir() for name in names)


class ImageNetV2(DatasetFamily):
    """ImageNetV2, in three variants; its class folders are labels as text, where "10" sorts before "2"."""

    name = "imagenet-v2"
    title = "ImageNetV2 (Recht et al. 2019)"
    splits = ("matched-frequency", "threshold-0.7", "top-images")
    classes = "ImageNet's 1,000"
    folders = (".", "imagenet-v2", "imagenetv2")
    layout = "imagenetv2-matched-frequency-format-val/LABEL/*.jpeg, likewise -threshold0.7- and -top-images-"
    licence = "MIT"
    source = "https://github.com/modestyachts/ImageNetV2"
    counts: ClassVar = dict.fromkeys(splits, 10_000)

    def list_split(self, folder: Path, split: str) -> Listing:
        variant = v2_folder(split)
        if folder.name != variant:
            self.require(folder, [variant], split)
            folder = folder / variant
        folders = self.class_folders(folder, [str(label) for label in range(1000)], split)
        examples = self.labelled(folder, folders, split)
        return Listing(examples, readable(synsets()), Description(synsets(), subsets=("images",)))

    def has(self, folder: Path, split: str) -> bool:
        return folder.name == v2_folder(split) or (folder / v2_folder(split)).is_dir()


def v2_folder(split: str) -> str:
    """Return the folder of a variant of ImageNetV2."""
    return f"imagenetv2-{split.replace('threshold-', 'threshold')}-format-val"


class _SynsetFolders(DatasetFamily):
    """Folders of WordNet ids, of all classes or of those that timm lists under `listed`."""

    splits = ("test",)
    layout = "WNID/*.jpg or *.JPEG"
    licence = "MIT"
    listed: ClassVar[str] = ""

    def list_split(self, folder: Path, split: str) -> Listing:
        classes = sub_synsets(self.listed) if self.listed else synsets()
        examples = self.labelled(folder, self.class_folders(folder, classes, split), split)
        space = sub_list(self.name, classes) if self.listed else None
        return Listing(examples, readable(classes), Description(classes, space, subsets=("test",)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / {"r": "n01443537", "a": "n01498041"}.get(self.listed, FIRST_SYNSET)).is_dir()


class ImageNetSketch(_SynsetFolders):
    """Drawings of ImageNet's classes."""

    name = "imagenet-sketch"
    title = "ImageNet-Sketch (Wang et al. 2019)"
    classes = "ImageNet's 1,000"
    folders = ("sketch", "imagenet-sketch", "ImageNet-Sketch")
    source = "https://github.com/HaohanWang/ImageNet-Sketch"
    counts: ClassVar = {"test": 50_889}


class ImageNetR(_SynsetFolders):
    """Renditions: paintings, toys, graffiti."""

    name = "imagenet-r"
    title = "ImageNet-R (Hendrycks et al. 2021)"
    classes = "200 of ImageNet's"
    folders = ("imagenet-r", "ImageNet-R")
    source = "https://github.com/hendrycks/imagenet-r"
    counts: ClassVar = {"test": 30_000}
    listed = "r"


class ImageNetA(_SynsetFolders):
    """Natural images that a ResNet-50 gets wrong."""

    name = "imagenet-a"
    title = "ImageNet-A (Hendrycks et al. 2021)"
    classes = "200 of ImageNet's"
    folders = ("imagenet-a", "ImageNet-A")
    source = "https://github.com/hendrycks/natural-adv-examples"
    counts: ClassVar = {"test": 7_500}
    listed = "a"


def corruption_and_severity(split: str, *, what: str) -> tuple[str, int]:
    """Read ``CORRUPTION-SEVERITY``."""
    corruption, _, severity = split.rpartition("-")
    if corruption not in CORRUPTIONS or severity not in ("1", "2", "3", "4", "5"):
        known = ", ".join(f"{c}-1 to {c}-5" for c in CORRUPTIONS)
        raise DataError(f"{what} has no split {split!r}: it has {known}.")
    return corruption, int(severity)


class ImageNetC(DatasetFamily):
    """ImageNet's validation images, corrupted."""

    name = "imagenet-c"
    title = "ImageNet-C (Hendrycks & Dietterich 2019)"
    splits = ("CORRUPTION-SEVERITY",)
    classes = "ImageNet's 1,000"
    folders = ("imagenet-c", "ImageNet-C")
    layout = "CORRUPTION/SEVERITY/WNID/*.JPEG, or one folder of corruptions above"
    licence = "Creative Commons Attribution 4.0"
    source = "https://zenodo.org/records/2235448"
    origin = "imagenet/val"

    def list_split(self, folder: Path, split: str) -> Listing:
        corruption, severity = corruption_and_severity(split, what=self.name)
        # The archives unpack to noise/gaussian_noise/..., which many people flatten.
        found = [path for path in (folder / corruption, *folder.glob(f"*/{corruption}")) if path.is_dir()]
        if not found:
            self.require(folder, [corruption], split)
        self.require(found[0], [str(severity)], split)
        images = found[0] / str(severity)
        examples = self.labelled(images, self.class_folders(images, synsets(), split), split)
        return Listing(examples, readable(synsets()), Description(synsets(), subsets=(split,)))

    def has(self, folder: Path, split: str) -> bool:
        return any((folder / c).is_dir() for c in CORRUPTIONS) or any(folder.glob("*/gaussian_noise"))
