"""Words drawn on images: the pixels of a typographic attack."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shiftline.data.glyphs import font_path
from shiftline.errors import DataError

FONT = "DejaVuSans-Bold"
WIDEST = 0.95
"""Share of the image's width that a word may take: longer words get smaller letters."""


@functools.lru_cache(maxsize=4096)
def _word(text: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how much ink and how much ink with its edge each pixel has, [0, 1], cut to the word, at most `width` wide."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(1, height)
    while True:
        # The basic layout engine: raqm is optional in Pillow and shapes glyphs differently.
        face = ImageFont.truetype(str(font_path(FONT)), size, layout_engine=ImageFont.Layout.BASIC)
        edge = max(1, round(size / 12))
        left, top, right, bottom = (round(side) for side in face.getbbox(text, stroke_width=edge))
        if right - left <= width or size == 1:
            break
        size = min(size - 1, max(1, size * width // (right - left)))
    masks = []
    for stroke in (0, edge):
        canvas = Image.new("L", (max(1, right - left), max(1, bottom - top)), 0)
        ImageDraw.Draw(canvas).text((-left, -top), text, fill=255, font=face, stroke_width=stroke)
        masks.append(np.asarray(canvas, dtype=np.float32)[:, :width] / 255)
    return masks[0], masks[1]


@functools.lru_cache(maxsize=64)
def line_of_text(font: str, text: str, size: int, shape: tuple[int, int], place: tuple[float, float]) -> np.ndarray:
    """Return how much ink each pixel of an image has, float32 of shape (H, W) in [0, 1].

    Parameters
    ----------
    font : str
        File of the font.
    size : int
        Of the letters, in pixels.
    shape : tuple of int
        Height and width of the image.
    place : tuple of float
        Left and top of the text, as shares of width and height.

    Raises
    ------
    DataError
        The file is no font.
    """
    from PIL import Image, ImageDraw, ImageFont

    try:
        face = ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(f"{font} cannot be read as a font ({error}).") from error
    canvas = Image.new("L", (shape[1], shape[0]), 0)
    ImageDraw.Draw(canvas).text((place[0] * shape[1], place[1] * shape[0]), text, fill=255, font=face)
    return np.asarray(canvas, dtype=np.float32) / 255


def write_words(images: Tensor, words: Sequence[str], positions: Tensor, *, height: float) -> Tensor:
    """Write one word on each image, white with a black edge.

    Parameters
    ----------
    images : float tensor, shape (B, 3, H, W), values in [0, 1]
    words : sequence of str, length B
    positions : float tensor, shape (B, 2), values in [0, 1)
        Where the word stands: from top to bottom, from left to right, of the positions where it fits.
    height : float
        Size of the letters as a share of H.

    Returns
    -------
    float tensor, shape (B, 3, H, W)
    """
    tall, wide = images.shape[-2:]
    written = images.clone()
    for image, word, (down, across) in zip(written, words, positions.tolist(), strict=True):
        ink, edged = _word(word, round(height * tall), max(1, int(WIDEST * wide)))
        ink, edged = ink[:tall], edged[:tall]
        rows, columns = ink.shape
        top, left = int(down * (tall - rows + 1)), int(across * (wide - columns + 1))
        region = image[:, top : top + rows, left : left + columns]
        black = 1 - torch.from_numpy(edged.copy()).to(images)
        region.copy_(region * black + torch.from_numpy(ink.copy()).to(images))
    return written
