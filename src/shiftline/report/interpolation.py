"""The scatter plot of the WiSE-FT paper: accuracy under a shift against that on the reference, along weight interpolation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from shiftline.analysis.axes import Floats, scale_named
from shiftline.report.axes import percent_axes

ENDS = {0.0: ("*", 150, "zero-shot"), 1.0: ("D", 55, "fine-tuned")}


def interpolation_figure(table: pd.DataFrame, *, reference: str, shift: str, scale: str) -> tuple[Figure, pd.DataFrame]:
    """Draw one curve per method, from the zero-shot to the fine-tuned model.

    Parameters
    ----------
    table : DataFrame
        As `shiftline.analysis.interpolation.interpolation_table` gives it.

    Returns
    -------
    figure, numbers
    """
    g = scale_named(scale)

    def on_axis(values: ArrayLike) -> Floats:
        return g.forward(np.clip(np.asarray(values, dtype=float), 0.002, 0.998))

    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        ax = figure.subplots()
    methods = list(dict.fromkeys(table["method"]))
    for method, colour in zip(methods, sns.color_palette("colorblind", len(methods)), strict=True):
        curve = table[table["method"] == method].sort_values("alpha")
        x, y = on_axis(curve[reference].to_numpy(dtype=float)), on_axis(curve[shift].to_numpy(dtype=float))
        ax.plot(x, y, color=colour, lw=1.2, marker="o", ms=4, label=f"WiSE-FT, {method}")
        for alpha, (marker, size, label) in ENDS.items():
            there = np.isclose(curve["alpha"], alpha)
            ax.scatter(
                x[there],
                y[there],
                marker=marker,
                s=size,
                color=colour,
                edgecolor="black",
                lw=0.6,
                zorder=3,
                label=label if method == methods[-1] else None,
            )
    percent_axes(ax, scale=scale, x=table[reference].to_numpy(dtype=float), y=table[shift].to_numpy(dtype=float))
    ax.set_xlabel(f"{_named(reference)} (%)", fontsize=9)
    ax.set_ylabel(f"{_named(shift)} (%)", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=8)
    ax.set_title(f"{scale} axes", fontsize=9)
    columns = ["method", "alpha", reference, shift]
    return figure, table[columns]


def _named(number: str) -> str:
    """Return ``ImageNetV2:top1`` for people."""
    data, _, metric = number.partition(":")
    return f"{data} {'accuracy' if metric == 'top1' else metric}"
