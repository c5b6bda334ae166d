"""Ensembles in output space: the mean of stored predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, describe
from shiftline.contracts.require import require, require_choice, require_numbers
from shiftline.errors import StoreError
from shiftline.operations.weight_space import ALPHAS, require_alpha

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.engine.context import Context
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft

SPACES = ("logits", "probabilities")


class Ensemble(Model):
    """The weighted mean of several models' logits or probabilities. It has no weights of its own.

    Parameters
    ----------
    members : sequence of Model
        Two or more.
    weights : sequence of float
        Shares of 0 or more that sum to 1, one per member.
    space : str
        "logits"; with "probabilities" the outputs that are stored are logarithms of the mean probabilities, whose softmax they are.
    """

    tag = "ensemble"
    prediction_kind = "ensemble"
    unspoken = ("weights",)
    members: tuple[Model, ...]
    weights: tuple[float, ...]
    space: str = "logits"

    @property
    def has_weights(self) -> bool:
        return False

    def validate(self) -> None:
        require(len(self.members) >= 2, f"an ensemble of {len(self.members)}: give two or more models, or use the model itself.")
        for member in self.members:
            require(isinstance(member, Model), f"an ensemble holds a {type(member).__name__}: expected model expressions.")
        require(
            len(self.members) == len(self.weights),
            f"an ensemble of {len(self.members)} has {len(self.weights)} weights: give one per member.",
        )
        require_numbers("Ensemble.weights", self.weights)
        require(
            min(self.weights) >= 0 and abs(sum(self.weights) - 1) < 1e-6,
            f"Ensemble.weights are {list(self.weights)}: expected shares of 0 or more that sum to 1.",
        )
        require_choice("Ensemble.space", self.space, SPACES)

    def attributes(self) -> dict[str, Any]:
        # Two members are a path: the weight of the second is its mixing coefficient.
        return {"alpha": self.weights[1]} if len(self.members) == 2 else {}

    def describe(self) -> str:
        terms = (f"{w:.3g} {describe(m)}" for w, m in zip(self.weights, self.members, strict=True))
        return f"ensemble of {self.space}({', '.join(terms)})"

    def prediction(self, planner: Planner, distribution: Distribution) -> str:
        fields = {"weights": list(self.weights), "space": self.space}
        return planner.predict_from(self, self.members, distribution, fields)

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Average the members' predictions on one distribution.

        Raises
        ------
        StoreError
            The members were predicted on different examples.
        """
        import torch
        from safetensors.torch import save_file

        from shiftline.contracts.files import LOGITS
        from shiftline.engine.predictions import load_predictions

        members = [load_predictions(context.store, key) for key in job.document["members"]]
        first = members[0]
        if any(not torch.equal(first["ids"], member["ids"]) for member in members):
            raise StoreError(f"{job.label}: the members were predicted on different examples.")
        mean = mean_outputs([member["logits"] for member in members], self.weights, self.space)
        save_file({"logits": mean, "labels": first["labels"], "ids": first["ids"]}, draft.folder / LOGITS)
        draft.summary.update(n=len(mean), classes=mean.shape[1])


def mean_outputs(logits: Sequence[Tensor], weights: Sequence[float], space: str) -> Tensor:
    """Return the weighted mean of logits; with "probabilities", the logarithm of that of their softmaxes.

    Parameters
    ----------
    logits : sequence of float tensors, each of shape (N, C)
    weights : sequence of float
        Shares that sum to one.
    """
    import torch

    mean = torch.zeros_like(logits[0], dtype=torch.float64)
    for weight, member in zip(weights, logits, strict=True):
        # In float64, so that a weight of one gives the member back exactly.
        wide = member.double()
        mean += weight * (wide.softmax(dim=1) if space == "probabilities" else wide)
    if space == "probabilities":
        mean = mean.clamp_min(torch.finfo(torch.float64).tiny).log()
    return mean.float()


@Formula("Σ wᵢ zᵢ, or log Σ wᵢ softmax(zᵢ)", members="stored outputs", restrictions="no weights: cannot be trained further")
def ensemble(models: Sequence[Model], *, weights: Sequence[float] | None = None, space: str = "logits") -> Ensemble:
    """Average outputs; `weights` are divided by their sum. See `Ensemble`."""
    models = tuple(models)
    shares = (1.0,) * len(models) if weights is None else tuple(weights)
    require_numbers("ensemble(weights=...)", shares)
    total = sum(shares)
    require(not shares or total > 0, f"the weights {list(shares)} sum to {total:g}: expected a positive sum.")
    return Ensemble(models, tuple(share / total for share in shares), space)


@Formula("ensemble along α, beside interpolations", members="stored outputs", restrictions="no weights")
def ensembles(start: Model, end: Model, alphas: Iterable[float] = ALPHAS, *, space: str = "logits") -> list[Model]:
    """Average the outputs of two models at each mixing coefficient: what weight interpolation is compared with."""
    alphas = list(alphas)
    for alpha in alphas:
        require_alpha("ensembles(alphas=...)", alpha)
    return [Ensemble((start, end), (1 - alpha, alpha), space) for alpha in alphas]
