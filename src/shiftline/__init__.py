"""shiftline: distribution-shift robustness studies of image classifiers.

What users import. The names are loaded when they are first used: importing shiftline loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_DECLARE = "shiftline.declare"
_PUBLIC = {
    f"{_DECLARE}.architectures": ("LocalWeights", "glyph_clip", "glyph_net", "open_clip", "timm"),
    f"{_DECLARE}.distributions": ("Distribution", "Reference", "Split", "handwritten_digits", "typed_digits"),
    f"{_DECLARE}.optimisers": ("SGD", "Adam", "AdamW", "Constant", "Cosine", "Step", "Triangle"),
    f"{_DECLARE}.recipes": (
        "PROMPTS", "FineTune", "FromScratch", "Interpolate", "LinearProbe", "ZeroShot", "best", "grid", "interpolations",
        "replicates",
    ),
    f"{_DECLARE}.transforms": (
        "Blur", "Contrast", "HorizontalFlip", "Invert", "Noise", "RandomResizedCrop", "Recolour", "Rotate", "Tint",
        "Transform", "Translate", "VerticalFlip",
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
    from shiftline.declare.architectures import LocalWeights, glyph_clip, glyph_net, open_clip, timm
    from shiftline.declare.distributions import Distribution, Reference, Split, handwritten_digits, typed_digits
    from shiftline.declare.optimisers import SGD, Adam, AdamW, Constant, Cosine, Step, Triangle
    from shiftline.declare.recipes import (
        PROMPTS,
        FineTune,
        FromScratch,
        Interpolate,
        LinearProbe,
        ZeroShot,
        best,
        grid,
        interpolations,
        replicates,
    )
    from shiftline.declare.transforms import (
        Blur,
        Contrast,
        HorizontalFlip,
        Invert,
        Noise,
        RandomResizedCrop,
        Recolour,
        Rotate,
        Tint,
        Transform,
        Translate,
        VerticalFlip,
    )
    from shiftline.errors import ShiftlineError
    from shiftline.manager import ExperimentManager
