"""Weights that are made of other models' weights: stored combinations, greedy soups, Fisher averages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from safetensors.torch import load_file
from torch import Tensor

from shiftline.data.views import open_view
from shiftline.declare.weight_space import FisherAverage, GreedySoup, Keep
from shiftline.jobs.context import Context
from shiftline.jobs.fisher import FISHER
from shiftline.jobs.held_out import HeldOutImages
from shiftline.models.bank import State
from shiftline.models.spec import save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS
from shiftline.weights.average import fisher_average
from shiftline.weights.soup import greedy_soup


def keep(job: Job, draft: Draft, context: Context) -> None:
    """Write the weights of an expression."""
    recipe = job.model
    assert isinstance(recipe, Keep)
    state, spec = context.bank.state(recipe.of, context.plan.artifacts)
    save_model(draft.folder / WEIGHTS, state, spec)


def soup(job: Job, draft: Draft, context: Context) -> None:
    """Build a greedy soup; its summary says which members it kept, in the order in which they were added."""
    recipe, bank, artifacts = job.model, context.bank, context.plan.artifacts
    assert isinstance(recipe, GreedySoup)
    assert job.distribution is not None
    view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
    alone = [context.store.manifest(key).summary["correct"] for key in job.document["scores"]]
    spec = bank.spec(recipe.members[0], artifacts)
    held_out = HeldOutImages(view, spec.preprocessing, context)
    module = bank.build(spec)
    context.progress.begin(job.label, len(recipe.members) - 1)

    def evaluate(state: State) -> float:
        module.load_state_dict(state)
        context.progress.advance()
        return held_out.count_correct(module)

    def member(row: int) -> AbstractContextManager[State]:
        return bank.opened(recipe.members[row], artifacts)

    for _ in bank.stream(recipe.members, artifacts):
        pass  # Every member is looked at before any of them is evaluated.
    weights, kept = greedy_soup(member, alone, evaluate)
    save_model(draft.folder / WEIGHTS, weights, spec)
    draft.summary.update(kept=kept, alone=alone, n=len(view))


def fishers_average(job: Job, draft: Draft, context: Context) -> None:
    """Average members by the Fisher information that other jobs have estimated."""
    recipe, bank, artifacts = job.model, context.bank, context.plan.artifacts
    assert isinstance(recipe, FisherAverage)
    weights = fisher_average(
        bank.stream(recipe.members, artifacts), _fishers(job.document["fishers"], context), recipe.weights,
        floor=recipe.floor,
    )  # fmt: skip
    save_model(draft.folder / WEIGHTS, weights, bank.spec(recipe.members[0], artifacts))


def _fishers(keys: Sequence[str], context: Context) -> Iterator[dict[str, Tensor]]:
    for key in keys:
        yield load_file(context.store.file(key, FISHER))
