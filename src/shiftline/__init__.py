"""shiftline: distribution-shift robustness studies of image classifiers.

What users import. The names are loaded when they are first used: importing shiftline loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_DECLARE = "shiftline.declare"
_PUBLIC = {
    f"{_DECLARE}.architectures": (
        "Architecture", "LocalWeights", "glyph_clip", "glyph_net", "open_clip", "timm",
    ),
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
        "DFR", "PROMPTS", "LinearProbe", "Recipe", "Stored", "ZeroShot",
    ),
    f"{_DECLARE}.sweeps": (
        "HeldOut", "best", "grid", "replicates",
    ),
    f"{_DECLARE}.training": ("FineTune", "FromScratch"),
    f"{_DECLARE}.transforms": (
        "Augmentation", "Blur", "ColourJitter", "Contrast", "CutMix", "Cutout", "HorizontalFlip", "Invert",
        "Mixup", "Noise", "RandAugment", "RandomResizedCrop", "Recolour", "Rotate", "Tint", "Transform",
        "Translate", "VerticalFlip",
    ),
    f"{_DECLARE}.weight_space": (
        "Interpolate", "WithHead", "analogy", "average", "fisher_average", "greedy_soup", "interpolations",
        "keep", "negation", "swa", "task_arithmetic", "uniform_soup", "with_batch_norm",
    ),
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
    from shiftline.declare.architectures import Architecture, LocalWeights, glyph_clip, glyph_net, open_clip, timm
    from shiftline.declare.distributions import Distribution, Reference, Split, handwritten_digits, typed_digits
    from shiftline.declare.optimisers import SGD, Adam, AdamW, Constant, Cosine, Step, Triangle
    from shiftline.declare.output_space import Ensemble, ensemble, ensembles, flip_tta
    from shiftline.declare.patching import Task, patch_joint, patch_parallel, patch_sequential
    from shiftline.declare.recipes import DFR, PROMPTS, LinearProbe, Recipe, Stored, ZeroShot
    from shiftline.declare.sweeps import HeldOut, best, grid, replicates
    from shiftline.declare.training import FineTune, FromScratch
    from shiftline.declare.transforms import (
        Augmentation,
        Blur,
        ColourJitter,
        Contrast,
        CutMix,
        Cutout,
        HorizontalFlip,
        Invert,
        Mixup,
        Noise,
        RandAugment,
        RandomResizedCrop,
        Recolour,
        Rotate,
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
