"""Fisher-weighted averages (Matena & Raffel 2022), and the Fisher information that they are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import FISHER
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, describe, map_children
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require, require_at_least, require_choice, require_numbers, require_positive
from shiftline.operations.weight_space import WeightOperation, require_members

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft

TARGETS = ("expected", "sampled", "empirical")


class FisherAverage(WeightOperation):
    """Fisher-weighted average (Matena & Raffel 2022): ``sum_i w_i F_i theta_i / sum_i w_i F_i``, parameter by parameter.

    F_i is member i's diagonal Fisher information on training data, in eval mode, at least `floor`. Where no member has
    more than the floor, and for buffers, this is the plain average.

    Parameters
    ----------
    members : sequence of Model
        Two or more, of one architecture, features, preprocessing and head.
    weights : sequence of float
        One per member, above 0.
    examples : int
        Training images that the Fisher is estimated on, drawn by id; 1 or more.
    target : str
        "expected" takes the expectation over the model's own predicted classes (a backward pass per class), "sampled" draws one
        class from it, "empirical" takes the true label.
    floor : float
        The smallest Fisher information that counts, above 0.
    train_on : Distribution, optional
        The reference's train split unless given. Anything but (a subset of) it needs ``other_data=True``.
    other_data : bool
        It is estimated on other data than the reference's train split: marked in every table, refused as baseline.
    estimates : sequence of str
        Keys of Fisher information in the store, one per member, in the place of estimating it.
    """

    tag = "fisher-average"
    kind = "fisher-average"
    members: tuple[Model, ...]
    weights: tuple[float, ...]
    examples: int = 256
    target: str = "sampled"
    floor: float = 1e-6
    train_on: Distribution | None = None
    other_data: bool = False
    estimates: tuple[str, ...] = ()

    def validate(self) -> None:
        require_members("fisher_average", self.members)
        require(
            not self.estimates or len(self.estimates) == len(self.members),
            f"fisher_average has {len(self.members)} members and {len(self.estimates)} estimates: give one per member, or none.",
        )
        require(
            len(self.members) == len(self.weights),
            f"fisher_average has {len(self.members)} members and {len(self.weights)} weights: give one per member.",
        )
        require_numbers("fisher_average.weights", self.weights)
        require(
            min(self.weights) > 0,
            f"fisher_average.weights are {list(self.weights)}: expected positive numbers, or leave the member out.",
        )
        require_at_least("fisher_average(examples=...)", self.examples, 1)
        require_choice("fisher_average(target=...)", self.target, TARGETS)
        require_positive("fisher_average(floor=...)", self.floor)

    @property
    def mixed(self) -> tuple[Model, ...]:
        return self.members

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {} if self.estimates else {"train_on": self.train_on or reference.training}

    def named_keys(self) -> tuple[str, ...]:
        return self.estimates

    def fishers(self, reference: Reference) -> list[Fisher]:
        """Return what has to be estimated first, member by member."""
        return [
            Fisher(member, where, self.examples, self.target) for where in self.data(reference).values() for member in self.members
        ]

    def inputs(self, planner: Planner) -> dict[str, list[str]]:
        made = [planner.artifact(fisher) for fisher in self.fishers(planner.study.reference)]
        return {"fishers": made or list(self.estimates)}

    def describe(self) -> str:
        return f"fisher average of {len(self.members)} ({describe(self.members[0])}, ...)"

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        own = cut(self.train_on) if self.other_data and self.train_on is not None else None
        small: Any = map_children(self, shrink)
        return small.replace(examples=min(self.examples, 8), train_on=own)  # type: ignore[no-any-return]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Average members by the Fisher information that other jobs have estimated."""
        from safetensors.torch import load_file

        from shiftline.contracts.files import WEIGHTS
        from shiftline.networks.spec import save_model
        from shiftline.weights.average import fisher_average

        fishers = (load_file(context.store.file(key, FISHER)) for key in job.document["fishers"])
        members = context.weights.stream(self.members)
        averaged = fisher_average(members, fishers, self.weights, floor=self.floor)
        save_model(draft.folder / WEIGHTS, averaged, context.weights.spec(self.members[0]))


class Fisher(Model):
    """The diagonal Fisher information of a model on some examples. Made by `FisherAverage`.

    Parameters
    ----------
    of : Model
    on : Distribution
    examples : int
    target : str
        As in `FisherAverage`.
    """

    tag = "fisher"
    revision = 3
    kind = "fisher"
    of: Model
    on: Distribution
    examples: int
    target: str

    @property
    def has_weights(self) -> bool:
        return False

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on}

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Estimate the Fisher information of a model on a few examples, drawn by id."""
        from safetensors.torch import save_file

        from shiftline.data.prepared import prepared_chunks
        from shiftline.data.views import open_view, select_some
        from shiftline.engine.context import Interrupted
        from shiftline.engine.fisher import fisher_diagonal
        from shiftline.networks.preprocessing import normalise, resize_and_crop

        view = open_view(self.on, context.data, fingerprint=job.fingerprint(self.on))
        view = select_some(view, self.examples)
        module, spec = context.weights.module(self.of), context.weights.spec(self.of)
        context.progress.begin(job.label, len(view))

        def examples() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for chunk in prepared_chunks(
                view,
                [partial(resize_and_crop, preprocessing=spec.preprocessing)],
                chunk_size=64,
                decode_threads=context.decode_threads,
                device=context.device,
            ):
                if context.stop_requested():
                    raise Interrupted(f"{job.label}: stopped; the Fisher information is estimated again by the next run.")
                images = normalise(chunk.images[0].to(context.device), spec.preprocessing)
                yield images, chunk.labels.to(context.device), chunk.ids
                context.progress.advance(len(chunk.ids))

        information = fisher_diagonal(module, examples(), target=self.target)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in information.items()}
        save_file(tensors, draft.folder / FISHER)
        draft.summary.update(n=len(view), target=self.target)


@Formula(
    "Σ wᵢ Fᵢ θᵢ / Σ wᵢ Fᵢ, Fᵢ ≥ floor",
    source="Matena & Raffel 2022",
    members="one, its Fisher, and a second sum",
    restrictions="a Fisher job per member, on training data in eval mode",
)
def fisher_average(models: Sequence[Model], *, weights: Sequence[float] | None = None, **settings: Any) -> FisherAverage:
    """Average weights by their Fisher information: see `FisherAverage` for the settings."""
    models = tuple(models)
    return FisherAverage(models, tuple(weights) if weights is not None else (1.0,) * len(models), **settings)
