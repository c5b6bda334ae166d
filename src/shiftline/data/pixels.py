"""The pixels of the shift transforms: functions of (images, labels, ids), the same for any batch an example comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from shiftline.data.randomness import normal, uniform
from shiftline.declare.transforms import (
    Blur,
    Contrast,
    Invert,
    Noise,
    Recolour,
    Rotate,
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
        A user's transform returned another shape or type.
    """
    for transform in transforms:
        own = getattr(transform, "apply", None)
        if own is None:
            images = _rounded(_PIXELS[type(transform)](transform, images.float() / 255, labels, ids))
            continue
        changed = own(images, labels, ids)
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
    turned = tv.rotate(images - fill, transform.degrees, interpolation=tv.InterpolationMode.BILINEAR)
    return turned + fill


def _blur(transform: Blur, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    reach = min(2 * int(3 * transform.sigma + 0.5) + 1, 2 * min(images.shape[-2:]) - 1)
    return tv.gaussian_blur(images, [reach, reach], [transform.sigma, transform.sigma])


def _noise(transform: Noise, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    drawn = normal("noise", transform.seed, ids, draws=images[0].numel()).reshape(images.shape)
    return images + transform.sigma * drawn


def _contrast(transform: Contrast, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + transform.factor * (images - mean)


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
    Recolour: _recolour,
    Tint: _tint,
}
