"""The names that the programs of the WiSE-FT and patching papers give to data sets, models and templates, as declarations."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shiftline.backbones.glyphs import PROMPTS, glyph_clip, random_clip
from shiftline.backbones.open_clip import OpenClip
from shiftline.backbones.own import LocalWeights
from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.reference import Reference
from shiftline.errors import DataError, ModelError
from shiftline.operations.zero_shot import TEMPLATE_SETS

FEW_SHOT = (1, 2, 4, 8, 16, 25, 32, 50, 64, 128, 600)
"""Numbers k for which the original has a data set ``ImageNetk``."""
MODELS = {
    **{name: name for name in ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")},
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
"""OpenAI's models: the original's name and open_clip's."""
SMALL: dict[str, Callable[[], Backbone]] = {"glyph-clip": glyph_clip, "random-clip": random_clip}
"""Models that need no download, by the name of the command line."""
TEMPLATES: dict[str, str | tuple[str, ...]] = {
    "openai_imagenet_template": "openai-imagenet",
    "simple_template": ("a photo of a {}.",),
    "fmow_template": "wilds-fmow",
    "iwildcam_template": "wilds-iwildcam",
    "digits": PROMPTS,
}


@dataclass(frozen=True)
class Scored:
    """One number of a row: which split is scored, by which metric (the split's main one where it is empty)."""

    split: Split
    metric: str = "accuracy"
    classes_of: Split | None = None
    """The reference's test split is scored in the label space of this split."""


@dataclass(frozen=True)
class NamedData:
    """What a name of a data set means.

    Attributes
    ----------
    name : str
    scores : mapping of str to Scored
        What is scored under ``NAME:SUFFIX``, by suffix; "top1" among them.
    train, val, whole : Split or None
        To train on, to select on, and both together; None for a data set that is only evaluated.
    per_class : int or None
        Examples of each class that are trained on.
    templates : str or tuple of str
        Its own templates, as the patching paper has them.
    """

    name: str
    scores: Mapping[str, Scored]
    train: Split | None = None
    val: Split | None = None
    whole: Split | None = None
    per_class: int | None = None
    templates: str | tuple[str, ...] = "openai-imagenet"

    @property
    def test(self) -> Split:
        """What is evaluated first."""
        return self.scores["top1"].split

    def reference(self, *, selection: bool) -> Reference:
        """Return the reference of a study that trains on it; without `selection` everything published is trained on.

        Raises
        ------
        DataError
            It has no training split.
        """
        if self.train is None or self.whole is None:
            raise DataError(f"{self.name} is only evaluated: it has no training split. Train on ImageNet, CIFAR10, MNIST, ...")
        train: Distribution = self.train if selection else self.whole
        if self.per_class is not None:
            train = train.few_shot(self.per_class)
        return Reference(train, self.val if selection else None, self.test)

    def splits(self, *, selection: bool, trained: bool) -> list[Split]:
        """Return every split that is read."""
        found = [scored.split for scored in self.scores.values()]
        found += [scored.classes_of for scored in self.scores.values() if scored.classes_of is not None]
        if trained:
            reference = self.reference(selection=selection)
            found += [reference.labelled, *(() if reference.val is None else (reference.val.source,))]
        return list(dict.fromkeys(found))


def _evaluated(name: str, dataset: str, split: str = "test") -> NamedData:
    return NamedData(name, {"top1": Scored(Split(dataset, split))})


def _trained(name: str, dataset: str, *, templates: str = "openai-imagenet", per_class: int | None = None) -> NamedData:
    test, val = ("val", "held-out") if dataset == "imagenet" else ("test", "val")
    return NamedData(
        name,
        {"top1": Scored(Split(dataset, test))},
        Split(dataset, "train"),
        Split(dataset, val),
        Split(dataset, "train-whole"),
        per_class,
        templates,
    )


def _wilds(name: str, dataset: str, test: str, metrics: Sequence[str], *, non_empty: bool = False) -> NamedData:
    end = "-non-empty" if non_empty else ""
    split = Split(dataset, test + end)
    scores = {"top1": Scored(split)} | {metric: Scored(split, f"wilds:{metric}") for metric in metrics}
    train = Split(dataset, "train" + end)
    return NamedData(name, scores, train, Split(dataset, "id_val" + end), train, templates=dataset)


def _classes_of(name: str, dataset: str, split: str = "test") -> NamedData:
    return NamedData(name, {"top1": Scored(Split("imagenet", "val"), classes_of=Split(dataset, split))})


def _frames(name: str, dataset: str) -> NamedData:
    ten = Split(dataset, "pm-10")
    return NamedData(
        name, {"top1": Scored(ten, "frame-accuracy"), "pm0": Scored(Split(dataset, "pm-0"), ""), "pm10": Scored(ten, "pm-k")}
    )


IWILDCAM = ("acc_avg", "recall-macro_all", "F1-macro_all")
FMOW = ("acc_avg", "acc_worst_region")
PATCHED = {
    "Cars": "cars",
    "DTD": "dtd",
    "EuroSAT": "eurosat",
    "FashionMNIST": "fashion-mnist",
    "Food101": "food101",
    "GTSRB": "gtsrb",
    "CLEVRCounts": "clevr-counts",
    "KITTI": "kitti",
    "MNIST": "mnist",
    "RESISC45": "resisc45",
    "STL10": "stl10",
    "SUN397": "sun397",
    "SVHN": "svhn",
}
"""Data sets of the patching paper besides ImageNet and CIFAR: its names and ours."""
_UNDIVIDED = ("dtd", "eurosat", "kitti", "resisc45")
"""Sets that are published with a val split: there is no whole to train on."""


def _catalogue() -> dict[str, NamedData]:
    sets = [
        _trained("ImageNet", "imagenet"),
        _trained("ImageNetTrain", "imagenet"),
        *(_trained(f"ImageNet{k}", "imagenet", per_class=k) for k in FEW_SHOT),
        _evaluated("ImageNetV2", "imagenet-v2", "matched-frequency"),
        _evaluated("ImageNetSketch", "imagenet-sketch"),
        _evaluated("ImageNetR", "imagenet-r"),
        _evaluated("ImageNetA", "imagenet-a"),
        _evaluated("ObjectNet", "objectnet"),
        _frames("ImageNetVidRobust", "imagenet-vid-robust"),
        _frames("YTBBRobust", "ytbb-robust"),
        _classes_of("ImageNetRValClasses", "imagenet-r"),
        _classes_of("ImageNetAValClasses", "imagenet-a"),
        _classes_of("ObjectNetValClasses", "objectnet"),
        _classes_of("ImageNetVidRobustValClasses", "imagenet-vid-robust", "pm-0"),
        _classes_of("YTBBRobustValClasses", "ytbb-robust", "pm-0"),
        _trained("CIFAR10", "cifar10", templates="cifar10"),
        # CIFAR101 and CIFAR102 are other data sets.
        *(_trained(f"CIFAR10{k}", "cifar10", templates="cifar10", per_class=k) for k in FEW_SHOT if k > 2),
        _trained("CIFAR100", "cifar100", templates="cifar100"),
        _evaluated("CIFAR101", "cifar10.1", "v6"),
        _evaluated("CIFAR102", "cifar10.2"),
        _wilds("IWildCam", "wilds-iwildcam", "id_test", IWILDCAM),
        _wilds("IWildCamID", "wilds-iwildcam", "id_test", IWILDCAM),
        _wilds("IWildCamOOD", "wilds-iwildcam", "test", IWILDCAM),
        _wilds("IWildCamNonEmpty", "wilds-iwildcam", "id_test", IWILDCAM, non_empty=True),
        _wilds("IWildCamIDNonEmpty", "wilds-iwildcam", "id_test", IWILDCAM, non_empty=True),
        _wilds("IWildCamOODNonEmpty", "wilds-iwildcam", "test", IWILDCAM, non_empty=True),
        _wilds("FMOW", "wilds-fmow", "id_test", FMOW),
        _wilds("FMOWID", "wilds-fmow", "id_test", FMOW),
        _wilds("FMOWOOD", "wilds-fmow", "test", FMOW),
    ]
    for name, dataset in PATCHED.items():
        found = _trained(name, dataset, templates=dataset)
        if dataset in _UNDIVIDED:
            found = NamedData(name, found.scores, found.train, found.val, found.train, templates=dataset)
        sets.append(found)
    mtsd = Split("mtsd", "val")
    sets.append(NamedData("MTSD", {"top1": Scored(mtsd)}, Split("mtsd", "train"), None, Split("mtsd", "train"), templates="mtsd"))
    # Built in, so that every command can be tried on real data.
    digits = Split("digits", "train")
    sets.append(
        NamedData("Digits", {"top1": Scored(Split("digits", "test"))}, digits, Split("digits", "val"), digits, templates=PROMPTS)
    )
    sets.append(_evaluated("TypedDigits", "typed-digits"))
    # A val split by its own name is evaluated: the patching paper chooses alpha on it.
    held = [
        NamedData(f"{s.name}Val", {"top1": Scored(s.val)}, templates=s.templates)
        for s in sets
        if s.val is not None and s.per_class is None and not s.val.dataset.startswith("wilds-")
    ]
    return {one.name: one for one in (*sets, *held)}


DATA = _catalogue()


def data_named(name: str) -> NamedData:
    """Return what a name of a data set means: the originals' names, or DATASET/SPLIT of `shiftline data list`.

    Raises
    ------
    DataError
        There is none; the nearest names are given.
    """
    if name in DATA:
        return DATA[name]
    dataset, slash, split = name.partition("/")
    if slash and dataset and split:
        return _evaluated(name, dataset, split)
    near = difflib.get_close_matches(name, DATA, n=4, cutoff=0.4)
    meant = f" did you mean {' or '.join(near)}?" if near else ""
    raise DataError(
        f"there is no data set {name!r}:{meant} The names are {', '.join(DATA)}; any other split of `shiftline data list` is "
        "evaluated as DATASET/SPLIT."
    )


SAME_CLASSES = ("ImageNetV2", "ImageNetSketch")
"""Shifts of ImageNet that have its 1,000 classes."""


def classes_from(evaluated: Sequence[NamedData]) -> NamedData:
    """Return the data set whose classes models answer with that are only evaluated: ImageNet's for its shifts."""
    for choose in (lambda one: one.train is not None, lambda one: one.name in SAME_CLASSES):
        if found := next(filter(choose, evaluated), None):
            return found
    datasets = ("imagenet", "objectnet", "ytbb-robust")
    return DATA["ImageNet"] if evaluated[0].test.dataset.startswith(datasets) else evaluated[0]


def clip_named(text: str) -> Backbone:
    """Return a vision-language model.

    Parameters
    ----------
    text : str
        One of OpenAI's (``ViT-B/32``), open_clip's NAME:TAG (``ViT-B-32:laion2b_s34b_b79k``), ``glyph-clip``, ``random-clip``, each
        with ``=FILE`` behind it where the weights are in a file.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    name, _, file = text.partition("=")
    if file:
        return LocalWeights(clip_named(name), str(Path(file).expanduser()))
    if name in SMALL:
        return SMALL[name]()
    if name in MODELS:
        return OpenClip(MODELS[name], "openai")
    architecture, colon, tag = name.partition(":")
    if colon and architecture and tag:
        return OpenClip(architecture, tag)
    raise ModelError(
        f"there is no model {name!r}: expected one of {', '.join(MODELS)}, NAME:TAG of open_clip, or {' or '.join(SMALL)}; weights "
        "in a file go behind it, ViT-B/32=FILE."
    )


def templates_named(name: str) -> str | tuple[str, ...]:
    """Return templates for `ZeroShot`: the original's names, those of `TEMPLATE_SETS`, or a file with one template a line.

    Raises
    ------
    ModelError
        There are none of that name.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name in TEMPLATE_SETS:
        return name
    path = Path(name).expanduser()
    if path.is_file():
        return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    raise ModelError(
        f"there are no templates {name!r}: expected {', '.join(TEMPLATES)}, one of {', '.join(TEMPLATE_SETS)}, or a file with one "
        "template a line."
    )
