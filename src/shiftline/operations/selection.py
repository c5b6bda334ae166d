"""Selection: the best of several candidates, and what is made from the recipe of a winner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.identity import Declaration, canonical, fields_of
from shiftline.contracts.metrics import Metric, requested_metric
from shiftline.contracts.models import Model, children, describe, map_children, require_weights
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require, require_choice
from shiftline.errors import DeclarationError
from shiftline.operations.with_head import WithHead

if TYPE_CHECKING:
    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft

RULES = ("best", "one-standard-error")


class HeldOut(Declaration):
    """Data to select on, with the head of its task where that is not the candidate's own.

    Parameters
    ----------
    distribution : Distribution
    head : Model, optional
        Whose head sees the data.
    """

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
    """The candidate with the best metric on held-out data; the first one where several tie. Made by `best`.

    Parameters
    ----------
    candidates : sequence of Model
        One or more, each listed once.
    metric : Metric
        Over several distributions, the mean of its values.
    on : sequence of HeldOut
        The reference's val split where it is empty. Anything outside of it is marked as other data.
    rule : str
        "best", or "one-standard-error": the first candidate, in the order given, that is within one standard error of
        the best. Put first what you prefer: for a sweep over alpha, the end that should be left as little as possible.
    """

    tag = "best"
    revision = 3
    kind = "select"
    is_open = True
    selects = True
    candidates: tuple[Model, ...]
    metric: Metric
    on: tuple[HeldOut, ...] = ()
    rule: str = "best"

    @property
    def has_weights(self) -> bool:
        return all(candidate.has_weights for candidate in self.candidates)

    def validate(self) -> None:
        require(bool(self.candidates), "best() of nothing: give at least one candidate.")
        for candidate in self.candidates:
            require(
                isinstance(candidate, Model), f"best(): a candidate is a {type(candidate).__name__}, expected model expressions."
            )
        require_choice("best(rule=...)", self.rule, RULES)
        require(
            self.rule == "best" or self.metric.is_mean,
            f"best(rule={self.rule!r}, metric={self.metric.name!r}): {self.metric.name} is no mean over examples, so that it has "
            "no simple standard error. Choose accuracy, top-5-accuracy or negative-log-likelihood.",
        )

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {f"on[{row}]": held.distribution for row, held in enumerate(self._held_out(reference))}

    def data_heads(self) -> list[Model | None]:
        return [held.head for held in self.on]

    def _held_out(self, reference: Reference) -> tuple[HeldOut, ...]:
        return self.on or (HeldOut(reference.selection),)

    def seeded(self, seed: int) -> Model:
        return Replicate(self, seed)

    def variants(self) -> list[Model]:
        return [variant for candidate in self.candidates for variant in candidate.variants()]

    def attributes(self) -> dict[str, Any]:
        return {}

    def describe(self) -> str:
        how = "" if self.metric.name == "accuracy" else f" by {self.metric.name}"
        return f"best of {len(self.candidates)}{how} ({describe(self.candidates[0])}, ...)"

    def check(self, facts: Facts) -> None:
        require(len(set(self.candidates)) == len(self.candidates), f"{describe(self)}: a candidate is listed twice.")
        for distribution in self.data(facts.reference).values():
            record = facts.source(distribution)
            if lacking := self.metric.lacks(classes=len(record.classes), grouped=record.grouped):
                raise DeclarationError(
                    f"{describe(self)} selects by {self.metric.name}, which needs data that {lacking}: {distribution.source} is no "
                    "such split. Choose another metric, or other data."
                )
        for held in self.on:
            if held.head is not None:
                facts.require_mixable([*self.candidates, held.head], heads=False)

    # ---- its job -----------------------------------------------------------------------------------------------------

    def _key(self, planner: Planner) -> str:
        where = self._held_out(planner.study.reference)
        scores = [
            [planner.score(planner.predict(held.variant(one), held.distribution), self.metric) for held in where]
            for one in self.candidates
        ]
        fields = {"rule": self.rule, "metric": canonical(self.metric)}
        return planner.select(self, scores, where[0].distribution, fields)

    def resolve(self, planner: Planner) -> Model:
        if any(planner.deferred(below) for below in children(self)):
            return self
        index = planner.winner_of(self._key(planner))
        return self if index is None else self.candidates[index]

    def form(self, planner: Planner) -> dict[str, Any]:
        return {"select": self._key(planner)}

    def parents(self, planner: Planner) -> list[str]:
        return [self._key(planner)]

    def location(self, artifacts: Mapping[Model, str]) -> None:
        return None

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        # One epoch can make two candidates equal.
        candidates = tuple(dict.fromkeys(shrink(candidate) for candidate in self.candidates))
        on = tuple(HeldOut(cut(held.distribution), None if held.head is None else shrink(held.head)) for held in self.on)
        return self.replace(candidates=candidates, on=on)  # type: ignore[no-any-return]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Find the best candidate: by the mean of its scores over the held-out distributions, the first of ties."""
        rows = [[context.store.manifest(key).summary for key in keys] for keys in job.document["candidates"]]
        values = [fmean(score["value"] for score in row) for row in rows]
        # Held-out sets are independent: the variance of a mean of k scores is the sum of theirs over k squared.
        errors = [math.sqrt(sum(score.get("variance") or 0.0 for score in row)) / len(row) for row in rows]
        index = self.metric.best(values)
        if self.rule == "one-standard-error":
            index = within_one_standard_error(values, index, errors[index])
        draft.summary.update(index=index, values=values, n=[score["n"] for score in rows[0]])


def within_one_standard_error(values: Sequence[float], best: int, error: float) -> int:
    """Return the first index whose value is within one standard error of the best value's.

    The rule of Breiman et al. 1984, with the order of preference given by the positions.
    """
    return next(row for row, value in enumerate(values) if abs(value - values[best]) <= error)


class OfWinner(Model):
    """Base of what is made from the recipe of a model that is not known yet: the winner of a selection."""

    is_open = True
    of: Model

    @property
    def has_weights(self) -> bool:
        return self.of.has_weights

    def seeded(self, seed: int) -> Model:
        return Replicate(self, seed)

    def variants(self) -> list[Model]:
        return self.of.variants()

    def resolved(self, winner: Model) -> Model:
        """Return the recipe, given what `of` turned out to be."""
        raise NotImplementedError

    def resolve(self, planner: Planner) -> Model:
        # The selection below has been replaced by its winner where that is known.
        return self if planner.deferred(self.of) else self.resolved(self.of)

    def form(self, planner: Planner) -> dict[str, Any]:
        return planner.canonical(self)

    def parents(self, planner: Planner) -> list[str]:
        below: Model = self
        while isinstance(below, OfWinner):
            below = below.of  # What lies between is no model of its own.
        return [planner.placeholder(self, below.parents(planner))]


class Replicate(OfWinner):
    """The recipe of a winner, with another seed. Made by `replicates`.

    Parameters
    ----------
    of : Model
    seed : int
    """

    tag = "replicate"
    seed: int

    def seeded(self, seed: int) -> Model:
        return Replicate(self.of, seed)

    def resolved(self, winner: Model) -> Model:
        return winner.seeded(self.seed)

    def describe(self) -> str:
        return f"replicate({describe(self.of)}, seed={self.seed})"


class Varied(OfWinner):
    """The recipe of a winner, with other settings. Made by `varied`.

    Parameters
    ----------
    of : Model
    changes : sequence of (str, value)
        As `varied` names them.
    """

    tag = "varied"
    changes: tuple[tuple[str, Any], ...]

    def validate(self) -> None:
        for recipe in _may_become(self.of):
            changed(recipe, self.changes)  # What cannot be changed is found now.

    def resolved(self, winner: Model) -> Model:
        return changed(winner, self.changes)

    def describe(self) -> str:
        return f"varied({describe(self.of)}, {', '.join(f'{name}={value}' for name, value in self.changes)})"

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        return map_children(self, shrink)


def _may_become(model: Model) -> list[Model]:
    """Return every recipe that a selection may choose, with what is changed of it."""
    if isinstance(model, Best):
        return [recipe for candidate in model.candidates for recipe in _may_become(candidate)]
    return [model.resolved(recipe) for recipe in _may_become(model.of)] if isinstance(model, OfWinner) else [model]


def varied(model: Model, **changes: Any) -> Model:
    """Return a recipe with other settings; of a selection, the winner's recipe: tuned first, then varied.

    A double underscore reaches into a setting: ``varied(chosen, epochs=16, schedule__warmup=2, optimizer__weight_decay=0.01)``.

    Raises
    ------
    DeclarationError
        There is no such setting (those that exist are listed), or the value is refused.
    """
    pairs = tuple(changes.items())
    return Varied(model, pairs) if model.is_open else changed(model, pairs)


def changed(model: Model, changes: Iterable[tuple[str, Any]]) -> Model:
    """Return a recipe with other settings, all set at once: see `varied`."""
    new: dict[str, Any] = {}
    for path, value in changes:
        name, _, inner = path.partition("__")
        owner: Any = model if not inner else new.get(name, getattr(model, name, None))
        fields = [field.name for field in fields_of(type(owner))] if isinstance(owner, Declaration) else []
        require(
            (inner or name) in fields,
            f"varied({path}=...): {describe(model)} has no such setting. It has "
            f"{', '.join(field.name for field in fields_of(type(model)))}"
            f"{f', and {name} has ' + ', '.join(fields) if inner and fields else ''}.",
        )
        new[name] = owner.replace(**{inner: value}) if inner else value
    return model.replace(**new)  # type: ignore[no-any-return]


def best(
    candidates: Iterable[Model],
    *,
    metric: str | Metric = "accuracy",
    on: Distribution | HeldOut | Sequence[Distribution | HeldOut] | None = None,
    rule: str = "best",
) -> Best:
    """Select on held-out data. It trains nothing: the result *is* the winning candidate.

    Parameters
    ----------
    metric : str or Metric
        The name of a built-in metric ("macro-f1"), or an object of your own class.
    on : distributions, optional
        The reference's val split unless given.
    rule : str
        "best" or "one-standard-error": see `Best`.
    """
    where = () if on is None else on if isinstance(on, (list, tuple)) else (on,)
    chosen = requested_metric(metric, where="best()")
    return Best(tuple(candidates), chosen, tuple(_held_out(data) for data in where), rule)


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
