"""A training from start to end: what is trained, on what, and what is kept."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import WEIGHTS, checkpoint_file
from shiftline.data.loader import Batches, FeatureBatches, JointBatches, TrainingBatches
from shiftline.data.views import open_view
from shiftline.engine.cached_features import cached
from shiftline.engine.context import Context
from shiftline.engine.loop import TrainingRun
from shiftline.networks.spec import ModelSpec, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

if TYPE_CHECKING:
    from shiftline.operations.training import Trained


def train(recipe: Trained, job: Job, draft: Draft, context: Context) -> None:
    """Train, and write the last weights and those of every epoch or step that is requested."""
    # The job's random numbers are its own: the process's generator is as it was afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        classifier, spec = recipe.start(context, int(job.document["classes"]))
        run = TrainingRun(job, recipe, classifier, spec, _batches(job, recipe, spec, context), context)
        run.resume()
        first = run.done
        run.train()
    if not context.ranks.first:
        return
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    for after in recipe.save:
        # A copy: if publishing fails, the training still has it.
        shutil.copyfile(run.checkpoint(after), draft.folder / checkpoint_file(recipe.epoch_or_step, after))
    draft.summary.update(loss=run.last_loss, steps=run.total, examples=run.batches.examples)
    # Of this attempt, as the seconds are.
    draft.cost["images"] = (run.total - first) * recipe.batch_size
    draft.summary.update(reader=run.batches.source, processes=context.ranks.world)


def _batches(job: Job, recipe: Trained, spec: ModelSpec, context: Context) -> Batches:
    ranks = context.ranks
    if (found := cached(job, context)) is not None:
        return FeatureBatches(
            found.features,
            found.labels,
            found.ids,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            rank=ranks.rank,
            world=ranks.world,
        )

    def of(distribution: Distribution) -> TrainingBatches:
        return TrainingBatches(
            open_view(distribution, context.data, fingerprint=job.fingerprint(distribution)),
            batch_size=recipe.batch_size,
            size=int(spec.preprocessing["size"]),
            crop=float(spec.preprocessing["crop"]),
            augmentations=recipe.augment,
            seed=recipe.seed,
            mixed=recipe.mix is not None,
            decode_threads=context.decode_threads,
            rank=ranks.rank,
            world=ranks.world,
            reader=context.reader,
            device=context.device,
        )

    tasks = [of(distribution) for distribution in recipe.data(context.plan.study.reference).values()]
    joint = bool(getattr(recipe, "tasks", ()))
    return JointBatches(tasks, seed=recipe.seed) if joint else tasks[0]
