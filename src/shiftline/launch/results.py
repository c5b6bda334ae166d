"""The scores of a study as rows: one per model and distribution, joined by key, gaps left visible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from shiftline.declare.expressions import describe
from shiftline.declare.sweeps import Best
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store


@dataclass(frozen=True)
class Score:
    """One number of a study.

    Attributes
    ----------
    correct, n : int or None
        Counts; None where the score has not been made.
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
    distribution: str
    metric: str
    correct: int | None
    n: int | None
    key: str


def scores(plan: Plan, store: Store) -> Iterator[Score]:
    """Yield every score of a plan, in the order of the declaration."""
    complete = store.complete()
    counted: dict[str, tuple[int, int]] = {}
    for planned in plan.models:
        attributes = planned.expression.attributes()
        recipe = describe(planned.expression)
        for distribution, key in planned.scores.items():
            if key in complete and key not in counted:
                summary = store.manifest(key).summary
                counted[key] = (summary["correct"], summary["n"])
            correct, n = counted.get(key, (None, None))
            yield Score(
                planned.named.model, planned.named.group, recipe, attributes.get("seed"), attributes.get("epoch"),
                attributes.get("step"), attributes.get("alpha"), planned.other_data, distribution, "accuracy", correct, n, key,
            )  # fmt: skip


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
        if job.kind != "select":
            continue
        assert isinstance(job.model, Best)
        winner = store.manifest(job.key).summary["position"] if job.key in complete else None
        for position, (model, keys) in enumerate(zip(job.model.candidates, job.document["candidates"], strict=True)):
            made = all(key in complete for key in keys)
            value = fmean(store.manifest(key).summary["value"] for key in keys) if made else None
            yield Candidate(
                job.label, position + 1, describe(model), job.document["metric"], value, job.document["rule"],
                position == winner, job.key,
            )  # fmt: skip
