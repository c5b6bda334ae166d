"""Where a training or a fit of a head starts: a model or a backbone, and what its head sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.models import Model, describe, require_weights
from shiftline.contracts.require import require, require_choice
from shiftline.errors import DeclarationError

if TYPE_CHECKING:
    from shiftline.plan.facts import Facts

FEATURES = ("keep", "backbone", "embedding")
"""What a head sees: the features of `init`; those before a vision-language model's projection, as they are; or those
after it, scaled to length one. A model without a projection has one kind of features."""


def require_train_on(recipe: Any) -> None:
    """Raise `DeclarationError` unless `train_on` is a distribution or None."""
    require(
        recipe.train_on is None or isinstance(recipe.train_on, Distribution),
        f"{type(recipe).__name__}.train_on is a {type(recipe.train_on).__name__}: expected a distribution, or None for the "
        "reference's train split.",
    )


def require_start(recipe: Any) -> None:
    """Raise `DeclarationError` unless `init` is a backbone or a model with weights."""
    owner = f"{type(recipe).__name__}(init=...)"
    require(
        isinstance(recipe.init, (Model, Backbone)),
        f"{owner} is a {type(recipe.init).__name__}: expected a model expression or a pre-trained backbone.",
    )
    if isinstance(recipe.init, Model):
        require_weights(owner, recipe.init)


def set_features(recipe: Any, *, new_head: bool) -> None:
    """Put in the kind of features that is meant where none is given, and refuse one that a kept head cannot see."""
    from_backbone = isinstance(recipe.init, Backbone)
    if recipe.features is None:
        object.__setattr__(recipe, "features", "backbone" if from_backbone else "keep")
    name = type(recipe).__name__
    require_choice(f"{name}.features", str(recipe.features), FEATURES[1:] if from_backbone else FEATURES)
    require(
        new_head or recipe.features == "keep",
        f"{name}.features is {recipe.features!r} under a head that is kept: it was made for the features of the model. Say "
        'head="random", or leave features out.',
    )


def check_start(recipe: Any, facts: Facts) -> None:
    """Refuse a start without weights, and features that cannot be had of it."""
    init: Model | Backbone = recipe.init
    if isinstance(init, Backbone):
        facts.require_pretrained(recipe, init)
    record = facts.record(init)
    if recipe.features == "backbone" and not record.unprojected:
        raise DeclarationError(
            f'{describe(recipe)}: {record.architecture} gives its features only after the projection. Say features="embedding".'
        )
    if recipe.features == "embedding" and isinstance(init, Model) and facts.features(init) == "backbone":
        raise DeclarationError(
            f'{describe(recipe)} asks for features="embedding", but {describe(init)} has lost its projection: start from '
            "the backbone or a zero-shot model."
        )


def features_from(recipe: Any, facts: Facts) -> str:
    """Return what the head of a recipe sees, given what it starts from."""
    origin = facts.features(recipe.init)
    return origin if recipe.features == "keep" or origin == "plain" else str(recipe.features)


def encoder_from(recipe: Any) -> tuple[object, ...]:
    """Return what tells a frozen encoder apart: what it starts from, and the features that are looked at."""
    init = recipe.init
    origin = init.encoder_identity() if isinstance(init, Model) else ("backbone", init)
    return origin if recipe.features == "keep" else (*origin, recipe.features)
