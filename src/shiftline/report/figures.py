"""What the figures of a study share: files, a grid of panels, the legend of their notes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from shiftline.analysis.notes import legend
from shiftline.errors import StoreError
from shiftline.store.files import full_disk

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
BASELINE_COLOUR = "0.45"


def save_figures(figures: Mapping[str, tuple[Figure, pd.DataFrame]], folder: Path) -> dict[str, Path]:
    """Write each figure as PNG and PDF with its numbers as CSV; return the PNG files.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = {}
        with full_disk(folder):
            for name, (figure, numbers) in figures.items():
                figure.savefig(folder / f"{name}.png", dpi=160)
                figure.savefig(folder / f"{name}.pdf")
                numbers.to_csv(folder / f"{name}.csv", index=False)
                written[name] = folder / f"{name}.png"
    except OSError as error:
        raise StoreError(f"the figures cannot be written to {folder}: {error.strerror}. Choose another folder.") from error
    return written


def panel_grid(panels: int, *, width: float, height: float, legend: float) -> tuple[Figure, list[Axes]]:
    """Lay out panels in rows of four at most, with room for a legend below."""
    columns = min(4, panels)
    rows = math.ceil(panels / columns)
    with sns.axes_style("ticks"):
        figure = Figure(figsize=(width * columns, height * rows + legend), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]


NOTE_HEIGHT = 0.115
"""Inches of a line of notes."""


def write_legend(figure: Figure, handles: Sequence[Line2D], codes: Iterable[str], *, columns: int, size: float) -> None:
    """Put a legend below a figure, and above its entries what the codes of notes say; the figure grows by these."""
    texts = [f"{code}: {text}" for code, text in legend(codes).items()]
    width = int(figure.get_figwidth() * 18)
    lines = [line for text in texts for line in textwrap.wrap(text, width)]
    figure.set_figheight(figure.get_figheight() + NOTE_HEIGHT * len(lines))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=size,
        title="\n".join(lines) or None,
        title_fontproperties={"size": 6.5},
    )


def measured(table: pd.DataFrame, distributions: Sequence[str]) -> str:
    """Return the names of the metrics that some distributions were scored with."""
    if "metric" not in table.columns:
        return "accuracy"
    return ", ".join(dict.fromkeys(table.loc[table["distribution"].isin(list(distributions)), "metric"])) or "accuracy"
