"""How lines are fitted: what every function and verb that fits one can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from shiftline.analysis.axes import EXTREMES, scale_named
from shiftline.analysis.tables import REFERENCE
from shiftline.errors import AnalysisError

WEIGHTS = ("none", "binomial")
ERRORS = ("none", "in-x")
AUTO, EACH = "auto", "model"
CLUSTERS = ("run", "architecture")
"""Columns that a table of a study has, from the finest to the coarsest."""


class LineOptions(TypedDict, total=False):
    """How a line is fitted: every function and verb that fits one takes these by name.

    Attributes
    ----------
    scale : str
        Of both axes: "probit" (default), "logit" or "linear".
    extremes : str
        What to do with accuracies of exactly 0 or 1: "exclude" (default) from the fit, or "clip" to [1/(2n), 1 - 1/(2n)], where one
        such model can turn the line. Either is counted.
    weights : str
        "none" (default): ordinary least squares. "binomial": weighted by the inverse binomial variance of the accuracy under shift
        on the transformed scale, ``n / (p (1 - p) g'(p)^2)``; needs the numbers of examples.
    errors : str
        "none" (default), or "in-x": the noise that the finite number of images puts on reference accuracies is taken off the
        moments of the fit, ``slope = Sxy / (Sxx - noise)``; needs the numbers of examples.
    cluster : str or None
        A column of the table: models that share its value have errors that are alike, and the line's uncertainty is that over
        clusters (CR2, Bell & McCaffrey 2002). "model": errors are independent, and may be larger at one end of the line. "auto"
        (default): the coarser of "architecture" and "run" that has five values or more; else "model" where the scatter is uneven
        (p < 0.01). None: errors are independent and of one size.
    """

    scale: str
    extremes: str
    weights: str
    errors: str
    cluster: str | None


@dataclass(frozen=True)
class LineSettings:
    """What is fitted, and how: see `LineOptions`.

    Attributes
    ----------
    baseline : str
        The value of the column `group` that marks the baseline models.
    references : tuple of str
        Values of the column `distribution`.

    Raises
    ------
    AnalysisError
        A choice does not exist.
    """

    baseline: str
    references: tuple[str, ...] = (REFERENCE,)
    scale: str = "probit"
    extremes: str = "exclude"
    weights: str = "none"
    errors: str = "none"
    cluster: str | None = AUTO

    def __post_init__(self) -> None:
        scale_named(self.scale)
        for name, value, known in (
            ("extremes", self.extremes, EXTREMES),
            ("weights", self.weights, WEIGHTS),
            ("errors", self.errors, ERRORS),
        ):
            if value not in known:
                raise AnalysisError(f"{name}={value!r} does not exist: choose one of {', '.join(known)}.")

    @staticmethod
    def of(baseline: str, reference: str | Sequence[str], **line: Unpack[LineOptions]) -> LineSettings:
        """Return settings whose references may be one name."""
        references = (reference,) if isinstance(reference, str) else tuple(reference)
        return LineSettings(baseline, references, **line)
