"""Users' own recipes: what they are given, and what is asked of what they return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.identity import fields_of
from shiftline.contracts.models import Model, children, map_children
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require
from shiftline.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.contracts.models import Cut, Shrink
    from shiftline.data.views import View
    from shiftline.engine.context import Context
    from shiftline.networks.classifier import Classifier
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class Recipe(Model):
    """Base of users' own recipes: weights made by your own code, in a job of its own.

    A subclass sets a `tag`, a `revision`, fields (models among them, `train_on` where it reads data), and defines `make`. The
    first of its models says what is made: the result has its architecture and classes.

    Attributes
    ----------
    reads : tuple of str
        Names of fields whose models are only read, a teacher for instance. All other models must agree in architecture,
        features, preprocessing and classes, which planning checks.
    """

    kind = "own"
    reads_images = True
    reads: ClassVar[tuple[str, ...]] = ()

    def validate(self) -> None:
        name = type(self).__name__
        require(
            type(self).make is not Recipe.make,
            f"the recipe {name} has no make method: write def make(self, work) and return a classifier.",
        )
        require(
            next(children(self), None) is not None,
            f"the recipe {name} has no model among its fields: it starts from one, for its architecture.",
        )

    def make(self, work: Work) -> Classifier:
        """Return the classifier that is made: as ``work.model(...)`` gives one, trained or changed."""
        raise NotImplementedError

    @property
    def mixed(self) -> list[Model]:
        """The models that have to be of one kind."""
        fields = (getattr(self, field.name) for field in fields_of(type(self)) if field.name not in self.reads)
        return [
            model for value in fields for model in (value if isinstance(value, tuple) else (value,)) if isinstance(model, Model)
        ]

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        names = {field.name for field in fields_of(type(self))}
        return {"train_on": getattr(self, "train_on", None) or reference.training} if "train_on" in names else {}

    def check(self, facts: Facts) -> None:
        if self.mixed:
            facts.require_mixable(self.mixed, heads=True)

    def identity(self, facts: Facts) -> dict[str, Any]:
        data = self.data(facts.reference)
        return {"classes": len(facts.source(data["train_on"]).classes if data else facts.classes)}

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        small = map_children(self, shrink)
        own = getattr(self, "train_on", None)
        if not any(field.name == "train_on" for field in fields_of(type(self))):
            return small
        return small.replace(train_on=cut(own) if own is not None and self.reads_other_data else None)  # type: ignore[no-any-return]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Run the recipe and write the classifier that it returns.

        Raises
        ------
        TrainingError
            It returns something else, or a classifier that is not of its first model's kind.
        """
        import torch

        from shiftline.contracts.files import WEIGHTS
        from shiftline.data.views import open_view
        from shiftline.networks.classifier import Classifier
        from shiftline.networks.spec import build_classifier, save_model

        view = None
        if job.distribution is not None:
            view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
        work = Work(context, view, context.device)
        # The recipe's random numbers are its own: the process's generator is as it was afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(getattr(self, "seed", 0)))
            made = self.make(work)
        name, origin = type(self).__name__, next(children(self))
        if not isinstance(made, Classifier):
            raise TrainingError(f"{name}.make returned a {type(made).__name__}: expected a classifier, as work.model(...) gives.")
        spec = work.spec(origin)
        with torch.random.fork_rng(devices=[]):
            wanted = {n: tensor.shape for n, tensor in build_classifier(spec).state_dict().items()}
        if {n: tensor.shape for n, tensor in made.state_dict().items()} != wanted:
            raise TrainingError(
                f"{name}.make returned a classifier of another architecture or number of classes than {origin.describe()}."
            )
        save_model(draft.folder / WEIGHTS, made.state_dict(), spec)


@dataclass(frozen=True)
class Work:
    """What a user's recipe works with.

    Attributes
    ----------
    context : Context
    view : View or None
        The examples of `train_on`, where the recipe has that field.
    device : str
    """

    context: Context
    view: View | None
    device: str

    def model(self, expression: Model) -> Classifier:
        """Return one of the recipe's models, a copy to be changed, in eval mode."""
        from shiftline.networks.spec import build_classifier

        state, spec = self.context.weights.state(expression)
        classifier = build_classifier(spec)
        classifier.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
        return classifier.to(self.device).eval()

    def spec(self, expression: Model) -> ModelSpec:
        """Return how one of the recipe's models is built."""
        return self.context.weights.spec(expression)

    def batches(self, expression: Model, *, epoch: int, batch_size: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (B, 3, S, S) and labels (B,) of `train_on` in the order of an epoch, for a model."""
        from shiftline.data.loader import TrainingBatches
        from shiftline.networks.preprocessing import normalise

        if self.view is None:
            raise TrainingError("the recipe reads no data: give it a field train_on: Distribution | None = None.")
        spec = self.spec(expression)
        batches = TrainingBatches(
            self.view,
            batch_size=batch_size,
            size=int(spec.preprocessing["size"]),
            crop=float(spec.preprocessing["crop"]),
            seed=seed,
            decode_threads=self.context.decode_threads,
            reader=self.context.reader,
            device=self.device,
        )
        for batch in batches.epoch(epoch):
            yield normalise(batch.images.to(self.device), spec.preprocessing), batch.labels.to(self.device)
