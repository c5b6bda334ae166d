"""Names for the splits of known data sets: what `shiftline data list` shows, as distributions.

A data set that has no function here is named by ``Split(dataset, split)``. Nothing is read: the data are written once by
``shiftline data write NAME``, and bring their classes, label space and metrics with them.
"""

from __future__ import annotations

from shiftline.contracts.distributions import Split
from shiftline.contracts.label_spaces import LabelSpace
from shiftline.contracts.reference import Reference

CIFAR10_AND_STL10 = LabelSpace(
    "cifar10 and stl10",
    tuple(tuple(names.split("/")) for names in "airplane automobile/car bird cat deer dog horse ship truck".split()),
)
"""The nine classes that CIFAR-10 and STL-10 share: frogs and monkeys are left out."""


def imagenet(split: str = "val") -> Split:
    """ImageNet: "train" (without the held-out part), "held-out" (a seeded 2 % of each class), "val" (the official one).

    "train-whole" is the official train split, for studies that select on nothing.
    """
    return Split("imagenet", split)


def imagenet_reference() -> Reference:
    """ImageNet as a reference: trained on "train", selected on "held-out", reported on "val"."""
    return Reference(imagenet("train"), imagenet("held-out"), imagenet("val"))


def imagenet_v2(variant: str = "matched-frequency") -> Split:
    """ImageNetV2: "matched-frequency", "threshold-0.7" or "top-images" (Recht et al. 2019)."""
    return Split("imagenet-v2", variant)


def imagenet_sketch() -> Split:
    """ImageNet-Sketch (Wang et al. 2019)."""
    return Split("imagenet-sketch", "test")


def imagenet_r() -> Split:
    """ImageNet-R, renditions of 200 classes (Hendrycks et al. 2021)."""
    return Split("imagenet-r", "test")


def imagenet_a() -> Split:
    """ImageNet-A, natural adversarial examples of 200 classes (Hendrycks et al. 2021)."""
    return Split("imagenet-a", "test")


def objectnet() -> Split:
    """ObjectNet, the 113 classes that overlap with ImageNet (Barbu et al. 2019)."""
    return Split("objectnet", "test")


def imagenet_c(corruption: str, severity: int) -> Split:
    """ImageNet-C at one severity, 1 to 5 (Hendrycks & Dietterich 2019)."""
    return Split("imagenet-c", f"{corruption}-{severity}")


def imagenet_vid_robust(frames: str = "pm-10") -> Split:
    """ImageNet-Vid-Robust: anchor frames ("pm-0"), or with their neighbours ("pm-10") (Shankar et al. 2021)."""
    return Split("imagenet-vid-robust", frames)


def ytbb_robust(frames: str = "pm-10") -> Split:
    """YTBB-Robust: anchor frames ("pm-0"), or with their neighbours ("pm-10") (Shankar et al. 2021)."""
    return Split("ytbb-robust", frames)


def cifar10(split: str = "test") -> Split:
    """CIFAR-10: "train" (without the held-out part), "val" (a seeded tenth of it), "test", "train-whole"."""
    return Split("cifar10", split)


def cifar10_reference() -> Reference:
    """CIFAR-10 as a reference: trained on "train", selected on "val", reported on "test"."""
    return Reference(cifar10("train"), cifar10("val"), cifar10("test"))


def cifar10_1(version: str = "v6") -> Split:
    """CIFAR-10.1, "v4" or "v6" (Recht et al. 2018)."""
    return Split("cifar10.1", version)


def cifar10_2(split: str = "test") -> Split:
    """CIFAR-10.2, "train" or "test" (Lu et al. 2020)."""
    return Split("cifar10.2", split)


def cifar10_c(corruption: str, severity: int) -> Split:
    """CIFAR-10-C at one severity, 1 to 5 (Hendrycks & Dietterich 2019)."""
    return Split("cifar10-c", f"{corruption}-{severity}")


def wilds(name: str, split: str) -> Split:
    """A split of a WILDS image set, both named as the wilds package does: ``wilds("fmow", "id_test")`` (Koh et al. 2021)."""
    return Split(f"wilds-{name}", split)


def wilds_reference(name: str) -> Reference:
    """A WILDS set with in-distribution splits as a reference: train, id_val, id_test."""
    return Reference(wilds(name, "train"), wilds(name, "id_val"), wilds(name, "id_test"))


def handwritten_digits() -> Reference:
    """The embedded reference: scikit-learn's handwritten digits, 900 to train, 200 to select, 697 to report."""
    return Reference(Split("digits", "train"), Split("digits", "val"), Split("digits", "test"))


def typed_digits() -> Split:
    """720 digits in fonts that the small CLIP was not trained on, white on black."""
    return Split("typed-digits", "test")
