"""From tidy tables to the numbers of one panel: joins are by model, and a missing cell is an error or a visible gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shiftline.errors import AnalysisError

REFERENCE = "reference"
VALIDATION = "reference val"
AVERAGE = "average"
NOT_SHIFTS = (REFERENCE, VALIDATION)


def check_table(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the table with the columns `n` and `se`, NaN where it has none, `label_space`, empty where it has none, and `subset`.

    `subset` marks shifts that are subsets of others: they are left out of averages.

    Raises
    ------
    AnalysisError
        A column is missing, a distribution has values of two metrics, or a model has two values for one distribution.
    """
    for column in ("model", "distribution", "value", *columns):
        if column not in table.columns:
            raise AnalysisError(f"the table has no column {column!r}: it has {', '.join(map(str, table.columns))}.")
    table = table if "se" in table.columns else table.assign(se=np.nan)
    table = table if "label_space" in table.columns else table.assign(label_space="")
    table = table if "subset" in table.columns else table.assign(subset=False)
    if "metric" in table.columns:
        for (distribution, _), metrics in table.groupby(["distribution", "label_space"], sort=False)["metric"].unique().items():
            if len(metrics) > 1:
                raise AnalysisError(f"{distribution!r} has values of the metrics {', '.join(sorted(metrics))}: keep one.")
    twice = table.duplicated(["model", "distribution", "label_space"])
    if twice.any():
        row = table[twice].iloc[0]
        raise AnalysisError(
            f"{row['model']!r} has two values on {row['distribution']!r}: expected one row per model and distribution."
        )
    return table if "n" in table.columns else table.assign(n=np.nan)


def reference_once(table: pd.DataFrame, *, reference: str = REFERENCE) -> pd.DataFrame:
    """Return the table with the reference's values in its own classes only: those that come first."""
    spaces = table.loc[table["distribution"] == reference, "label_space"]
    if spaces.empty:
        return table
    return table[(table["distribution"] != reference) | (table["label_space"] == spaces.iloc[0])]


def shifts_of(table: pd.DataFrame, shifts: Sequence[str] | None, *, reference: str = REFERENCE) -> list[str]:
    """Return the shifts to look at, all of the table's unless some are named.

    Raises
    ------
    AnalysisError
        There are none, or one that is named is not in the table.
    """
    present = [d for d in dict.fromkeys(table["distribution"]) if d not in (*NOT_SHIFTS, reference)]
    if not present:
        raise AnalysisError(
            "effective robustness needs a shifted distribution, the table has only "
            f"{', '.join(map(repr, dict.fromkeys(table['distribution'])))}. Declare shifts = {{name: distribution}}."
        )
    for shift in shifts or ():
        if shift not in present:
            raise AnalysisError(f"there is no shift {shift!r}: there are {', '.join(map(repr, present))}.")
    return list(shifts or present)


def averaged(table: pd.DataFrame, shifts: Sequence[str]) -> list[str]:
    """Return the shifts that an average is taken over: not those that are subsets of others, unless there is nothing else."""
    subsets = set(table.loc[table["subset"], "distribution"])
    return [shift for shift in shifts if shift not in subsets] or list(shifts)


def panel(table: pd.DataFrame, shift: str, *, reference: str = REFERENCE) -> pd.DataFrame:
    """Join reference and shifted accuracy by model, both in the label space of the shift.

    Returns
    -------
    DataFrame
        Indexed by model, in the table's order: reference, shifted (fractions, NaN where missing), n_reference, n_shifted,
        se_reference, se_shifted (standard errors of what is no proportion), key (of the shifted value), and the table's other
        per-model columns.
    """
    per_model = [c for c in ("group", "recipe", "run", "seed", "epoch", "alpha") if c in table.columns]
    y = table[table["distribution"] == shift].set_index("model")
    spaces = list(dict.fromkeys(y["label_space"]))
    if len(spaces) > 1:
        raise AnalysisError(f"{shift!r} has values in the label spaces {', '.join(map(repr, spaces))}: keep one.")
    x = table[table["distribution"] == reference]
    there = list(dict.fromkeys(x["label_space"]))
    if not x.empty and spaces and spaces[0] not in there:
        raise AnalysisError(
            f"{shift!r} is scored in the label space {spaces[0]!r}, {reference!r} only in {', '.join(map(repr, there))}: both axes "
            "of a panel need one."
        )
    x = x[x["label_space"].isin(spaces)].set_index("model")
    if x.empty:
        raise AnalysisError(
            f"the table has no rows for {reference!r}: it has {', '.join(map(repr, dict.fromkeys(table['distribution'])))}."
        )
    order = list(dict.fromkeys(table["model"]))
    joined = pd.DataFrame(
        {
            "reference": x["value"].reindex(order),
            "shifted": y["value"].reindex(order),
            "n_reference": x["n"].reindex(order),
            "n_shifted": y["n"].reindex(order),
            "se_reference": x["se"].reindex(order),
            "se_shifted": y["se"].reindex(order),
        }
    )
    if "key" in table.columns:
        joined["key"] = y["key"].reindex(order)
    first = table.drop_duplicates("model").set_index("model")
    for column in per_model:
        joined[column] = first[column].reindex(order)
    return joined
