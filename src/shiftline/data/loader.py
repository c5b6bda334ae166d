"""Batches for training and chunks for evaluation, both with example ids and both owned by the caller."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shiftline.contracts.transforms import Augmentation
from shiftline.data.pixels import apply_transforms, augment, centre_boxes, resize_and_cut, tv
from shiftline.data.randomness import permutation
from shiftline.data.readers import PlainReader, Reader, training_reader
from shiftline.data.views import View
from shiftline.errors import DataError

MEMORY_LIMIT = 1 << 30
"""Bytes of pixels up to which a training set is decoded once and kept in memory."""


@dataclass(frozen=True)
class Batch:
    """Some examples.

    Attributes
    ----------
    images : uint8 tensor, shape (B, 3, H, W); or float32 features, shape (B, d)
    labels, ids : int64 tensors, shape (B,)
    epoch : int
        What the examples' random numbers were drawn for.
    count : int
        Examples of this step over all processes. Where there are fewer examples than processes, the ones that are left
        over get an example that does not count: `weight` is 0.
    weight : float
    partners : Batch or None
        The examples to mix these with.
    task : int
        Which task of a joint training this is.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    epoch: int = 0
    count: int = 0
    weight: float = 1.0
    partners: Batch | None = None
    task: int = 0

    def __len__(self) -> int:
        return len(self.ids)


class Batches(Protocol):
    """What a training goes through: batches that are a function of (epoch, step)."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    @property
    def examples(self) -> int:
        """Examples in an epoch."""

    @property
    def source(self) -> str:
        """Who read the images: the name of a reader."""

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on."""


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3)


class TrainingBatches:
    """Batches of a training distribution, in an order that is a function of (seed, epoch).

    A batch is a pure function of (seed, epoch, step): it is the same for any number of threads and after a resumption, and
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
        Share of the shorter side that the centre crop keeps where no random crop is requested: the model's.
    mixed : bool
        Give every example a partner of its batch, over all ranks.
    decode_threads : int
        Threads that read ahead.
    rank, world : int
        Of several processes this one gets every `world`-th example of each batch, from `rank` on.
    reader : str or Reader
        "ffcv", "plain", or "auto": FFCV where it can be imported.
    device : str
        Where shifts and augmentations run.

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
        mixed: bool = False,
        decode_threads: int = 2,
        rank: int = 0,
        world: int = 1,
        memory_limit: int = MEMORY_LIMIT,
        reader: str | Reader = "auto",
        device: str = "cpu",
    ) -> None:
        if len(view) < batch_size:
            raise DataError(
                f"the training distribution has {len(view)} examples, fewer than one batch of {batch_size}: set "
                f"batch_size to {len(view)} or less, or keep more examples."
            )
        self.view, self.batch_size, self.size, self.crop = view, batch_size, size, crop
        self.augmentations, self.seed, self.decode_threads = tuple(augmentations), seed, max(1, decode_threads)
        self.mixed, self.rank, self.world, self.device = mixed, rank, world, device
        self.reader = reader if isinstance(reader, Reader) else training_reader(view.index, reader)
        self._random_crop = next((a for a in self.augmentations if a.crops), None)
        self._memory: Tensor | None = None
        if self._random_crop is None and len(view.ids) * 3 * size * size <= memory_limit:
            chunks = (view.ids[start : start + 1024] for start in range(0, len(view.ids), 1024))
            self._memory = torch.cat([self._pixels(ids, epoch=0).cpu() for ids in chunks])
            self._row = {int(example): row for row, example in enumerate(view.ids)}

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.view), self.batch_size)

    @property
    def examples(self) -> int:
        return len(self.view)

    @property
    def source(self) -> str:
        return self.reader.name

    def order(self, epoch: int) -> np.ndarray:
        """Return the ids in the order of an epoch, int64, shape (N,)."""
        return permutation(self.seed, epoch, self.view.ids_in(epoch))

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on. Errors of threads are raised here."""
        order = self.order(epoch)
        shares = [self._share(cut(order, step, self.batch_size), epoch, step) for step in range(first, self.steps)]
        if self._memory is not None:
            for share in shares:
                yield self._batch(share, epoch)
            return
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.decode_threads, thread_name_prefix="shiftline-read")
        try:
            for share in shares:
                pending.append(pool.submit(self._batch, share, epoch))
                if len(pending) > self.decode_threads + 1:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _share(self, ids: np.ndarray, epoch: int, step: int) -> _Share:
        """Return this rank's share of a step's ids, and their partners."""
        mine = np.arange(len(ids))[self.rank :: self.world]
        weight = 1.0 if len(mine) else 0.0
        mine = mine if len(mine) else np.zeros(1, dtype=np.int64)
        if not self.mixed:
            return _Share(ids[mine], len(ids), weight)
        # The partner of each is the next one around a random ring: none is its own.
        ring = permutation(self.seed, epoch * self.steps + step, np.arange(len(ids)), stream="partners")
        after = np.empty_like(ring)
        after[ring] = np.roll(ring, -1)
        return _Share(ids[mine], len(ids), weight, ids, after[mine])

    def _batch(self, share: _Share, epoch: int) -> Batch:
        batch = replace(self._examples(share.ids, epoch), count=share.count, weight=share.weight)
        if share.all_ids is None or share.partners is None:
            return batch
        if self.world > 1:
            # Partners of this rank's examples may be another rank's: they are read here too.
            return replace(batch, partners=self._examples(share.all_ids[share.partners], epoch))
        rows = torch.from_numpy(share.partners)
        return replace(batch, partners=Batch(batch.images[rows], batch.labels[rows], batch.ids[rows], epoch))

    def _examples(self, ids: np.ndarray, epoch: int) -> Batch:
        if self._memory is None:
            images = self._pixels(ids, epoch)
        else:
            images = self._memory[torch.tensor([self._row[int(example)] for example in ids])]
        example_ids = torch.from_numpy(np.ascontiguousarray(ids))
        images, keys = images.to(self.device), example_ids.to(self.device)
        images = augment(images, keys, self.augmentations, seed=self.seed, epoch=epoch)
        return Batch(images, torch.from_numpy(self.view.labels_of(ids)), example_ids, epoch)

    def _pixels(self, ids: np.ndarray, epoch: int) -> Tensor:
        """Decode, shift, crop and resize: uint8, shape (B, 3, size, size)."""
        boxes = self._boxes(ids, epoch)
        if not self.view.transforms and self.view.crop is None:
            return _channels_first(self.reader.crops(ids, boxes, self.size))
        # Shifts are defined on canonical pixels, so that the crop has to wait for them.
        cut: list[Tensor] = []
        for images in shifted_runs(self.view, self.reader.images(ids), ids, device=self.device):
            for image in images:
                top, left, height, width = (int(number) for number in boxes[len(cut)])
                cut.append(tv().resized_crop(image, top, left, height, width, [self.size, self.size], antialias=True))
        return torch.stack(cut)

    def _boxes(self, ids: np.ndarray, epoch: int) -> np.ndarray:
        heights, widths = self.view.index.height[ids], self.view.index.width[ids]
        if self.view.crop is not None:
            heights = widths = np.full(len(ids), self.view.crop)
        if self._random_crop is None:
            return centre_boxes(heights, widths, self.crop)
        return self._random_crop.boxes(heights, widths, ids, seed=self.seed, epoch=epoch)


@dataclass(frozen=True)
class _Share:
    """One rank's share of a step; `partners` are positions in `all_ids`, the ids of the step over all ranks."""

    ids: np.ndarray
    count: int
    weight: float
    all_ids: np.ndarray | None = None
    partners: np.ndarray | None = None


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the number of batches in an epoch: a last one of a single example joins the one before it."""
    full, left = divmod(examples, batch_size)
    return full + (left > 1 or full == 0)


def cut(order: np.ndarray, step: int, batch_size: int) -> np.ndarray:
    """Return the ids of a step."""
    last = step == steps_per_epoch(len(order), batch_size) - 1
    return order[step * batch_size : len(order) if last else (step + 1) * batch_size]


class FeatureBatches:
    """Batches of cached features, in the order in which `TrainingBatches` would give the images.

    Parameters
    ----------
    features : float32 tensor, shape (N, d)
    labels, ids : int64 tensors, shape (N,)
        Ids in increasing order.
    """

    source = "features"

    def __init__(
        self, features: Tensor, labels: Tensor, ids: Tensor, *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.features, self.labels, self.ids = features, labels, ids
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.ids), self.batch_size)

    @property
    def examples(self) -> int:
        return len(self.ids)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        order = permutation(self.seed, epoch, self.ids.numpy())
        for step in range(first, self.steps):
            ids = cut(order, step, self.batch_size)
            mine = ids[self.rank :: self.world]
            weight, mine = (1.0, mine) if len(mine) else (0.0, ids[:1])
            rows = torch.from_numpy(np.searchsorted(self.ids.numpy(), mine))
            yield Batch(self.features[rows], self.labels[rows], self.ids[rows], epoch, len(ids), weight)


class JointBatches:
    """Batches of several tasks that take turns: each is of one task, and the turns are a function of (seed, epoch)."""

    def __init__(self, tasks: Sequence[TrainingBatches], *, seed: int) -> None:
        self.tasks, self.seed = tuple(tasks), seed

    @property
    def steps(self) -> int:
        return sum(task.steps for task in self.tasks)

    @property
    def examples(self) -> int:
        return sum(task.examples for task in self.tasks)

    @property
    def source(self) -> str:
        return self.tasks[0].source

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        owners = np.repeat(np.arange(len(self.tasks)), [task.steps for task in self.tasks])
        turns = owners[permutation(self.seed, epoch, np.arange(self.steps), stream="turns")]
        begun = [int((turns[:first] == row).sum()) for row in range(len(self.tasks))]
        streams = [task.epoch(epoch, first=done) for task, done in zip(self.tasks, begun, strict=True)]
        for row in turns[first:]:
            yield replace(next(streams[row]), task=int(row))


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


def evaluation_chunks(
    view: View, *, chunk_size: int = 512, decode_threads: int = 2, rank: int = 0, world: int = 1, device: str = "cpu"
) -> Iterator[Chunk]:
    """Yield every example once, in id order, unpadded, with the shift applied and before any model's resizing.

    Of several processes, this one gets every `world`-th chunk, from chunk `rank` on. Images lie on `device` where a shift or a
    canonical crop was computed there, else in main memory.
    """
    reader = PlainReader(view.index)
    with ThreadPoolExecutor(max(1, decode_threads), thread_name_prefix="shiftline-read") as pool:
        for start in range(rank * chunk_size, len(view), world * chunk_size):
            ids = view.ids[start : start + chunk_size]
            shares = np.array_split(ids, max(1, decode_threads))
            images = [image for share in pool.map(reader.images, shares) for image in share]
            runs = list(shifted_runs(view, images, ids, device=device))
            yield Chunk(runs, torch.from_numpy(view.labels_of(ids)), torch.from_numpy(ids))


def shifted_runs(view: View, images: list[np.ndarray], ids: np.ndarray, *, device: str = "cpu") -> Iterator[Tensor]:
    """Cut images to their canonical size and shift them, in runs of equal size.

    Yields
    ------
    uint8 tensor, shape (B_i, 3, H_i, W_i)
        In the order of `images`; the first dimensions sum to their number.
    """
    # Shifts see the labels that the data were written with.
    labels, keys = torch.from_numpy(view.index.labels[ids]), torch.from_numpy(np.ascontiguousarray(ids))
    first = 0
    for run in _runs_of_equal_size(images):
        last = first + len(run)
        pixels = _channels_first(np.stack(run))
        if view.crop is not None:
            pixels = resize_and_cut(pixels.to(device), short=view.crop, size=view.crop)
        if view.transforms:
            seen = (labels[first:last].to(device), keys[first:last].to(device))
            pixels = apply_transforms(view.transforms, pixels.to(device), *seen)
        first = last
        yield pixels


def _runs_of_equal_size(images: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Put neighbours of one size together."""
    return (list(run) for _, run in itertools.groupby(images, key=lambda image: image.shape))
