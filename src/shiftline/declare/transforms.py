"""Transforms: what turns a distribution into a shifted one, and the augmentations of training.

These are values only. The pixels are computed in `shiftline.data.pixels` and `shiftline.data.augment`; a user's own
transform brings an `apply` method instead.
"""

from __future__ import annotations

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


class Brightness(Transform):
    """Multiply each pixel by `factor` (below 1: darker)."""

    tag = "brightness"
    factor: float

    def validate(self) -> None:
        _require(self.factor >= 0, f"Brightness.factor is {self.factor}: expected 0 or more.")


class Saturation(Transform):
    """Scale the distance of each pixel to its own grey value by `factor` (0: a grey image)."""

    tag = "saturation"
    factor: float

    def validate(self) -> None:
        _require(self.factor >= 0, f"Saturation.factor is {self.factor}: expected 0 or more.")


class JPEG(Transform):
    """Compress and decompress with JPEG of the given quality, 1 to 100."""

    tag = "jpeg"
    quality: int

    def validate(self) -> None:
        _require(1 <= self.quality <= 100, f"JPEG.quality is {self.quality}: expected 1 to 100.")


class Pixelate(Transform):
    """Average blocks of `block` by `block` pixels; blocks at the right and lower edges may be smaller."""

    tag = "pixelate"
    block: int

    def validate(self) -> None:
        _require(self.block >= 1, f"Pixelate.block is {self.block}: expected 1 pixel or more.")


class Occlusion(Transform):
    """Cover a square of `share` of the area with mid-grey, at a place drawn per (seed, example id)."""

    tag = "occlusion"
    share: float
    seed: int = 0

    def validate(self) -> None:
        _require(0 < self.share <= 1, f"Occlusion.share is {self.share}: expected above 0 and at most 1.")


class TextOverlay(Transform):
    """Write a word on the image, white with a black edge, at a height drawn per (seed, example id).

    The word is drawn from `texts`: any of them with `choose` "any"; with one text per class, that of the example's own class
    with "right" and of another one with "wrong". With "wrong" it is a typographic attack (Goh et al. 2021).

    Attributes
    ----------
    texts : tuple of str
        With "right" and "wrong": one per class, in the order of the labels.
    height : float
        Of the letters, as a share of the image's height.
    """

    tag = "text-overlay"
    texts: tuple[str, ...]
    choose: str = "any"
    height: float = 0.2
    seed: int = 0

    def validate(self) -> None:
        _require(
            bool(self.texts) and all(isinstance(text, str) and text.strip() for text in self.texts),
            f"TextOverlay.texts is {self.texts!r}: expected one text or more, none of them empty.",
        )
        _require(
            self.choose in ("any", "right", "wrong"),
            f"TextOverlay.choose is {self.choose!r}: choose any, right or wrong.",
        )
        _require(
            self.choose != "wrong" or len(self.texts) >= 2,
            'TextOverlay(choose="wrong") needs one text per class, two or more.',
        )
        _require(0 < self.height <= 1, f"TextOverlay.height is {self.height}: expected above 0 and at most 1.")


class Sometimes(Transform):
    """A mixture: a transform changes a random share of the examples, by id; the others stay as they are."""

    tag = "sometimes"
    transform: Transform
    share: float
    seed: int = 0

    def validate(self) -> None:
        _require(
            isinstance(self.transform, Transform),
            f"Sometimes.transform is a {type(self.transform).__name__}: expected a shiftline.Transform.",
        )
        _require(0 <= self.share <= 1, f"Sometimes.share is {self.share}: expected 0 to 1.")


class Recolour(Transform):
    """Map luminance onto a line between two colours, both drawn per example from a fixed palette of ten."""

    tag = "recolour"
    seed: int = 0


class Tint(Transform):
    """Blend a flat colour over the image, correlated with the class (Cohen-Wang et al. 2024).

    With probability `p` the colour is that of the example's class, otherwise one of the colours drawn uniformly. `strength` is
    the weight of the colour. ``p=0`` is the decorrelated twin.

    Attributes
    ----------
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
        _require(0 <= self.p <= 1, f"Tint.p is {self.p}: expected a probability, 0 to 1.")
        _require(0 <= self.strength <= 1, f"Tint.strength is {self.strength}: expected 0 to 1.")
        _require(self.colours >= 2, f"Tint.colours is {self.colours}: expected 2 or more.")


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
