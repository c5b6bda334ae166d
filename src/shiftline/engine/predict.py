"""Predictions: a distribution's images are decoded once and pass through every model that waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shiftline.data.prepared import Prepared, prepared_chunks
from shiftline.data.views import View, open_view
from shiftline.engine.batches import inference_batch, name_of
from shiftline.engine.context import Context, Interrupted
from shiftline.engine.meter import Meter
from shiftline.engine.partial import PartialPredictions
from shiftline.engine.precision import predicting_in
from shiftline.errors import DeviceError, ModelError
from shiftline.networks.preprocessing import normalise, resize_and_crop
from shiftline.plan.jobs import Job
from shiftline.weights.interpolate import has_finite_values

LARGEST_CHUNK = 8192
"""Images that are prepared at once, where they are small."""


def predict_group(jobs: Sequence[Job], context: Context) -> None:
    """Predict several models on one distribution and publish each prediction under its own key.

    Of several processes, every one predicts some of the chunks, and rank 0 writes. A stop keeps what has been saved. Where a batch
    does not fit the device, half of it is tried; the manifest says with how many images it went through.

    Raises
    ------
    DeviceError
        The device has too little memory for one image.
    """
    distribution = jobs[0].distribution
    assert distribution is not None
    assert all(job.distribution == distribution for job in jobs)
    view = open_view(distribution, context.data, fingerprint=jobs[0].fingerprint(distribution))
    jobs = _by_encoder(jobs)
    ranks, meter = context.ranks, Meter(context.device)
    made = {job.key: PartialPredictions(context.attempts.state(job.key), len(view)) for job in jobs if ranks.first}
    transforms = _transforms(jobs, context)
    batch = inference_batch(context.device)
    first = int(ranks.broadcast(min((one.rows for one in made.values()), default=0))) // batch * batch
    for one in made.values():
        one.cut(first)
    context.progress.begin(f"{len(jobs)} models on {distribution}", len(jobs) * len(view))
    context.progress.advance(len(jobs) * first)
    size = _chunk_size(len(view) - first, transforms.values(), context)
    chunks = prepared_chunks(
        view,
        [partial(resize_and_crop, preprocessing=preprocessing) for preprocessing in transforms.values()],
        chunk_size=size,
        decode_threads=context.decode_threads,
        rank=ranks.rank,
        world=ranks.world,
        first=first,
        device=context.device,
    )
    # Closed in any case: an error that somebody keeps would keep the threads that decode.
    outputs = _Outputs(list(transforms), chunks, context)
    with closing(chunks), predicting_in(context.plan.study.precision, context.device):
        for start in range(first, len(view), size * ranks.world):
            outputs.next_chunk()
            for job in jobs:
                # Chunks of all processes, in the order of the ids.
                for logits in ranks.gather(partial(outputs.of, job)):
                    if logits is not None:
                        made[job.key].append(logits)
                        context.progress.advance(len(logits))
            if start + size * ranks.world < len(view):
                for one in made.values():
                    one.save()
    batches = ranks.gather(lambda: outputs.batch)
    if ranks.first:
        cost = meter.reading(jobs=len(jobs)) | {"images": len(view) - first, "batch": min(batches)}
        _publish(jobs, made, view, cost, context)


def _publish(
    jobs: Sequence[Job], made: Mapping[str, PartialPredictions], view: View, cost: Mapping[str, Any], context: Context
) -> None:
    labels, ids = torch.from_numpy(view.labels_of(view.ids)), torch.from_numpy(view.ids)
    for job in jobs:
        with context.store.publish(job.key, job.kind, job.document) as draft:
            made[job.key].finish(draft.folder, labels, ids)
            draft.summary.update(n=len(view), classes=len(view.classes))
            draft.cost.update(cost)


def _by_encoder(jobs: Sequence[Job]) -> list[Job]:
    """Put models with one encoder next to each other: their features are computed once."""
    order: dict[object, list[Job]] = {}
    for job in jobs:
        assert job.model is not None
        order.setdefault(job.model.network.encoder_identity(), []).append(job)
    return [job for group in order.values() for job in group]


def _transforms(jobs: Sequence[Job], context: Context) -> dict[str, Mapping[str, Any]]:
    """Return the different ways in which the models take images, by name."""
    found = {}
    for job in jobs:
        assert job.model is not None
        preprocessing = context.weights.spec(job.model.network).preprocessing
        found[name_of(preprocessing)] = preprocessing
    return found


def _chunk_size(count: int, transforms: Iterable[Mapping[str, Any]], context: Context) -> int:
    """Return how many images are prepared at once: two chunks fit the memory, and every process has one.

    Chunks are of whole inference batches: logits do not depend on the number of chunks or processes.
    """
    batch = inference_batch(context.device)
    image = sum(3 * int(preprocessing["size"]) ** 2 for preprocessing in transforms)
    fits = min(context.memory // 2 // image, LARGEST_CHUNK)
    share = -(-count // context.ranks.world)
    return max(min(fits, -(-share // batch) * batch) // batch, 1) * batch


class _Outputs:
    """The logits of one chunk after the other, model by model: neighbours with one encoder share its features."""

    def __init__(self, transforms: Sequence[str], chunks: Iterator[Prepared], context: Context) -> None:
        self.context, self.transforms, self.chunks = context, transforms, chunks
        self.batch = inference_batch(context.device)
        self.next_chunk()

    def next_chunk(self) -> None:
        """Go on to the next chunk of this process; it is asked for with its first model."""
        self.chunk: Prepared | None = None
        self.begun = False
        self.encoder: object = None
        self.features: dict[bool, list[Tensor]] = {}

    @torch.no_grad()
    def of(self, job: Job) -> Tensor | None:
        """Return the logits of a model, float32, shape (B, C); None where this process has no chunk left."""
        if not self.begun:
            self.chunk, self.begun = next(self.chunks, None), True
        if self.context.stop_requested():
            raise Interrupted(f"{job.label}: stopped; the next run goes on from what has been saved.")
        if self.chunk is None:
            return None
        while (logits := self._logits(job, self.chunk)) is None:
            self._halve(job)
        found = logits.cpu()
        if not has_finite_values(found):
            raise ModelError(f"{job.label}: the logits hold NaN or infinite values: these weights are no model.")
        return found

    def _logits(self, job: Job, chunk: Prepared) -> Tensor | None:
        """Return the logits on the device; None where it has too little memory for a batch."""
        assert job.model is not None
        model, flipped = job.model.network, job.model.mirrored
        try:
            spec, module = self.context.weights.spec(model), self.context.weights.module(model)
            identity = (model.encoder_identity(), spec.features)
            if identity != self.encoder:
                self.features, self.encoder = {}, identity
            images = chunk.images[self.transforms.index(name_of(spec.preprocessing))]
            for mirrored in (False, True)[: 1 + flipped]:
                if mirrored not in self.features:
                    self.features[mirrored] = [
                        module.features(normalise(batch.flip(-1) if mirrored else batch, spec.preprocessing))
                        for batch in self._batches(images)
                    ]
            logits = torch.cat([module.head(batch) for batch in self.features[False]]).float()
            if flipped:
                logits = (logits + torch.cat([module.head(batch) for batch in self.features[True]]).float()) / 2
        except torch.OutOfMemoryError:
            # Tried again by the caller: while the error is handled, it holds what was computed before it.
            return None
        return logits

    def _halve(self, job: Job) -> None:
        self.features, self.encoder = {}, None
        if self.batch == 1:
            raise DeviceError(
                f"{job.label}: the memory of {self.context.device!r} does not hold one image in this network. Run nothing "
                "else on it, choose another device (--device), or predict on the CPU (--device cpu)."
            )
        self.batch //= 2
        if self.context.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _batches(self, images: Tensor) -> Iterator[Tensor]:
        for batch in torch.split(images, self.batch):
            yield batch.to(self.context.device)
