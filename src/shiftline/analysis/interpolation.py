"""The table of the WiSE-FT paper: accuracies along weight interpolation, with averages and the best coefficient of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from shiftline.analysis.tables import AVERAGE
from shiftline.errors import AnalysisError

BOTH = "average with reference"
"""The mean of the reference and of the average over shifts."""
END_TO_END, LINEAR = "E2E", "LC"
BEST = "best alpha"


def interpolation_table(rows: Sequence[Mapping[str, Any]], *, reference: str, shifts: Sequence[str]) -> pd.DataFrame:
    """Return accuracies by method and mixing coefficient.

    Parameters
    ----------
    rows : sequence of mappings
        One per model, as `shiftline.papers.rows` reads them: `alpha`, `freeze_encoder`, `exp_name`, and the numbers.
    reference : str
        Name of the reference's number, ``ImageNet:top1``.
    shifts : sequence of str
        Names of the shifts' numbers.

    Returns
    -------
    DataFrame
        method ("E2E", "LC" where the encoder was frozen; with the experiment's name where there are several), alpha, a column per
        number, `average` (over shifts) and `average with reference`; fractions. Sorted by method and alpha.

    Raises
    ------
    AnalysisError
        A method has a mixing coefficient twice.
    """
    names = dict.fromkeys(row.get("exp_name") for row in rows)
    found = []
    for row in rows:
        method = LINEAR if row.get("freeze_encoder") else END_TO_END
        if len(names) > 1 and row.get("exp_name"):
            method = f"{method} {row['exp_name']}"
        found.append({"method": method, "alpha": float(row["alpha"]), **{name: row[name] for name in (reference, *shifts)}})
    table = pd.DataFrame(found).drop_duplicates()
    if (twice := table[table.duplicated(["method", "alpha"])]).size:
        raise AnalysisError(
            f"{twice['method'].iloc[0]} has alpha {twice['alpha'].iloc[0]:g} twice, with other numbers: the rows are of several "
            "fine-tunings. Give the results of one, or name each with --exp_name."
        )
    if shifts:
        table[AVERAGE] = table[list(shifts)].mean(axis=1)
        table[BOTH] = (table[reference] + table[AVERAGE]) / 2
    return table.sort_values(["method", "alpha"], ignore_index=True)


def interpolation_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the paper prints of each method: both ends, alpha = 0.5, and the best coefficient of each column.

    Returns
    -------
    DataFrame
        As `interpolation_table`, with `row` in the place of alpha. "best alpha" is chosen for each column on that column itself: a
        bound that nobody can choose, its coefficients are in the row below it.
    """
    numbers = [name for name in table.columns if name not in ("method", "alpha")]
    found: list[dict[str, Any]] = []
    for method, rows in table.groupby("method", sort=False):
        for alpha, label in ((0.0, "zero-shot (alpha 0)"), (1.0, "fine-tuned (alpha 1)"), (0.5, "alpha 0.5")):
            there = rows.loc[np.isclose(rows["alpha"], alpha), numbers]
            found += [{"method": method, "row": label, **row} for row in there.to_dict("records")]
        found.append({"method": method, "row": BEST, **rows[numbers].max().to_dict()})
        chosen = {name: rows["alpha"].iloc[int(rows[name].argmax())] for name in numbers}
        found.append({"method": method, "row": "its alpha", **chosen})
    return pd.DataFrame(found)
