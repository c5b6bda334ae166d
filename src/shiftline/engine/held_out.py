"""Held-out images that many models are tried on in one job: resized once, kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shiftline.data.loader import MEMORY_LIMIT
from shiftline.data.prepared import prepared_chunks
from shiftline.data.views import View
from shiftline.engine.batches import inference_batch
from shiftline.engine.context import Context, Interrupted
from shiftline.networks.classifier import Classifier
from shiftline.networks.preprocessing import normalise, resize_and_crop


class HeldOutImages:
    """The images of a view under one evaluation transform."""

    def __init__(self, view: View, preprocessing: Mapping[str, Any], context: Context) -> None:
        self.view, self.preprocessing, self.context = view, preprocessing, context
        size = int(preprocessing["size"])
        fits = len(view) * 3 * size * size <= MEMORY_LIMIT
        self._kept = list(self._batches()) if fits else None

    @torch.no_grad()
    def count_correct(self, module: Classifier) -> int:
        """Return how many examples a model in eval mode classifies correctly.

        Raises
        ------
        Interrupted
            A stop was requested.
        """
        correct = 0
        for images, labels in self._kept if self._kept is not None else self._batches():
            if self.context.stop_requested():
                raise Interrupted("stopped between held-out batches; the next run begins this job again.")
            outputs = module(normalise(images.to(self.context.device), self.preprocessing))
            correct += int((outputs.argmax(dim=1).cpu() == labels).sum())
        return correct

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in prepared_chunks(
            self.view,
            [partial(resize_and_crop, preprocessing=self.preprocessing)],
            decode_threads=self.context.decode_threads,
            device=self.context.device,
        ):
            batch = inference_batch(self.context.device)
            yield from zip(torch.split(chunk.images[0], batch), torch.split(chunk.labels, batch), strict=True)
