"""From a declared distribution to examples: which ids, which labels, which transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shiftline.data import beton
from shiftline.data.randomness import uniform
from shiftline.data.sidecar import DataFolder
from shiftline.declare.distributions import ClassRates, Distribution, Fraction, Indices, Shifted, Split
from shiftline.declare.transforms import Transform
from shiftline.errors import DataError


@dataclass(frozen=True)
class View:
    """A distribution, opened.

    Attributes
    ----------
    index : beton.Index
        Of the source's file.
    ids : ndarray of int64, shape (N,)
        In increasing order.
    labels : ndarray of int64, shape (N,)
    transforms : tuple of Transform
        To be applied in order, on canonical pixels.
    classes : tuple of str
    """

    index: beton.Index
    ids: np.ndarray
    labels: np.ndarray
    transforms: tuple[Transform, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def open_view(distribution: Distribution, folder: DataFolder, *, fingerprint: str | None = None) -> View:
    """Open a distribution; with a fingerprint, only if it is still that of the data.

    Raises
    ------
    DataError
        The file is missing, damaged or changed, or no example is left.
    """
    sidecar = folder.open(distribution.source)
    if fingerprint is not None and sidecar.record.fingerprint != fingerprint:
        raise DataError(
            f"{distribution.source} was written anew since the study was planned (fingerprint {fingerprint[:12]}, now "
            f"{sidecar.record.fingerprint[:12]}): run the study again, its keys follow the data."
        )
    index = beton.read_index(sidecar.beton)
    if len(index) != sidecar.record.count:
        raise DataError(f"{sidecar.beton} holds {len(index)} examples, its description says {sidecar.record.count}.")
    ids, transforms = _select(distribution, np.arange(len(index)), index.labels)
    if not len(ids):
        raise DataError(f"{distribution} is empty: no example of {distribution.source} is left. Keep more of them.")
    return View(index, ids, index.labels[ids], transforms, sidecar.record.classes)


def _select(
    distribution: Distribution, ids: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, tuple[Transform, ...]]:
    if isinstance(distribution, Split):
        return ids, ()
    ids, transforms = _select(distribution.of, ids, labels)  # type: ignore[attr-defined]
    if isinstance(distribution, Shifted):
        return ids, (*transforms, distribution.transform)
    if isinstance(distribution, Fraction):
        return select_fraction(ids, distribution.share, distribution.seed), transforms
    if isinstance(distribution, Indices):
        return ids[np.isin(ids, distribution.ids)], transforms
    if isinstance(distribution, ClassRates):
        return select_class_rates(ids, labels[ids], distribution.rates, distribution.seed), transforms
    raise DataError(f"{type(distribution).__name__} is no distribution that can be opened.")


def _ranked(stream: str, ids: np.ndarray, seed: int) -> np.ndarray:
    """Positions of ids in a fixed random order, a function of the stream, the seed and the ids."""
    return np.argsort(uniform(stream, seed, torch.from_numpy(ids))[:, 0].numpy(), kind="stable")


def select_fraction(ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Keep ``round(share * N)`` random ids, in increasing order; smaller shares are nested in larger ones."""
    return np.sort(ids[_ranked("fraction", ids, seed)[: round(share * len(ids))]])


def select_class_rates(ids: np.ndarray, labels: np.ndarray, rates: tuple[float, ...], seed: int) -> np.ndarray:
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
    order = _ranked("class-rates", ids, seed)
    kept = [ids[order[labels[order] == c][:n]] for c, n in enumerate(wanted)]
    return np.sort(np.concatenate(kept))
