"""Predictions: a distribution's images are decoded once and pass through every model that waits for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save_file
from torch import Tensor

from shiftline.contracts.files import LOGITS
from shiftline.data.loader import Chunk, evaluation_chunks
from shiftline.data.views import View, open_view
from shiftline.engine.context import Context, Interrupted
from shiftline.errors import ModelError
from shiftline.networks.preprocessing import normalise, resize_and_crop
from shiftline.plan.jobs import Job
from shiftline.weights.interpolate import has_finite_values

CHUNK = 2048
"""Images decoded at once."""
INFERENCE_BATCH = 256
"""Images that pass through a model at once: fixed, so that logits do not depend on who else is predicted."""


def predict_group(jobs: Sequence[Job], context: Context) -> None:
    """Predict several models on one distribution and publish each prediction under its own key."""
    distribution = jobs[0].distribution
    assert distribution is not None
    assert all(job.distribution == distribution for job in jobs)
    view = open_view(distribution, context.data, fingerprint=jobs[0].fingerprint(distribution))
    jobs = _by_encoder(jobs)
    context.progress.begin(f"{len(jobs)} models on {distribution}", len(jobs) * len(view))
    shares = context.ranks.gather(lambda: _predict_share(jobs, view, context))
    if not context.ranks.first:
        return
    # Chunks of all processes, in the order of the ids.
    chunks = sorted((chunk for share in shares for chunk in share), key=lambda chunk: int(chunk.ids[0]))
    shared = {"labels": torch.cat([c.labels for c in chunks]), "ids": torch.cat([c.ids for c in chunks])}
    for job in jobs:
        logits = torch.cat([chunk.logits[job.key] for chunk in chunks])
        if not has_finite_values(logits):
            raise ModelError(f"{job.label}: the logits hold NaN or infinite values: these weights are no model.")
        with context.store.publish(job.key, job.kind, job.document) as draft:
            save_file({"logits": logits, **shared}, draft.folder / LOGITS)
            draft.summary.update(n=len(view), classes=len(view.classes))


@dataclass(frozen=True)
class _Predicted:
    """The logits of a chunk by the key of the job, with its labels and ids."""

    logits: dict[str, Tensor]
    labels: Tensor
    ids: Tensor


def _predict_share(jobs: Sequence[Job], view: View, context: Context) -> list[_Predicted]:
    """Predict this process's chunks."""
    ranks = context.ranks
    # Several processes take smaller chunks, of whole inference batches: logits do not depend on who computes them.
    share = math.ceil(len(view) / ranks.world / INFERENCE_BATCH) * INFERENCE_BATCH
    done = []
    for chunk in evaluation_chunks(
        view,
        chunk_size=min(CHUNK, share),
        decode_threads=context.decode_threads,
        rank=ranks.rank,
        world=ranks.world,
        device=context.device,
    ):
        logits = {}
        for job, outputs in _predict_chunk(jobs, chunk, context):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; predictions are made again by the next run.")
            logits[job.key] = outputs
            context.progress.advance(len(chunk.ids))
        done.append(_Predicted(logits, chunk.labels, chunk.ids))
    return done


def _by_encoder(jobs: Sequence[Job]) -> list[Job]:
    """Put models with one encoder next to each other: their features are computed once."""
    order: dict[object, list[Job]] = {}
    for job in jobs:
        assert job.model is not None
        order.setdefault(job.model.network.encoder_identity(), []).append(job)
    return [job for group in order.values() for job in group]


@torch.no_grad()
def _predict_chunk(jobs: Sequence[Job], chunk: Chunk, context: Context) -> Iterator[tuple[Job, Tensor]]:
    prepared: dict[str, list[Tensor]] = {}
    encoder: object = None
    features: dict[bool, list[Tensor]] = {}
    for job in jobs:
        assert job.model is not None
        model, flipped = job.model.network, job.model.mirrored
        spec, module = context.weights.spec(model), context.weights.module(model)
        identity = (model.encoder_identity(), spec.features)
        name = str(sorted(spec.preprocessing.items()))
        if identity != encoder:
            if name not in prepared:
                # One transform's images at a time are kept: models of one study rarely need many.
                prepared.clear()
                prepared[name] = _batches(chunk, spec.preprocessing, context.device)
            features, encoder = {}, identity
        for mirrored in (False, True)[: 1 + flipped]:
            if mirrored not in features:
                images = (batch.flip(-1) if mirrored else batch for batch in prepared[name])
                features[mirrored] = [module.features(normalise(batch, spec.preprocessing)) for batch in images]
        logits = torch.cat([module.head(batch) for batch in features[False]]).float()
        if flipped:
            logits = (logits + torch.cat([module.head(batch) for batch in features[True]]).float()) / 2
        yield job, logits.cpu()


def _batches(chunk: Chunk, preprocessing: object, device: str) -> list[Tensor]:
    images = torch.cat([resize_and_crop(run.to(device), preprocessing) for run in chunk.images])  # type: ignore[arg-type]
    return list(torch.split(images, INFERENCE_BATCH))
