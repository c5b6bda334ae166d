"""Transforms: what turns a distribution into a shifted one, and the augmentations of training.

These are values only. The pixels are computed in `shiftline.data.pixels` and `shiftline.data.augment`; a user's own
transform brings an `apply` method instead.
"""

from __future__ import annotations

from typing import ClassVar

from shiftline.errors import DeclarationError
from shiftline.identity import Declaration


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DeclarationError(message)


class Transform(Declaration):
    """A shift of images: a deterministic function of (images, labels, ids) on canonical pixels.

    A user's own transform is a subclass with a `tag`, a `revision`, fields, and::

        def apply(self, images, labels, ids): ...

    which receives uint8 images of shape (B, 3, H, W), int64 labels (B,) and int64 example ids (B,), all tensors on one
    device, and returns images of the same shape and dtype. It must give an example the same pixels whatever batch the
    example comes in: draw random numbers with `shiftline.data.randomness.uniform("my-transform", seed, ids, draws=...)`.
    """

    needs_labels: ClassVar[bool] = False


class Invert(Transform):
    """255 minus each pixel."""

    tag = "invert"


class VerticalFlip(Transform):
    """Turn the image upside down."""

    tag = "vertical-flip"


class Rotate(Transform):
    """Rotate counter-clockwise about the centre, bilinear, corners filled with the image's own border mean."""

    tag = "rotate"
    degrees: float

    def validate(self) -> None:
        _require(-180 <= self.degrees <= 180, f"Rotate.degrees is {self.degrees}: expected -180 to 180.")


class Blur(Transform):
    """Gaussian blur; `sigma` in pixels of the canonical image."""

    tag = "blur"
    sigma: float

    def validate(self) -> None:
        _require(self.sigma > 0, f"Blur.sigma is {self.sigma}: expected a positive number of pixels.")


class Noise(Transform):
    """Independent Gaussian noise; `sigma` as a fraction of the full range, drawn per (seed, example id, pixel)."""

    tag = "noise"
    sigma: float
    seed: int = 0

    def validate(self) -> None:
        _require(self.sigma > 0, f"Noise.sigma is {self.sigma}: expected a positive fraction of the full range.")


class Contrast(Transform):
    """Scale the distance of each pixel to the image's mean by `factor` (below 1: less contrast)."""

    tag = "contrast"
    factor: float

    def validate(self) -> None:
        _require(self.factor >= 0, f"Contrast.factor is {self.factor}: expected 0 or more.")


class Recolour(Transform):
    """Map luminance onto a line between two colours, both drawn per example from a fixed palette of eight."""

    tag = "recolour"
    seed: int = 0


class Tint(Transform):
    """Blend a flat colour over the image, correlated with the class (Cohen-Wang et al. 2024).

    With probability `p` the colour is that of the example's class, otherwise one of the classes' colours drawn
    uniformly. `strength` is the weight of the colour. ``p=0`` is the decorrelated twin.
    """

    tag = "tint"
    needs_labels = True
    p: float
    strength: float = 0.25
    seed: int = 0

    def validate(self) -> None:
        _require(0 <= self.p <= 1, f"Tint.p is {self.p}: expected a probability, 0 to 1.")
        _require(0 <= self.strength <= 1, f"Tint.strength is {self.strength}: expected 0 to 1.")


class Augmentation(Declaration):
    """A random change of training images, drawn per (seed, epoch, example id).

    A user's own augmentation is a subclass with a `tag`, a `revision`, fields, and::

        def apply(self, images, ids, *, seed, epoch): ...

    which receives uint8 images of shape (B, 3, H, W) and int64 example ids (B,) and returns images of the same shape and
    dtype, a function of (seed, epoch, id) alone: draw with `shiftline.data.randomness.uniform("my-augmentation", seed, ids,
    epoch=epoch, draws=...)`.
    """

    def validate(self) -> None:
        own = not type(self).__module__.startswith("shiftline.")
        _require(
            not own or callable(getattr(self, "apply", None)),
            f"the augmentation {type(self).__name__} has no apply method: write def apply(self, images, ids, *, seed, epoch).",
        )


class HorizontalFlip(Augmentation):
    """Mirror with probability `p`."""

    tag = "horizontal-flip"
    p: float = 0.5

    def validate(self) -> None:
        _require(0 <= self.p <= 1, f"HorizontalFlip.p is {self.p}: expected a probability, 0 to 1.")


class Translate(Augmentation):
    """Shift by up to `pixels` in each direction, integer steps, padded with the edge."""

    tag = "translate"
    pixels: int

    def validate(self) -> None:
        _require(self.pixels >= 0, f"Translate.pixels is {self.pixels}: expected 0 or more.")


class RandomResizedCrop(Augmentation):
    """Crop a box of random area and aspect ratio and resize it to the training size (Szegedy et al. 2015).

    The reader crops while it decodes; the box is a function of (seed, epoch, example id).
    """

    tag = "random-resized-crop"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def validate(self) -> None:
        low, high = self.scale
        _require(0 < low <= high <= 1, f"RandomResizedCrop.scale is {self.scale}: expected 0 < low <= high <= 1.")
        low, high = self.ratio
        _require(0 < low <= high, f"RandomResizedCrop.ratio is {self.ratio}: expected 0 < low <= high.")


class Cutout(Augmentation):
    """Paint a square of `pixels` grey (127), its centre anywhere in the image (DeVries & Taylor 2017)."""

    tag = "cutout"
    pixels: int

    def validate(self) -> None:
        _require(self.pixels >= 1, f"Cutout.pixels is {self.pixels}: expected 1 or more.")


class ColourJitter(Augmentation):
    """Brightness, contrast, saturation (factors within 1 +- the value) and hue (turns within +- the value), in this order."""

    tag = "colour-jitter"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def validate(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"ColourJitter.{name} is {value}: expected 0 to 1.")
        _require(0 <= self.hue <= 0.5, f"ColourJitter.hue is {self.hue}: expected 0 to 0.5 turns.")


class RandAugment(Augmentation):
    """`operations` random operations of strength `magnitude`, 0 to 30 (Cubuk et al. 2020; torchvision's ranges)."""

    tag = "rand-augment"
    operations: int = 2
    magnitude: int = 9

    def validate(self) -> None:
        _require(self.operations >= 1, f"RandAugment.operations is {self.operations}: expected 1 or more.")
        _require(0 <= self.magnitude <= 30, f"RandAugment.magnitude is {self.magnitude}: expected 0 to 30.")


class Mix(Declaration):
    """Base of what mixes pairs of a training batch; the first one's share is drawn by (seed, epoch, id) from Beta(alpha, alpha)."""

    def validate(self) -> None:
        alpha = getattr(self, "alpha", 1.0)
        _require(alpha > 0, f"{type(self).__name__}.alpha is {alpha}: expected a positive number.")


class Mixup(Mix):
    """A weighted mean of two images, and of the losses of their labels (Zhang et al. 2018)."""

    tag = "mixup"
    alpha: float = 0.2


class CutMix(Mix):
    """A box of one image pasted into another; the losses of the labels are weighted by area (Yun et al. 2019)."""

    tag = "cutmix"
    alpha: float = 1.0
