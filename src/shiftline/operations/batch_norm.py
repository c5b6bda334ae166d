"""Batch-norm statistics computed again: those of an average of models are not the average of their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, map_children, require_weights
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require_at_least
from shiftline.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class ReestimateBatchNorm(Model):
    """A model with batch-norm statistics computed again on training data (cumulative averages), its parameters as they are.

    Parameters
    ----------
    of : Model
    train_on : Distribution, optional
        The reference's train split unless given. Anything but (a subset of) it needs ``other_data=True``.
    batch_size : int
        2 or more.
    other_data : bool
        It reads other data than the reference's train split: marked in every table, refused as baseline.
    """

    tag = "batch-norm"
    kind = "batch-norm"
    reads_images = True
    of: Model
    train_on: Distribution | None = None
    batch_size: int = 64
    other_data: bool = False

    def validate(self) -> None:
        require_weights("reestimate_batch_norm", self.of)
        require_at_least("reestimate_batch_norm(batch_size=...)", self.batch_size, 2)

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

    def attributes(self) -> dict[str, Any]:
        return self.of.attributes()

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        own = cut(self.train_on) if self.other_data and self.train_on is not None else None
        return map_children(self, shrink).replace(train_on=own)  # type: ignore[no-any-return]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Pass the training data through the network once, in training mode, with cumulative averages."""
        import copy

        import torch

        from shiftline.contracts.files import WEIGHTS
        from shiftline.data.loader import TrainingBatches
        from shiftline.data.views import open_view
        from shiftline.engine.context import Interrupted
        from shiftline.networks.preprocessing import normalise
        from shiftline.networks.spec import save_model

        assert job.distribution is not None
        view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
        spec = context.weights.spec(self.of)
        # A copy: the cache's module keeps its mode and its momentum.
        module = copy.deepcopy(context.weights.module(self.of))
        norms = reset_batch_norms(module)
        if not norms:
            raise TrainingError(f"{job.label}: the network has no batch norm. Use the model as it is.")
        batches = TrainingBatches(
            view,
            batch_size=min(self.batch_size, len(view)),
            size=int(spec.preprocessing["size"]),
            crop=float(spec.preprocessing["crop"]),
            decode_threads=context.decode_threads,
            reader=context.reader,
            device=context.device,
        )
        context.progress.begin(job.label, batches.steps)
        for batch in batches.epoch(0):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; the statistics are computed again by the next run.")
            with torch.no_grad():
                module(normalise(batch.images.to(context.device), spec.preprocessing))
            context.progress.advance()
        save_model(draft.folder / WEIGHTS, module.state_dict(), spec)
        draft.summary.update(norms=norms, examples=len(view))


def reset_batch_norms(module: nn.Module) -> int:
    """Forget the statistics of every batch norm and have them averaged cumulatively (momentum None).

    The rest of the network stays in eval mode, so that dropout does not disturb what the norms see.

    Returns
    -------
    int
        How many there are.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    module.eval()
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    return len(norms)


@Formula(
    "μ, σ² over training data, cumulative",
    source="Izmailov et al. 2018",
    members="the network",
    restrictions="may hurt between neighbouring checkpoints",
)
def with_batch_norm(model: Model, **settings: Any) -> list[Model]:
    """The model as it is, and with batch-norm statistics estimated again: it may help or hurt, so both are kept."""
    return [model, ReestimateBatchNorm(model, **settings)]
