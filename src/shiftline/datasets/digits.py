"""The embedded datasets: scikit-learn's handwritten digits as a reference, typed digits as a shift of it, typed letters.

The handwritten digits are 1,797 real images of 8 x 8 pixels (E. Alpaydin, C. Kaynak 1998, UCI "Optical Recognition of
Handwritten Digits"; shipped with scikit-learn). They are enlarged to 24 x 24 (bilinear), padded to 32 x 32, and given
three channels. The split is stratified and fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from shiftline.data.examples import Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.data.glyphs import DIGITS, HELD_OUT_FONTS, LETTERS, glyph_mask

SIDE = 32
TYPED_PER_DIGIT = 72


CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class HandwrittenDigits(DatasetFamily):
    """The handwritten digits: train, val (for selection) and test (reported)."""

    name = "digits"
    title = "Handwritten digits (Alpaydin & Kaynak 1998), as scikit-learn ships them"
    splits = ("train", "val", "test")
    classes = "10"
    counts: ClassVar = {"train": 900, "val": 200, "test": 697}
    generated = True

    def list_split(self, folder: Path, split: str) -> Listing:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        rest, test = train_test_split(
            np.arange(len(digits.target)), test_size=self.counts["test"], stratify=digits.target, random_state=0
        )
        train, val = train_test_split(rest, test_size=self.counts["val"], stratify=digits.target[rest], random_state=0)
        rows = np.sort({"train": train, "val": val, "test": test}[split])
        return Listing([Example(_enlarge(digits.images[row]), int(digits.target[row])) for row in rows], CLASSES)


def _enlarge(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    grey = np.clip(np.round(image * (255 / 16)), 0, 255).astype(np.uint8)
    enlarged = np.asarray(Image.fromarray(grey).resize((24, 24), Image.Resampling.BILINEAR))
    return np.repeat(np.pad(enlarged, 4)[:, :, None], 3, axis=2)


class TypedDigits(DatasetFamily):
    """Typed digits in the held-out fonts, white on black: 720 images, placed and sized at random (seed 0)."""

    name = "typed-digits"
    title = "Typed digits, drawn with fonts that matplotlib ships"
    splits = ("test",)
    classes = "10"
    groups = "font"
    counts: ClassVar = {"test": 720}
    generated = True

    def list_split(self, folder: Path, split: str) -> Listing:
        return _typed(DIGITS, CLASSES, HELD_OUT_FONTS, TYPED_PER_DIGIT, seed=0)


class TypedLetters(DatasetFamily):
    """Typed letters, white on black: train and val share no font, and no font with the small CLIP."""

    name = "typed-letters"
    title = "Typed letters, drawn with fonts that matplotlib ships"
    splits = ("train", "val")
    classes = "38"
    groups = "font"
    counts: ClassVar = {"train": 1_140, "val": 304}
    generated = True

    def list_split(self, folder: Path, split: str) -> Listing:
        fonts, each, seed = (HELD_OUT_FONTS[:4], 30, 1) if split == "train" else (HELD_OUT_FONTS[4:], 8, 2)
        # Names as the small CLIP's captions have them.
        names = tuple(f"capital letter {c.lower()}" if c.isupper() else f"letter {c}" for c in LETTERS)
        return _typed(LETTERS, names, fonts, each, seed=seed)


def _typed(characters: str, classes: tuple[str, ...], fonts: tuple[str, ...], each: int, *, seed: int) -> Listing:
    from PIL import Image

    rng = np.random.default_rng(seed)
    examples = []
    for index in range(each * len(characters)):
        label, font = index % len(characters), fonts[(index // len(characters)) % len(fonts)]
        mask = Image.fromarray(glyph_mask(characters[label], font, stroke=int(rng.integers(0, 4))))
        zoom, angle = rng.uniform(0.85, 1.15), np.radians(rng.uniform(-8, 8))
        cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
        shift = 32 + rng.uniform(-4, 4, 2)
        matrix = (cos, sin, shift[0] - 32 * cos - 32 * sin, -sin, cos, shift[1] + 32 * sin - 32 * cos)
        mask = mask.transform((64, 64), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        small = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX))
        examples.append(Example(np.repeat(small[:, :, None], 3, axis=2), label, group=font))
    return Listing(examples, classes)
