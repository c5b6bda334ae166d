"""Batch-norm statistics computed anew: those of an average of models are not the average of their statistics."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shiftline.data.loader import TrainingBatches
from shiftline.data.views import open_view
from shiftline.declare.weight_space import ReestimateBatchNorm
from shiftline.errors import TrainingError
from shiftline.jobs.context import Context, Interrupted
from shiftline.models.preprocessing import normalise
from shiftline.models.spec import save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS


@torch.no_grad()
def reestimate(job: Job, draft: Draft, context: Context) -> None:
    """Pass the training data through the network once, in training mode, with cumulative averages."""
    recipe = job.model
    assert isinstance(recipe, ReestimateBatchNorm)
    assert job.distribution is not None
    view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
    spec = context.bank.spec(recipe.of, context.plan.artifacts)
    # A copy: the bank's module keeps its mode and its momentum.
    module = copy.deepcopy(context.bank.module(recipe.of, context.plan.artifacts))
    norms = reset_batch_norms(module)
    if not norms:
        raise TrainingError(f"{job.label}: the network has no batch norm. Use the model as it is.")
    batches = TrainingBatches(
        view, batch_size=min(recipe.batch_size, len(view)), size=int(spec.preprocessing["size"]),
        crop=float(spec.preprocessing["crop"]), workers=context.workers, reader=context.reader,
        device=context.device,
    )  # fmt: skip
    context.progress.begin(job.label, batches.steps)
    for batch in batches.epoch(0):
        if context.stop_requested():
            raise Interrupted(f"{job.label}: stopped; the statistics are computed anew by the next run.")
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
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    return len(norms)
