"""The axes on which models lie on a line: probit, logit or linear, with an explicit policy for accuracies of 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri

from shiftline.errors import AnalysisError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """A transformation of accuracies.

    Attributes
    ----------
    forward, inverse : callable
        From a fraction to the axis, and back.
    slope : callable
        Derivative of `forward`, for the delta method.
    bounded : bool
        0 and 1 have no finite position on the axis.
    """

    name: str
    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    bounded: bool


def _normal_density(z: Floats) -> Floats:
    density: Floats = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return density


SCALES: dict[str, Scale] = {
    "probit": Scale("probit", ndtri, ndtr, lambda p: 1 / _normal_density(ndtri(p)), True),
    "logit": Scale("logit", logit, expit, lambda p: 1 / (p * (1 - p)), True),
    # A line may predict more than 1: no model can have it.
    "linear": Scale("linear", lambda p: p, lambda z: np.clip(z, 0.0, 1.0), np.ones_like, False),
}
"""Probit (Miller et al. 2021), logit (Taori et al. 2020), linear."""

EXTREMES = ("exclude", "clip")


def scale_named(name: str) -> Scale:
    """Return a scale by its name.

    Raises
    ------
    AnalysisError
        There is none; the valid names are listed.
    """
    if name not in SCALES:
        raise AnalysisError(f"the scale {name!r} does not exist: choose one of {', '.join(SCALES)}.")
    return SCALES[name]


def inside(values: ArrayLike, n: ArrayLike, scale: Scale, *, extremes: str = "exclude") -> tuple[Floats, NDArray[np.bool_]]:
    """Clip accuracies of exactly 0 or 1 to where the axis is finite.

    Parameters
    ----------
    values : array of float
        Accuracies, fractions in [0, 1]; NaN where missing.
    n : array of float
        Numbers of examples; NaN where unknown.
    extremes : str
        "exclude": to NaN; "clip": to [1/(2n), 1 - 1/(2n)]. Without n an extreme is always excluded.

    Returns
    -------
    values : array of float
        NaN where a value is excluded.
    touched : array of bool
        Where the policy was used.

    Raises
    ------
    AnalysisError
        A value is no fraction.
    """
    if extremes not in EXTREMES:
        raise AnalysisError(f"the policy {extremes!r} does not exist: choose one of {', '.join(EXTREMES)}.")
    accuracies, counts = np.asarray(values, dtype=float), np.asarray(n, dtype=float)
    outside = (accuracies < 0) | (accuracies > 1)
    if outside.any():
        bad = accuracies[outside][0]
        raise AnalysisError(f"an accuracy is {bad}: expected fractions from 0 to 1 (percent are divided by 100).")
    touched = ((accuracies == 0) | (accuracies == 1)) & scale.bounded
    edge = 1 / (2 * counts) if extremes == "clip" else np.full_like(accuracies, np.nan)
    finite = np.where(touched, np.abs(accuracies - edge), accuracies)
    return finite, touched
