"""Shifts that move pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.require import require
from shiftline.shifts.floating import FloatTransform

if TYPE_CHECKING:
    from torch import Tensor


class VerticalFlip(FloatTransform):
    """Turn the image upside down."""

    tag = "vertical-flip"

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        return images.flip(2)


class Rotate(FloatTransform):
    """Rotate counter-clockwise about the centre, bilinear, corners filled with the image's own border mean.

    Parameters
    ----------
    degrees : float
        -180 to 180.
    """

    tag = "rotate"
    degrees: float

    def validate(self) -> None:
        require(-180 <= self.degrees <= 180, f"Rotate.degrees is {self.degrees}: expected -180 to 180.")

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import torch

        from shiftline.data.pixels import tv

        border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2)
        fill = border.mean(dim=2)[:, :, None, None]
        # Rotating the difference to the fill lets one call serve images of different borders.
        turned: Tensor = tv().rotate(images - fill, self.degrees, interpolation=tv().InterpolationMode.BILINEAR)
        return turned + fill
