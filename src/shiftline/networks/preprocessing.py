"""From decoded pixels to what a model expects: resize, centre crop, scale, normalise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shiftline.data.pixels import resize_and_cut


def resize_and_crop(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Resize the shorter side to ``floor(size / crop)`` (antialiased) and cut the centre, as the models' libraries do.

    Models whose preprocessing says so are given images that are squashed to a square instead.

    Parameters
    ----------
    images : uint8 tensor, shape (B, 3, H, W)

    Returns
    -------
    uint8 tensor, shape (B, 3, size, size)
    """
    size = int(preprocessing["size"])
    short = math.floor(size / float(preprocessing["crop"]))
    return resize_and_cut(
        images,
        short=short,
        size=size,
        interpolation=preprocessing["interpolation"],
        squash=bool(preprocessing.get("squash", False)),
    )


def normalise(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Scale uint8 pixels to [0, 1] and normalise each channel: float32, the shape stays."""
    mean = torch.tensor(preprocessing["mean"], device=images.device)[:, None, None]
    std = torch.tensor(preprocessing["std"], device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


def prepare(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Apply a model's whole evaluation transform to uint8 images (B, 3, H, W)."""
    return normalise(resize_and_crop(images, preprocessing), preprocessing)
