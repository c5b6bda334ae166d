"""Shifts of colour and brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.require import require, require_at_least, require_share
from shiftline.shifts.floating import FloatTransform

if TYPE_CHECKING:
    from torch import Tensor

PALETTE = (
    (0.90, 0.10, 0.10),
    (0.10, 0.75, 0.20),
    (0.15, 0.25, 0.95),
    (0.95, 0.85, 0.10),
    (0.75, 0.15, 0.80),
    (0.10, 0.80, 0.85),
    (0.95, 0.55, 0.10),
    (0.55, 0.85, 0.45),
    (0.95, 0.60, 0.75),
    (0.45, 0.30, 0.15),
)
"""Colours of Tint and Recolour, as fractions of the full range; classes beyond ten take them in turn."""


def _palette(like: Tensor) -> Tensor:
    return like.new_tensor(PALETTE)


class Invert(FloatTransform):
    """255 minus each pixel."""

    tag = "invert"

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        return 1 - images


class Contrast(FloatTransform):
    """Scale the distance of each pixel to the image's mean.

    Parameters
    ----------
    factor : float
        0 or more; below 1: less contrast.
    """

    tag = "contrast"
    factor: float

    def validate(self) -> None:
        require_at_least("Contrast.factor", self.factor, 0)

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return mean + self.factor * (images - mean)


class Brightness(FloatTransform):
    """Multiply each pixel.

    Parameters
    ----------
    factor : float
        0 or more; below 1: darker.
    """

    tag = "brightness"
    factor: float

    def validate(self) -> None:
        require_at_least("Brightness.factor", self.factor, 0)

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        return self.factor * images


class Saturation(FloatTransform):
    """Scale the distance of each pixel to its own grey value.

    Parameters
    ----------
    factor : float
        0 or more; 0: a grey image.
    """

    tag = "saturation"
    factor: float

    def validate(self) -> None:
        require_at_least("Saturation.factor", self.factor, 0)

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from shiftline.data.pixels import tv

        grey = tv().rgb_to_grayscale(images)
        changed: Tensor = grey + self.factor * (images - grey)
        return changed


class Recolour(FloatTransform):
    """Map luminance onto a line between two colours, both drawn per example from a fixed palette of ten.

    Parameters
    ----------
    seed : int
        Of the draw, per (seed, example id).
    """

    tag = "recolour"
    seed: int = 0

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from shiftline.data.randomness import uniform

        palette = _palette(images)
        u = uniform("recolour", self.seed, ids, draws=2)
        first = (u[:, 0] * len(palette)).long()
        # The second colour is another one: an offset of 1 to n - 1.
        second = (first + 1 + (u[:, 1] * (len(palette) - 1)).long()) % len(palette)
        ink, ground = palette[first][:, :, None, None], palette[second][:, :, None, None]
        return ground + (ink - ground) * images.mean(dim=1, keepdim=True)


class Tint(FloatTransform):
    """Blend a flat colour over the image, correlated with the class (Cohen-Wang et al. 2024).

    Parameters
    ----------
    p : float
        Probability, 0 to 1, that the colour is that of the example's class; otherwise it is drawn uniformly from all colours.
        ``p=0`` is the decorrelated twin.
    strength : float
        Weight of the colour, 0 to 1.
    seed : int
        Of the draw, per (seed, example id).
    colours : int
        How many there are; classes beyond share them. Ten are a fixed palette of colours far apart, any other number is drawn
        uniformly from the cube of colours, once for all seeds: 1,000 for ImageNet's classes, as published.
    """

    tag = "tint"
    p: float
    strength: float = 0.25
    seed: int = 0
    colours: int = 10

    def validate(self) -> None:
        require_share("Tint.p", self.p, "a probability")
        require_share("Tint.strength", self.strength)
        require(self.colours >= 2, f"Tint.colours is {self.colours}: expected 2 or more.")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        palette = _palette(images)
        if self.colours != len(palette):
            numbers = torch.arange(self.colours, device=images.device)
            palette = uniform("tint-colours", 0, numbers, draws=3).to(images.dtype)
        u = uniform("tint", self.seed, ids, draws=2)
        colour = torch.where(u[:, 0] < self.p, labels % len(palette), (u[:, 1] * len(palette)).long())
        return (1 - self.strength) * images + self.strength * palette[colour][:, :, None, None]
