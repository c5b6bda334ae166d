"""A contact sheet: images of a distribution with their class names and ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], *, title: str, columns: int = 6, side: float = 1.5
) -> Figure:
    """Draw images in a grid.

    Parameters
    ----------
    images : sequence of uint8 arrays, each of shape (H, W, 3)
    captions : sequence of str
        One per image.
    side : float
        Width of a cell in inches.
    """
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(columns * side, rows * (side + 0.45) + 0.45), layout="constrained")
    for position, (image, caption) in enumerate(zip(images, captions, strict=True), start=1):
        ax = figure.add_subplot(rows, columns, position)
        ax.imshow(image, interpolation="nearest" if max(image.shape) < 100 else "antialiased")
        ax.set_title(caption, fontsize=7)
        ax.set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure
