"""Values with their intervals, a row per distribution and a colour per group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from shiftline.analysis.tables import check_table, reference_once
from shiftline.report.figures import MARKERS, measured, write_legend

POINT_NOTES = ("extrapolated", "one-seed", "recipes", "no-answers", "no-images")
"""Codes about a point; all others are about a line."""


MOST_ROWS = 8
"""Distributions in one column."""


def forest_figure(robustness: pd.DataFrame, *, baseline: str, title: str) -> tuple[Figure, pd.DataFrame]:
    """Effective robustness with joint 95 % intervals: rows are shifts, colours are groups; hollow points are extrapolated."""
    rows = robustness[robustness["group"] != baseline]
    notes = {shift: _shared_notes(of_shift["notes"]) for shift, of_shift in rows.groupby("shift", sort=False)}
    shown = rows.assign(value=rows["effective_robustness"], hollow=rows["extrapolated"])
    figure, axes = _forest(shown, notes, [code for code in rows["notes"] if code])
    for ax in axes:
        ax.axvline(0, color="0.5", lw=0.9)
        ax.set_xlabel("effective robustness (pp)", fontsize=9)
    figure.suptitle(f"{title}: {rows['scale'].iloc[0]} axes, joint 95 % intervals; hollow: extrapolated", fontsize=10)
    return figure, robustness


def accuracies_figure(table: pd.DataFrame, *, title: str) -> tuple[Figure, pd.DataFrame]:
    """Every model's accuracy with its 95 % interval: rows are distributions, colours are groups."""
    table = reference_once(check_table(table, "group", "low", "high"))
    shown = table.rename(columns={"distribution": "shift"}).dropna(subset=["value"]).assign(hollow=False)
    figure, axes = _forest(shown, {}, [])
    name = measured(table, list(dict.fromkeys(table["distribution"])))
    for ax in axes:
        ax.set_xlabel(f"{name} (%)", fontsize=9)
    figure.suptitle(f"{title}: {name} of every model, 95 % intervals", fontsize=10)
    columns = [c for c in ("model", "group", "distribution", "metric", "value", "n", "low", "high", "key") if c in table.columns]
    return figure, table[columns]


def _forest(rows: pd.DataFrame, notes: Mapping[str, str], codes: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Draw the columns shift, group, value, low, high and hollow; `notes` stand below shifts, `codes` are explained."""
    shifts, groups = (list(dict.fromkeys(rows[name])) for name in ("shift", "group"))
    colours = dict(zip(groups, sns.color_palette("colorblind", len(groups)), strict=True))
    columns = 1 if len(shifts) <= MOST_ROWS else 2
    length = math.ceil(len(shifts) / columns)
    with sns.axes_style("ticks"):
        size = (4.6 * columns, 0.13 * length * (len(groups) + 1.2) + 1.3)
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(1, columns, squeeze=False, sharex=True)[0])
    for ax, first in zip(axes, range(0, len(shifts), length), strict=True):
        _draw_rows(ax, rows, shifts[first : first + length], groups, colours, notes)
    handles = [
        Line2D([], [], color=colours[g], marker=MARKERS[n % len(MARKERS)], ms=4.5, lw=1.2, label=g) for n, g in enumerate(groups)
    ]
    write_legend(figure, handles, codes, columns=2 * columns, size=8)
    return figure, axes


def _draw_rows(
    ax: Axes,
    rows: pd.DataFrame,
    shifts: Sequence[str],
    groups: Sequence[str],
    colours: Mapping[str, object],
    notes: Mapping[str, str],
) -> None:
    for row in rows[rows["shift"].isin(list(shifts))].itertuples():
        number = groups.index(row.group)
        position = shifts.index(row.shift) + (number + 1) / (len(groups) + 1) - 0.5
        colour = colours[row.group]
        ax.plot([row.low, row.high], [position, position], color=colour, lw=1.1)
        marker = MARKERS[number % len(MARKERS)]
        ax.plot(row.value, position, marker=marker, ms=3.8, color=colour, mfc="white" if row.hollow else colour, mew=0.9, ls="")
    for position in range(1, len(shifts)):
        ax.axhline(position - 0.5, color="0.9", lw=0.8)
    labels = [shift.replace(", ", ",\n") + (f"\n{notes[shift]}" if notes.get(shift) else "") for shift in shifts]
    ax.set_yticks(range(len(shifts)), labels, fontsize=8)
    ax.set_ylim(len(shifts) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.tick_params(axis="x", labelsize=8)
    sns.despine(ax=ax, left=True)


def _shared_notes(cells: pd.Series) -> str:
    """Return the codes that limit every point of a shift, a line of text each: others are drawn, or stand in the numbers."""
    common = set.intersection(*(set(cell.split()) for cell in cells))
    return "\n".join(code for cell in cells.iloc[:1] for code in cell.split() if code in common and code not in POINT_NOTES)
