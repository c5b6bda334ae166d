"""The scores of a study as rows: one per model and distribution, joined by key, gaps left visible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shiftline.declare.recipes import describe
from shiftline.declare.study import member_attributes
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
    alpha: float | None
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
        attributes = member_attributes(planned.expression)
        recipe = describe(planned.expression)
        for distribution, key in planned.scores.items():
            if key in complete and key not in counted:
                summary = store.manifest(key).summary
                counted[key] = (summary["correct"], summary["n"])
            correct, n = counted.get(key, (None, None))
            yield Score(
                planned.named.model, planned.named.group, recipe, attributes.get("seed"), attributes.get("epoch"),
                attributes.get("alpha"), distribution, "accuracy", correct, n, key,
            )  # fmt: skip
