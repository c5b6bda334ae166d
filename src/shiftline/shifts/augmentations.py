"""The built-in augmentations of training images, and what mixes pairs of a batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from shiftline.contracts.require import require, require_share
from shiftline.contracts.transforms import Augmentation, Mix

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Operation = Callable[[Tensor, float, float], Tensor]


class HorizontalFlip(Augmentation):
    """Mirror an image.

    Parameters
    ----------
    p : float
        Probability, 0 to 1.
    """

    tag = "horizontal-flip"
    p: float = 0.5

    def validate(self) -> None:
        require_share("HorizontalFlip.p", self.p, "a probability")

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        u = uniform(self.tag, seed, ids, epoch=epoch)[:, 0]
        return torch.where((u < self.p)[:, None, None, None], images.flip(3), images)


class Translate(Augmentation):
    """Shift by whole pixels in each direction, padded with the edge.

    Parameters
    ----------
    pixels : int
        At most so many, 0 or more.
    """

    tag = "translate"
    pixels: int

    def validate(self) -> None:
        require(self.pixels >= 0, f"Translate.pixels is {self.pixels}: expected 0 or more.")

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        u = uniform(self.tag, seed, ids, epoch=epoch, draws=2)
        offsets = (u * (2 * self.pixels + 1)).long() - self.pixels
        height, width = images.shape[-2:]
        # Gathering with clamped positions pads with the edge.
        rows = (torch.arange(height, device=images.device) + offsets[:, :1]).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + offsets[:, 1:]).clamp(0, width - 1)
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        moved = images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2).contiguous()


class RandomResizedCrop(Augmentation):
    """Crop a box of random area and aspect ratio and resize it to the training size (Szegedy et al. 2015).

    The reader crops while it decodes, so that it comes first; the box is a function of (seed, epoch, example id).

    Parameters
    ----------
    scale : tuple of float
        Smallest and largest area, as shares of the image's, above 0 and at most 1.
    ratio : tuple of float
        Smallest and largest width divided by height, above 0.
    """

    tag = "random-resized-crop"
    crops = True
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def validate(self) -> None:
        low, high = self.scale
        require(0 < low <= high <= 1, f"RandomResizedCrop.scale is {self.scale}: expected 0 < low <= high <= 1.")
        low, high = self.ratio
        require(0 < low <= high, f"RandomResizedCrop.ratio is {self.ratio}: expected 0 < low <= high.")

    def boxes(self, heights: np.ndarray, widths: np.ndarray, ids: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
        """The first of ten draws that fits, else the largest centred box within the allowed ratios."""
        import numpy as np
        import torch

        from shiftline.data.randomness import uniform

        tries = 10
        keys = torch.from_numpy(np.ascontiguousarray(ids))
        u = uniform(self.tag, seed, keys, epoch=epoch, draws=4 * tries).numpy().reshape(len(ids), tries, 4)
        tall, wide = heights.astype(np.float64)[:, None], widths.astype(np.float64)[:, None]
        area = tall * wide * (self.scale[0] + u[..., 0] * (self.scale[1] - self.scale[0]))
        low, high = (math.log(r) for r in self.ratio)
        aspect = np.exp(low + u[..., 1] * (high - low))
        width, height = np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))
        fits = (width >= 1) & (height >= 1) & (width <= wide) & (height <= tall)
        chosen, rows = fits.argmax(axis=1), np.arange(len(ids))
        height, width = height[rows, chosen], width[rows, chosen]
        tall, wide, none = tall[:, 0], wide[:, 0], ~fits.any(axis=1)
        whole_width = np.minimum(wide, np.maximum(1, np.round(tall * self.ratio[1])))
        whole_height = np.minimum(tall, np.maximum(1, np.round(wide / self.ratio[0])))
        height, width = np.where(none, whole_height, height), np.where(none, whole_width, width)
        down, right = u[rows, chosen, 2], u[rows, chosen, 3]
        top = np.where(none, (tall - height) // 2, np.floor(down * (tall - height + 1)))
        left = np.where(none, (wide - width) // 2, np.floor(right * (wide - width + 1)))
        return np.stack([top, left, height, width], axis=1).astype(np.int64)


class Cutout(Augmentation):
    """Paint a square grey (127), its centre anywhere in the image (DeVries & Taylor 2017): it may be cut by the border.

    Parameters
    ----------
    pixels : int
        Side of the square, 1 or more.
    """

    tag = "cutout"
    pixels: int

    def validate(self) -> None:
        require(self.pixels >= 1, f"Cutout.pixels is {self.pixels}: expected 1 or more.")

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        height, width = images.shape[-2:]
        u = uniform(self.tag, seed, ids, epoch=epoch, draws=2)
        top = (u[:, 0] * height).long() - self.pixels // 2
        left = (u[:, 1] * width).long() - self.pixels // 2
        inside = _inside(top, left, self.pixels, self.pixels, height, width)
        return torch.where(inside[:, None], images.new_tensor(127), images)


class ColourJitter(Augmentation):
    """Change brightness, contrast, saturation and hue of each image, in this order, by torchvision's functions.

    Parameters
    ----------
    brightness, contrast, saturation : float
        Factors are drawn from 1 - value to 1 + value; 0 to 1.
    hue : float
        Turns of the colour wheel are drawn from -value to value; 0 to 0.5.
    """

    tag = "colour-jitter"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def validate(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            require_share(f"ColourJitter.{name}", getattr(self, name))
        require(0 <= self.hue <= 0.5, f"ColourJitter.hue is {self.hue}: expected 0 to 0.5 turns.")

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        import torch

        from shiftline.data.pixels import tv
        from shiftline.data.randomness import uniform

        signed = 2 * uniform(self.tag, seed, ids, epoch=epoch, draws=4).numpy() - 1
        changed = []
        for image, (brightness, contrast, saturation, hue) in zip(images, signed, strict=True):
            if self.brightness:
                image = tv().adjust_brightness(image, 1 + brightness * self.brightness)
            if self.contrast:
                image = tv().adjust_contrast(image, 1 + contrast * self.contrast)
            if self.saturation:
                image = tv().adjust_saturation(image, 1 + saturation * self.saturation)
            if self.hue:
                image = tv().adjust_hue(image, hue * self.hue)
            changed.append(image)
        return torch.stack(changed)


class RandAugment(Augmentation):
    """Random operations on each image (Cubuk et al. 2020), with torchvision's ranges.

    Parameters
    ----------
    operations : int
        How many on each image, 1 or more.
    magnitude : int
        Their strength, 0 to 30.
    """

    tag = "rand-augment"
    operations: int = 2
    magnitude: int = 9

    def validate(self) -> None:
        require(self.operations >= 1, f"RandAugment.operations is {self.operations}: expected 1 or more.")
        require(0 <= self.magnitude <= 30, f"RandAugment.magnitude is {self.magnitude}: expected 0 to 30.")

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        u = uniform(self.tag, seed, ids, epoch=epoch, draws=2 * self.operations).numpy()
        known, strength, changed = rand_augment_operations(), self.magnitude / 30, []
        for image, numbers in zip(images, u, strict=True):
            for which, sign in numbers.reshape(-1, 2):
                image = known[int(which * len(known))](image, strength, 1.0 if sign < 0.5 else -1.0)
            changed.append(image)
        return torch.stack(changed)


@functools.cache
def rand_augment_operations() -> tuple[Operation, ...]:
    """Return operations on (image, strength in [0, 1], sign), with the ranges of torchvision's RandAugment."""
    from shiftline.data.pixels import tv

    f = tv()

    def shear(image: Tensor, x: float, y: float) -> Tensor:
        degrees = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
        sheared: Tensor = f.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])
        return sheared

    def move(image: Tensor, x: float, y: float) -> Tensor:
        moved: Tensor = f.affine(image, angle=0.0, translate=[int(x), int(y)], scale=1.0, shear=[0.0, 0.0])
        return moved

    return (
        lambda image, strength, sign: image,
        lambda image, strength, sign: shear(image, 0.3 * strength * sign, 0),
        lambda image, strength, sign: shear(image, 0, 0.3 * strength * sign),
        lambda image, strength, sign: move(image, 150 / 331 * strength * sign * image.shape[-1], 0),
        lambda image, strength, sign: move(image, 0, 150 / 331 * strength * sign * image.shape[-2]),
        lambda image, strength, sign: f.rotate(image, 30 * strength * sign),
        lambda image, strength, sign: f.adjust_brightness(image, 1 + 0.9 * strength * sign),
        lambda image, strength, sign: f.adjust_saturation(image, 1 + 0.9 * strength * sign),
        lambda image, strength, sign: f.adjust_contrast(image, 1 + 0.9 * strength * sign),
        lambda image, strength, sign: f.adjust_sharpness(image, 1 + 0.9 * strength * sign),
        lambda image, strength, sign: f.posterize(image, 8 - round(4 * strength)),
        lambda image, strength, sign: f.solarize(image, 255 * (1 - strength)),
        lambda image, strength, sign: f.autocontrast(image),
        lambda image, strength, sign: f.equalize(image),
    )


def _inside(top: Tensor, left: Tensor, tall: Tensor | int, wide: Tensor | int, height: int, width: int) -> Tensor:
    """Return which pixels lie in boxes: bool, shape (B, height, width)."""
    import torch

    rows, columns = torch.arange(height, device=top.device), torch.arange(width, device=top.device)
    down = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    return down[:, :, None] & across[:, None, :]


def mixing_shares(mix: Mix, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return the share of the first image of each pair, float64, shape (B,), distributed as Beta(alpha, alpha)."""
    import numpy as np
    import torch
    from scipy.stats import beta

    from shiftline.data.randomness import uniform

    u = uniform(f"{type(mix).tag}-share", seed, ids, epoch=epoch)[:, 0].numpy()
    return torch.from_numpy(np.asarray(beta.ppf(u, mix.alpha, mix.alpha)))


class Mixup(Mix):
    """A weighted mean of two images, and of the losses of their labels (Zhang et al. 2018).

    Parameters
    ----------
    alpha : float
        Weights are drawn from Beta(alpha, alpha); above 0.
    """

    tag = "mixup"
    alpha: float = 0.2

    def pairs(self, images: Tensor, partners: Tensor, ids: Tensor, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        import torch

        share = mixing_shares(self, ids.cpu(), seed=seed, epoch=epoch).to(images.device, images.dtype)
        return torch.lerp(partners, images, share[:, None, None, None]), share


class CutMix(Mix):
    """A box of one image pasted into another; the losses of the labels are weighted by the area that is left (Yun et al. 2019).

    Parameters
    ----------
    alpha : float
        Areas are drawn from Beta(alpha, alpha); above 0.
    """

    tag = "cutmix"
    alpha: float = 1.0

    def pairs(self, images: Tensor, partners: Tensor, ids: Tensor, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        import torch

        from shiftline.data.randomness import uniform

        shares = mixing_shares(self, ids.cpu(), seed=seed, epoch=epoch)
        height, width = images.shape[-2:]
        side = (1 - shares).clamp_min(0).sqrt()
        tall, wide = (side * height).round().long(), (side * width).round().long()
        u = uniform(f"{self.tag}-box", seed, ids.cpu(), epoch=epoch, draws=2)
        top = (u[:, 0] * height).long() - tall // 2
        left = (u[:, 1] * width).long() - wide // 2
        box = _inside(top, left, tall, wide, height, width)
        left_over = (1 - box.double().mean(dim=(1, 2))).to(images.device, images.dtype)
        return torch.where(box[:, None].to(images.device), partners, images), left_over
