"""Images for evaluation as models take them: decoded, shifted and resized by threads, one chunk ahead of who computes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shiftline.data.loader import shifted_runs
from shiftline.data.readers import PlainReader
from shiftline.data.views import View

PART_BYTES = 16 << 20
"""Decoded pixels that a thread holds: a shift may need several times as much while it works."""
LARGEST_PART = 256

Preparation = Callable[[Tensor], Tensor]
"""From uint8 images (B, 3, H, W) to uint8 images (B, 3, size, size)."""


@dataclass(frozen=True)
class Prepared:
    """Some examples, in id order.

    Attributes
    ----------
    images : tuple of uint8 tensors, each of shape (B, 3, size, size)
        One per preparation, in main memory.
    labels, ids : int64 tensors, shape (B,)
    """

    images: tuple[Tensor, ...]
    labels: Tensor
    ids: Tensor


def prepared_chunks(
    view: View,
    preparations: Sequence[Preparation],
    *,
    chunk_size: int = 512,
    decode_threads: int = 2,
    rank: int = 0,
    world: int = 1,
    first: int = 0,
    device: str = "cpu",
) -> Generator[Prepared, None, None]:
    """Yield every example once, in id order, shifted and as models take it.

    While one chunk is used the next is decoded: what is in memory is two chunks of prepared images and, per thread, `PART_BYTES` of
    decoded ones (or one image), however large the images are and however many there are.

    Parameters
    ----------
    preparations : sequence of callables
        Of different models: an image is decoded once for all of them. Their results do not depend on what else is in a batch.
    chunk_size : int
        Examples.
    rank, world : int
        Of several processes this one gets every `world`-th chunk, from chunk `rank` on.
    first : int
        Position of the first example; those before it are not decoded.
    device : str
        Where shifts and canonical crops are computed.
    """
    reader = PlainReader(view.index)

    def prepare(ids: np.ndarray) -> tuple[Tensor, ...]:
        runs = list(shifted_runs(view, reader.images(ids), ids, device=device))
        return tuple(torch.cat([one(run) for run in runs]).cpu() for one in preparations)

    starts = range(first + rank * chunk_size, len(view), world * chunk_size)
    chunks = [view.ids[start : start + chunk_size] for start in starts]
    parts = [_parts(view, ids, decode_threads) for ids in chunks]
    waiting = deque(part for of_chunk in parts for part in of_chunk)
    decoded: deque[Future[tuple[Tensor, ...]]] = deque()
    pool = _decoders(max(1, decode_threads))
    try:
        for row, ids in enumerate(chunks):
            ahead = len(parts[row]) + (len(parts[row + 1]) if row + 1 < len(parts) else 0)
            while waiting and len(decoded) < ahead:
                decoded.append(pool.submit(prepare, waiting.popleft()))
            found = [decoded.popleft().result() for _ in parts[row]]
            images = tuple(torch.cat(of_one) for of_one in zip(*found, strict=True))
            del found
            yield Prepared(images, torch.from_numpy(view.labels_of(ids)), torch.from_numpy(ids))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _parts(view: View, ids: np.ndarray, threads: int) -> list[np.ndarray]:
    """Cut a chunk into what one thread decodes at once: few bytes, and no more than its share."""
    pixels = view.index.height[ids].astype(np.int64) * view.index.width[ids]
    size = int(np.clip(PART_BYTES // (3 * max(int(pixels.max()), 1)), 1, LARGEST_PART))
    size = min(size, -(-len(ids) // max(threads, 1)))
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _decoders(threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads compute on one core each: what they do in parallel is their number."""
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="shiftline-read")
    started = threading.Barrier(threads)

    def begin() -> None:
        # The first question settles the number of a thread: after it, that of another one changes nothing here.
        torch.get_num_threads()
        torch.set_num_threads(1)
        started.wait()

    for future in [pool.submit(begin) for _ in range(threads)]:
        future.result()
    # The number is that of this thread, and the default of threads that begin later.
    torch.set_num_threads(own)
    return pool
