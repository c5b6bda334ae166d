"""What limits a number: short codes that stand beside it in tables, files and figures, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LEGEND: Mapping[str, str] = {
    "extrapolated": "the reference accuracy lies outside those of the baseline models: the line is a guess there",
    "one-seed": "one replicate: the interval is conditional on its seed",
    "oracle": "the mixing coefficient was chosen on the shifts themselves: a bound that nobody can choose",
    "recipes": "an average over different recipes: its interval shows their spread, not that of seeds",
    "few-clusters": "the baseline models come from fewer than five runs or families: the interval is conditional on these",
    "few-models": "fewer than twelve baseline models: a curve, or more scatter at one end, would not be seen",
    "low-r2": "reference accuracy explains less than half of the baseline models' variance under this shift",
    "flat": "the slope of the line may be zero or negative: accuracy on the reference says nothing here, or the opposite",
    "curved": "a line with a quadratic term fits the baseline models better (p < 0.01): a straight one is wrong at its ends",
    "uneven": "the baseline models scatter more at one end of the line",
    "noisy-x": "less than 90 % of the spread of the baseline models' reference accuracies is real: the line is too flat",
    "corrected": "the line is corrected for the noise of reference accuracies",
    "exact": "the baseline models lie exactly on the line: nothing is known of its uncertainty",
    "clipped": "baseline models with an accuracy of 0 or 1 were clipped, and pull at the line",
    "excluded": "baseline models with an accuracy of 0 or 1 are not in the fit",
    "missing": "baseline models without both accuracies are not in the fit",
    "off-agreement": "agreements of models are not on a line (R^2 below 0.95): accuracies need not be either",
    "metrics": "reference and shift are measured by different metrics",
    "no-answers": "no stored answers: images count as if models erred independently",
    "no-images": "the numbers of images are unknown: the interval leaves them out",
}
"""Code -> what it says."""


@dataclass(frozen=True)
class Note:
    """A limit of one line or number.

    Attributes
    ----------
    code : str
        A key of `LEGEND`.
    text : str
        What it says here, with numbers.
    """

    code: str
    text: str

    @staticmethod
    def of(code: str, detail: str = "") -> Note:
        """Return a note with its legend, and what is known in this case."""
        return Note(code, f"{LEGEND[code]} ({detail})" if detail else LEGEND[code])


def codes(notes: Iterable[str]) -> str:
    """Return codes as a cell of a table: each once, in the order of the legend."""
    found = set(notes)
    return " ".join(code for code in LEGEND if code in found)


def legend(cells: Iterable[str]) -> dict[str, str]:
    """Return the legend of the codes that stand in some cells."""
    found = {code for cell in cells for code in str(cell).split()}
    return {code: text for code, text in LEGEND.items() if code in found}
