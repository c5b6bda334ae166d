"""Features of a frozen encoder: computed once, and read by every job that fits a head on them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.models import Model, describe
from shiftline.contracts.reference import Reference

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class Features(Model):
    """What a frozen encoder gives for the examples of a distribution. Made by the recipes that fit a head.

    Parameters
    ----------
    init : Model or Backbone
    seen : str
        "keep", "backbone" or "embedding": see `shiftline.operations.start.FEATURES`.
    on : Distribution
    """

    tag = "features"
    revision = 3
    kind = "features"
    init: Model | Backbone
    seen: str
    on: Distribution

    @property
    def has_weights(self) -> bool:
        return False

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on}

    def describe(self) -> str:
        return f"features of {describe(self.init)} on {self.on}"

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Compute what the head sees for every example, in id order."""
        import torch
        from safetensors.torch import save_file

        from shiftline.contracts.files import FEATURES
        from shiftline.data.prepared import prepared_chunks
        from shiftline.data.views import open_view
        from shiftline.engine.batches import inference_batch
        from shiftline.engine.context import Interrupted
        from shiftline.engine.initial import initial_classifier
        from shiftline.networks.preprocessing import normalise, resize_and_crop

        view = open_view(self.on, context.data, fingerprint=job.fingerprint(self.on))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            classifier, spec = initial_classifier(
                self.init, context, num_classes=len(view.classes), features=self.seen, new_head=True
            )
        classifier = classifier.to(context.device).to(memory_format=torch.channels_last).eval()
        context.progress.begin(job.label, len(view))
        rows, labels, ids = [], [], []
        for chunk in prepared_chunks(
            view,
            [partial(resize_and_crop, preprocessing=spec.preprocessing)],
            decode_threads=context.decode_threads,
            device=context.device,
        ):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; features are computed again by the next run.")
            with torch.no_grad():
                for images in torch.split(chunk.images[0], inference_batch(context.device)):
                    batch = normalise(images.to(context.device), spec.preprocessing)
                    rows.append(classifier.features(batch).float().cpu())
            labels.append(chunk.labels)
            ids.append(chunk.ids)
            context.progress.advance(len(chunk.ids))
        tensors = {"features": torch.cat(rows), "labels": torch.cat(labels), "ids": torch.cat(ids)}
        save_file(tensors, draft.folder / FEATURES)
        draft.summary.update(n=len(view), dimensions=tensors["features"].shape[1])
