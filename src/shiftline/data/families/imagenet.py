"""ImageNet and the shifts of it that are folders of images: V2, Sketch, R, A, C."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.held_out import held_out_by_class, listing_digest, part_of
from shiftline.data.families.layout import class_folders, labelled, require, require_split
from shiftline.data.writer import Description
from shiftline.declare.label_spaces import sub_list

RESEARCH = "research and education only, by agreement with image-net.org"
SPLITS = ("train", "held-out", "val", "train-whole")
HELD_OUT_SHARE = 0.02
FIRST_SYNSET = "n01440764"
"""A class folder to look for: the others need a library to name them."""
V2 = {
    "matched-frequency": "imagenetv2-matched-frequency-format-val",
    "threshold-0.7": "imagenetv2-threshold0.7-format-val",
    "top-images": "imagenetv2-top-images-format-val",
}
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost",
    "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
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


def _imagenet(root: Path, split: str) -> Listing:
    what, source = f"imagenet/{split}", IMAGENET.source
    require_split(split, SPLITS, what="imagenet")
    if split == "val":
        place = next((root / name for name in ("val", "val_in_folder") if (root / name).is_dir()), root / "val")
        require(root, [place.name], what=what, source=source)
        if any(path.suffix == ".JPEG" for path in place.iterdir()):
            source = (
                "its authors, and sort the validation images into one folder per class (torchvision's valprep.sh does)"
            )
    else:
        place = root / "train"
        require(root, ["train"], what=what, source=source)
    examples = labelled(root, class_folders(place, synsets(), what=what, source=source), what=what, source=source)
    parts: tuple[str, ...] = ("val",)
    if split != "val":
        held_out = held_out_by_class(examples, share=HELD_OUT_SHARE)
        listing = listing_digest(examples)
        examples, parts = part_of(examples, held_out, split, held_out_name="held-out")
        return Listing(examples, readable(synsets()), Description(synsets(), parts=parts, listing=listing))
    return Listing(examples, readable(synsets()), Description(synsets(), parts=parts))


def _has_imagenet(root: Path, split: str) -> bool:
    names = ("val", "val_in_folder") if split == "val" else ("train",)
    return any((root / name / FIRST_SYNSET).is_dir() for name in names)


IMAGENET = Family(
    "imagenet", "ImageNet, ILSVRC 2012 (Russakovsky et al. 2015)", SPLITS, "1,000",
    ("imagenet", "ImageNet", "imagenet-1k", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
    "train/WNID/*.JPEG; val/WNID/*.JPEG (or val_in_folder)", RESEARCH, "https://image-net.org/download",
    _imagenet, _has_imagenet, training=("train", "train-whole"), short_side=256,
    counts={"val": 50_000, "train-whole": 1_281_167},
)  # fmt: skip


def _v2(root: Path, split: str) -> Listing:
    what = f"imagenet-v2/{split}"
    require_split(split, tuple(V2), what="imagenet-v2")
    folder = root if root.name == V2[split] else root / V2[split]
    if root.name != V2[split]:
        require(root, [V2[split]], what=what, source=IMAGENET_V2.source)
    # The folders are labels as text: "10" sorts before "2".
    folders = class_folders(folder, [str(label) for label in range(1000)], what=what, source=IMAGENET_V2.source)
    examples = labelled(folder, folders, what=what, source=IMAGENET_V2.source)
    return Listing(examples, readable(synsets()), Description(synsets(), parts=("images",)))


IMAGENET_V2 = Family(
    "imagenet-v2", "ImageNetV2 (Recht et al. 2019)", tuple(V2), "ImageNet's 1,000", (".", "imagenet-v2", "imagenetv2"),
    "imagenetv2-matched-frequency-format-val/LABEL/*.jpeg, likewise -threshold0.7- and -top-images-", "MIT",
    "https://github.com/modestyachts/ImageNetV2", _v2,
    lambda root, split: root.name == V2.get(split) or (root / V2.get(split, "?")).is_dir(),
    counts=dict.fromkeys(V2, 10_000),
)  # fmt: skip


def _synset_folders(root: Path, split: str, *, family: str, wnids: str, source: str) -> Listing:
    what = f"{family}/{split}"
    require_split(split, ("test",), what=family)
    classes = synsets() if not wnids else sub_synsets(wnids)
    examples = labelled(root, class_folders(root, classes, what=what, source=source), what=what, source=source)
    space = sub_list(family, classes) if wnids else None
    return Listing(examples, readable(classes), Description(classes, space, parts=("test",)))


def _synset_family(
    name: str, title: str, wnids: str, folders: tuple[str, ...], licence: str, source: str, count: int, first: str
) -> Family:
    classes = "ImageNet's 1,000" if not wnids else "200 of ImageNet's"
    return Family(
        name, title, ("test",), classes, folders, "WNID/*.jpg or *.JPEG", licence, source,
        partial(_synset_folders, family=name, wnids=wnids, source=source), lambda root, _: (root / first).is_dir(),
        counts={"test": count},
    )  # fmt: skip


SKETCH = _synset_family(
    "imagenet-sketch", "ImageNet-Sketch (Wang et al. 2019)", "", ("sketch", "imagenet-sketch", "ImageNet-Sketch"), "MIT",
    "https://github.com/HaohanWang/ImageNet-Sketch", 50_889, "n01440764",
)  # fmt: skip
RENDITION = _synset_family(
    "imagenet-r", "ImageNet-R (Hendrycks et al. 2021)", "r", ("imagenet-r", "ImageNet-R"), "MIT",
    "https://github.com/hendrycks/imagenet-r", 30_000, "n01443537",
)  # fmt: skip
ADVERSARIAL = _synset_family(
    "imagenet-a", "ImageNet-A (Hendrycks et al. 2021)", "a", ("imagenet-a", "ImageNet-A"), "MIT",
    "https://github.com/hendrycks/natural-adv-examples", 7_500, "n01498041",
)  # fmt: skip


def corruption_and_severity(split: str, *, what: str) -> tuple[str, int]:
    """Read ``CORRUPTION-SEVERITY``."""
    corruption, _, severity = split.rpartition("-")
    if corruption not in CORRUPTIONS or severity not in ("1", "2", "3", "4", "5"):
        splits = (f"{c}-1 to {c}-5" for c in CORRUPTIONS)
        require_split(split, tuple(splits), what=what)
    return corruption, int(severity)


def _corrupted(root: Path, split: str) -> Listing:
    what, source = f"imagenet-c/{split}", IMAGENET_C.source
    corruption, severity = corruption_and_severity(split, what="imagenet-c")
    # The archives unpack to noise/gaussian_noise/..., which many people flatten.
    places = [path for path in (root / corruption, *root.glob(f"*/{corruption}")) if path.is_dir()]
    if not places:
        require(root, [corruption], what=what, source=source)
    require(places[0], [str(severity)], what=what, source=source)
    folder = places[0] / str(severity)
    examples = labelled(root, class_folders(folder, synsets(), what=what, source=source), what=what, source=source)
    return Listing(examples, readable(synsets()), Description(synsets(), parts=(split,)))


IMAGENET_C = Family(
    "imagenet-c", "ImageNet-C (Hendrycks & Dietterich 2019)", ("CORRUPTION-SEVERITY",), "ImageNet's 1,000",
    ("imagenet-c", "ImageNet-C"), "CORRUPTION/SEVERITY/WNID/*.JPEG, or one folder of corruptions above",
    "Creative Commons Attribution 4.0", "https://zenodo.org/records/2235448", _corrupted,
    lambda root, _: any((root / c).is_dir() for c in CORRUPTIONS) or any(root.glob("*/gaussian_noise")),
    origin="imagenet/val",
)  # fmt: skip

FAMILIES = (IMAGENET, IMAGENET_V2, SKETCH, RENDITION, ADVERSARIAL, IMAGENET_C)
