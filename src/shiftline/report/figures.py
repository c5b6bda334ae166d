"""The figures of a study: robustness panels, alpha curves, and the table of alphas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from shiftline.analysis.alphas import alpha_curve, choose_alpha
from shiftline.analysis.axes import Floats, scale_named
from shiftline.analysis.baseline import BaselineFit, fit_baseline
from shiftline.analysis.robustness import effective_robustness
from shiftline.analysis.tables import AVERAGE, REFERENCE, VALIDATION, averaged, check_table, reference_once, shifts_of
from shiftline.errors import AnalysisError, StoreError
from shiftline.report.axes import percent_axes
from shiftline.store.files import full_disk

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
BASELINE_COLOUR = "0.45"


def table_figures(table: pd.DataFrame, *, baseline: str, scale: str, title: str) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """Draw every figure that a table of results allows.

    Returns
    -------
    dict
        Name -> (figure, the numbers that it shows).
    """
    figures = {"robustness": robustness_figure(table, baseline=baseline, scale=scale, title=title)}
    curves = {}
    for group in dict.fromkeys(table.loc[table["alpha"].notna(), "group"]):
        try:
            curves[group] = alpha_curve(table, group=group)
        except AnalysisError:
            continue  # Several curves in one group: there is no one table of it.
    if curves:
        figures["alpha-curves"] = alpha_figure(table, curves, title=title)
        figures["alpha-table"] = alpha_table_figure(table, curves, title=title)
    return figures


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


def _grid(panels: int, *, width: float, height: float, legend: float) -> tuple[Figure, list[Axes]]:
    """Lay out panels in rows of four at most, with room for a legend below."""
    columns = min(4, panels)
    rows = math.ceil(panels / columns)
    with sns.axes_style("ticks"):
        figure = Figure(figsize=(width * columns, height * rows + legend), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]


def robustness_figure(
    table: pd.DataFrame, *, baseline: str, scale: str, title: str, extremes: str = "clip", weights: str = "none"
) -> tuple[Figure, pd.DataFrame]:
    """Reference against shifted accuracy, one panel per shift and their average, with the baseline line and band."""
    table = check_table(table, "group")
    # Subsets of a shift have their own figures: support-*, and effective-robustness.
    shifts = averaged(table, shifts_of(table, None))
    settings = {"baseline": baseline, "scale": scale, "extremes": extremes, "weights": weights}
    numbers = effective_robustness(table, baseline=baseline, scale=scale, extremes=extremes, weights=weights)
    drawn = numbers.dropna(subset=["reference", "shifted"])
    fits = {s: fit_baseline(table, shift=s, **settings) for s in shifts}
    names = [*shifts, AVERAGE] if AVERAGE in set(numbers["shift"]) else shifts
    others = [g for g in dict.fromkeys(table["group"]) if g != baseline]
    colours = dict(zip(others, sns.color_palette("colorblind", len(others)), strict=True))
    # Groups of one colour and different alphas are drawn as curves, everything else as points.
    curves = {g for g in others if table.loc[table["group"] == g, "alpha"].notna().any()}
    figure, axes = _grid(len(names), width=2.9, height=2.75, legend=0.75)
    for ax, name in zip(axes, names, strict=True):
        rows = drawn[drawn["shift"] == name]
        _draw_panel(ax, table, rows, name, fits, baseline=baseline, scale=scale, colours=colours, curves=curves)
    handles = [
        Line2D([], [], color=BASELINE_COLOUR, marker="o", ls="", ms=4, label=f"{baseline} (baseline)"),
        Line2D([], [], color=BASELINE_COLOUR, lw=1.5, label="baseline fit, 95 % band"),
        Line2D([], [], color="0.7", lw=1, ls=":", label="y = x"),
    ]
    for number, group in enumerate(others):
        line = "-" if group in curves else ""
        handles.append(
            Line2D([], [], color=colours[group], marker=MARKERS[number % len(MARKERS)], ls=line, lw=1, ms=5, label=group)
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=9)
    reference = measured(table, [REFERENCE])
    for ax in axes[-4:]:
        ax.set_xlabel(f"reference {reference} (%)", fontsize=9)
    shifted = measured(table, [name for name in names if name != AVERAGE])
    figure.supylabel(f"{shifted} under shift (%)", fontsize=10)
    figure.suptitle(f"{title}: {shifted} under shift against reference {reference} ({scale} axes)", fontsize=11)
    return figure, numbers


def forest_figure(robustness: pd.DataFrame, *, baseline: str, title: str) -> tuple[Figure, pd.DataFrame]:
    """Effective robustness with joint 95 % intervals: rows are shifts, colours are groups; hollow points are extrapolated."""
    rows = robustness[robustness["group"] != baseline]
    shifts, groups = (list(dict.fromkeys(rows[name])) for name in ("shift", "group"))
    colours = dict(zip(groups, sns.color_palette("colorblind", len(groups)), strict=True))
    columns = 1 if len(shifts) <= MOST_ROWS else 2
    length = math.ceil(len(shifts) / columns)
    with sns.axes_style("ticks"):
        size = (4.6 * columns, 0.13 * length * (len(groups) + 1.2) + 1.3)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
    for ax, first in zip(axes, range(0, len(shifts), length), strict=True):
        _draw_forest(ax, rows, shifts[first : first + length], groups, colours)
    handles = [
        Line2D([], [], color=colours[g], marker=MARKERS[n % len(MARKERS)], ms=4.5, lw=1.2, label=g) for n, g in enumerate(groups)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 * columns, frameon=False, fontsize=8)
    scale = rows["scale"].iloc[0]
    figure.suptitle(f"{title}: {scale} axes, joint 95 % intervals; hollow: extrapolated", fontsize=10)
    return figure, robustness


MOST_ROWS = 8
"""Shifts in one column of a forest."""


def _draw_forest(ax: Axes, rows: pd.DataFrame, shifts: Sequence[str], groups: Sequence[str], colours: Mapping[str, object]) -> None:
    for row in rows[rows["shift"].isin(list(shifts))].itertuples():
        number = groups.index(row.group)
        position = shifts.index(row.shift) + (number + 1) / (len(groups) + 1) - 0.5
        colour = colours[row.group]
        ax.plot([row.low, row.high], [position, position], color=colour, lw=1.1)
        face = "white" if row.extrapolated else colour
        marker = MARKERS[number % len(MARKERS)]
        ax.plot(row.effective_robustness, position, marker=marker, ms=3.8, color=colour, mfc=face, mew=0.9, ls="")
    for position in range(1, len(shifts)):
        ax.axhline(position - 0.5, color="0.9", lw=0.8)
    ax.axvline(0, color="0.5", lw=0.9)
    ax.set_yticks(range(len(shifts)), [shift.replace(", ", ",\n") for shift in shifts], fontsize=8)
    ax.set_ylim(len(shifts) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.set_xlabel("effective robustness (pp)", fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    sns.despine(ax=ax, left=True)


def measured(table: pd.DataFrame, distributions: Sequence[str]) -> str:
    """Return the names of the metrics that some distributions were scored with."""
    if "metric" not in table.columns:
        return "accuracy"
    return ", ".join(dict.fromkeys(table.loc[table["distribution"].isin(list(distributions)), "metric"])) or "accuracy"


def _draw_panel(
    ax: Axes,
    table: pd.DataFrame,
    rows: pd.DataFrame,
    name: str,
    fits: Mapping[str, BaselineFit],
    *,
    baseline: str,
    scale: str,
    colours: Mapping[str, object],
    curves: set[str],
) -> None:
    g = scale_named(scale)

    def on_axis(values: ArrayLike) -> Floats:
        return g.forward(np.clip(np.asarray(values, dtype=float), 0.002, 0.998))

    left, right = on_axis(np.array([rows["reference"].min(), rows["reference"].max()]))
    x = np.linspace(float(left), float(right), 200)
    used = list(fits.values()) if name == AVERAGE else [fits[name]]
    bands = [fit.confidence(g.inverse(x)) for fit in used]
    # The average panel shows the average of the per-shift lines, not a line through averages.
    middle, low, high = (np.mean([band[i] for band in bands], axis=0) for i in range(3))
    ax.fill_between(x, on_axis(low), on_axis(high), color=BASELINE_COLOUR, alpha=0.18, lw=0)
    ax.plot(x, on_axis(middle), color=BASELINE_COLOUR, lw=1.5)
    ax.plot(x, x, color="0.7", lw=1, ls=":")
    base = rows[rows["group"] == baseline]
    ax.plot(on_axis(base["reference"]), on_axis(base["shifted"]), "o", ms=3, color=BASELINE_COLOUR, alpha=0.7, mew=0)
    for number, (group, colour) in enumerate(colours.items()):
        points = rows[rows["group"] == group]
        marker, line = MARKERS[number % len(MARKERS)], ""
        size = 5.0
        if group in curves:
            alphas = table[table["group"] == group].drop_duplicates("model").set_index("model")["alpha"]
            points = points.assign(alpha=points["model"].map(alphas)).sort_values("alpha")
            line, size = "-", 2.8
        ax.plot(
            on_axis(points["reference"]),
            on_axis(points["shifted"]),
            marker=marker,
            ls=line,
            lw=1,
            ms=size,
            color=colour,
            mec="white",
            mew=0.3,
        )
    percent_axes(ax, scale=scale, x=rows["reference"].to_numpy(), y=rows["shifted"].to_numpy())
    fit = f"$R^2$ = {fits[name].r2:.2f}" if name != AVERAGE else "mean of the panels"
    ax.set_title(f"{name} ({fit})", fontsize=9)
    ax.tick_params(labelsize=8)
    sns.despine(ax=ax)


def alpha_figure(table: pd.DataFrame, curves: Mapping[str, pd.DataFrame], *, title: str) -> tuple[Figure, pd.DataFrame]:
    """Accuracy along the mixing coefficient, one panel per group, validated and oracle alpha marked."""
    figure, axes = _grid(len(curves), width=4.4, height=3.4, legend=0.6)
    for ax, (group, curve) in zip(axes, curves.items(), strict=True):
        shifts = [c for c in curve.columns if c not in (REFERENCE, VALIDATION, AVERAGE)]
        for shift in shifts:
            ax.plot(curve.index, curve[shift], color="0.75", lw=0.8)
        ax.plot(curve.index, curve[REFERENCE], color="C0", marker="o", ms=3.5, lw=1.6)
        if AVERAGE in curve.columns:
            ax.plot(curve.index, curve[AVERAGE], color="C1", marker="s", ms=3.5, lw=1.6)
            if curve[AVERAGE].notna().all() and VALIDATION in curve.columns:
                choice = choose_alpha(table, group=group)
                ax.axvline(choice.validated, color="C2", lw=1.2, ls="--")
                ax.axvline(choice.oracle, color="C3", lw=1.2, ls=":")
        ax.set_title(group, fontsize=10)
        ax.set_xlabel(r"mixing coefficient $\alpha$ (0: start, 1: end)", fontsize=9)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.tick_params(labelsize=8)
        sns.despine(ax=ax)
    axes[0].set_ylabel(measured(table, list(dict.fromkeys(table["distribution"]))), fontsize=9)
    handles = [
        Line2D([], [], color="C0", marker="o", ms=4, label="reference"),
        Line2D([], [], color="C1", marker="s", ms=4, label="average over shifts"),
        Line2D([], [], color="0.75", label="one shift"),
        Line2D([], [], color="C2", ls="--", label=r"validated $\alpha$ (best on reference val)"),
        Line2D([], [], color="C3", ls=":", label=r"oracle $\alpha$ (best on the shifts)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(f"{title}: accuracy along weight interpolation", fontsize=11)
    shown = reference_once(check_table(table[table["group"].isin(list(curves))]))
    return figure, shown[["group", "alpha", "distribution", "value", "n", "low", "high", "key"]]


def alpha_table_figure(table: pd.DataFrame, curves: Mapping[str, pd.DataFrame], *, title: str) -> tuple[Figure, pd.DataFrame]:
    """The accuracies of every alpha as a table in percent, the best of each column in bold."""
    numbers = pd.concat([curve.reset_index().assign(group=group) for group, curve in curves.items()])
    columns = ["alpha", *[c for c in numbers.columns if c not in ("alpha", "group")]]
    cells, bold = [], []
    for group, curve in curves.items():
        cells.append([group, *[""] * (len(columns) - 1)])
        bold.append([True] + [False] * (len(columns) - 1))
        for alpha, row in curve.iterrows():
            cells.append([f"{alpha:g}", *[f"{100 * row[c]:.1f}" for c in columns[1:]]])
            bold.append([False, *[bool(row[c] == curve[c].max()) for c in columns[1:]]])
    figure = Figure(figsize=(1.05 * len(columns) + 1.2, 0.24 * len(cells) + 1.1), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    head = [c.replace(" ", "\n") for c in columns]
    drawn = ax.table(cellText=cells, colLabels=head, loc="center", cellLoc="center", bbox=Bbox.unit())
    drawn.auto_set_font_size(False)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_fontsize(8)
        cell.set_edgecolor("0.85")
        cell.set_height(2.0 / (len(cells) + 2) if row == 0 else 1.0 / (len(cells) + 2))
        if row == 0 or bold[row - 1][column]:
            cell.set_text_props(weight="bold")
    ax.set_title(f"{title}: accuracy (%) by mixing coefficient; bold: best of the column", fontsize=10)
    return figure, numbers
