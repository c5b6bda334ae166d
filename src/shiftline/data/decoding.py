"""What becomes of an image's pixels: one frame, upright, RGB of 8 bits. What would be lost is refused, or said."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

FRAMES = "have several frames or pages: the first was taken"
BLENDED = "have transparent pixels: they were blended on white"


def decode_file(source: bytes) -> tuple[Image, str, tuple[str, ...]]:
    """Decode a file's bytes.

    Returns
    -------
    Image
        RGB, upright.
    str
        "JPEG", "PNG" or "WEBP" where the plain reader decodes the bytes to this image: they may be stored. Empty otherwise.
    tuple of str
        What was chosen for it, of `FRAMES` and `BLENDED`.

    Raises
    ------
    ValueError
        It is no image, or has more than 8 bits per channel. Pillow raises others where it is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(source))
    except UnidentifiedImageError:
        raise ValueError("no image file") from None
    _check_depth(image)  # First: asking a PNG for its EXIF loads it.
    upright = image.getexif().get(0x0112, 1) == 1
    stored = image.format if image.format in ("PNG", "WEBP") or (image.format == "JPEG" and image.mode == "RGB") else None
    decoded, chosen = to_rgb(image)
    return decoded, stored if stored and upright and not chosen else "", chosen


def to_rgb(image: Any) -> tuple[Image, tuple[str, ...]]:
    """Return an image that Pillow opened as RGB and upright, and what was chosen for it.

    Raises
    ------
    ValueError
        It has more than 8 bits per channel: which part of their range is used is known to nobody but its owner.
    """
    from PIL import Image, ImageOps

    _check_depth(image)
    chosen = (FRAMES,) if getattr(image, "n_frames", 1) > 1 else ()
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema()[0] < 255:
            ground = Image.new("RGBA", layers.size, "white")
            ground.alpha_composite(layers)
            return ground.convert("RGB"), (*chosen, BLENDED)
    return image.convert("RGB"), chosen


def _check_depth(image: Any) -> None:
    # Pillow cuts 16-bit RGB to its upper 8 bits when it loads; how it will do so stands in the tile until then.
    stored = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode in ("I", "F") or image.mode.startswith("I;") or any(";16" in how for how in stored):
        raise ValueError(
            f"it has more than 8 bits per channel (mode {image.mode}): convert it to 8 bits first, with the scale that its values "
            "have"
        )
