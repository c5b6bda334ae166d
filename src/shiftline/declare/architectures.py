"""Leaves of the model expressions: architectures and pre-trained weights, by name.

A leaf says what is wanted; resolving it (once, `shiftline.models.leaves`) stores the full tag, the sha256 of the weights
and the preprocessing, and planning reads that record.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from shiftline.errors import DeclarationError
from shiftline.identity import Declaration

GLYPH_NETS = ("linear", "mlp", "conv-narrow", "conv-wide", "trunk")


class Leaf(Declaration):
    """Base of the leaves."""


class Timm(Leaf):
    """A model of timm, by architecture (``"resnet50"``) or full tag (``"resnet50.a1_in1k"``)."""

    tag = "timm"
    name: str

    def __str__(self) -> str:
        return self.name


class OpenClip(Leaf):
    """A model of open_clip with pre-trained weights, for instance ``OpenClip("ViT-B-32", "openai")``."""

    tag = "open-clip"
    name: str
    pretrained: str

    def __str__(self) -> str:
        return f"{self.name} {self.pretrained}"


class GlyphNet(Leaf):
    """A small network for 32 x 32 images, without pre-trained weights: one of `GLYPH_NETS`."""

    tag = "glyph-net"
    name: str

    def validate(self) -> None:
        if self.name not in GLYPH_NETS:
            raise DeclarationError(f"glyph_net({self.name!r}) does not exist: choose one of {', '.join(GLYPH_NETS)}.")

    def __str__(self) -> str:
        return self.name


class GlyphClip(Leaf):
    """The small CLIP of typed characters that ships with the package, with its weights."""

    tag = "glyph-clip"

    def __str__(self) -> str:
        return "glyph-clip"


class RandomClip(Leaf):
    """A small CLIP (images of 64 pixels, CLIP's own vocabulary) with random weights, drawn from a seed.

    It knows nothing. It is there so that every step of a study of large models can be tried in seconds.
    """

    tag = "random-clip"
    seed: int = 0

    def __str__(self) -> str:
        return "random-clip" if not self.seed else f"random-clip {self.seed}"


class Architecture(Leaf):
    """Base of users' own architectures.

    A subclass sets a `tag`, a `revision`, fields, `size` (and `mean`, `std`, `crop`, `interpolation` where they differ), and::

        def build(self): ...

    which returns a `torch.nn.Module` that maps float images (B, 3, size, size) to features (B, d) and has the attribute
    `num_features` (d). shiftline adds the head.
    """

    size: ClassVar[int] = 224
    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    crop: ClassVar[float] = 1.0
    interpolation: ClassVar[str] = "bicubic"

    def validate(self) -> None:
        if not callable(getattr(self, "build", None)):
            raise DeclarationError(
                f"the architecture {type(self).__name__} has no build method: write def build(self) and return a module with "
                "the attribute num_features."
            )

    def __str__(self) -> str:
        return type(self).tag


class LocalWeights(Leaf):
    """Pre-trained weights in a local file: safetensors, or a state dict that loads with ``weights_only=True``.

    The path is where to look; identity is the architecture and the weights' own sha256.
    """

    tag = "local-weights"
    architecture: Leaf
    path: str = dataclasses.field(metadata={"speed_only": True})

    def validate(self) -> None:
        if not isinstance(self.architecture, (Timm, OpenClip, GlyphNet, GlyphClip, RandomClip, Architecture)):
            raise DeclarationError(
                f"LocalWeights.architecture is a {type(self.architecture).__name__}: expected timm(...), "
                "open_clip(...), glyph_net(...) or glyph_clip()."
            )

    def __str__(self) -> str:
        return f"{self.architecture} from {Path(self.path).name}"


def timm(name: str) -> Timm:
    """A timm model by name; a name without a tag is pinned to timm's default tag when it is resolved."""
    return Timm(name)


def open_clip(name: str, pretrained: str) -> OpenClip:
    """An open_clip model by architecture and pre-training tag."""
    return OpenClip(name, pretrained)


def glyph_net(name: str) -> GlyphNet:
    """A small network of the digits study: "linear", "mlp", "conv-narrow", "conv-wide" or "trunk"."""
    return GlyphNet(name)


def glyph_clip() -> GlyphClip:
    """The small CLIP that ships with the package."""
    return GlyphClip()


def random_clip(seed: int = 0) -> RandomClip:
    """A small CLIP with random weights, to try things with."""
    return RandomClip(seed)
