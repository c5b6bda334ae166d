"""The small networks of the digits study: baselines, and the CLIP of typed characters that ships with the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone, NetworkNames
from shiftline.contracts.require import require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftline.contracts.backbones import Tokenizer
    from shiftline.contracts.records import BackboneRecord

GLYPH_NETS = ("linear", "mlp", "conv-narrow", "conv-wide", "trunk")
PREPROCESSING = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop": 1.0}
PROMPTS = ("a photo of the digit {}", "a picture of the digit {}", "an image of the digit {}", "the digit {}")
"""Templates for zero-shot heads of digits, in the words that the small CLIP knows."""


class GlyphNet(Backbone):
    """A small network for 32 x 32 images, without pre-trained weights.

    Parameters
    ----------
    name : str
        "linear", "mlp", "conv-narrow", "conv-wide" or "trunk".
    """

    tag = "glyph-net"
    library = "glyph-net"
    pretrained = False
    name: str

    def validate(self) -> None:
        require(self.name in GLYPH_NETS, f"glyph_net({self.name!r}) does not exist: choose one of {', '.join(GLYPH_NETS)}.")

    def names(self) -> NetworkNames:
        return NetworkNames(self.name, None, PREPROCESSING)

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        from shiftline.networks.glyph_nets import glyph_net

        encoder = glyph_net(architecture)
        return encoder, int(encoder.num_features)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.name


class GlyphClip(Backbone):
    """The small CLIP of typed characters that ships with the package, with its weights."""

    tag = "glyph-clip"
    library = "glyph-clip"
    text = True

    def names(self) -> NetworkNames:
        return NetworkNames("glyph-clip", "typed", PREPROCESSING)

    def load(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        from shiftline.networks.glyph_clip import ASSET

        state: dict[str, Tensor] = load_file(ASSET)
        return state

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        from torch import nn

        from shiftline.networks.glyph_nets import GlyphTrunk

        encoder = GlyphTrunk()
        if not unprojected:
            return encoder, encoder.num_features
        features, encoder.projection = encoder.projection.in_features, nn.Identity()  # type: ignore[assignment]
        return encoder, features

    def text_model(self, record: BackboneRecord) -> tuple[nn.Module, Tokenizer]:
        from shiftline.networks.glyph_clip import build_glyph_clip, glyph_tokenizer

        return build_glyph_clip(), glyph_tokenizer()

    def __str__(self) -> str:
        return "glyph-clip"


class RandomClip(Backbone):
    """A small CLIP (images of 64 pixels, CLIP's own vocabulary) with random weights.

    It knows nothing. It is there so that every step of a study of large models can be tried in seconds.

    Parameters
    ----------
    seed : int
        Of the weights.
    """

    tag = "random-clip"
    library = "random-clip"
    text = True
    seed: int = 0

    def names(self) -> NetworkNames:
        from shiftline.networks.pretrained import clip_preprocessing
        from shiftline.networks.random_clip import SIDE

        return NetworkNames("random-clip", f"seed {self.seed}", clip_preprocessing(SIDE))

    def load(self) -> dict[str, Tensor]:
        from shiftline.networks.random_clip import build_random_clip

        return build_random_clip(self.seed).state_dict()

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        from shiftline.networks.pretrained import without_projection
        from shiftline.networks.random_clip import EMBEDDING, build_random_clip

        tower: nn.Module = build_random_clip().visual  # type: ignore[assignment]
        return (tower, without_projection(tower, EMBEDDING, architecture)) if unprojected else (tower, EMBEDDING)

    def text_model(self, record: BackboneRecord) -> tuple[nn.Module, Tokenizer]:
        import open_clip

        from shiftline.networks.random_clip import build_random_clip

        return build_random_clip(), open_clip.get_tokenizer("ViT-B-32")

    def __str__(self) -> str:
        return "random-clip" if not self.seed else f"random-clip {self.seed}"


def glyph_net(name: str) -> GlyphNet:
    """A small network of the digits study: "linear", "mlp", "conv-narrow", "conv-wide" or "trunk"."""
    return GlyphNet(name)


def glyph_clip() -> GlyphClip:
    """The small CLIP that ships with the package."""
    return GlyphClip()


def random_clip(seed: int = 0) -> RandomClip:
    """A small CLIP with random weights, to try things with."""
    return RandomClip(seed)
