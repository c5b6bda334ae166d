"""Features of a frozen encoder: computed once, and read by every job that fits a head on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shiftline.data.loader import evaluation_chunks
from shiftline.data.views import open_view
from shiftline.declare.recipes import Features
from shiftline.errors import StoreError
from shiftline.jobs.context import Context, Interrupted
from shiftline.jobs.initial import initial_classifier
from shiftline.models.preprocessing import prepare
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

FEATURES = "features.safetensors"


@torch.no_grad()
def features(job: Job, draft: Draft, context: Context) -> None:
    """Compute what the head sees for every example, in id order."""
    recipe = job.model
    assert isinstance(recipe, Features)
    view = open_view(recipe.on, context.data, fingerprint=job.fingerprint(recipe.on))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier, spec = initial_classifier(
            recipe.init, context, num_classes=len(view.classes), features=recipe.kind, new_head=True
        )
    classifier = classifier.to(context.device).to(memory_format=torch.channels_last).eval()
    context.progress.begin(job.label, len(view))
    rows, labels, ids = [], [], []
    for chunk in evaluation_chunks(view, workers=context.workers, device=context.device):
        if context.stop_requested():
            raise Interrupted(f"{job.label}: stopped; features are computed anew by the next run.")
        inputs = (prepare(images.to(context.device), spec.preprocessing) for images in chunk.images)
        rows += [classifier.features(batch).float().cpu() for batch in inputs]
        labels.append(chunk.labels)
        ids.append(chunk.ids)
        context.progress.advance(len(chunk.ids))
    tensors = {"features": torch.cat(rows), "labels": torch.cat(labels), "ids": torch.cat(ids)}
    save_file(tensors, draft.folder / FEATURES)
    draft.summary.update(n=len(view), dimensions=tensors["features"].shape[1])


@dataclass(frozen=True)
class CachedFeatures:
    """Features, float32 (N, d), with labels and ids, int64 (N,), in id order."""

    features: Tensor
    labels: Tensor
    ids: Tensor


def cached(job: Job, context: Context) -> CachedFeatures | None:
    """Return the features that a job was planned with; None where it looks at images.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    keys = job.document.get("features")
    if keys is None:
        return None
    path = context.store.file(keys[0], FEATURES)
    try:
        return CachedFeatures(**load_file(path))
    except Exception as error:
        raise StoreError(f"the features {keys[0][:12]} are damaged ({error}): {path}.") from error
