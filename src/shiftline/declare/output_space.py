"""Operations on outputs: ensembles of models, and of one model's views of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shiftline.declare.expressions import Model, describe, require, require_numbers, require_weights
from shiftline.declare.weight_space import ALPHAS, require_alpha

SPACES = ("logits", "probabilities")


class Ensemble(Model):
    """The weighted mean of several models' logits or probabilities. It has no weights of its own.

    With "probabilities" the outputs that are stored are logarithms of the mean probabilities, whose softmax they are.
    """

    tag = "ensemble"
    unspoken = ("weights",)
    members: tuple[Model, ...]
    weights: tuple[float, ...]
    space: str = "logits"

    @property
    def has_weights(self) -> bool:
        return False

    def validate(self) -> None:
        require(
            len(self.members) >= 2,
            f"an ensemble of {len(self.members)}: give two or more models, or use the model itself.",
        )
        for member in self.members:
            require(
                isinstance(member, Model),
                f"an ensemble holds a {type(member).__name__}: expected model expressions.",
            )
        require(
            len(self.members) == len(self.weights),
            f"an ensemble of {len(self.members)} has {len(self.weights)} weights: give one per member.",
        )
        require_numbers("Ensemble.weights", self.weights)
        require(
            min(self.weights) >= 0 and abs(sum(self.weights) - 1) < 1e-6,
            f"Ensemble.weights are {list(self.weights)}: expected shares of 0 or more that sum to 1.",
        )
        require(
            self.space in SPACES,
            f"Ensemble.space is {self.space!r}: choose one of {', '.join(SPACES)}.",
        )

    def attributes(self) -> dict[str, Any]:
        # Two members are a path: the weight of the second is its mixing coefficient.
        return {"alpha": self.weights[1]} if len(self.members) == 2 else {}

    def describe(self) -> str:
        terms = (f"{w:.3g} {describe(m)}" for w, m in zip(self.weights, self.members, strict=True))
        return f"ensemble of {self.space}({', '.join(terms)})"


class FlipTTA(Model):
    """Test-time augmentation: the mean of a model's logits on an image and on its mirror image."""

    tag = "flip-tta"
    of: Model

    @property
    def has_weights(self) -> bool:
        return False

    def validate(self) -> None:
        require_weights("flip_tta", self.of)

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()


def ensemble(models: Sequence[Model], *, weights: Sequence[float] | None = None, space: str = "logits") -> Ensemble:
    """Average outputs; `weights` are divided by their sum."""
    models = tuple(models)
    shares = (1.0,) * len(models) if weights is None else tuple(weights)
    require_numbers("ensemble(weights=...)", shares)
    total = sum(shares)
    require(not shares or total > 0, f"the weights {list(shares)} sum to {total:g}: expected a positive sum.")
    return Ensemble(models, tuple(share / total for share in shares), space)


def ensembles(start: Model, end: Model, alphas: Iterable[float] = ALPHAS, *, space: str = "logits") -> list[Model]:
    """Average the outputs of two models at each mixing coefficient: what weight interpolation is compared with."""
    alphas = list(alphas)
    for alpha in alphas:
        require_alpha("ensembles(alphas=...)", alpha)
    return [Ensemble((start, end), (1 - alpha, alpha), space) for alpha in alphas]


def flip_tta(model: Model) -> FlipTTA:
    """Predict on each image and on its mirror image, and average the logits."""
    return FlipTTA(model)
