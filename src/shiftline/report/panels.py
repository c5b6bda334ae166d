"""Accuracy under shift against that on the reference: points, curves of mixing coefficients, and the baseline line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from shiftline.analysis.axes import scale_named
from shiftline.analysis.baseline import BaselineFit, fit_baseline
from shiftline.analysis.robustness import effective_robustness
from shiftline.analysis.settings import LineOptions
from shiftline.analysis.tables import AVERAGE, REFERENCE, averaged, check_table, panel, shifts_of
from shiftline.report.axes import percent_axes, positions
from shiftline.report.figures import BASELINE_COLOUR, MARKERS, measured, panel_grid, write_legend


def robustness_figure(
    table: pd.DataFrame,
    *,
    baseline: str | None,
    title: str,
    reference: str | Sequence[str] = REFERENCE,
    linear_accuracy: bool = False,
    **line: Unpack[LineOptions],
) -> tuple[Figure, pd.DataFrame]:
    """Draw reference against shifted accuracy, one panel per shift and their average, with the baseline line and band.

    Parameters
    ----------
    baseline : str or None
        The group that fixes the line; there is none without it.
    reference : str or sequence of str
        With several references the x-axis shows what the line predicts from all of them.
    linear_accuracy : bool
        Draw beside each curve of mixing coefficients the accuracies between those of its ends, which choosing at random between
        their predictions gives (the linear-accuracy baseline of Wortsman et al. 2022).
    """
    table = check_table(table, "group")
    references = (reference,) if isinstance(reference, str) else tuple(reference)
    scale = line.get("scale", "probit")
    # Subsets of a shift have their own figures: support-*, and effective-robustness.
    shifts = averaged(table, shifts_of(table, None, references=references))
    fits: dict[str, BaselineFit] = {}
    if baseline is None:
        numbers = _pairs(table, shifts)
    else:
        numbers = effective_robustness(table, baseline=baseline, reference=reference, **line)
        fits = {s: fit_baseline(table, shift=s, baseline=baseline, reference=reference, **line) for s in shifts}
    drawn = numbers.dropna(subset=["reference", "shifted"])
    several = len(references) > 1 and bool(fits)
    if several:
        drawn = drawn.assign(reference=drawn["predicted"])
    names = [*shifts, AVERAGE] if AVERAGE in set(numbers["shift"]) else shifts
    others = [g for g in dict.fromkeys(table["group"]) if g != baseline]
    styles = _styles(table, others)
    figure, axes = panel_grid(len(names), width=2.9, height=2.75, legend=0.75)
    for ax, name in zip(axes, names, strict=True):
        rows = drawn[drawn["shift"] == name]
        on_axis = positions(scale)
        if fits:
            used = list(fits.values()) if name == AVERAGE else [fits[name]]
            draw_line(ax, used, rows["reference"], scale=scale, several=several)
            draw_baseline(ax, rows[rows["group"] == baseline], scale=scale)
        else:
            ends = on_axis([rows["reference"].min(), rows["reference"].max()])
            ax.plot(ends, ends, color="0.7", lw=1, ls=":")
        for group, style in styles.items():
            points = _along(rows[rows["group"] == group], table)
            if linear_accuracy and style["ls"] and len(points) > 1:
                straight = [on_axis(np.linspace(points[end].iloc[0], points[end].iloc[-1], 50)) for end in ("reference", "shifted")]
                ax.plot(*straight, color=style["color"], lw=1, ls="--")
            ax.plot(on_axis(points["reference"]), on_axis(points["shifted"]), mec="white", mew=0.3, lw=1, **style)
        percent_axes(ax, scale=scale, x=rows["reference"].to_numpy(), y=rows["shifted"].to_numpy())
        ax.set_title(_title(name, fits), fontsize=9)
        ax.tick_params(labelsize=8)
        sns.despine(ax=ax)
    handles = _line_handles(baseline, several) if fits else []
    handles += [] if several else [Line2D([], [], color="0.7", lw=1, ls=":", label="y = x")]
    handles += [Line2D([], [], lw=1, label=group, **{**style, "ms": 5}) for group, style in styles.items()]
    if linear_accuracy and any(style["ls"] for style in styles.values()):
        handles.append(Line2D([], [], color="0.3", lw=1, ls="--", label="linear accuracy between the ends"))
    codes = (code for fit in fits.values() for code in fit.codes)
    write_legend(figure, handles, codes, columns=min(4, len(handles)), size=9)
    x = (
        f"{measured(table, references)} predicted from {', '.join(references)}"
        if several
        else f"reference {measured(table, references)}"
    )
    for ax in axes[-4:]:
        ax.set_xlabel(f"{x} (%)", fontsize=9)
    shifted = measured(table, [name for name in names if name != AVERAGE])
    figure.supylabel(f"{shifted} under shift (%)", fontsize=10)
    figure.suptitle(f"{title}: {shifted} under shift against {x} ({scale} axes)", fontsize=11)
    return figure, numbers


def draw_line(ax: Axes, fits: Sequence[BaselineFit], reference: ArrayLike, *, scale: str, several: bool = False) -> None:
    """Draw the line of a panel with its 95 % band, and y = x, over a range of reference accuracies; of several lines their mean."""
    g, on_axis = scale_named(scale), positions(scale)
    left, right = on_axis([np.min(reference), np.max(reference)])
    x = np.linspace(float(left), float(right), 200)
    if several:
        # On this axis the line is y = x; its band would be another for every mixture of references.
        ax.plot(x, x, color=BASELINE_COLOUR, lw=1.5)
        return
    bands = [fit.confidence(g.inverse(x)) for fit in fits]
    # The average panel shows the average of the per-shift lines, not a line through averages.
    middle, low, high = (np.mean([band[i] for band in bands], axis=0) for i in range(3))
    ax.fill_between(x, on_axis(low), on_axis(high), color=BASELINE_COLOUR, alpha=0.18, lw=0)
    ax.plot(x, on_axis(middle), color=BASELINE_COLOUR, lw=1.5)
    ax.plot(x, x, color="0.7", lw=1, ls=":")


def draw_baseline(ax: Axes, rows: pd.DataFrame, *, scale: str) -> None:
    """Draw the models that fix a line: columns reference and shifted, fractions."""
    on_axis = positions(scale)
    ax.plot(on_axis(rows["reference"]), on_axis(rows["shifted"]), "o", ms=3, color=BASELINE_COLOUR, alpha=0.7, mew=0)


def _pairs(table: pd.DataFrame, shifts: Sequence[str]) -> pd.DataFrame:
    """Return reference and shifted accuracies of every model, by shift and on average."""
    found = []
    for shift in shifts:
        points = panel(table, shift)
        ends = {"reference": points.x.value[:, 0], "shifted": points.y.value}
        found.append(points.models.reset_index().assign(shift=shift, **ends))
    pairs = pd.concat(found)[[c for c in ("shift", "model", "group", "key", "reference", "shifted") if c in found[0].columns]]
    if len(shifts) == 1:
        return pairs
    means = pairs.groupby(["model", "group"], sort=False)[["reference", "shifted"]].agg(lambda values: values.mean(skipna=False))
    return pd.concat([pairs, means.reset_index().assign(shift=AVERAGE)], ignore_index=True)


def _styles(table: pd.DataFrame, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how groups are drawn: one colour and different alphas as a curve, everything else as points."""
    found = {}
    for number, (group, colour) in enumerate(zip(groups, sns.color_palette("colorblind", len(groups)), strict=True)):
        curve = table.loc[table["group"] == group, "alpha"].notna().any() if "alpha" in table.columns else False
        found[group] = {
            "color": colour,
            "marker": MARKERS[number % len(MARKERS)],
            "ls": "-" if curve else "",
            "ms": 2.8 if curve else 5.0,
        }
    return found


def _along(points: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return points in the order of their mixing coefficients, where they have some."""
    if "alpha" not in table.columns:
        return points
    alphas = table.drop_duplicates("model").set_index("model")["alpha"]
    return points.assign(alpha=points["model"].map(alphas)).sort_values("alpha", kind="stable")


def _title(name: str, fits: Mapping[str, BaselineFit]) -> str:
    if not fits:
        return name
    if name == AVERAGE:
        return f"{name} (mean of the panels)"
    limits = " ".join(fits[name].codes)
    return f"{name} ($R^2$ = {fits[name].r2:.2f})" + (f"\n{limits}" if limits else "")


def _line_handles(baseline: str | None, several: bool) -> list[Line2D]:
    return [
        Line2D([], [], color=BASELINE_COLOUR, marker="o", ls="", ms=4, label=f"{baseline} (baseline)"),
        Line2D([], [], color=BASELINE_COLOUR, lw=1.5, label="baseline fit" if several else "baseline fit, 95 % band"),
    ]
