"""The scatter plot of the WiSE-FT paper: accuracy under a shift against that on the reference, along weight interpolation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shiftline.analysis.accuracy_tables import BASELINE
from shiftline.analysis.baseline import fit_baseline
from shiftline.analysis.robustness import effective_robustness
from shiftline.analysis.tables import shifts_of
from shiftline.report.axes import percent_axes, positions
from shiftline.report.figures import BASELINE_COLOUR
from shiftline.report.panels import draw_baseline, draw_line

ENDS = {0.0: ("*", 150, "zero-shot"), 1.0: ("D", 55, "fine-tuned")}


def interpolation_figure(
    table: pd.DataFrame,
    *,
    reference: str,
    shift: str,
    scale: str,
    baseline: pd.DataFrame | None = None,
    linear_accuracy: bool = False,
) -> tuple[Figure, pd.DataFrame]:
    """Draw one curve per method, from the zero-shot to the fine-tuned model.

    Parameters
    ----------
    table : DataFrame
        As `shiftline.analysis.interpolation.interpolation_table` gives it.
    baseline : DataFrame, optional
        Accuracies of other models on the reference and one shift, as `shiftline.analysis` reads them: they are drawn with their
        line, its 95 % band, and y = x.
    linear_accuracy : bool
        Draw the accuracies between those of the ends too: see `shiftline.report.panels.robustness_figure`.

    Returns
    -------
    figure, numbers
    """
    on_axis = positions(scale)
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        ax = figure.subplots()
    ends = [table[[reference, shift]].rename(columns={reference: "reference", shift: "shifted"})]
    if baseline is not None:
        (name,) = shifts_of(baseline, None)
        points = effective_robustness(baseline, baseline=BASELINE, shifts=[name], scale=scale)
        ends.append(points[["reference", "shifted"]].dropna())
    shown = pd.concat(ends).astype(float)
    if baseline is not None:
        draw_line(ax, [fit_baseline(baseline, shift=name, baseline=BASELINE, scale=scale)], shown["reference"], scale=scale)
        draw_baseline(ax, ends[1], scale=scale)
        ax.plot([], [], "o", ms=3, color=BASELINE_COLOUR, label="published models, line and 95 % band")
        ax.plot([], [], color="0.7", lw=1, ls=":", label="y = x")
    methods = list(dict.fromkeys(table["method"]))
    for method, colour in zip(methods, sns.color_palette("colorblind", len(methods)), strict=True):
        curve = table[table["method"] == method].sort_values("alpha")
        x, y = on_axis(curve[reference].to_numpy(dtype=float)), on_axis(curve[shift].to_numpy(dtype=float))
        ax.plot(x, y, color=colour, lw=1.2, marker="o", ms=4, label=f"WiSE-FT, {method}")
        if linear_accuracy:
            straight = [
                on_axis(np.linspace(float(curve[end].iloc[0]), float(curve[end].iloc[-1]), 50)) for end in (reference, shift)
            ]
            label = "linear accuracy between the ends" if method == methods[-1] else None
            ax.plot(*straight, color=colour, lw=1, ls="--", label=label)
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
    percent_axes(ax, scale=scale, x=shown["reference"].to_numpy(), y=shown["shifted"].to_numpy())
    ax.set_xlabel(f"{_named(reference)} (%)", fontsize=9)
    ax.set_ylabel(f"{_named(shift)} (%)", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=8)
    ax.set_title(f"{scale} axes", fontsize=9)
    numbers = table[["method", "alpha", reference, shift]]
    if baseline is not None:
        others = ends[1].rename(columns={"reference": reference, "shifted": shift}).assign(method=points["model"])
        numbers = pd.concat([numbers, others], ignore_index=True)
    return figure, numbers


def _named(number: str) -> str:
    """Return ``ImageNetV2:top1`` for people."""
    data, _, metric = number.partition(":")
    return f"{data} {'accuracy' if metric == 'top1' else metric}"
