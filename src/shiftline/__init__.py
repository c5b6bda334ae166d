"""shiftline: distribution-shift robustness studies of image classifiers.

What users import. The names are loaded when they are first used: importing shiftline loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_DECLARE = "shiftline.declare"
_PUBLIC = {
    f"{_DECLARE}.architectures": (
        "Architecture", "LocalWeights", "glyph_clip", "glyph_net", "open_clip", "random_clip", "timm",
    ),
    f"{_DECLARE}.datasets": (
        "cifar10", "cifar10_1", "cifar10_2", "cifar10_c", "cifar10_reference", "imagenet", "imagenet_a", "imagenet_c",
        "imagenet_r", "imagenet_reference", "imagenet_sketch", "imagenet_v2", "imagenet_vid_robust", "objectnet", "wilds",
        "wilds_reference", "ytbb_robust",
    ),
    f"{_DECLARE}.label_spaces": ("CIFAR10_AND_STL10", "LabelSpace", "many_to_one", "sub_list"),
    f"{_DECLARE}.distributions": (
        "Distribution", "Reference", "Split", "handwritten_digits", "typed_digits",
    ),
    f"{_DECLARE}.optimisers": (
        "SGD", "Adam", "AdamW", "Constant", "Cosine", "Step", "Triangle",
    ),
    f"{_DECLARE}.output_space": (
        "Ensemble", "ensemble", "ensembles", "flip_tta",
    ),
    f"{_DECLARE}.patching": (
        "Task", "patch_joint", "patch_parallel", "patch_sequential",
    ),
    f"{_DECLARE}.recipes": (
        "DFR", "PROMPTS", "LinearProbe", "Published", "Recipe", "Stored", "ZeroShot",
    ),
    f"{_DECLARE}.support": ("EmbeddingClassifier", "FineTunedClassifier", "SupportSplit"),
    f"{_DECLARE}.sweeps": (
        "HeldOut", "best", "grid", "replicates", "varied",
    ),
    f"{_DECLARE}.training": ("FineTune", "FromScratch"),
    f"{_DECLARE}.transforms": (
        "JPEG", "Augmentation", "Blur", "Brightness", "ColourJitter", "Contrast", "CutMix", "Cutout", "HorizontalFlip",
        "Invert", "Mixup", "Noise", "Occlusion", "Pixelate", "RandAugment", "RandomResizedCrop", "Recolour", "Rotate",
        "Saturation", "Sometimes", "TextOverlay", "Tint", "Transform", "Translate", "VerticalFlip",
    ),
    f"{_DECLARE}.weight_space": (
        "Interpolate", "WithHead", "analogy", "average", "fisher_average", "greedy_soup", "interpolations",
        "keep", "negation", "swa", "task_arithmetic", "uniform_soup", "with_batch_norm",
    ),
    "shiftline.data.prepare": ("write_dataset",),
    "shiftline.errors": ("ShiftlineError",),
    "shiftline.manager": ("ExperimentManager",),
}  # fmt: skip
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"shiftline has no name {name!r}: it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from shiftline.data.prepare import write_dataset
    from shiftline.declare.architectures import (
        Architecture,
        LocalWeights,
        glyph_clip,
        glyph_net,
        open_clip,
        random_clip,
        timm,
    )
    from shiftline.declare.datasets import (
        cifar10,
        cifar10_1,
        cifar10_2,
        cifar10_c,
        cifar10_reference,
        imagenet,
        imagenet_a,
        imagenet_c,
        imagenet_r,
        imagenet_reference,
        imagenet_sketch,
        imagenet_v2,
        imagenet_vid_robust,
        objectnet,
        wilds,
        wilds_reference,
        ytbb_robust,
    )
    from shiftline.declare.distributions import Distribution, Reference, Split, handwritten_digits, typed_digits
    from shiftline.declare.label_spaces import CIFAR10_AND_STL10, LabelSpace, many_to_one, sub_list
    from shiftline.declare.optimisers import SGD, Adam, AdamW, Constant, Cosine, Step, Triangle
    from shiftline.declare.output_space import Ensemble, ensemble, ensembles, flip_tta
    from shiftline.declare.patching import Task, patch_joint, patch_parallel, patch_sequential
    from shiftline.declare.recipes import DFR, PROMPTS, LinearProbe, Published, Recipe, Stored, ZeroShot
    from shiftline.declare.support import EmbeddingClassifier, FineTunedClassifier, SupportSplit
    from shiftline.declare.sweeps import HeldOut, best, grid, replicates, varied
    from shiftline.declare.training import FineTune, FromScratch
    from shiftline.declare.transforms import (
        JPEG,
        Augmentation,
        Blur,
        Brightness,
        ColourJitter,
        Contrast,
        CutMix,
        Cutout,
        HorizontalFlip,
        Invert,
        Mixup,
        Noise,
        Occlusion,
        Pixelate,
        RandAugment,
        RandomResizedCrop,
        Recolour,
        Rotate,
        Saturation,
        Sometimes,
        TextOverlay,
        Tint,
        Transform,
        Translate,
        VerticalFlip,
    )
    from shiftline.declare.weight_space import (
        Interpolate,
        WithHead,
        analogy,
        average,
        fisher_average,
        greedy_soup,
        interpolations,
        keep,
        negation,
        swa,
        task_arithmetic,
        uniform_soup,
        with_batch_norm,
    )
    from shiftline.errors import ShiftlineError
    from shiftline.manager import ExperimentManager
