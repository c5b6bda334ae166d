"""What the line would be without each of its models, or each family of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd

from shiftline.analysis.axes import scale_named
from shiftline.analysis.baseline import FEWEST_MODELS, fit_points, place
from shiftline.analysis.settings import LineOptions, LineSettings
from shiftline.analysis.tables import REFERENCE, check_table, panel
from shiftline.errors import AnalysisError


def leave_one_out(
    table: pd.DataFrame,
    *,
    shift: str,
    baseline: str,
    by: str = "model",
    reference: str | Sequence[str] = REFERENCE,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Return what the line would be without each baseline model, or each family of them.

    Parameters
    ----------
    by : str
        "model", or a column of the table: "run", "architecture", or a family of your own.

    Returns
    -------
    DataFrame
        `by`, models, slope, intercept, r2 (of the line without them), residual (their mean distance to that line, transformed
        scale), change (of their own mean predicted accuracy, a fraction), sorted by the largest absolute `change`.

    Raises
    ------
    AnalysisError
        There is no such column, or without one of them there is no line.
    """
    settings = LineSettings.of(baseline, reference, **line)
    table = check_table(table, "group")
    points = panel(table, shift, references=settings.references)
    whole, placed, g = fit_points(points, settings), place(points, settings), scale_named(settings.scale)
    labels = points.models.index.to_series() if by == "model" else points.models.get(by)
    if labels is None:
        raise AnalysisError(f"there is no column {by!r} to leave out by: there are {', '.join(points.models.columns)}.")
    labels = labels.astype(str)
    rows = []
    for label in dict.fromkeys(labels[placed.base]):
        out = placed.base & (labels == label).to_numpy()
        if whole.n - out.sum() < FEWEST_MODELS + len(settings.references) - 1:
            raise AnalysisError(f"without {by} {label!r} {whole.n - out.sum()} baseline models are left, which is no line.")
        fit = fit_points(
            panel(table[~table["model"].isin(points.models.index[out])], shift, references=settings.references), settings
        )
        x = g.inverse(placed.x[out])
        x = x[:, 0] if x.shape[1] == 1 else x
        residual = float((placed.y[out] - fit.line(x)).mean())
        change = float((fit.predict(x) - whole.predict(x)).mean())
        rows.append(
            {
                by: label,
                "models": int(out.sum()),
                "slope": fit.slope,
                "intercept": fit.intercept,
                "r2": fit.r2,
                "residual": residual,
                "change": change,
            }
        )
    return pd.DataFrame(rows).sort_values("change", key=np.abs, ascending=False, ignore_index=True)
