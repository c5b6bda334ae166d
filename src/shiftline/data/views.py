"""From a declared distribution to examples: which ids, which labels, which transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from shiftline.data import beton
from shiftline.data.randomness import uniform
from shiftline.data.sidecar import DataFolder
from shiftline.declare.distributions import (
    ClassRates,
    ClassShares,
    Cropped,
    Distribution,
    FewShot,
    Fraction,
    GroupRates,
    Indices,
    InLabelSpace,
    LabelNoise,
    Shifted,
    Split,
)
from shiftline.declare.transforms import Transform
from shiftline.errors import DataError
from shiftline.plan.records import data_identity


@dataclass(frozen=True)
class View:
    """A distribution, opened.

    Attributes
    ----------
    index : beton.Index
        Of the source's file.
    ids : ndarray of int64, shape (N,)
        In increasing order. Where examples are drawn anew in every epoch: those of all epochs, see `ids_in`.
    labels : ndarray of int64, shape (N,)
        What training and scoring see; `index.labels` are those that the data were written with.
    transforms : tuple of Transform
        To be applied in order, on canonical pixels.
    classes : tuple of str
    fresh : ClassRates or None
        The selection that is drawn anew in every epoch.
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
        """Return the ids of an epoch: always the same ones, unless they are drawn anew."""
        if self.fresh is None:
            return self.ids
        return select_class_rates(self.ids, self.labels, self.fresh.rates, self.fresh.seed, epoch=epoch)

    def labels_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the labels of some of the examples."""
        return self.labels[np.searchsorted(self.ids, ids)]


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
            f"{distribution.source} was written anew since the study was planned (fingerprint {fingerprint[:12]}, now {now[:12]}, "
            "or other groups): run the study again, its keys follow the data."
        )
    index = beton.read_index(sidecar.beton)
    if len(index) != sidecar.record.count:
        raise DataError(f"{sidecar.beton} holds {len(index)} examples, its description says {sidecar.record.count}.")
    whole = View(
        index, np.arange(len(index)), index.labels, (), sidecar.record.classes,
        groups=lambda: groups_of(folder, distribution.source),
    )  # fmt: skip
    view = _select(distribution, whole)
    if not len(view):
        raise DataError(f"{distribution} is empty: no example of {distribution.source} is left. Keep more of them.")
    return view


def select_some(view: View, most: int, *, seed: int = 0) -> View:
    """Keep at most so many random examples of a view."""
    kept = np.sort(view.ids[_ranked("some", view.ids, seed)[:most]])
    return replace(view, ids=kept, labels=view.labels_of(kept))


def _select(distribution: Distribution, whole: View) -> View:
    if isinstance(distribution, Split):
        return whole
    view = _select(distribution.of, whole)  # type: ignore[attr-defined]
    ids, labels = view.ids, view.labels
    if isinstance(distribution, Shifted):
        return replace(view, transforms=(*view.transforms, distribution.transform))
    if isinstance(distribution, Cropped):
        return replace(view, crop=distribution.size)
    if isinstance(distribution, InLabelSpace):
        return view
    if isinstance(distribution, LabelNoise):
        return replace(view, labels=noisy_labels(ids, labels, distribution.share, distribution.seed, len(view.classes)))
    if isinstance(distribution, ClassRates) and distribution.fresh:
        return replace(view, fresh=distribution)
    if isinstance(distribution, Fraction):
        kept = select_fraction(ids, distribution.share, distribution.seed)
    elif isinstance(distribution, Indices):
        kept = ids[np.isin(ids, distribution.ids)]
    elif isinstance(distribution, ClassRates):
        kept = select_class_rates(ids, labels, distribution.rates, distribution.seed)
    elif isinstance(distribution, ClassShares):
        kept = select_class_shares(ids, labels, distribution.shares, distribution.seed)
    elif isinstance(distribution, GroupRates):
        kept = _select_group_rates(distribution, view)
    elif isinstance(distribution, FewShot):
        kept = select_few_shot(ids, labels, distribution.per_class, distribution.seed, view.classes)
    else:
        raise DataError(f"{type(distribution).__name__} is no distribution that can be opened.")
    return replace(view, ids=kept, labels=view.labels_of(kept))


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


def _select_group_rates(distribution: GroupRates, view: View) -> np.ndarray:
    groups = view.groups()[view.ids]
    names = [name for name, _ in distribution.rates]
    there = set(groups)
    if absent := [name for name, rate in distribution.rates if rate > 0 and name not in there]:
        raise DataError(
            f"{distribution}: no example has the group {absent[0]!r}. The groups are {', '.join(sorted(there)[:20])}."
        )
    place = {name: row for row, name in enumerate(names)}
    rows = np.array([place.get(group, -1) for group in groups])
    named = rows >= 0
    rates = tuple(rate for _, rate in distribution.rates)
    return select_class_rates(view.ids[named], rows[named], rates, distribution.seed)


def _ranked(stream: str, ids: np.ndarray, seed: int, *, epoch: int = 0) -> np.ndarray:
    """Positions of ids in a fixed random order, a function of the stream, the seed, the epoch and the ids."""
    return np.argsort(uniform(stream, seed, torch.from_numpy(ids), epoch=epoch)[:, 0].numpy(), kind="stable")


def select_fraction(ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Keep ``round(share * N)`` random ids, in increasing order; smaller shares are nested in larger ones."""
    return np.sort(ids[_ranked("fraction", ids, seed)[: round(share * len(ids))]])


def select_few_shot(
    ids: np.ndarray, labels: np.ndarray, per_class: int, seed: int, classes: tuple[str, ...]
) -> np.ndarray:
    """Keep `per_class` random ids of each class, in increasing order.

    Raises
    ------
    DataError
        A class has fewer.
    """
    order = _ranked("few-shot", ids, seed)
    kept = []
    for label, name in enumerate(classes):
        found = ids[order[labels[order] == label][:per_class]]
        if len(found) < per_class:
            raise DataError(f"few_shot({per_class}): {name!r} has {len(found)} examples. Keep fewer per class.")
        kept.append(found)
    return np.sort(np.concatenate(kept))


def noisy_labels(ids: np.ndarray, labels: np.ndarray, share: float, seed: int, classes: int) -> np.ndarray:
    """Return labels of which ``round(share * N)`` are wrong, each drawn uniformly from the other classes."""
    wrong = _ranked("label-noise", ids, seed)[: round(share * len(ids))]
    step = 1 + np.floor(uniform("wrong-label", seed, torch.from_numpy(ids))[:, 0].numpy() * (classes - 1)).astype(int)
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + step[wrong]) % classes
    return noisy


def select_class_shares(ids: np.ndarray, labels: np.ndarray, shares: tuple[float, ...], seed: int) -> np.ndarray:
    """Keep ``floor(shares[c] * n_c)`` random ids of each class, in id order; larger shares of one seed contain smaller ones."""
    order = _ranked("class-shares", ids, seed)
    counts = np.bincount(labels, minlength=len(shares))
    wanted = np.floor(np.asarray(shares) * counts + 1e-9).astype(int)
    return np.sort(np.concatenate([ids[order[labels[order] == c][:n]] for c, n in enumerate(wanted)]))


def select_class_rates(
    ids: np.ndarray, labels: np.ndarray, rates: tuple[float, ...], seed: int, *, epoch: int = 0
) -> np.ndarray:
    """Keep random ids so that class c has the share rates[c] / sum(rates), as many as the scarcest class allows.

    Class counts are ``floor(scale * rates[c])`` with the largest scale at which every class has enough examples.
    """
    counts = np.bincount(labels, minlength=len(rates))
    weights = np.asarray(rates)
    asked = weights > 0
    with np.errstate(over="ignore"):  # A vanishing rate sets no limit.
        scale = (counts[asked] / weights[asked]).min()
    # A count that is a whole number in exact arithmetic must not be cut by a rounding error.
    wanted = np.floor(scale * weights + 1e-9).astype(int)
    order = _ranked("class-rates", ids, seed, epoch=epoch)
    kept = [ids[order[labels[order] == c][:n]] for c, n in enumerate(wanted)]
    return np.sort(np.concatenate(kept))
