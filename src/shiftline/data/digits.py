"""The embedded datasets: scikit-learn's handwritten digits as a reference, typed digits as a shift of it, typed letters.

The handwritten digits are 1,797 real images of 8 x 8 pixels (E. Alpaydin, C. Kaynak 1998, UCI "Optical Recognition of
Handwritten Digits"; shipped with scikit-learn). They are enlarged to 24 x 24 (bilinear), padded to 32 x 32, and given
three channels. The split is stratified and fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shiftline.data.glyphs import DIGITS, HELD_OUT_FONTS, LETTERS, glyph_mask
from shiftline.errors import DataError

SPLITS = {"train": 900, "val": 200, "test": 697}
SIDE = 32
TYPED_PER_DIGIT = 72


@dataclass(frozen=True)
class Arrays:
    """Images in memory.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W, 3)
    labels : ndarray of int64, shape (N,)
    classes : tuple of str
        Names, in the order of the labels.
    groups : tuple of str
        One per image: the font of a typed digit, empty for a handwritten one.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: tuple[str, ...]


CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def handwritten(split: str) -> Arrays:
    """Return a split of the handwritten digits: train (900), val (200, for selection) or test (697, reported)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in SPLITS:
        raise DataError(f"the handwritten digits have no split {split!r}: there are {', '.join(SPLITS)}.")
    source = load_digits()
    rest, test = train_test_split(
        np.arange(len(source.target)), test_size=SPLITS["test"], stratify=source.target, random_state=0
    )
    train, val = train_test_split(rest, test_size=SPLITS["val"], stratify=source.target[rest], random_state=0)
    rows = np.sort({"train": train, "val": val, "test": test}[split])
    images = np.stack([_enlarge(image) for image in source.images[rows]])
    return Arrays(images, source.target[rows].astype(np.int64), CLASSES, ("",) * len(rows))


def _enlarge(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    grey = np.clip(np.round(image * (255 / 16)), 0, 255).astype(np.uint8)
    enlarged = np.asarray(Image.fromarray(grey).resize((24, 24), Image.Resampling.BILINEAR))
    return np.repeat(np.pad(enlarged, 4)[:, :, None], 3, axis=2)


def typed() -> Arrays:
    """Return typed digits in the held-out fonts, white on black: 720 images, placed and sized at random (seed 0)."""
    return _typed(DIGITS, CLASSES, HELD_OUT_FONTS, TYPED_PER_DIGIT, seed=0)


LETTER_CLASSES = tuple(f"capital letter {c.lower()}" if c.isupper() else f"letter {c}" for c in LETTERS)
"""Names of the typed letters, as the small CLIP's captions have them."""
LETTER_SPLITS = {"train": (HELD_OUT_FONTS[:4], 30, 1), "val": (HELD_OUT_FONTS[4:], 8, 2)}
"""Fonts, images of each letter, and seed."""


def typed_letters(split: str) -> Arrays:
    """Return typed letters, white on black: train (1,140 images) and val (304) share no font, and no font with the small CLIP."""
    if split not in LETTER_SPLITS:
        raise DataError(f"the typed letters have no split {split!r}: there are {', '.join(LETTER_SPLITS)}.")
    fonts, each, seed = LETTER_SPLITS[split]
    return _typed(LETTERS, LETTER_CLASSES, fonts, each, seed=seed)


def _typed(characters: str, classes: tuple[str, ...], fonts: tuple[str, ...], each: int, *, seed: int) -> Arrays:
    from PIL import Image

    rng = np.random.default_rng(seed)
    images, labels, groups = [], [], []
    for index in range(each * len(characters)):
        label, font = index % len(characters), fonts[(index // len(characters)) % len(fonts)]
        mask = Image.fromarray(glyph_mask(characters[label], font, stroke=int(rng.integers(0, 4))))
        zoom, angle = rng.uniform(0.85, 1.15), np.radians(rng.uniform(-8, 8))
        cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
        shift = 32 + rng.uniform(-4, 4, 2)
        matrix = (cos, sin, shift[0] - 32 * cos - 32 * sin, -sin, cos, shift[1] + 32 * sin - 32 * cos)
        mask = mask.transform((64, 64), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        small = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX))
        images.append(np.repeat(small[:, :, None], 3, axis=2))
        labels.append(label)
        groups.append(font)
    return Arrays(np.stack(images), np.array(labels, dtype=np.int64), classes, tuple(groups))
