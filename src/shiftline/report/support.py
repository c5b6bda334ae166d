"""Figures of a split by support: effective robustness over thresholds, calibration, density ratios, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from shiftline.analysis.axes import Floats

SUBSET_STYLES = {
    "in": ("-", "o", "in-support"),
    "out": ("--", "s", "out-of-support"),
    "out, matched": (":", "^", "out, as difficult as in"),
}
"""Of lines: style, marker, and what the legend says; colours are those of groups."""


def support_figure(
    curve: pd.DataFrame,
    calibration: pd.DataFrame,
    reference: Floats,
    shifted: Floats,
    *,
    baseline: str,
    chosen: Sequence[float],
    title: str,
) -> Figure:
    """Draw what a split by support says, and what it rests on.

    Parameters
    ----------
    curve : DataFrame
        From `shiftline.analysis.over_thresholds`.
    calibration : DataFrame
        From `shiftline.analysis.calibration_curve`.
    reference, shifted : arrays of float
        Density ratios of both sides' examples.
    chosen : sequence of float
        Thresholds of the study's subsets.
    """
    with sns.axes_style("ticks"):
        figure = Figure(figsize=(10.2, 3.9), layout="constrained")
        axes = figure.subplots(1, 3)
    _draw_curve(axes[0], curve, baseline, chosen)
    axes[1].plot([0, 1], [0, 1], color="0.7", lw=1, ls=":")
    errors = [calibration["observed"] - calibration["low"], calibration["high"] - calibration["observed"]]
    axes[1].errorbar(
        calibration["predicted"], calibration["observed"], yerr=errors, fmt="o", ms=3.5, color="C0", elinewidth=1, capsize=2
    )
    axes[1].set_xlabel("calibrated probability of being reference", fontsize=9)
    axes[1].set_ylabel("share that is reference", fontsize=9)
    axes[1].set_title("calibration (95 % intervals)", fontsize=10)
    _draw_histogram(axes[2], reference, shifted, chosen)
    for ax in axes:
        ax.tick_params(labelsize=8)
        sns.despine(ax=ax)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_curve(ax: Axes, curve: pd.DataFrame, baseline: str, chosen: Sequence[float]) -> None:
    groups = [group for group in dict.fromkeys(curve["group"]) if group != baseline]
    colours = dict(zip(groups, sns.color_palette("colorblind", len(groups)), strict=True))
    for group, colour in colours.items():
        for subset, (style, marker, _) in SUBSET_STYLES.items():
            rows = curve[(curve["group"] == group) & (curve["subset"] == subset)].sort_values("threshold")
            ax.plot(rows["threshold"], rows["effective_robustness"], style, marker=marker, ms=3, lw=1.1, color=colour)
            if rows["low"].notna().any():
                ax.fill_between(rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.12, lw=0)
    # Bands of subsets with few images and no error may be as wide as the axis.
    ends = curve.loc[curve["group"] != baseline, "effective_robustness"]
    ax.set_ylim(ends.min() - 0.1, ends.max() + 0.15)
    ax.axhline(0, color="0.6", lw=0.8)
    for threshold in dict.fromkeys(chosen):
        ax.axvline(threshold, color="0.4", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    ax.set_xlabel("threshold of the density ratio", fontsize=9)
    ax.set_ylabel("effective robustness (pp)", fontsize=9)
    ax.set_title("effective robustness by subset", fontsize=10)
    handles = [Line2D([], [], color=colour, lw=2, label=group) for group, colour in colours.items()]
    for subset, (style, marker, label) in SUBSET_STYLES.items():
        # Halves of the baseline models rate the difficulty and fix the line: fewer than six leave it out.
        there = "" if (curve["subset"] == subset).any() else " (has no line: too few models or images)"
        handles.append(Line2D([], [], color="0.3", ls=style, marker=marker, ms=3, lw=1, label=label + there))
    ax.legend(handles=handles, fontsize=6.5, frameon=False, loc="best")


def _draw_histogram(ax: Axes, reference: Floats, shifted: Floats, chosen: Sequence[float]) -> None:
    logarithms = [np.log10(np.clip(ratios, 1e-5, 1e5)) for ratios in (reference, shifted)]
    edges = np.linspace(-5, 5, 51)
    for values, colour, label in zip(logarithms, ("C0", "C1"), ("reference", "shift"), strict=True):
        ax.hist(values, bins=edges.tolist(), weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.55, label=label)
    for threshold in dict.fromkeys(chosen):
        ax.axvline(np.log10(threshold), color="0.4", lw=0.8, ls=":")
    ax.set_xlabel(r"$\log_{10}$ density ratio (ends: and beyond)", fontsize=9)
    ax.set_ylabel("share of the examples", fontsize=9)
    ax.set_title("density ratios, threshold dotted", fontsize=10)
    ax.legend(fontsize=8, frameon=False)


def examples_figure(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], *, title: str) -> Figure:
    """Draw rows of images, each with a caption: most in-support, most out-of-support, and the reference's own."""
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.05 * columns + 0.2, 1.62 * len(rows) + 0.4), layout="constrained")
    bands = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for band, (name, images) in zip(bands, rows.items(), strict=True):
        band.suptitle(name, fontsize=9)
        for ax, (image, caption) in zip(band.subplots(1, columns, squeeze=False)[0], images, strict=False):
            ax.imshow(image, interpolation="nearest" if max(image.shape) < 100 else "antialiased")
            ax.set_title(caption, fontsize=6.5)
        for ax in band.axes:
            ax.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure
