"""Augmentations of training images, drawn per (seed, epoch, example id), applied in torch after decoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from shiftline.data.pixels import tv
from shiftline.data.randomness import uniform
from shiftline.declare.transforms import (
    Augmentation,
    ColourJitter,
    CutMix,
    Cutout,
    HorizontalFlip,
    Mix,
    Mixup,
    RandAugment,
    RandomResizedCrop,
    Translate,
)
from shiftline.errors import DataError


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

    Raises
    ------
    DataError
        A user's augmentation returns another shape or type.
    """
    seen: dict[str, int] = {}
    for augmentation in augmentations:
        # The second of a kind has numbers of its own: two equal ones are not one.
        number = seen[augmentation.tag] = seen.get(augmentation.tag, 0) + 1
        stream = augmentation.tag if number == 1 else f"{augmentation.tag} {number}"
        if isinstance(augmentation, HorizontalFlip):
            u = uniform(stream, seed, ids, epoch=epoch)[:, 0]
            images = torch.where((u < augmentation.p)[:, None, None, None], images.flip(3), images)
        elif isinstance(augmentation, Translate):
            images = _translate(images, ids, augmentation.pixels, stream, seed=seed, epoch=epoch)
        elif isinstance(augmentation, Cutout):
            images = _cutout(images, ids, augmentation.pixels, stream, seed=seed, epoch=epoch)
        elif isinstance(augmentation, ColourJitter):
            images = _colour_jitter(images, ids, augmentation, stream, seed=seed, epoch=epoch)
        elif isinstance(augmentation, RandAugment):
            images = _rand_augment(images, ids, augmentation, stream, seed=seed, epoch=epoch)
        elif not isinstance(augmentation, RandomResizedCrop):
            changed = augmentation.apply(images, ids, seed=seed, epoch=epoch)  # type: ignore[attr-defined]
            if changed.shape != images.shape or changed.dtype != images.dtype:
                raise DataError(
                    f"the augmentation {type(augmentation).__name__} returned {changed.dtype} of shape {tuple(changed.shape)}: "
                    f"expected uint8 of shape {tuple(images.shape)}."
                )
            images = changed
    return images


def _cutout(images: Tensor, ids: Tensor, pixels: int, stream: str, *, seed: int, epoch: int) -> Tensor:
    """Paint a square grey; its centre is uniform over the image, so that it may be cut by the border."""
    height, width = images.shape[-2:]
    u = uniform(stream, seed, ids, epoch=epoch, draws=2)
    top = (u[:, 0] * height).long() - pixels // 2
    left = (u[:, 1] * width).long() - pixels // 2
    return torch.where(
        _inside(top, left, pixels, pixels, height, width)[:, None], torch.tensor(127, dtype=torch.uint8), images
    )


def _inside(top: Tensor, left: Tensor, tall: Tensor | int, wide: Tensor | int, height: int, width: int) -> Tensor:
    """Return which pixels lie in boxes: bool, shape (B, height, width)."""
    rows, columns = torch.arange(height), torch.arange(width)
    down = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    return down[:, :, None] & across[:, None, :]


def _colour_jitter(images: Tensor, ids: Tensor, jitter: ColourJitter, stream: str, *, seed: int, epoch: int) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image, by torchvision's functions."""
    signed = 2 * uniform(stream, seed, ids, epoch=epoch, draws=4).numpy() - 1
    changed = []
    for image, (brightness, contrast, saturation, hue) in zip(images, signed, strict=True):
        if jitter.brightness:
            image = tv().adjust_brightness(image, 1 + brightness * jitter.brightness)
        if jitter.contrast:
            image = tv().adjust_contrast(image, 1 + contrast * jitter.contrast)
        if jitter.saturation:
            image = tv().adjust_saturation(image, 1 + saturation * jitter.saturation)
        if jitter.hue:
            image = tv().adjust_hue(image, hue * jitter.hue)
        changed.append(image)
    return torch.stack(changed)


def _shear(image: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return tv().affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])


def _move(image: Tensor, x: float, y: float) -> Tensor:
    return tv().affine(image, angle=0.0, translate=[int(x), int(y)], scale=1.0, shear=[0.0, 0.0])


RAND_AUGMENT: tuple[Callable[[Tensor, float, float], Tensor], ...] = (
    lambda image, strength, sign: image,
    lambda image, strength, sign: _shear(image, 0.3 * strength * sign, 0),
    lambda image, strength, sign: _shear(image, 0, 0.3 * strength * sign),
    lambda image, strength, sign: _move(image, 150 / 331 * strength * sign * image.shape[-1], 0),
    lambda image, strength, sign: _move(image, 0, 150 / 331 * strength * sign * image.shape[-2]),
    lambda image, strength, sign: tv().rotate(image, 30 * strength * sign),
    lambda image, strength, sign: tv().adjust_brightness(image, 1 + 0.9 * strength * sign),
    lambda image, strength, sign: tv().adjust_saturation(image, 1 + 0.9 * strength * sign),
    lambda image, strength, sign: tv().adjust_contrast(image, 1 + 0.9 * strength * sign),
    lambda image, strength, sign: tv().adjust_sharpness(image, 1 + 0.9 * strength * sign),
    lambda image, strength, sign: tv().posterize(image, 8 - round(4 * strength)),
    lambda image, strength, sign: tv().solarize(image, 255 * (1 - strength)),
    lambda image, strength, sign: tv().autocontrast(image),
    lambda image, strength, sign: tv().equalize(image),
)
"""Operations on (image, strength in [0, 1], sign), with the ranges of torchvision's RandAugment."""


def _rand_augment(
    images: Tensor, ids: Tensor, augmentation: RandAugment, stream: str, *, seed: int, epoch: int
) -> Tensor:
    """Apply random operations to each image."""
    u = uniform(stream, seed, ids, epoch=epoch, draws=2 * augmentation.operations).numpy()
    strength = augmentation.magnitude / 30
    changed = []
    for image, numbers in zip(images, u, strict=True):
        for which, sign in numbers.reshape(-1, 2):
            operation = RAND_AUGMENT[int(which * len(RAND_AUGMENT))]
            image = operation(image, strength, 1.0 if sign < 0.5 else -1.0)
        changed.append(image)
    return torch.stack(changed)


def mixing_shares(mix: Mix, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return the share of the first image of each pair, float64, shape (B,), distributed as Beta(alpha, alpha)."""
    from scipy.stats import beta

    u = uniform(f"{type(mix).tag}-share", seed, ids, epoch=epoch)[:, 0].numpy()
    alpha = mix.alpha  # type: ignore[attr-defined]
    return torch.from_numpy(np.asarray(beta.ppf(u, alpha, alpha)))


def mix_pairs(
    images: Tensor, partners: Tensor, ids: Tensor, mix: Mix, *, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Mix pairs of normalised images.

    Parameters
    ----------
    images, partners : float tensors, shape (B, 3, H, W)
    ids : int64 tensor, shape (B,)

    Returns
    -------
    images : float tensor, shape (B, 3, H, W)
    shares : float tensor, shape (B,)
        What the first label counts; the partner's counts the rest. For CutMix it is the area that is left.
    """
    shares = mixing_shares(mix, ids.cpu(), seed=seed, epoch=epoch)
    if isinstance(mix, Mixup):
        share = shares.to(images.device, images.dtype)
        return torch.lerp(partners, images, share[:, None, None, None]), share
    height, width = images.shape[-2:]
    side = (1 - shares).clamp_min(0).sqrt()
    tall, wide = (side * height).round().long(), (side * width).round().long()
    u = uniform(f"{CutMix.tag}-box", seed, ids.cpu(), epoch=epoch, draws=2)
    top = (u[:, 0] * height).long() - tall // 2
    left = (u[:, 1] * width).long() - wide // 2
    box = _inside(top, left, tall, wide, height, width)
    left_over = 1 - box.double().mean(dim=(1, 2))
    return torch.where(box[:, None].to(images.device), partners, images), left_over.to(images.device, images.dtype)


def _translate(images: Tensor, ids: Tensor, pixels: int, stream: str, *, seed: int, epoch: int) -> Tensor:
    u = uniform(stream, seed, ids, epoch=epoch, draws=2)
    offsets = (u * (2 * pixels + 1)).long() - pixels
    height, width = images.shape[-2:]
    # Gathering with clamped positions pads with the edge.
    rows = (torch.arange(height, device=images.device) + offsets[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + offsets[:, 1:]).clamp(0, width - 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
