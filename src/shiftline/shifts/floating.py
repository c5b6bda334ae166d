"""The base of transforms that compute on pixels as numbers from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.transforms import Transform

if TYPE_CHECKING:
    from torch import Tensor


class FloatTransform(Transform):
    """A transform that defines `change` on float32 images with values in [0, 1]; what it returns is clamped and rounded."""

    def apply(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        return self.change(images.float() / 255, labels, ids).clamp(0, 1).mul(255).round().byte()

    def change(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        """Return the shifted images, float32, values outside of [0, 1] allowed; see `Transform.apply`."""
        raise NotImplementedError
