"""Accuracy along mixing coefficients, as curves and as a table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from shiftline.analysis.alphas import alpha_curve
from shiftline.analysis.tables import AVERAGE, REFERENCE, VALIDATION, check_table, reference_once
from shiftline.errors import AnalysisError
from shiftline.report.figures import measured, panel_grid


def curve_figures(table: pd.DataFrame, *, title: str, linear_accuracy: bool = False) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """Draw accuracy along the mixing coefficient of every group that has one.

    Parameters
    ----------
    linear_accuracy : bool
        Draw the accuracies between those of the ends too: see `shiftline.report.panels.robustness_figure`.

    Returns
    -------
    dict
        Name -> (figure, the numbers that it shows).
    """
    figures, curves = {}, {}
    for group in dict.fromkeys(table.loc[table["alpha"].notna(), "group"]):
        try:
            curves[group] = alpha_curve(table, group=group)
        except AnalysisError:
            continue  # Several curves in one group: there is no one table of it.
    if curves:
        figures["alpha-curves"] = alpha_figure(table, curves, title=title, linear_accuracy=linear_accuracy)
        figures["alpha-table"] = alpha_table_figure(table, curves, title=title)
    return figures


def alpha_figure(
    table: pd.DataFrame, curves: Mapping[str, pd.DataFrame], *, title: str, linear_accuracy: bool = False
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy along the mixing coefficient, one panel per group, validated and oracle alpha marked."""
    figure, axes = panel_grid(len(curves), width=4.4, height=3.4, legend=0.6)
    for ax, (group, curve) in zip(axes, curves.items(), strict=True):
        shifts = [c for c in curve.columns if c not in (REFERENCE, VALIDATION, AVERAGE)]
        for shift in shifts:
            ax.plot(curve.index, curve[shift], color="0.75", lw=0.8)
        ax.plot(curve.index, curve[REFERENCE], color="C0", marker="o", ms=3.5, lw=1.6)
        if VALIDATION in curve.columns and curve[VALIDATION].notna().all():
            ax.axvline(curve[VALIDATION].idxmax(), color="C2", lw=1.2, ls="--")
        if AVERAGE in curve.columns:
            ax.plot(curve.index, curve[AVERAGE], color="C1", marker="s", ms=3.5, lw=1.6)
            if curve[AVERAGE].notna().all():
                ax.axvline(curve[AVERAGE].idxmax(), color="C3", lw=1.2, ls=":")
        for column, colour in ((REFERENCE, "C0"), (AVERAGE, "C1")) if linear_accuracy else ():
            if column in curve.columns:
                ax.plot(curve.index[[0, -1]], curve[column].iloc[[0, -1]], color=colour, lw=1, ls="--")
        ax.set_title(group, fontsize=10)
        ax.set_xlabel(r"mixing coefficient $\alpha$ (0: start, 1: end)", fontsize=9)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.tick_params(labelsize=8)
        sns.despine(ax=ax)
    axes[0].set_ylabel(measured(table, list(dict.fromkeys(table["distribution"]))), fontsize=9)
    columns = {column for curve in curves.values() for column in curve.columns}
    handles = [Line2D([], [], color="C0", marker="o", ms=4, label="reference")]
    if AVERAGE in columns:
        handles += [
            Line2D([], [], color="C1", marker="s", ms=4, label="average over shifts"),
            Line2D([], [], color="0.75", label="one shift"),
            Line2D([], [], color="C3", ls=":", label=r"oracle $\alpha$ (best on the shifts)"),
        ]
    if VALIDATION in columns:
        handles.append(Line2D([], [], color="C2", ls="--", label=r"validated $\alpha$ (best on reference val)"))
    if linear_accuracy:
        handles.append(Line2D([], [], color="0.3", lw=1, ls="--", label="linear accuracy between the ends"))
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
