"""Mixtures of shifted and unshifted images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.require import require, require_share
from shiftline.contracts.transforms import Transform

if TYPE_CHECKING:
    from torch import Tensor


class Sometimes(Transform):
    """A transform changes a random share of the examples, by id; the others stay as they are.

    Parameters
    ----------
    transform : Transform
    share : float
        0 to 1.
    seed : int
    """

    tag = "sometimes"
    transform: Transform
    share: float
    seed: int = 0

    def validate(self) -> None:
        require(
            isinstance(self.transform, Transform),
            f"Sometimes.transform is a {type(self.transform).__name__}: expected a shiftline.Transform.",
        )
        require_share("Sometimes.share", self.share)

    def apply(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        import torch

        from shiftline.data.pixels import apply_transforms
        from shiftline.data.randomness import uniform

        chosen = uniform("sometimes", self.seed, ids)[:, 0] < self.share
        changed = apply_transforms((self.transform,), images, labels, ids)
        return torch.where(chosen[:, None, None, None], changed, images)
