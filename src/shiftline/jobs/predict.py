"""Predictions: a distribution's images are decoded once and pass through every model that waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shiftline.data.loader import Chunk, evaluation_chunks
from shiftline.data.views import open_view
from shiftline.errors import StoreError
from shiftline.jobs.context import Context, Interrupted
from shiftline.models.preprocessing import normalise, resize_and_crop
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Store

LOGITS = "predictions.safetensors"
CHUNK = 2048
"""Images decoded at once."""
INFERENCE_BATCH = 256
"""Images that pass through a model at once: fixed, so that logits do not depend on who else is predicted."""


def predict_group(jobs: Sequence[Job], context: Context) -> None:
    """Predict several models on one distribution and publish each prediction under its own key."""
    distribution = jobs[0].distribution
    assert distribution is not None
    assert all(job.distribution == distribution for job in jobs)
    view = open_view(distribution, context.data, fingerprint=jobs[0].fingerprint)
    jobs = _by_encoder(jobs, context)
    context.progress.begin(f"{len(jobs)} models on {distribution}", len(jobs) * len(view))
    logits: dict[str, list[Tensor]] = {job.key: [] for job in jobs}
    labels, ids = [], []
    for chunk in evaluation_chunks(view, chunk_size=CHUNK, workers=context.workers):
        labels.append(chunk.labels)
        ids.append(chunk.ids)
        for job, outputs in _predict_chunk(jobs, chunk, context):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; predictions are made anew by the next run.")
            logits[job.key].append(outputs)
            context.progress.advance(len(chunk.ids))
    tensors = {"labels": torch.cat(labels), "ids": torch.cat(ids)}
    for job in jobs:
        with context.store.publish(job.key, job.kind, job.document) as draft:
            save_file({"logits": torch.cat(logits[job.key]), **tensors}, draft.folder / LOGITS)
            draft.summary.update(n=len(view), classes=len(view.classes))


def _by_encoder(jobs: Sequence[Job], context: Context) -> list[Job]:
    """Put models with one encoder next to each other: their features are computed once."""
    order: dict[object, list[Job]] = {}
    for job in jobs:
        assert job.model is not None
        order.setdefault(context.bank.encoder_identity(job.model, context.plan.artifacts), []).append(job)
    return [job for group in order.values() for job in group]


@torch.no_grad()
def _predict_chunk(jobs: Sequence[Job], chunk: Chunk, context: Context) -> Iterator[tuple[Job, Tensor]]:
    prepared: dict[str, list[Tensor]] = {}
    encoder: object = None
    features: list[Tensor] = []
    for job in jobs:
        assert job.model is not None
        spec = context.bank.spec(job.model, context.plan.artifacts)
        module = context.bank.module(job.model, context.plan.artifacts)
        identity = (context.bank.encoder_identity(job.model, context.plan.artifacts), spec.normalise)
        if identity != encoder:
            name = str(sorted(spec.preprocessing.items()))
            if name not in prepared:
                # One transform's images at a time are kept: models of one study rarely need many.
                prepared.clear()
                prepared[name] = _batches(chunk, spec.preprocessing, context.device)
            features = [module.features(normalise(batch, spec.preprocessing)) for batch in prepared[name]]
            encoder = identity
        yield job, torch.cat([module.head(batch) for batch in features]).float().cpu()


def _batches(chunk: Chunk, preprocessing: object, device: str) -> list[Tensor]:
    images = torch.cat([resize_and_crop(run.to(device), preprocessing) for run in chunk.images])  # type: ignore[arg-type]
    return list(images.split(INFERENCE_BATCH))


def load_predictions(store: Store, key: str) -> dict[str, Tensor]:
    """Return the logits (N, C), labels (N,) and ids (N,) of a prediction.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    path: Path = store.file(key, LOGITS)
    try:
        return load_file(path)
    except Exception as error:
        raise StoreError(f"the predictions {key[:12]} are damaged ({error}): {path}.") from error
