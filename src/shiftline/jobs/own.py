"""Users' own recipes: what they are given, and what is asked of what they return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shiftline.data.loader import Batch, TrainingBatches
from shiftline.data.views import View, open_view
from shiftline.declare.expressions import Model, children
from shiftline.declare.recipes import Recipe
from shiftline.errors import TrainingError
from shiftline.jobs.context import Context
from shiftline.models.classifier import Classifier
from shiftline.models.preprocessing import normalise
from shiftline.models.spec import ModelSpec, build_classifier, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS


@dataclass(frozen=True)
class Work:
    """What a user's recipe works with.

    Attributes
    ----------
    view : View or None
        The examples of `train_on`, where the recipe has that field.
    device : str
    """

    context: Context
    view: View | None
    device: str

    def model(self, expression: Model) -> Classifier:
        """Return one of the recipe's models, a copy to be changed, in eval mode."""
        state, spec = self.context.bank.state(expression, self.context.plan.artifacts)
        classifier = build_classifier(spec)
        classifier.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
        return classifier.to(self.device).eval()

    def spec(self, expression: Model) -> ModelSpec:
        """Return how one of the recipe's models is built."""
        return self.context.bank.spec(expression, self.context.plan.artifacts)

    def batches(
        self, expression: Model, *, epoch: int, batch_size: int, seed: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (B, 3, S, S) and labels (B,) of `train_on` in the order of an epoch, for a model."""
        if self.view is None:
            raise TrainingError("the recipe reads no data: give it a field train_on: Distribution | None = None.")
        spec = self.spec(expression)
        batches = TrainingBatches(
            self.view, batch_size=batch_size, size=int(spec.preprocessing["size"]),
            crop=float(spec.preprocessing["crop"]), seed=seed, workers=self.context.workers,
            reader=self.context.reader, device=self.device,
        )  # fmt: skip
        batch: Batch
        for batch in batches.epoch(epoch):
            yield normalise(batch.images.to(self.device), spec.preprocessing), batch.labels.to(self.device)


def own(job: Job, draft: Draft, context: Context) -> None:
    """Run a user's recipe and write the classifier that it returns.

    Raises
    ------
    TrainingError
        It returns something else, or a classifier that is not of its first model's kind.
    """
    recipe = job.model
    assert isinstance(recipe, Recipe)
    view = None
    if job.distribution is not None:
        view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
    work = Work(context, view, context.device)
    # The recipe's random numbers are its own: the process's generator is as it was afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(getattr(recipe, "seed", 0)))
        made = recipe.make(work)  # type: ignore[attr-defined]
    name = type(recipe).__name__
    origin = next(children(recipe), None)
    if origin is None:
        raise TrainingError(
            f"the recipe {name} has no model among its fields: it starts from one, for its architecture."
        )
    if not isinstance(made, Classifier):
        raise TrainingError(
            f"{name}.make returned a {type(made).__name__}: expected a classifier, as work.model(...) gives."
        )
    spec = work.spec(origin)
    wanted = {n: tensor.shape for n, tensor in build_classifier(spec).state_dict().items()}
    if {n: tensor.shape for n, tensor in made.state_dict().items()} != wanted:
        raise TrainingError(
            f"{name}.make returned a classifier of another architecture or number of classes than {origin.describe()}."
        )
    save_model(draft.folder / WEIGHTS, made.state_dict(), spec)
