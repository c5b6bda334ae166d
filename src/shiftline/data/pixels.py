"""Pixels: resizing and cutting, and applying what a distribution or a training declares, checked."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shiftline.contracts.transforms import Augmentation, Transform
from shiftline.errors import DataError


@functools.cache
def tv() -> Any:
    """Return torchvision's operations on images; they take seconds to import, which what needs none of them is spared."""
    from torchvision.transforms.v2 import functional

    return functional


def resize_and_cut(images: Tensor, *, short: int, size: int, interpolation: str = "bicubic", squash: bool = False) -> Tensor:
    """Resize (antialiased) and cut the centre.

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)
    short : int
        The shorter side after resizing, in pixels.
    size : int
        Side of the square that is cut.
    squash : bool
        Resize both sides to `short`, whatever the aspect ratio.

    Returns
    -------
    uint8 tensor, shape (B, 3, size, size)
    """
    height, width = images.shape[-2:]
    if min(height, width) != short or (squash and height != width):
        sides = [short, short] if squash else [short]
        images = tv().resize(images, sides, interpolation=tv().InterpolationMode(interpolation), antialias=True)
    return images if images.shape[-2:] == (size, size) else tv().center_crop(images, [size, size])


def apply_transforms(transforms: Sequence[Transform], images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    """Apply shift transforms in order.

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)
    labels, ids : int64 tensors, shape (B,)

    Returns
    -------
    uint8 tensor, shape (B, 3, H, W)
        Rounded after every transform: a shifted image is an image, as if it had been saved.

    Raises
    ------
    DataError
        A transform returned another shape or type, or NaN; or it lacks what it needs for a class.
    """
    for transform in transforms:
        changed = transform.apply(images, labels, ids)
        check_images(f"the transform {transform.tag!r}", changed, images)
        images = changed
    return images


def check_images(owner: str, changed: object, images: Tensor) -> None:
    """Raise `DataError` unless images have the shape and type of those that they were made of."""
    expected = f"expected uint8 {tuple(images.shape)}"
    if not isinstance(changed, Tensor):
        raise DataError(f"{owner} returned {type(changed).__name__}: {expected}, as it was given.")
    if changed.is_floating_point() and bool(changed.isnan().any()):
        raise DataError(
            f"{owner} returned NaN: {expected}. Look for a division by zero, and round and clamp to 0..255 at the end of apply()."
        )
    if changed.shape != images.shape or changed.dtype != torch.uint8:
        raise DataError(
            f"{owner} returned {changed.dtype} {tuple(changed.shape)}: {expected}, as it was given. Round and clamp to 0..255 at "
            "the end of apply()."
        )


def augment(images: Tensor, ids: Tensor, augmentations: Sequence[Augmentation], *, seed: int, epoch: int) -> Tensor:
    """Apply the augmentations that act on pixels (a crop has been applied while decoding).

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)
    ids : int64 tensor, shape (B,)

    Returns
    -------
    uint8 tensor, shape (B, 3, H, W)

    Raises
    ------
    DataError
        An augmentation returns another shape or type.
    """
    seen: dict[str, int] = {}
    for augmentation in augmentations:
        if augmentation.crops:
            continue
        # The second of a kind has numbers of its own: two equal ones are not one.
        number = seen[augmentation.tag] = seen.get(augmentation.tag, -1) + 1
        changed = augmentation.apply(images, ids, seed=seed + (number << 40), epoch=epoch)
        check_images(f"the augmentation {type(augmentation).__name__}", changed, images)
        images = changed
    return images


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
