"""Test-time augmentation."""

from __future__ import annotations

from typing import Any

from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, require_weights


class FlipTTA(Model):
    """Test-time augmentation: the mean of a model's logits on an image and on its mirror image.

    Parameters
    ----------
    of : Model
    """

    tag = "flip-tta"
    mirrored = True
    of: Model

    @property
    def has_weights(self) -> bool:
        return False

    @property
    def network(self) -> Model:
        return self.of

    def validate(self) -> None:
        require_weights("flip_tta", self.of)

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()


@Formula("(z(x) + z(mirror x)) / 2", members="the network", restrictions="no weights")
def flip_tta(model: Model) -> FlipTTA:
    """Predict on each image and on its mirror image, and average the logits."""
    return FlipTTA(model)
