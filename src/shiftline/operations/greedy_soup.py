"""Greedy soups: an average that grows while held-out accuracy does not fall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, describe, map_children
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require
from shiftline.operations.weight_space import WeightOperation, require_members

if TYPE_CHECKING:
    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.engine.weight_cache import State
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class GreedySoup(WeightOperation):
    """A greedy soup (Wortsman et al. 2022): members by falling accuracy, kept where held-out accuracy does not fall.

    Parameters
    ----------
    members : sequence of Model
        Two or more, of one architecture, features, preprocessing and head; where accuracies tie, in this order.
    on : Distribution, optional
        Held-out data: the reference's val split unless given. Anything outside of it is marked as other data.
    """

    tag = "greedy-soup"
    revision = 3
    kind = "greedy-soup"
    selects = True
    members: tuple[Model, ...]
    on: Distribution | None = None

    def validate(self) -> None:
        require_members("greedy_soup", self.members)
        require(
            self.on is None or isinstance(self.on, Distribution),
            f"greedy_soup(on=...) is a {type(self.on).__name__}: expected a distribution.",
        )

    @property
    def mixed(self) -> tuple[Model, ...]:
        return self.members

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on or reference.selection}

    def describe(self) -> str:
        return f"greedy soup of {len(self.members)} ({describe(self.members[0])}, ...)"

    def inputs(self, planner: Planner) -> dict[str, list[str]]:
        (where,) = self.data(planner.study.reference).values()
        return {"scores": [planner.score(planner.predict(member, where)) for member in self.members]}

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        small: Any = map_children(self, shrink)
        return small.replace(on=None if self.on is None else cut(self.on))  # type: ignore[no-any-return]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Build the soup; its summary says which members it kept, in the order in which they were added."""
        from shiftline.contracts.files import WEIGHTS
        from shiftline.data.views import open_view
        from shiftline.engine.held_out import HeldOutImages
        from shiftline.networks.spec import save_model
        from shiftline.weights.soup import greedy_soup

        assert job.distribution is not None
        cache = context.weights
        view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
        alone = [context.store.manifest(key).summary["correct"] for key in job.document["scores"]]
        spec = cache.spec(self.members[0])
        held_out = HeldOutImages(view, spec.preprocessing, context)
        module = cache.build(spec)
        context.progress.begin(job.label, len(self.members) - 1)

        def evaluate(state: State) -> float:
            module.load_state_dict(state)
            context.progress.advance()
            return held_out.count_correct(module)

        def member(row: int) -> AbstractContextManager[State]:
            return cache.opened(self.members[row])

        for _ in cache.stream(self.members):
            pass  # Every member is looked at before any of them is evaluated.
        weights, kept = greedy_soup(member, alone, evaluate)
        save_model(draft.folder / WEIGHTS, weights, spec)
        draft.summary.update(kept=kept, alone=alone, n=len(view))


@Formula(
    "members by falling held-out accuracy, kept where it does not fall",
    source="Wortsman et al. 2022, algorithm 1",
    members="one",
    restrictions="reads reference val unless told otherwise; n evaluations",
)
def greedy_soup(models: Iterable[Model], *, on: Distribution | None = None) -> GreedySoup:
    """Add models in the order of their held-out accuracy, as long as it does not fall (Wortsman et al. 2022)."""
    return GreedySoup(tuple(models), on)
