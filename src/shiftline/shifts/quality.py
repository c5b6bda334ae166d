"""Shifts of image quality: blur, noise, compression, resolution, occlusion."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from shiftline.contracts.require import require, require_positive
from shiftline.contracts.transforms import Transform
from shiftline.shifts.floating import FloatTransform

if TYPE_CHECKING:
    from torch import Tensor


class Blur(FloatTransform):
    """Gaussian blur.

    Parameters
    ----------
    sigma : float
        In pixels of the canonical image, above 0.
    """

    tag = "blur"
    sigma: float

    def validate(self) -> None:
        require_positive("Blur.sigma", self.sigma, "number of pixels")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from shiftline.data.pixels import tv

        reach = min(2 * int(3 * self.sigma + 0.5) + 1, 2 * min(images.shape[-2:]) - 1)
        blurred: Tensor = tv().gaussian_blur(images, [reach, reach], [self.sigma, self.sigma])
        return blurred


class Noise(FloatTransform):
    """Independent Gaussian noise, drawn per (seed, example id, pixel).

    Parameters
    ----------
    sigma : float
        As a fraction of the full range, above 0.
    seed : int
    """

    tag = "noise"
    sigma: float
    seed: int = 0

    def validate(self) -> None:
        require_positive("Noise.sigma", self.sigma, "fraction of the full range")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from shiftline.data.randomness import normal

        drawn = normal("noise", self.seed, ids, draws=images[0].numel()).reshape(images.shape)
        return images + self.sigma * drawn


class JPEG(Transform):
    """Compress and decompress with JPEG, by Pillow's codec on the CPU: every device sees the same pixels.

    Parameters
    ----------
    quality : int
        1 to 100.
    """

    tag = "jpeg"
    quality: int

    def validate(self) -> None:
        require(1 <= self.quality <= 100, f"JPEG.quality is {self.quality}: expected 1 to 100.")

    def apply(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image

        coded = []
        for image in images.cpu().movedim(1, -1).numpy():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=self.quality)
            coded.append(torch.from_numpy(np.array(Image.open(buffer))).movedim(-1, 0))
        return torch.stack(coded).to(images.device)


class Pixelate(FloatTransform):
    """Average blocks of pixels; blocks at the right and lower edges may be smaller.

    Parameters
    ----------
    block : int
        Side of a block in pixels, 1 or more.
    """

    tag = "pixelate"
    block: int

    def validate(self) -> None:
        require(self.block >= 1, f"Pixelate.block is {self.block}: expected 1 pixel or more.")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        from torch.nn import functional

        height, width = images.shape[-2:]
        # Averages count the pixels that are there: blocks at the edge may be smaller.
        small = functional.avg_pool2d(images, self.block, ceil_mode=True, count_include_pad=False)
        large = small.repeat_interleave(self.block, dim=2).repeat_interleave(self.block, dim=3)
        return large[:, :, :height, :width]


class Occlusion(FloatTransform):
    """Cover a square with mid-grey, somewhere drawn per (seed, example id).

    Parameters
    ----------
    share : float
        Of the image's area, above 0 and at most 1.
    seed : int
    """

    tag = "occlusion"
    share: float
    seed: int = 0

    def validate(self) -> None:
        require(0 < self.share <= 1, f"Occlusion.share is {self.share}: expected above 0 and at most 1.")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import torch

        from shiftline.data.randomness import uniform

        height, width = images.shape[-2:]
        area = math.sqrt(self.share * height * width)
        tall, wide = min(height, round(area)), min(width, round(area))
        u = uniform("occlusion", self.seed, ids, draws=2)
        top = (u[:, 0] * (height - tall + 1)).long()[:, None, None, None]
        left = (u[:, 1] * (width - wide + 1)).long()[:, None, None, None]
        row = torch.arange(height, device=images.device)[None, None, :, None]
        column = torch.arange(width, device=images.device)[None, None, None, :]
        inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
        return torch.where(inside, 0.5, images)
