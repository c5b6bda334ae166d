"""Augmentations of training images, drawn per (seed, epoch, example id), applied in torch after decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shiftline.data.randomness import uniform
from shiftline.declare.transforms import Augmentation, HorizontalFlip, RandomResizedCrop, Translate


def centre_boxes(heights: np.ndarray, widths: np.ndarray, crop: float) -> np.ndarray:
    """Boxes of the evaluation crop: a centred square of `crop` times the shorter side.

    Returns
    -------
    ndarray of int64, shape (B, 4)
        top, left, height, width.
    """
    side = np.maximum(1, np.round(np.minimum(heights, widths) * crop)).astype(np.int64)
    top, left = (heights.astype(np.int64) - side) // 2, (widths.astype(np.int64) - side) // 2
    return np.stack([top, left, side, side], axis=1)


def random_boxes(
    heights: np.ndarray, widths: np.ndarray, ids: np.ndarray, augmentation: RandomResizedCrop, *, seed: int, epoch: int
) -> np.ndarray:
    """Boxes of a random resized crop: the first of ten draws that fits, else the largest centred box.

    Returns
    -------
    ndarray of int64, shape (B, 4)
        top, left, height, width.
    """
    tries = 10
    keys = torch.from_numpy(np.ascontiguousarray(ids))
    u = uniform(RandomResizedCrop.tag, seed, keys, epoch=epoch, draws=4 * tries).numpy()
    u = u.reshape(len(ids), tries, 4)
    tall, wide = heights.astype(np.float64)[:, None], widths.astype(np.float64)[:, None]
    area = tall * wide * (augmentation.scale[0] + u[..., 0] * (augmentation.scale[1] - augmentation.scale[0]))
    low, high = (math.log(r) for r in augmentation.ratio)
    aspect = np.exp(low + u[..., 1] * (high - low))
    width, height = np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))
    fits = (width >= 1) & (height >= 1) & (width <= wide) & (height <= tall)
    chosen, rows = fits.argmax(axis=1), np.arange(len(ids))
    height, width = height[rows, chosen], width[rows, chosen]
    # Where none fits: the largest box whose aspect is within the allowed ratios.
    tall, wide, none = tall[:, 0], wide[:, 0], ~fits.any(axis=1)
    whole_width = np.minimum(wide, np.maximum(1, np.round(tall * augmentation.ratio[1])))
    whole_height = np.minimum(tall, np.maximum(1, np.round(wide / augmentation.ratio[0])))
    height, width = np.where(none, whole_height, height), np.where(none, whole_width, width)
    down, right = u[rows, chosen, 2], u[rows, chosen, 3]
    top = np.where(none, (tall - height) // 2, np.floor(down * (tall - height + 1)))
    left = np.where(none, (wide - width) // 2, np.floor(right * (wide - width + 1)))
    return np.stack([top, left, height, width], axis=1).astype(np.int64)


def augment(images: Tensor, ids: Tensor, augmentations: Sequence[Augmentation], *, seed: int, epoch: int) -> Tensor:
    """Apply the augmentations that act on pixels (the crop has been applied while decoding).

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)
    ids : int64 tensor, shape (B,)

    Returns
    -------
    uint8 tensor, shape (B, 3, H, W)
    """
    for augmentation in augmentations:
        if isinstance(augmentation, HorizontalFlip):
            u = uniform(HorizontalFlip.tag, seed, ids, epoch=epoch)[:, 0]
            images = torch.where((u < augmentation.p)[:, None, None, None], images.flip(3), images)
        elif isinstance(augmentation, Translate):
            images = _translate(images, ids, augmentation.pixels, seed=seed, epoch=epoch)
    return images


def _translate(images: Tensor, ids: Tensor, pixels: int, *, seed: int, epoch: int) -> Tensor:
    u = uniform(Translate.tag, seed, ids, epoch=epoch, draws=2)
    offsets = (u * (2 * pixels + 1)).long() - pixels
    height, width = images.shape[-2:]
    # Gathering with clamped positions pads with the edge.
    rows = (torch.arange(height, device=images.device) + offsets[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + offsets[:, 1:]).clamp(0, width - 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
