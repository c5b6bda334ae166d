"""The scores of a study as rows: one per model and distribution, joined by key, gaps left visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from shiftline.contracts.models import describe
from shiftline.operations.selection import Best
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store


@dataclass(frozen=True)
class Score:
    """One number of a study.

    Attributes
    ----------
    label_space : str
        The classes it is scored in: the reference's data set, or the space of a shift.
    primary : bool
        The metric stands for the distribution on an axis.
    value, low, high : float or None
        None where the score has not been made; the ends of the 95 % interval also where `correct` gives them.
    correct, n : int or None
        Counts: successes of a metric that is a proportion, and examples.
    key : str
        Of the score's artifact.
    """

    model: str
    group: str
    recipe: str
    seed: int | None
    epoch: int | None
    step: int | None
    alpha: float | None
    other_data: bool
    order_unverified: bool
    distribution: str
    label_space: str
    metric: str
    primary: bool
    value: float | None
    correct: int | None
    n: int | None
    low: float | None
    high: float | None
    key: str
    model_key: str


def scores(plan: Plan, store: Store) -> Iterator[Score]:
    """Yield every score of a plan, in the order of the declaration."""
    complete = store.complete()
    made: dict[str, Mapping[str, Any]] = {}
    for planned in plan.models:
        attributes = planned.expression.attributes()
        recipe = describe(planned.expression)
        for score in planned.scores:
            if score.key in complete and score.key not in made:
                made[score.key] = store.manifest(score.key).summary
            found = made.get(score.key, {})
            yield Score(
                model=planned.named.model,
                group=planned.named.group,
                recipe=recipe,
                **{name: attributes.get(name) for name in ("seed", "epoch", "step", "alpha")},
                other_data=planned.other_data,
                order_unverified=planned.order_unverified,
                distribution=score.distribution,
                label_space=score.space,
                metric=score.metric.name,
                primary=score.primary,
                **{name: found.get(name) for name in ("value", "correct", "n", "low", "high")},
                key=score.key,
                model_key=planned.artifact,
            )


@dataclass(frozen=True)
class GroupScore:
    """The accuracy of a model within one group of a distribution."""

    model: str
    group: str
    distribution: str
    label_space: str
    subgroup: str
    correct: int
    n: int
    key: str


def group_scores(plan: Plan, store: Store) -> Iterator[GroupScore]:
    """Yield the accuracy within every group of every distribution that was scored by groups."""
    complete = store.complete()
    for planned in plan.models:
        seen: set[tuple[str, str]] = set()
        for score in planned.scores:
            groups = store.manifest(score.key).summary.get("groups", {}) if score.key in complete else {}
            if (score.distribution, score.space) in seen:
                continue
            if groups:
                seen.add((score.distribution, score.space))
            for subgroup, (correct, n) in groups.items():
                names = planned.named.model, planned.named.group, score.distribution, score.space
                yield GroupScore(*names, subgroup, correct, n, score.key)


@dataclass(frozen=True)
class Candidate:
    """One candidate of a selection.

    Attributes
    ----------
    selection : str
        What was selected from.
    candidate : int
        Its number, from 1.
    value : float or None
        Mean of the metric over the held-out distributions; None where one has not been made.
    key : str
        Of the selection's artifact.
    """

    selection: str
    candidate: int
    recipe: str
    metric: str
    value: float | None
    rule: str
    chosen: bool
    key: str


def candidates(plan: Plan, store: Store) -> Iterator[Candidate]:
    """Yield the candidates of every selection of a plan."""
    complete = store.complete()
    for job in plan.jobs.values():
        if job.kind != Best.kind:
            continue
        assert isinstance(job.model, Best)
        winner = store.manifest(job.key).summary["index"] if job.key in complete else None
        metric, rule = job.model.metric.name, job.model.rule
        for index, (model, keys) in enumerate(zip(job.model.candidates, job.document["candidates"], strict=True)):
            made = all(key in complete for key in keys)
            value = fmean(store.manifest(key).summary["value"] for key in keys) if made else None
            yield Candidate(job.label, index + 1, describe(model), metric, value, rule, index == winner, job.key)
