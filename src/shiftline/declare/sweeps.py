"""Sweeps and selection: grids of recipes, the best of several, copies with other seeds."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe, require, require_weights
from shiftline.declare.metrics import MEANS, check_metrics
from shiftline.declare.weight_space import WithHead
from shiftline.identity import Declaration

RULES = ("best", "one-standard-error")


class HeldOut(Declaration):
    """Data to select on, with the head of its task where that is not the candidate's own."""

    tag = "held-out"
    distribution: Distribution
    head: Model | None = None

    def validate(self) -> None:
        require(
            isinstance(self.distribution, Distribution),
            f"HeldOut.distribution is a {type(self.distribution).__name__}: expected a distribution.",
        )
        if self.head is not None:
            require_weights("HeldOut.head", self.head)

    def variant(self, candidate: Model) -> Model:
        """Return the candidate as it is judged here."""
        return candidate if self.head is None else WithHead(candidate, self.head)


class Best(Model):
    """The candidate with the best metric on held-out data; the first one where several tie.

    Attributes
    ----------
    candidates : tuple of Model
    metric : str
        One of `shiftline.declare.metrics.METRICS`. Over several distributions, the mean of the metric's values.
    on : tuple of HeldOut
        The reference's val split where it is empty. Anything outside of it is marked as other data.
    rule : str
        "best", or "one-standard-error": the first candidate, in the order given, that is within one standard error of
        the best. Put first what you prefer: for a sweep over alpha, the end that should be left as little as possible.
    """

    tag = "best"
    candidates: tuple[Model, ...]
    metric: str = "accuracy"
    on: tuple[HeldOut, ...] = ()
    rule: str = "best"

    @property
    def has_weights(self) -> bool:
        return all(candidate.has_weights for candidate in self.candidates)

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        if not self.on:
            return {"on": reference.selection}
        return {f"on[{row}]": held.distribution for row, held in enumerate(self.on)}

    def validate(self) -> None:
        require(bool(self.candidates), "best() of nothing: give at least one candidate.")
        for candidate in self.candidates:
            require(
                isinstance(candidate, Model),
                f"best(): a candidate is a {type(candidate).__name__}, expected model expressions.",
            )
        check_metrics((self.metric,), where="best()")
        require(self.rule in RULES, f"best(rule={self.rule!r}): choose one of {', '.join(RULES)}.")
        require(
            self.rule == "best" or self.metric in MEANS,
            f"best(rule={self.rule!r}, metric={self.metric!r}): {self.metric} is no mean over examples, so that it has no "
            f"simple standard error. Choose one of {', '.join(MEANS)}.",
        )

    def seeded(self, seed: int) -> Model:
        return Replicate(self, seed)

    def attributes(self) -> dict[str, Any]:
        return {}

    def describe(self) -> str:
        how = "" if self.metric == "accuracy" else f" by {self.metric}"
        return f"best of {len(self.candidates)}{how} ({describe(self.candidates[0])}, ...)"


class Unresolved(Model):
    """Base of what is made from the recipe of a model that is not known yet: the winner of a selection."""

    of: Model

    @property
    def has_weights(self) -> bool:
        return self.of.has_weights

    def seeded(self, seed: int) -> Model:
        return Replicate(self, seed)

    @abstractmethod
    def resolved(self, winner: Model) -> Model:
        """Return the recipe, given what `of` turned out to be."""


class Replicate(Unresolved):
    """The recipe of a winner, with another seed."""

    tag = "replicate"
    seed: int

    def seeded(self, seed: int) -> Model:
        return Replicate(self.of, seed)

    def resolved(self, winner: Model) -> Model:
        return winner.seeded(self.seed)

    def describe(self) -> str:
        return f"replicate({describe(self.of)}, seed={self.seed})"


class Varied(Unresolved):
    """The recipe of a winner, with other settings: made by `varied`."""

    tag = "varied"
    changes: tuple[tuple[str, Any], ...]

    def validate(self) -> None:
        for recipe in _may_become(self.of):
            changed(recipe, self.changes)  # What cannot be changed is found now.

    def resolved(self, winner: Model) -> Model:
        return changed(winner, self.changes)

    def describe(self) -> str:
        return f"varied({describe(self.of)}, {', '.join(f'{name}={value}' for name, value in self.changes)})"


def _may_become(model: Model) -> list[Model]:
    """Return every recipe that a selection may choose, with what is changed of it."""
    if isinstance(model, Best):
        return [recipe for candidate in model.candidates for recipe in _may_become(candidate)]
    return [model.resolved(recipe) for recipe in _may_become(model.of)] if isinstance(model, Unresolved) else [model]


def varied(model: Model, **changes: Any) -> Model:
    """Return a recipe with other settings; of a selection, the winner's recipe: tuned first, then varied.

    A double underscore reaches into a setting: ``varied(chosen, epochs=16, schedule__warmup=2, optimizer__weight_decay=0.01)``.

    Raises
    ------
    DeclarationError
        There is no such setting (those that exist are listed), or the value is refused.
    """
    pairs = tuple(changes.items())
    return Varied(model, pairs) if isinstance(model, (Best, Unresolved)) else changed(model, pairs)


def changed(model: Model, changes: Iterable[tuple[str, Any]]) -> Model:
    """Return a recipe with other settings, all set at once: see `varied`."""
    new: dict[str, Any] = {}
    for path, value in changes:
        name, _, inner = path.partition("__")
        owner: Any = model if not inner else new.get(name, getattr(model, name, None))
        fields = [field.name for field in dataclasses.fields(owner)] if isinstance(owner, Declaration) else []
        require(
            (inner or name) in fields,
            f"varied({path}=...): {describe(model)} has no such setting. It has "
            f"{', '.join(field.name for field in dataclasses.fields(model))}"  # type: ignore[arg-type]
            f"{f', and {name} has ' + ', '.join(fields) if inner and fields else ''}.",
        )
        new[name] = owner.replace(**{inner: value}) if inner else value
    return model.replace(**new)  # type: ignore[no-any-return]


def best(
    candidates: Iterable[Model],
    *,
    metric: str = "accuracy",
    on: Distribution | HeldOut | Sequence[Distribution | HeldOut] | None = None,
    rule: str = "best",
) -> Best:
    """Select on held-out data. It trains nothing: the result *is* the winning candidate.

    Parameters
    ----------
    metric : str
        One of `shiftline.declare.metrics.METRICS`.
    on : distributions, optional
        The reference's val split unless given.
    rule : str
        "best" or "one-standard-error": see `Best`.
    """
    where = () if on is None else on if isinstance(on, (list, tuple)) else (on,)
    return Best(tuple(candidates), metric, tuple(_held_out(data) for data in where), rule)  # type: ignore[arg-type]


def _held_out(data: object) -> HeldOut:
    require(
        isinstance(data, (Distribution, HeldOut)),
        f"best(on=...) holds a {type(data).__name__}: expected distributions, or HeldOut(distribution, head).",
    )
    return data if isinstance(data, HeldOut) else HeldOut(data)  # type: ignore[arg-type]


def replicates(model: Model, seeds: Iterable[int]) -> list[Model]:
    """Return the same recipe with other seeds.

    The seeds of the outermost training operations change; what they start from stays. Replicates of `best(...)` are
    copies with the winning setting: the tuning comes first.
    """
    seeds = list(seeds)
    require(
        len(seeds) < 2 or model.seeded(seeds[0]) != model.seeded(seeds[1]),
        f"replicates({describe(model)}, {seeds}): nothing in it depends on a seed, the copies would be one model. Replicate the "
        "training that it is made from: [LinearProbe(run) for run in replicates(...)].",
    )
    return [model.seeded(seed) for seed in seeds]


def grid(recipe: Callable[..., Model], **settings: Iterable[object]) -> list[Model]:
    """Call `recipe` with every combination of settings.

    Keys joined by a double underscore are tied: they change together.

    >>> from shiftline.declare.optimisers import SGD
    >>> from shiftline.declare.architectures import glyph_net
    >>> from shiftline.declare.training import FromScratch
    >>> runs = grid(lambda lr, epochs, seed: FromScratch(glyph_net("mlp"), optimizer=SGD(lr=lr), epochs=epochs, seed=seed),
    ...             lr__epochs=[(0.1, 4), (0.2, 8)], seed=[0, 1])
    >>> [(run.optimizer.lr, run.epochs, run.seed) for run in runs]
    [(0.1, 4, 0), (0.1, 4, 1), (0.2, 8, 0), (0.2, 8, 1)]
    """
    combinations: list[dict[str, object]] = [{}]
    for name, values in settings.items():
        keys, values = name.split("__"), tuple(values)
        extended = []
        for chosen in combinations:
            for value in values:
                tied = (value,) if len(keys) == 1 else tuple(value)  # type: ignore[arg-type]
                require(
                    len(tied) == len(keys),
                    f"grid({name}=...): {value!r} has {len(tied)} values for the {len(keys)} tied keys {', '.join(keys)}.",
                )
                extended.append(chosen | dict(zip(keys, tied, strict=True)))
        combinations = extended
    return [recipe(**chosen) for chosen in combinations]
