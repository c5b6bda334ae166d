"""From decoded pixels to what a model expects: resize, centre crop, scale, normalise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv


def resize_and_crop(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Resize the shorter side to ``size / crop`` (antialiased) and cut the centre.

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)

    Returns
    -------
    uint8 tensor, shape (B, 3, size, size)
    """
    size = int(preprocessing["size"])
    short = round(size / float(preprocessing["crop"]))
    if min(images.shape[-2:]) != short:
        mode = InterpolationMode(preprocessing["interpolation"])
        images = tv.resize(images, [short], interpolation=mode, antialias=True)
    return images if images.shape[-2:] == (size, size) else tv.center_crop(images, [size, size])


def normalise(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Scale uint8 pixels to [0, 1] and normalise each channel: float32, the shape stays."""
    mean = torch.tensor(preprocessing["mean"], device=images.device)[:, None, None]
    std = torch.tensor(preprocessing["std"], device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


def prepare(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Apply a model's whole evaluation transform to uint8 images (B, 3, H, W)."""
    return normalise(resize_and_crop(images, preprocessing), preprocessing)
