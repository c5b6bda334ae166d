"""Batches for training and chunks for evaluation, both with example ids and both owned by the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from shiftline.data.augment import augment, centre_boxes, random_boxes
from shiftline.data.pixels import apply_transforms
from shiftline.data.randomness import permutation
from shiftline.data.readers import PlainReader, Reader, training_reader
from shiftline.data.views import View
from shiftline.declare.transforms import Augmentation, RandomResizedCrop
from shiftline.errors import DataError

MEMORY_LIMIT = 1 << 30
"""Bytes of pixels up to which a training set is decoded once and kept in memory."""


@dataclass(frozen=True)
class Batch:
    """Some examples.

    Attributes
    ----------
    images : uint8 tensor, shape (B, 3, H, W)
    labels, ids : int64 tensors, shape (B,)
    """

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3)


class TrainingBatches:
    """Batches of a training distribution, in an order that is a function of (seed, epoch).

    A batch is a pure function of (seed, epoch, step): it is the same for any number of workers and after a resumption, and
    through either reader where images are raw and need no resizing (FFCV resizes by area, ours bicubic; the manifest names
    the reader). Small sets are decoded once into memory; larger ones are read ahead by threads.

    Parameters
    ----------
    view : View
    batch_size : int
        Over all ranks. The last batch of an epoch is smaller; a last batch of one example joins the one before it,
        because batch normalisation needs two.
    size : int
        Side of the images in pixels: the model's.
    crop : float
        Share of the shorter side that the centre crop keeps where no random crop is asked for: the model's.
    workers : int
        Threads that read ahead.
    rank, world : int
        Of several processes this one gets every `world`-th example of each batch, from `rank` on.

    Raises
    ------
    DataError
        There are fewer examples than a batch, or one image needs more memory than allowed.
    """

    def __init__(
        self,
        view: View,
        *,
        batch_size: int,
        size: int,
        crop: float = 1.0,
        augmentations: Sequence[Augmentation] = (),
        seed: int = 0,
        workers: int = 2,
        rank: int = 0,
        world: int = 1,
        memory_limit: int = MEMORY_LIMIT,
        reader: Reader | None = None,
    ) -> None:
        if len(view) < batch_size:
            raise DataError(
                f"the training distribution has {len(view)} examples, fewer than one batch of {batch_size}: set "
                f"batch_size to {len(view)} or less, or keep more examples."
            )
        self.view, self.batch_size, self.size, self.crop = view, batch_size, size, crop
        self.augmentations, self.seed, self.workers = tuple(augmentations), seed, max(1, workers)
        self.rank, self.world = rank, world
        self.reader = training_reader(view.index) if reader is None else reader
        crops = [a for a in self.augmentations if isinstance(a, RandomResizedCrop)]
        self._random_crop = crops[0] if crops else None
        self._memory: Tensor | None = None
        if self._random_crop is None and len(view) * 3 * size * size <= memory_limit:
            chunks = (view.ids[start : start + 1024] for start in range(0, len(view), 1024))
            self._memory = torch.cat([self._pixels(ids, epoch=0) for ids in chunks])
            self._row = {int(example): row for row, example in enumerate(view.ids)}

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        full, left = divmod(len(self.view), self.batch_size)
        return full + (left > 1 or full == 0)

    def order(self, epoch: int) -> np.ndarray:
        """Return the ids in the order of an epoch, int64, shape (N,)."""
        return permutation(self.seed, epoch, self.view.ids)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on. Errors of workers are raised here."""
        order = self.order(epoch)
        slices = [self._ids(order, step)[self.rank :: self.world] for step in range(first, self.steps)]
        if self._memory is not None:
            for ids in slices:
                yield self._from_memory(ids, epoch)
            return
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="shiftline-read")
        try:
            for ids in slices:
                pending.append(pool.submit(self._read, ids, epoch))
                if len(pending) > self.workers + 1:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ids(self, order: np.ndarray, step: int) -> np.ndarray:
        stop = len(order) if step == self.steps - 1 else (step + 1) * self.batch_size
        return order[step * self.batch_size : stop]

    def _labels(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(self.view.index.labels[ids])

    def _from_memory(self, ids: np.ndarray, epoch: int) -> Batch:
        assert self._memory is not None
        rows = torch.tensor([self._row[int(example)] for example in ids])
        return self._augmented(self._memory[rows], ids, epoch)

    def _read(self, ids: np.ndarray, epoch: int) -> Batch:
        return self._augmented(self._pixels(ids, epoch), ids, epoch)

    def _pixels(self, ids: np.ndarray, epoch: int) -> Tensor:
        """Decode, shift, crop and resize: uint8, shape (B, 3, size, size)."""
        boxes = self._boxes(ids, epoch)
        if not self.view.transforms:
            return _channels_first(self.reader.crops(ids, boxes, self.size))
        if self.view.index.uniform_size == (self.size, self.size) and (boxes[:, 2:] == self.size).all():
            images = _channels_first(np.stack(self.reader.images(ids)))
            return apply_transforms(self.view.transforms, images, self._labels(ids), torch.from_numpy(ids))
        # Shifts are defined on canonical pixels, so that the crop has to wait for them.
        cut = []
        for pixels, example, box in zip(self.reader.images(ids), ids, boxes, strict=True):
            one = np.array([example])
            image = apply_transforms(
                self.view.transforms, _channels_first(pixels)[None], self._labels(one), torch.from_numpy(one)
            )
            top, left, height, width = (int(number) for number in box)
            cut.append(tv.resized_crop(image, top, left, height, width, [self.size, self.size], antialias=True))
        return torch.cat(cut)

    def _boxes(self, ids: np.ndarray, epoch: int) -> np.ndarray:
        heights, widths = self.view.index.height[ids], self.view.index.width[ids]
        if self._random_crop is None:
            return centre_boxes(heights, widths, self.crop)
        return random_boxes(heights, widths, ids, self._random_crop, seed=self.seed, epoch=epoch)

    def _augmented(self, images: Tensor, ids: np.ndarray, epoch: int) -> Batch:
        example_ids = torch.from_numpy(np.ascontiguousarray(ids))
        images = augment(images, example_ids, self.augmentations, seed=self.seed, epoch=epoch)
        return Batch(images, self._labels(ids), example_ids)


@dataclass(frozen=True)
class Chunk:
    """Some examples for evaluation, in id order; images may differ in size.

    Attributes
    ----------
    images : list of uint8 tensors, each of shape (B_i, 3, H_i, W_i)
        Runs of images of equal size, in order; together they hold every example of the chunk once.
    labels, ids : int64 tensors, shape (B,)
    """

    images: list[Tensor]
    labels: Tensor
    ids: Tensor


def evaluation_chunks(view: View, *, chunk_size: int = 512, workers: int = 2) -> Iterator[Chunk]:
    """Yield every example once, in id order, unpadded, with the shift applied and before any model's resizing."""
    reader = PlainReader(view.index)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="shiftline-read") as pool:
        for start in range(0, len(view), chunk_size):
            ids = view.ids[start : start + chunk_size]
            parts = np.array_split(ids, max(1, workers))
            images = [image for part in pool.map(reader.images, parts) for image in part]
            labels, example_ids = torch.from_numpy(view.index.labels[ids]), torch.from_numpy(ids)
            runs, first = [], 0
            for run in _runs_of_equal_size(images):
                last = first + len(run)
                runs.append(
                    apply_transforms(
                        view.transforms, _channels_first(np.stack(run)), labels[first:last], example_ids[first:last]
                    )
                )
                first = last
            yield Chunk(runs, labels, example_ids)


def _runs_of_equal_size(images: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    run: list[np.ndarray] = []
    for image in images:
        if run and image.shape != run[0].shape:
            yield run
            run = []
        run.append(image)
    if run:
        yield run
