"""Typed characters: the masks that the small CLIP is pre-trained on and the typed-digit shifts are drawn from.

The fonts are those that matplotlib ships, so that the same pixels can be drawn on every machine. Fifteen are for
pre-training and six are held out; the two lists share no family.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TRAINING_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmr10",
    "cmss10",
    "cmti10",
)
HELD_OUT_FONTS = ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "cmtt10", "cmb10")

DIGITS = "0123456789"
# Letters whose shape is not another letter's or a digit's (no I, O, l, o, and one case of c, s, u, v, w, x, z).
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ" + "abdefghkmnprty"


def font_path(name: str) -> Path:
    """Return the file of a font by the name used in `TRAINING_FONTS` and `HELD_OUT_FONTS`."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"


@functools.cache
def _font(name: str, size: int) -> Any:
    from PIL import ImageFont

    # The basic layout engine: raqm is optional in Pillow and shapes glyphs differently.
    return ImageFont.truetype(str(font_path(name)), size, layout_engine=ImageFont.Layout.BASIC)


def glyph_mask(character: str, font: str, *, stroke: int = 0, size: int = 64) -> np.ndarray:
    """Draw one character, centred by its ink.

    Parameters
    ----------
    character : str
        One character.
    font : str
        A name of `TRAINING_FONTS` or `HELD_OUT_FONTS`.
    stroke : int
        Extra thickness of the outline, in pixels of the mask.
    size : int
        Side of the mask in pixels; the ink is about 0.7 of it high.

    Returns
    -------
    ndarray of uint8, shape (size, size)
        0 where there is no ink, 255 where there is.
    """
    from PIL import Image, ImageDraw

    face = _font(font, round(size * 0.8))
    mask = Image.new("L", (size, size), 0)
    left, top, right, bottom = face.getbbox(character, stroke_width=stroke)
    origin = ((size - (right - left)) / 2 - left, (size - (bottom - top)) / 2 - top)
    ImageDraw.Draw(mask).text(origin, character, fill=255, font=face, stroke_width=stroke)
    return np.asarray(mask)


def glyph_masks(characters: str, fonts: Sequence[str], *, strokes: Sequence[int] = (0, 1, 2, 3), size: int = 64) -> np.ndarray:
    """Draw every character in every font and stroke.

    Returns
    -------
    ndarray of uint8, shape (characters, fonts, strokes, size, size)
    """
    return np.stack(
        [np.stack([np.stack([glyph_mask(c, f, stroke=s, size=size) for s in strokes]) for f in fonts]) for c in characters]
    )
