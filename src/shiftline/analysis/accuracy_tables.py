"""Accuracy tables of other people: a row per model, a column per distribution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shiftline.analysis.baseline import BaselineFit, fit_baseline
from shiftline.analysis.notes import legend
from shiftline.analysis.robustness import effective_robustness
from shiftline.analysis.settings import AUTO, CLUSTERS, EACH, LineOptions
from shiftline.analysis.table_files import as_counts, as_fractions, as_text
from shiftline.analysis.tables import REFERENCE
from shiftline.contracts.require import near
from shiftline.errors import AnalysisError

BASELINE = "baseline"
OTHERS = "others"


def tidy_accuracies(
    wide: pd.DataFrame,
    *,
    model: str,
    reference: str | Sequence[str],
    shifts: Sequence[str],
    baseline: tuple[str, str] | None,
    percent: bool = False,
    n_reference: int | str | None = None,
    n_shift: int | str | None = None,
    cluster: str | None = AUTO,
) -> pd.DataFrame:
    """Return a tidy table of a wide one: see `shiftline.analysis`.

    Parameters
    ----------
    model : str
        Column of the models' names.
    reference : str or sequence of str
        Columns of accuracies on the reference distributions; one is named "reference" in the result, several keep their names.
    shifts : sequence of str
        Columns of accuracies under shift.
    baseline : tuple of str, or None
        (column, value): rows with it are the group "baseline", all others "others". None: all rows are.
    percent : bool
        Accuracies are percent, and are divided by 100. Columns whose cells have percent signs are so without it.
    n_reference, n_shift : int or str, optional
        Numbers of examples; as text, a column that holds them.
    cluster : str, optional
        A column that the result keeps, for `fit_baseline`; "auto": those that it looks for.

    Raises
    ------
    AnalysisError
        A column is missing, stands twice or holds text, a model has no name or stands twice, the baseline matches no row, or
        accuracies are not on the scale that was said.
    """
    references = (reference,) if isinstance(reference, str) else tuple(reference)
    named = (REFERENCE,) if len(references) == 1 else references
    kept = [c for c in CLUSTERS if c in wide.columns] if cluster == AUTO else [cluster] if cluster not in (None, EACH) else []
    marks = () if baseline is None else baseline[:1]
    for column in (model, *references, *shifts, *marks, *kept, *(n for n in (n_reference, n_shift) if isinstance(n, str))):
        if column not in wide.columns:
            known = [str(name) for name in wide.columns]
            raise AnalysisError(f"the table has no column {column!r}{near(column, known)} It has {', '.join(known)}.")
        if (count := int((wide.columns == column).sum())) > 1:
            raise AnalysisError(
                f"the table has {count} columns {column!r}: rename them in its file, so that it is known which is meant."
            )
    names = as_text(wide[model])
    if (blank := names == "").any():
        raise AnalysisError(
            f"row {int(np.flatnonzero(blank)[0]) + 1} has no model in the column {model!r}: expected a name in every row."
        )
    if names.duplicated().any():
        twice = names[names.duplicated()].iloc[0]
        rows = (np.flatnonzero(names == twice) + 1).tolist()
        raise AnalysisError(f"the model {twice!r} stands in the rows {', '.join(map(str, rows))}: expected one row per model.")
    chosen = np.ones(len(wide), bool) if baseline is None else _marked(as_text(wide[baseline[0]]), *baseline)
    if twice := set(references) & set(shifts):
        raise AnalysisError(f"the column {min(twice)!r} is named as a reference and as a shift: it is one of them.")
    numbers = {column: as_fractions(wide[column], column, percent=percent) for column in (*references, *shifts)}
    for column, values in numbers.items():
        if percent and values.max() <= 0.01:
            largest = 100 * values.max()
            warnings.warn(
                f"no accuracy of the column {column!r} is above 1 percent (the largest is {largest:g}): are they fractions?",
                stacklevel=2,
            )
    groups = np.where(chosen, BASELINE, OTHERS)
    on_reference, under_shift = (as_counts(wide[n], n) if isinstance(n, str) else n for n in (n_reference, n_shift))
    columns = [
        pd.DataFrame(
            {
                "model": names,
                "group": groups,
                "distribution": name,
                "value": values,
                "n": on_reference if name in named else under_shift,
                "alpha": np.nan,
                **{column: as_text(wide[column]) for column in kept},
            }
        )
        for name, values in zip((*named, *shifts), numbers.values(), strict=True)
    ]
    return pd.concat(columns, ignore_index=True).astype({"n": float})


def _marked(column: pd.Series, name: str, value: str) -> NDArray[np.bool_]:
    chosen = np.asarray(column == value, dtype=bool)
    if not chosen.any():
        there = [cell or "blank" for cell in dict.fromkeys(column)]
        more = " ..." if len(there) > 8 else ""
        raise AnalysisError(f"no row has {name}={value}: the column {name!r} has {', '.join(there[:8])}{more}.")
    return chosen


def fit_table(
    tidy: pd.DataFrame, shift: str, *, reference: str | Sequence[str] = REFERENCE, level: float = 0.95, **line: Unpack[LineOptions]
) -> tuple[BaselineFit, pd.DataFrame]:
    """Fit the line of one shift on the baseline rows, and return effective robustness of all rows that have both accuracies."""
    fit = fit_baseline(tidy, shift=shift, baseline=BASELINE, reference=reference, **line)
    rows = effective_robustness(tidy, shifts=[shift], baseline=BASELINE, reference=reference, level=level, **line)
    return fit, rows


def fit_document(fit: BaselineFit, rows: pd.DataFrame) -> dict[str, Any]:
    """Return a fit as JSON: the line, what to know of it, and one entry per model."""
    known = rows.dropna(subset=["effective_robustness"])
    columns = [
        "model",
        "group",
        "reference",
        "shifted",
        "predicted",
        "effective_robustness",
        "low",
        "high",
        "extrapolated",
        "notes",
    ]
    models = known[columns].rename(columns={"shifted": "shift"}).replace({np.nan: None}).to_dict("records")
    return {
        "shift": fit.shift,
        "slope": fit.slope,
        "slopes": dict(zip(fit.settings.references, fit.slopes.tolist(), strict=True)),
        "intercept": fit.intercept,
        "r2": fit.r2,
        "n": fit.n,
        "scale": fit.scale,
        "residual_std": fit.residual_std,
        "reliability": fit.reliability if np.isfinite(fit.reliability) else None,
        "clusters": fit.clusters,
        "weights": fit.settings.weights,
        "errors": fit.settings.errors,
        "extremes": fit.settings.extremes,
        "notes": {note.code: note.text for note in fit.notes},
        "left_out": len(rows) - len(known),
        "models": [{**row, "notes": legend([row["notes"]])} for row in models],
    }
