"""Intervals for one accuracy, for a mean over seeds, and for a difference of two accuracies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from shiftline.errors import AnalysisError


class Interval(NamedTuple):
    """Lower and upper end; arrays where the input was one."""

    low: np.ndarray | float
    high: np.ndarray | float


def clopper_pearson(k: ArrayLike, n: ArrayLike, *, level: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper & Pearson 1934).

    Parameters
    ----------
    k, n : array of int
        Correct predictions, and all.

    Returns
    -------
    Interval
        Fractions: ``Beta^-1(a/2; k, n-k+1)`` and ``Beta^-1(1-a/2; k+1, n-k)``; 0 at k=0, 1 at k=n.

    Raises
    ------
    AnalysisError
        k is not between 0 and n, or n is 0.
    """
    correct, total = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    if np.any(total < 1) or np.any(correct < 0) or np.any(correct > total):
        raise AnalysisError(f"expected 0 <= k <= n and n >= 1, got k={k!r}, n={n!r}.")
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(correct == 0, 0.0, special.betaincinv(correct, total - correct + 1, tail))
        high = np.where(correct == total, 1.0, special.betaincinv(correct + 1, total - correct, 1 - tail))
    return Interval(low[()], high[()])


class Mean(NamedTuple):
    """A mean over replicates with its t-interval; NaN ends for a single value."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Mean:
    """Mean with ``t_{n-1} * s / sqrt(n)``, s with ddof=1.

    Raises
    ------
    AnalysisError
        There are no values.
    """
    numbers = np.asarray(values, dtype=float)
    n = len(numbers)
    if n == 0:
        raise AnalysisError("a mean of no values was requested: expected at least one replicate.")
    mean = float(numbers.mean())
    if n == 1:
        return Mean(mean, float("nan"), float("nan"), 1)
    half = float(special.stdtrit(n - 1, (1 + level) / 2) * numbers.std(ddof=1) / np.sqrt(n))
    return Mean(mean, mean - half, mean + half, n)


def difference_interval(k1: int, n1: int, k2: int, n2: int, *, level: float = 0.95) -> Interval:
    """Interval of ``k1/n1 - k2/n2`` for independent samples (Newcombe 1998, hybrid of Wilson score intervals).

    On the same images, where two models are right and wrong together, it is wider than a paired one.
    """
    z = special.ndtri((1 + level) / 2)
    (l1, u1), (l2, u2) = _wilson(k1, n1, z), _wilson(k2, n2, z)
    p1, p2 = k1 / n1, k2 / n2
    low = p1 - p2 - np.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2)
    high = p1 - p2 + np.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2)
    return Interval(float(low), float(high))


def _wilson(k: int, n: int, z: float) -> tuple[float, float]:
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    return centre - half, centre + half
