"""What limits a line, said with numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from shiftline.analysis.axes import Floats
from shiftline.analysis.line import Line
from shiftline.analysis.notes import Note
from shiftline.contracts.require import counted
from shiftline.errors import AnalysisError

FEWEST_CLUSTERS = 5
FEW_MODELS = 12
LOW_R2 = 0.5
LOW_RELIABILITY = 0.9
CURVED_P = 0.01
UNEVEN_P = 0.01


def line_notes(
    line: Line,
    *,
    r2: float,
    reliability: float,
    corrected: bool,
    families: Mapping[str, int],
    counts: Mapping[str, int],
    metrics: bool,
    uneven: float,
) -> tuple[Note, ...]:
    """Return the notes of a line.

    Parameters
    ----------
    reliability : float
        See `BaselineFit`.
    corrected : bool
        The noise of the reference accuracies was taken off.
    families : mapping of str to int
        How many runs, architectures, ... the models come from.
    counts : mapping of str to int
        Models that were "clipped", "excluded" or are "missing".
    metrics : bool
        The axes have different metrics.
    uneven : float
        The p-value of `uneven_p` where it was asked.
    """
    found = []
    few = [counted(count, name) for name, count in families.items() if count < min(FEWEST_CLUSTERS, line.n)]
    if few:
        found.append(Note.of("few-clusters", ", ".join(few)))
    if line.n < FEW_MODELS:
        found.append(Note.of("few-models", counted(line.n, "model")))
    if r2 < LOW_R2:
        found.append(Note.of("low-r2", f"R^2 is {r2:.2f}"))
    if line.sse <= 1e-20 * max(line.total, 1e-300):
        found.append(Note.of("exact"))
    elif (line.coefficients[1:] <= _half_widths(line)).any():
        found.append(Note.of("flat", "slope " + ", ".join(f"{slope:.2f}" for slope in line.coefficients[1:])))
    if not corrected and (p := quadratic_p(line)) < CURVED_P:
        found.append(Note.of("curved", f"p = {p:.2g}"))
    if uneven < UNEVEN_P:
        allowed = "does not allow for it, cluster='model' does" if line.is_classical else "allows for it"
        found.append(Note.of("uneven", f"p = {uneven:.2g}; the interval {allowed}"))
    if corrected:
        found.append(Note.of("corrected", f"reliability {reliability:.2f}"))
    elif reliability < LOW_RELIABILITY:
        found.append(Note.of("noisy-x", f"reliability {reliability:.2f}; errors='in-x' corrects it"))
    of = f"of {line.n + counts['excluded'] + counts['missing']}"
    found += [Note.of(code, f"{count} {of}") for code, count in counts.items() if count]
    if metrics:
        found.append(Note.of("metrics"))
    return tuple(found)


def _half_widths(line: Line) -> Floats:
    """Return the half-widths of the slopes' 95 % intervals."""
    directions = np.eye(line.k + 1)[1:]
    width: Floats = stats.t.ppf(0.975, line.degrees_of_freedom(directions)) * np.sqrt(np.diag(line.covariance())[1:])
    return width


def uneven_p(line: Line) -> float:
    """Return the p-value of squared residuals that depend on x (Breusch-Pagan, in Koenker's form); 1 for an exact line."""
    squares = line.weights * line.residuals**2
    if np.ptp(squares) == 0 or line.df < 2:
        return 1.0
    explained = Line(line.design[:, 1:], squares, np.ones(line.n))
    return float(stats.chi2.sf(line.n * (1 - explained.sse / explained.total), line.k))


def quadratic_p(line: Line) -> float:
    """Return the p-value of quadratic terms beside the straight ones, by F; 1 where there are too few models to ask."""
    x = line.design[:, 1:]
    more = np.column_stack([x, (x - x.mean(axis=0)) ** 2])
    df = line.n - more.shape[1] - 1
    if df < 2:
        return 1.0
    try:
        curved = Line(more, line.at(x) + line.residuals, line.weights)
    except AnalysisError:
        return 1.0
    if curved.sse <= 0:
        return 1.0
    return float(stats.f.sf((line.sse - curved.sse) / line.k / (curved.sse / df), line.k, df))
