"""Percent axes on a transformed scale: points stand where g puts them, ticks are labelled in percent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike

from shiftline.analysis.axes import Floats, scale_named

_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


def positions(scale: str) -> Callable[[ArrayLike], Floats]:
    """Return where accuracies (fractions) stand on an axis; those at its ends just inside."""
    g = scale_named(scale)
    return lambda values: g.forward(np.clip(np.asarray(values, dtype=float), 0.002, 0.998))


def percent_axes(axes: Axes, *, scale: str, x: Floats, y: Floats, margin: float = 0.06) -> None:
    """Set limits around accuracies x and y (fractions) and label both axes in percent."""
    g = scale_named(scale)
    for axis, values, set_limits in ((axes.xaxis, x, axes.set_xlim), (axes.yaxis, y, axes.set_ylim)):
        finite = g.forward(np.clip(np.asarray(values, dtype=float), 0.002, 0.998)) if g.bounded else np.asarray(values)
        low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
        pad = margin * max(high - low, 1e-3)
        set_limits(low - pad, high + pad)
        ticks = g.forward(np.array(_TICKS))
        inside = [(p, t) for p, t in zip(ticks, _TICKS, strict=True) if low - pad <= p <= high + pad]
        chosen = _spread([p for p, _ in inside], 0.11 * (high - low + 2 * pad))
        labels = {p: f"{100 * t:g}" for p, t in inside}
        axis.set_major_locator(FixedLocator(chosen))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda p, _, names=labels: _nearest(p, names)))


def _nearest(position: float, names: dict[float, str]) -> str:
    return names[min(names, key=lambda known: abs(known - position))] if names else ""


def _spread(positions: list[float], distance: float) -> list[float]:
    """Keep ticks that are at least `distance` apart, so that their labels do not overlap."""
    kept: list[float] = []
    for position in positions:
        if not kept or position - kept[-1] >= distance:
            kept.append(position)
    return kept
