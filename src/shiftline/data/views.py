"""From a declared distribution to examples: which ids, which labels, which transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from shiftline.contracts.distributions import ClassRates, Distribution, Split
from shiftline.contracts.records import data_identity
from shiftline.contracts.transforms import Transform
from shiftline.data import beton
from shiftline.data.randomness import uniform
from shiftline.data.sidecar import DataFolder
from shiftline.errors import DataError


@dataclass(frozen=True)
class View:
    """A distribution, opened.

    Attributes
    ----------
    index : beton.Index
        Of the source's file.
    ids : ndarray of int64, shape (N,)
        In increasing order. Where examples are drawn again in every epoch: those of all epochs, see `ids_in`.
    labels : ndarray of int64, shape (N,)
        What training and scoring see; `index.labels` are those that the data were written with.
    transforms : tuple of Transform
        To be applied in order, on canonical pixels.
    classes : tuple of str
    fresh : ClassRates or None
        The selection that is drawn again in every epoch.
    crop : int or None
        Side of the canonical pixels that the transforms see; None for images as they are.
    groups : callable
        Returns the group of every example of the source, in id order.
    """

    index: beton.Index
    ids: np.ndarray
    labels: np.ndarray
    transforms: tuple[Transform, ...]
    classes: tuple[str, ...]
    fresh: ClassRates | None = None
    crop: int | None = None
    groups: Callable[[], np.ndarray] = lambda: np.zeros(0, dtype=object)

    def __len__(self) -> int:
        """Number of examples (of one epoch)."""
        return len(self.ids) if self.fresh is None else len(self.ids_in(0))

    def ids_in(self, epoch: int) -> np.ndarray:
        """Return the ids of an epoch: always the same ones, unless they are drawn again."""
        return self.ids if self.fresh is None else self.fresh.draw(self, epoch=epoch)

    def labels_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the labels of some of the examples."""
        return self.labels[np.searchsorted(self.ids, ids)]

    # ---- what distributions are made of ------------------------------------------------------------------------------

    def keep(self, ids: np.ndarray) -> View:
        """Return the view of some of its examples, given by their ids in any order."""
        kept = np.sort(ids)
        return replace(self, ids=kept, labels=self.labels_of(kept))

    def uniform(self, stream: str, seed: int) -> np.ndarray:
        """Return a number in [0, 1) for each example: a function of the stream, the seed and the id."""
        return uniform(stream, seed, torch.from_numpy(self.ids))[:, 0].numpy()

    def ranked(self, stream: str, seed: int, *, epoch: int = 0) -> np.ndarray:
        """Return positions of the examples in a fixed random order: a function of the stream, the seed, the epoch and the ids."""
        numbers = uniform(stream, seed, torch.from_numpy(self.ids), epoch=epoch)[:, 0].numpy()
        return np.argsort(numbers, kind="stable")

    def shifted(self, transform: Transform) -> View:
        """Return the view with one more transform."""
        return replace(self, transforms=(*self.transforms, transform))

    def cropped(self, size: int) -> View:
        """Return the view at a canonical size."""
        return replace(self, crop=size)

    def relabelled(self, labels: np.ndarray) -> View:
        """Return the view under other labels."""
        return replace(self, labels=labels)

    def redrawn(self, selection: ClassRates) -> View:
        """Return the view of what is drawn again in every epoch."""
        return replace(self, fresh=selection)


def open_view(distribution: Distribution, folder: DataFolder, *, fingerprint: str | None = None) -> View:
    """Open a distribution; with a fingerprint, only if it is still that of the data.

    Raises
    ------
    DataError
        The file is missing, damaged or changed, or no example is left.
    """
    sidecar = folder.open(distribution.source)
    now = data_identity(distribution, sidecar.record)
    if fingerprint is not None and now != fingerprint:
        raise DataError(
            f"{distribution.source} was written again since the study was planned (fingerprint {fingerprint[:12]}, now {now[:12]}, "
            "or other groups): run the study again, its keys follow the data."
        )
    index = beton.read_index(sidecar.beton)
    if len(index) != sidecar.record.count:
        raise DataError(f"{sidecar.beton} holds {len(index)} examples, its description says {sidecar.record.count}.")
    whole = View(
        index,
        np.arange(len(index)),
        index.labels,
        (),
        sidecar.record.classes,
        groups=lambda: groups_of(folder, distribution.source),
    )
    view = whole
    for step in reversed(list(distribution.chain())):
        view = step.select(view)
    if not len(view):
        raise DataError(f"{distribution} is empty: no example of {distribution.source} is left. Keep more of them.")
    return view


def select_some(view: View, most: int, *, seed: int = 0) -> View:
    """Keep at most so many random examples of a view."""
    return view.keep(view.ids[view.ranked("some", seed)[:most]])


def groups_of(folder: DataFolder, split: Split) -> np.ndarray:
    """Return the group of every example of a split, in id order, as text.

    Raises
    ------
    DataError
        The data were written without groups.
    """
    import pandas as pd

    groups: np.ndarray = pd.read_parquet(folder.metadata(split), columns=["group"])["group"].to_numpy()
    if (pd.isna(groups) | (groups == "")).any():
        raise DataError(
            f"{split} was written without groups: it has no environments, regions or backgrounds to tell apart. Write it with a "
            "group per example (`shiftline data list` shows which data sets have them)."
        )
    return groups
