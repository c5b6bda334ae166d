"""What changes pixels: the transforms that make a shift, the augmentations of training, what mixes pairs of a batch.

These are the base classes; `shiftline.shifts` has the built-in ones, which implement what a user's own class does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.identity import Declaration, changed_fields
from shiftline.contracts.require import require

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Transform(Declaration):
    """A shift of images: a deterministic function of (images, labels, ids) on canonical pixels.

    A subclass sets a `tag` that never changes, raises `revision` when its pixels change, has plain fields, and defines `apply`.
    """

    def __str__(self) -> str:
        fields = changed_fields(self).items()
        said = ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in fields)
        return f"{type(self).tag}({said})" if said else type(self).tag

    def apply(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        """Return the shifted images.

        An example must get the same pixels whatever batch it comes in: draw random numbers with
        ``shiftline.data.randomness.uniform("my-transform", seed, ids, draws=...)``.

        Parameters
        ----------
        images : uint8 tensor, shape (B, 3, H, W)
            Not to be changed.
        labels, ids : int64 tensors, shape (B,)
            Labels and example ids, on the device of the images.

        Returns
        -------
        uint8 tensor, shape (B, 3, H, W)
        """
        raise NotImplementedError


class Augmentation(Declaration):
    """A random change of training images, drawn per (seed, epoch, example id).

    A subclass sets a `tag`, a `revision`, fields, and defines `apply`.

    Attributes
    ----------
    crops : bool
        It chooses the box that is cut while an image is decoded (`boxes`), and leaves the pixels as they are. It comes first.
    """

    crops: ClassVar[bool] = False

    def apply(self, images: Tensor, ids: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return the changed images, a function of (seed, epoch, id) alone.

        Draw with ``shiftline.data.randomness.uniform("my-augmentation", seed, ids, epoch=epoch, draws=...)``.

        Parameters
        ----------
        images : uint8 tensor, shape (B, 3, H, W)
            Not to be changed.
        ids : int64 tensor, shape (B,)
        seed, epoch : int
            Where an augmentation is listed twice, each of the two is given another seed.

        Returns
        -------
        uint8 tensor, shape (B, 3, H, W)
        """
        raise NotImplementedError

    def boxes(self, heights: np.ndarray, widths: np.ndarray, ids: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
        """Return top, left, height and width of the box that is cut from each image, int64, shape (B, 4)."""
        raise NotImplementedError


class Mix(Declaration):
    """Base of what mixes pairs of a training batch; the first one's share is drawn by (seed, epoch, id) from Beta(alpha, alpha)."""

    alpha: float = 1.0

    def validate(self) -> None:
        require(self.alpha > 0, f"{type(self).__name__}.alpha is {self.alpha}: expected a positive number.")

    def pairs(self, images: Tensor, partners: Tensor, ids: Tensor, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Mix pairs of normalised images.

        Parameters
        ----------
        images, partners : float tensors, shape (B, 3, H, W)
        ids : int64 tensor, shape (B,)

        Returns
        -------
        images : float tensor, shape (B, 3, H, W)
        shares : float tensor, shape (B,)
            What the first label counts; the partner's counts the rest.
        """
        raise NotImplementedError


def defines(value: Any, method: str, base: type) -> bool:
    """Return whether the class of a value defines a method that its base class leaves open."""
    return getattr(type(value), method) is not getattr(base, method)
