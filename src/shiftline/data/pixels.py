"""The pixels of the shift transforms: functions of (images, labels, ids), the same for any batch an example comes in."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shiftline.data.lettering import write_words
from shiftline.data.randomness import normal, uniform
from shiftline.declare.transforms import (
    JPEG,
    Blur,
    Brightness,
    Contrast,
    Invert,
    Noise,
    Occlusion,
    Pixelate,
    Recolour,
    Rotate,
    Saturation,
    Sometimes,
    TextOverlay,
    Tint,
    Transform,
    VerticalFlip,
)
from shiftline.errors import DataError

PALETTE = (
    (0.90, 0.10, 0.10), (0.10, 0.75, 0.20), (0.15, 0.25, 0.95), (0.95, 0.85, 0.10), (0.75, 0.15, 0.80),
    (0.10, 0.80, 0.85), (0.95, 0.55, 0.10), (0.55, 0.85, 0.45), (0.95, 0.60, 0.75), (0.45, 0.30, 0.15),
)  # fmt: skip
"""Colours of Tint and Recolour, as fractions of the full range; classes beyond ten take them in turn."""


@functools.cache
def tv() -> Any:
    """Return torchvision's operations on images; they take seconds to import, which what needs none of them is spared."""
    from torchvision.transforms.v2 import functional

    return functional


def resize_and_cut(
    images: Tensor, *, short: int, size: int, interpolation: str = "bicubic", squash: bool = False
) -> Tensor:
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
        A user's transform returned another shape or type, or NaN; or a text overlay lacks a text for a class.
    """
    for transform in transforms:
        if isinstance(transform, Sometimes):
            chosen = uniform("sometimes", transform.seed, ids)[:, 0] < transform.share
            changed = apply_transforms((transform.transform,), images, labels, ids)
            images = torch.where(chosen[:, None, None, None], changed, images)
            continue
        own = getattr(transform, "apply", None)
        if own is None:
            images = _rounded(_PIXELS[type(transform)](transform, images.float() / 255, labels, ids))
            continue
        changed = own(images, labels, ids)
        if isinstance(changed, Tensor) and changed.is_floating_point() and bool(changed.isnan().any()):
            raise DataError(
                f"the transform {type(transform).tag!r} returned NaN: expected uint8 {tuple(images.shape)}. Look for a division "
                "by zero, and round and clamp to 0..255 at the end of apply()."
            )
        if not isinstance(changed, Tensor) or changed.shape != images.shape or changed.dtype != torch.uint8:
            got = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise DataError(
                f"the transform {type(transform).tag!r} returned {got}: expected uint8 {tuple(images.shape)}, as it was "
                "given. Round and clamp to 0..255 at the end of apply()."
            )
        images = changed
    return images


def _rounded(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _invert(_: Invert, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    return 1 - images


def _vertical_flip(_: VerticalFlip, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    return images.flip(2)


def _rotate(transform: Rotate, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2)
    fill = border.mean(dim=2)[:, :, None, None]
    # Rotating the difference to the fill lets one call serve images of different borders.
    turned = tv().rotate(images - fill, transform.degrees, interpolation=tv().InterpolationMode.BILINEAR)
    return turned + fill


def _blur(transform: Blur, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    reach = min(2 * int(3 * transform.sigma + 0.5) + 1, 2 * min(images.shape[-2:]) - 1)
    return tv().gaussian_blur(images, [reach, reach], [transform.sigma, transform.sigma])


def _noise(transform: Noise, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    drawn = normal("noise", transform.seed, ids, draws=images[0].numel()).reshape(images.shape)
    return images + transform.sigma * drawn


def _contrast(transform: Contrast, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + transform.factor * (images - mean)


def _brightness(transform: Brightness, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    return transform.factor * images


def _saturation(transform: Saturation, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    grey = tv().rgb_to_grayscale(images)
    return grey + transform.factor * (images - grey)


def _jpeg(transform: JPEG, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    from PIL import Image

    # Pillow's codec, on the CPU: every device sees the same pixels.
    coded = []
    for image in _rounded(images).cpu().movedim(1, -1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=transform.quality)
        coded.append(torch.from_numpy(np.array(Image.open(buffer))).movedim(-1, 0))
    return torch.stack(coded).to(images.device).float() / 255


def _pixelate(transform: Pixelate, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    # Averages count the pixels that are there: blocks at the edge may be smaller.
    small = nn.functional.avg_pool2d(images, transform.block, ceil_mode=True, count_include_pad=False)
    large = small.repeat_interleave(transform.block, dim=2).repeat_interleave(transform.block, dim=3)
    return large[:, :, :height, :width]


def _occlusion(transform: Occlusion, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    area = math.sqrt(transform.share * height * width)
    tall, wide = min(height, round(area)), min(width, round(area))
    u = uniform("occlusion", transform.seed, ids, draws=2)
    top = (u[:, 0] * (height - tall + 1)).long()[:, None, None, None]
    left = (u[:, 1] * (width - wide + 1)).long()[:, None, None, None]
    row = torch.arange(height, device=images.device)[None, None, :, None]
    column = torch.arange(width, device=images.device)[None, None, None, :]
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return torch.where(inside, 0.5, images)


def _text_overlay(transform: TextOverlay, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    count = len(transform.texts)
    if transform.choose != "any" and len(labels) and int(labels.max()) >= count:
        raise DataError(
            f"TextOverlay(choose={transform.choose!r}) has {count} texts, an example has the label {int(labels.max())}: give one "
            "text per class, in the order of the labels."
        )
    words = [transform.texts[word] for word in chosen_words(transform, labels, ids).tolist()]
    places = uniform("text-overlay place", transform.seed, ids, draws=2)
    return write_words(images, words, places, height=transform.height)


def chosen_words(transform: TextOverlay, labels: Tensor, ids: Tensor) -> Tensor:
    """Return the place in `transform.texts` of the word that is written on each image, int64, shape (B,)."""
    if transform.choose == "right":
        return labels
    count = len(transform.texts)
    u = uniform("text-overlay", transform.seed, ids)[:, 0]
    if transform.choose == "any":
        return (u * count).long()
    return (labels + 1 + (u * (count - 1)).long()) % count


def _palette(like: Tensor) -> Tensor:
    return torch.tensor(PALETTE, dtype=like.dtype, device=like.device)


def _recolour(transform: Recolour, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    palette = _palette(images)
    u = uniform("recolour", transform.seed, ids, draws=2)
    first = (u[:, 0] * len(palette)).long()
    # The second colour is another one: an offset of 1 to n - 1.
    second = (first + 1 + (u[:, 1] * (len(palette) - 1)).long()) % len(palette)
    ink, ground = palette[first][:, :, None, None], palette[second][:, :, None, None]
    light = images.mean(dim=1, keepdim=True)
    return ground + (ink - ground) * light


def _tint(transform: Tint, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    palette = _palette(images)
    if transform.colours != len(palette):
        places = torch.arange(transform.colours, device=images.device)
        palette = uniform("tint-colours", 0, places, draws=3).to(images.dtype)
    u = uniform("tint", transform.seed, ids, draws=2)
    colour = torch.where(u[:, 0] < transform.p, labels % len(palette), (u[:, 1] * len(palette)).long())
    return (1 - transform.strength) * images + transform.strength * palette[colour][:, :, None, None]


_PIXELS: dict[type[Transform], Callable[..., Tensor]] = {
    Invert: _invert,
    VerticalFlip: _vertical_flip,
    Rotate: _rotate,
    Blur: _blur,
    Noise: _noise,
    Contrast: _contrast,
    Brightness: _brightness,
    Saturation: _saturation,
    JPEG: _jpeg,
    Pixelate: _pixelate,
    Occlusion: _occlusion,
    TextOverlay: _text_overlay,
    Recolour: _recolour,
    Tint: _tint,
}
