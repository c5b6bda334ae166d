"""Predictions as metrics see them, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shiftline.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from shiftline.plan.spaces import Projection

    Floats = NDArray[np.float64]


def _no_metadata(columns: list[str]) -> pd.DataFrame:
    raise DataError("these predictions have no metadata: score them in a study whose data were written with groups.")


@dataclass(frozen=True)
class Predictions:
    """Predictions on some examples.

    Attributes
    ----------
    logits : ndarray of float32, shape (N, C)
    labels, ids : ndarrays of int64, shape (N,)
    metadata : callable
        Returns columns of the examples' metadata, a DataFrame of N rows.
    names : tuple of str
        Of the C classes; empty where they are not known.
    official : mapping
        What the data set says about its own evaluation.
    projection : Projection or None
        How they are brought into the label space that they are scored in; None where they are in it.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    names: tuple[str, ...] = ()
    metadata: Callable[[list[str]], pd.DataFrame] = _no_metadata
    official: Mapping[str, Any] = field(default_factory=dict)
    projection: Projection | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return int(self.logits.shape[1])

    @cached_property
    def groups(self) -> np.ndarray:
        """The group of each example, as text, shape (N,)."""
        found: np.ndarray = self.metadata(["group"])["group"].to_numpy()
        return found

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the highest logit, shape (N,)."""
        found: NDArray[np.int64] = self.logits.argmax(axis=1)
        return found

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction is the label, shape (N,)."""
        found: NDArray[np.bool_] = self.predicted == self.labels
        return found

    @cached_property
    def likelihoods(self) -> tuple[Floats, Floats]:
        """Log probability of the label, and probability of the prediction, float64, each of shape (N,)."""
        import numpy as np

        of_label, of_prediction = np.empty(len(self)), np.empty(len(self))
        for start in range(0, len(self), 4096):
            rows = slice(start, start + 4096)
            logits = self.logits[rows].astype(np.float64)
            highest = logits.max(axis=1)
            total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            of_label[rows] = logits[np.arange(len(logits)), self.labels[rows]] - total
            of_prediction[rows] = np.exp(highest - total)
        return of_label, of_prediction

    def kept(self, rows: np.ndarray) -> Predictions:
        """Return the predictions on some of the examples, given by a mask."""
        whole, inner = self.metadata, rows
        return replace(
            self,
            logits=self.logits[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            metadata=lambda columns: whole(columns)[inner],
        )

    def in_space(self) -> Predictions:
        """Return the predictions in their label space: the highest logit among the members of each class, others left out."""
        if self.projection is None:
            return self
        import numpy as np

        space = self.projection
        labels = np.asarray(space.labels)[self.labels]
        there = self.kept(labels >= 0)
        names = _joined_names(self.names, space) if self.names else ()
        return replace(there, logits=projected(there.logits, space), labels=labels[labels >= 0], names=names, projection=None)


def _joined_names(names: tuple[str, ...], space: Projection) -> tuple[str, ...]:
    """Return the names of a space's classes, each made of those of its members."""
    members: list[list[str]] = [[] for _ in range(space.count)]
    for name, output in zip(names, space.outputs, strict=True):
        if output >= 0:
            members[output].append(name)
    return tuple(" or ".join(of_class) for of_class in members)


def projected(logits: np.ndarray, space: Projection) -> np.ndarray:
    """Return the highest logit among the members of each class of a label space, shape (N, classes of the space)."""
    import numpy as np

    of_output = np.asarray(space.outputs)
    used = np.flatnonzero(of_output >= 0)
    order = used[np.argsort(of_output[used], kind="stable")]
    starts = np.searchsorted(of_output[order], np.arange(space.count))
    members = logits[:, order]
    if not len(members):
        return np.zeros((0, space.count), np.float32)
    grouped: np.ndarray = np.maximum.reduceat(members, starts, axis=1)
    return grouped


@dataclass(frozen=True)
class Measured:
    """A metric's value with what its uncertainty is known by.

    Attributes
    ----------
    value : float
    n : int
        Units that were counted: examples as a rule.
    correct : int or None
        Successes, for a proportion: its interval is exact.
    low, high, resamples
        Of a bootstrap interval, for others.
    variance : float or None
        Squared standard error, for a mean.
    groups : mapping
        Group -> (correct, examples).
    per_example : ndarray or None
        What the mean runs over, one value per example: bool for a proportion.
    """

    value: float
    n: int
    correct: int | None = None
    low: float | None = None
    high: float | None = None
    resamples: int | None = None
    variance: float | None = None
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    per_example: np.ndarray | None = None

    def summary(self) -> dict[str, Any]:
        """Return what is known, as JSON; what is not known is left out."""
        known = {name: value for name, value in vars(self).items() if name != "per_example" and value is not None}
        return known if self.groups else {name: value for name, value in known.items() if name != "groups"}
