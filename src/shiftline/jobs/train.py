"""Training by gradient descent, from scratch or from another model: what is trained, on what, and what is kept."""

from __future__ import annotations

import shutil

import torch

from shiftline.data.loader import Batches, FeatureBatches, JointBatches, TrainingBatches
from shiftline.data.views import open_view
from shiftline.declare.distributions import Distribution
from shiftline.declare.training import FineTune, FromScratch
from shiftline.jobs.context import Context
from shiftline.jobs.features import cached
from shiftline.jobs.initial import fine_tuned, from_scratch
from shiftline.jobs.loop import TrainingRun
from shiftline.models.spec import ModelSpec, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS, checkpoint_file


def train(job: Job, draft: Draft, context: Context) -> None:
    """Train, and write the last weights and those of every epoch or step that is asked for."""
    recipe = job.model
    assert isinstance(recipe, (FromScratch, FineTune))
    # The job's random numbers are its own: the process's generator is as it was afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        num_classes = int(job.document["classes"])
        if isinstance(recipe, FromScratch):
            classifier, spec = from_scratch(recipe, context, num_classes=num_classes)
        else:
            classifier, spec = fine_tuned(recipe, context, num_classes=num_classes)
        run = TrainingRun(job, recipe, classifier, spec, _batches(job, recipe, spec, context), context)
        run.resume()
        run.train()
    if not context.ranks.first:
        return
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    for after in recipe.save:
        # A copy: if publishing fails, the training still has it.
        shutil.copyfile(run.checkpoint(after), draft.folder / checkpoint_file(recipe.unit, after))
    draft.summary.update(
        loss=run.last_loss, steps=run.total, examples=run.batches.examples, reader=run.batches.source,
        processes=context.ranks.world,
    )  # fmt: skip


def _batches(job: Job, recipe: FromScratch | FineTune, spec: ModelSpec, context: Context) -> Batches:
    ranks = context.ranks
    if (found := cached(job, context)) is not None:
        return FeatureBatches(
            found.features, found.labels, found.ids, batch_size=recipe.batch_size, seed=recipe.seed,
            rank=ranks.rank, world=ranks.world,
        )  # fmt: skip

    def of(distribution: Distribution) -> TrainingBatches:
        return TrainingBatches(
            open_view(distribution, context.data, fingerprint=job.fingerprint(distribution)),
            batch_size=recipe.batch_size, size=int(spec.preprocessing["size"]), crop=float(spec.preprocessing["crop"]),
            augmentations=recipe.augment, seed=recipe.seed, mixed=recipe.mix is not None, workers=context.workers,
            rank=ranks.rank, world=ranks.world, reader=context.reader, device=context.device,
        )  # fmt: skip

    parts = [of(distribution) for distribution in recipe.data(context.plan.study.reference).values()]
    return parts[0] if len(parts) == 1 and not getattr(recipe, "parts", ()) else JointBatches(parts, seed=recipe.seed)
