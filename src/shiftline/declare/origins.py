"""Where a training or a fit of a head starts: a model or a leaf, and what its head sees."""

from __future__ import annotations

from typing import Any

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution
from shiftline.declare.expressions import Model, require, require_weights

FEATURES = ("keep", "backbone", "embedding")
"""What a head sees: the features of `init`; those before a vision-language model's projection, as they are; or those
after it, scaled to length one. A model without a projection has one kind of features."""


def require_choice(owner: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `DeclarationError` unless a value is one of the choices, which are listed."""
    require(value in choices, f"{owner} is {value!r}: choose one of {', '.join(choices)}.")


def require_train_on(recipe: Any) -> None:
    """Raise `DeclarationError` unless `train_on` is a distribution or None."""
    require(
        recipe.train_on is None or isinstance(recipe.train_on, Distribution),
        f"{type(recipe).__name__}.train_on is a {type(recipe.train_on).__name__}: expected a distribution, or None for the "
        "reference's train split.",
    )


def require_origin(recipe: Any) -> None:
    """Raise `DeclarationError` unless `init` is a leaf or a model with weights."""
    owner = f"{type(recipe).__name__}(init=...)"
    require(
        isinstance(recipe.init, (Model, Leaf)),
        f"{owner} is a {type(recipe.init).__name__}: expected a model expression or a pre-trained leaf.",
    )
    if isinstance(recipe.init, Model):
        require_weights(owner, recipe.init)


def set_features(recipe: Any, *, new_head: bool) -> None:
    """Put in the kind of features that is meant where none is given, and refuse one that a kept head cannot see."""
    from_leaf = isinstance(recipe.init, Leaf)
    if recipe.features is None:
        object.__setattr__(recipe, "features", "backbone" if from_leaf else "keep")
    name = type(recipe).__name__
    require_choice(f"{name}.features", str(recipe.features), FEATURES[1:] if from_leaf else FEATURES)
    require(
        new_head or recipe.features == "keep",
        f"{name}.features is {recipe.features!r} under a head that is kept: it was made for the features of the model. Say "
        'head="random", or leave features out.',
    )
