"""Models as expressions: the base class, and walking and changing what is below an expression.

An expression is data. It can be printed, hashed, stored and compared without loading torch, and one expression is one
model wherever it stands: in two groups, two studies, or inside another expression.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution, Reference
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration


def require(condition: bool, message: str) -> None:
    """Raise `DeclarationError` with a message unless a condition holds."""
    if not condition:
        raise DeclarationError(message)


class Model(Declaration):
    """Base of the expressions.

    Attributes
    ----------
    makes : str or None
        The kind of job that writes the weights. None: they are computed from those of other models when they are used, and
        nothing is stored.
    unspoken : tuple of str
        Fields that `describe` leaves out, or says in its own words.
    """

    makes: ClassVar[str | None] = None
    unspoken: ClassVar[tuple[str, ...]] = ()

    @property
    def has_weights(self) -> bool:
        """It is one network with one set of weights, so that it can be trained further or combined."""
        return True

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        """Return the distributions that making the weights reads, by the name of the field that declares them."""
        return {}

    def seeded(self, seed: int) -> Model:
        """Return the expression with the seed of its outermost training operations set; what they start from stays."""
        members = list(dict.fromkeys(children(self)))
        origins = {part for member in members for child in children(member) for part in distinct(child)}
        return map_children(self, lambda below: below if below in origins else below.seeded(seed))

    def attributes(self) -> dict[str, Any]:
        """Return seed, epoch or step, and alpha, where the expression has them: columns of a results table."""
        return {"seed": getattr(self, "seed", None)}

    def describe(self) -> str:
        """Return the expression on one line."""
        parts = [*map(str, leaves_of(self)), *map(describe, children(self)), *self.settings()]
        return f"{type(self).tag}({', '.join(parts)})"

    def settings(self) -> Iterator[str]:
        """Yield the plain fields that differ from their defaults, as words."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if (
                field.name in self.unspoken
                or value == field.default
                or next(_models_and_leaves(value), None) is not None
            ):
                continue
            if isinstance(value, Distribution):
                yield str(value)
            else:
                yield f"{field.name}={f'{value:g}' if isinstance(value, float) else value}"


def require_weights(owner: str, model: object) -> None:
    """Raise `DeclarationError` unless something is a model with one set of weights."""
    require(
        isinstance(model, Model),
        f"{owner} is a {type(model).__name__}: expected a model with a head, such as ZeroShot(...) or FineTune(...).",
    )
    assert isinstance(model, Model)
    if not model.has_weights:
        raise DeclarationError(
            f"{owner} is {describe(model)}, which averages outputs: it has no weights of its own that could be trained or mixed."
        )


def require_numbers(owner: str, values: tuple[float, ...]) -> None:
    """Raise `DeclarationError` unless all values are finite numbers."""
    for value in values:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(plain and math.isfinite(value), f"{owner} holds {value!r}: expected finite numbers.")


def _models_and_leaves(value: object) -> Iterator[Model | Leaf]:
    if isinstance(value, (Model, Leaf)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _models_and_leaves(item)
    elif isinstance(value, Declaration) and not isinstance(value, Distribution):
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            yield from _models_and_leaves(getattr(value, field.name))


def _below(model: Model) -> Iterator[Model | Leaf]:
    for field in dataclasses.fields(model):  # type: ignore[arg-type]
        yield from _models_and_leaves(getattr(model, field.name))


def children(model: Model) -> Iterator[Model]:
    """Yield the model expressions directly below a model."""
    return (below for below in _below(model) if isinstance(below, Model))


def leaves_of(model: Model) -> Iterator[Leaf]:
    """Yield the architectures and weights that stand directly in a model."""
    return (below for below in _below(model) if isinstance(below, Leaf))


def distinct(*models: Model) -> Iterator[Model]:
    """Yield models and every expression below them, each once."""
    seen: set[Model] = set()
    pending = list(models)
    while pending:
        model = pending.pop()
        if model not in seen:
            seen.add(model)
            yield model
            pending += children(model)


def map_children(model: Model, change: Callable[[Model], Model]) -> Model:
    """Return the model with `change` applied to the expressions directly below it."""

    def changed(value: Any) -> Any:
        if isinstance(value, Model):
            return change(value)
        if isinstance(value, tuple):
            return tuple(changed(item) for item in value)
        if isinstance(value, Declaration) and not isinstance(value, (Distribution, Leaf)):
            return _with_changed_fields(value, changed)
        return value

    return _with_changed_fields(model, changed)  # type: ignore[no-any-return]


def _with_changed_fields(declaration: Declaration, changed: Callable[[Any], Any]) -> Any:
    changes = {}
    for field in dataclasses.fields(declaration):  # type: ignore[arg-type]
        value = getattr(declaration, field.name)
        if (new := changed(value)) != value:
            changes[field.name] = new
    return declaration.replace(**changes) if changes else declaration


def describe(model: Model | Leaf) -> str:
    """Return an expression on one line, with the settings that differ from their defaults."""
    if not isinstance(model, Model):
        return str(model)
    # Expressions share their parts: each is put into words once.
    found: str | None = model.__dict__.get("_described")
    if found is None:
        found = model.describe()
        object.__setattr__(model, "_described", found)
    return found
