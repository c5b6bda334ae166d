"""Which images a model classifies correctly, and resampling of images that all models and both axes share."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shiftline.errors import AnalysisError

Floats = NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)
RESAMPLES = 2000
CHUNK = 250
"""Resamples that are drawn at once: their weights are an array of CHUNK times the images of a source."""


@dataclass(frozen=True)
class Correctness:
    """The answers of several models on one distribution, scored in one label space.

    Attributes
    ----------
    models : tuple of str
    correct : uint8 array of shape (models, images)
        1 where the answer is correct.
    ids : int64 array of shape (images,)
        Positions of the images in their source.
    source : str
        Name of the source: a transformed shift's images go with their originals.
    weights : float array of shape (images,), optional
        What each image counts in an accuracy, with mean 1; all the same unless given.
    """

    models: tuple[str, ...]
    correct: NDArray[np.uint8]
    ids: NDArray[np.int64]
    source: str
    weights: Floats | None = None

    def __post_init__(self) -> None:
        if self.correct.shape != (len(self.models), len(self.ids)):
            raise AnalysisError(
                f"answers of {len(self.models)} models on {len(self.ids)} images need the shape "
                f"({len(self.models)}, {len(self.ids)}), got {self.correct.shape}."
            )

    @property
    def accuracies(self) -> Floats:
        """Fractions, shape (models,)."""
        if self.weights is not None:
            return np.asarray(self.correct @ self.weights / self.weights.sum())
        accuracies: Floats = self.correct.mean(axis=1, dtype=np.float64)
        return accuracies

    @property
    def accuracies_by_image(self) -> Floats:
        """Share of the models that are correct, shape (images,)."""
        shares: Floats = self.correct.mean(axis=0, dtype=np.float64)
        return shares

    def of(self, models: Sequence[str]) -> Correctness:
        """Return the answers of some models, in their order.

        Raises
        ------
        AnalysisError
            One of them has no answers here.
        """
        index = {model: row for row, model in enumerate(self.models)}
        if missing := [model for model in models if model not in index]:
            raise AnalysisError(
                f"{missing[0]!r} has no stored answers on {self.source}: run the study to its end, or leave the model out."
            )
        return replace(self, models=tuple(models), correct=self.correct[[index[model] for model in models]])

    def where(self, mask: NDArray[np.bool_], weights: Floats | None = None) -> Correctness:
        """Return the answers on some of the images, which may count differently."""
        return replace(self, correct=self.correct[:, mask], ids=self.ids[mask], weights=weights)


def resampled_accuracies(axes: Mapping[Name, Correctness], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[Name, Floats]:
    """Resample the images of every source, and return the accuracies of all models on all axes for each resample.

    The Poisson bootstrap: every image of a source has an independent Poisson(1) weight, the same for all models and for every axis
    that shows the image; an accuracy is the weighted share of correct answers. For the numbers of images here it is the multinomial
    bootstrap (Chamandy et al. 2012), as one matrix product.

    Parameters
    ----------
    axes : mapping to Correctness
        By any name.

    Returns
    -------
    dict
        By the names of `axes`: arrays of shape (resamples, models), fractions.
    """
    chunks: dict[Name, list[Floats]] = {name: [] for name in axes}
    sources: dict[str, list[Name]] = {}
    for name, axis in axes.items():
        sources.setdefault(axis.source, []).append(name)
    for number, (source, names) in enumerate(sorted(sources.items())):
        size = 1 + max(int(axes[name].ids.max()) for name in names)
        columns = {name: np.ascontiguousarray(axes[name].correct.T, dtype=np.float32) for name in names}
        for weights in _weights(size, resamples, seed=[seed, number, *source.encode()]):
            for name in names:
                ids = axes[name].ids
                shown = weights if np.array_equal(ids, np.arange(size)) else weights[:, ids]
                if (counting := axes[name].weights) is not None:
                    shown = shown * counting.astype(np.float32)
                total = shown.sum(axis=1, dtype=np.float64)[:, None]
                chunks[name].append((shown @ columns[name]) / np.where(total > 0, total, 1))
    return {name: np.concatenate(drawn) for name, drawn in chunks.items()}


def _weights(size: int, resamples: int, *, seed: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Yield Poisson(1) weights of shape (up to CHUNK, size), drawn through a table of 65,536 quantiles."""
    generator = np.random.default_rng(list(seed))
    steps = stats.poisson.cdf(np.arange(12), 1)
    table = np.searchsorted(steps, (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32)
    for start in range(0, resamples, CHUNK):
        yield table[generator.integers(0, 1 << 16, size=(min(CHUNK, resamples - start), size), dtype=np.uint16)]
