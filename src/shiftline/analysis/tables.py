"""From tidy tables to the points of one panel: joins are by model, and a missing cell is an error or a visible gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shiftline.analysis.axes import Floats
from shiftline.errors import AnalysisError

REFERENCE = "reference"
VALIDATION = "reference val"
AVERAGE = "average"
NOT_SHIFTS = (REFERENCE, VALIDATION)
PROPORTIONS = ("accuracy", "top-5-accuracy", "pm-k", "frame-accuracy", "multi-label-accuracy", "shape-bias")


def check_table(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the table with the columns that it may lack.

    `n` and `se` are NaN where it has none, `label_space` is empty, `subset` (the shift is a subset of another, and is left out of
    averages) is False, and `proportion` (the value is a share of n examples) is True where no column `metric` says otherwise: of
    metrics only those of `PROPORTIONS` are taken for one.

    Raises
    ------
    AnalysisError
        A column is missing, a number of examples is below 1, a distribution has values of two metrics, or a model has two values
        for one distribution.
    """
    for column in ("model", "distribution", "value", *columns):
        if column not in table.columns:
            raise AnalysisError(f"the table has no column {column!r}: it has {', '.join(map(str, table.columns))}.")
    metric = table["metric"] if "metric" in table.columns else pd.Series("accuracy", index=table.index)
    defaults = {"n": np.nan, "se": np.nan, "label_space": "", "subset": False, "proportion": metric.isin(PROPORTIONS)}
    table = table.assign(**{name: value for name, value in defaults.items() if name not in table.columns})
    counts = table["n"].astype(float)
    if (counts < 1).any():
        row = table[counts < 1].iloc[0]
        raise AnalysisError(f"{row['model']!r} has n={row['n']:g} on {row['distribution']!r}: expected 1 example or more.")
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
    return table


def check_level(level: float) -> float:
    """Return the level of an interval.

    Raises
    ------
    AnalysisError
        It is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise AnalysisError(f"level={level:g}: expected a fraction between 0 and 1, 0.95 for 95 %.")
    return level


def reference_once(table: pd.DataFrame, *, reference: str = REFERENCE) -> pd.DataFrame:
    """Return the table with the reference's values in its own classes only: those that come first."""
    spaces = table.loc[table["distribution"] == reference, "label_space"]
    if spaces.empty:
        return table
    return table[(table["distribution"] != reference) | (table["label_space"] == spaces.iloc[0])]


def shifts_of(table: pd.DataFrame, shifts: Sequence[str] | None, *, references: Sequence[str] = (REFERENCE,)) -> list[str]:
    """Return the shifts to look at, all of the table's unless some are named.

    Raises
    ------
    AnalysisError
        There are none, or one that is named is not in the table.
    """
    present = [d for d in dict.fromkeys(table["distribution"]) if d not in (*NOT_SHIFTS, *references)]
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


@dataclass(frozen=True)
class Values:
    """The values of some models on one or several distributions; NaN where one is missing.

    Attributes
    ----------
    value : array
        Fractions.
    n, se : array
        Numbers of examples, and standard errors of what is no proportion; NaN where unknown.
    proportion : array of bool
    """

    value: Floats
    n: Floats
    se: Floats
    proportion: NDArray[np.bool_]

    def variance(self, value: Floats) -> Floats:
        """Return the variance that the finite number of examples gives values like these; NaN where it is unknown."""
        with np.errstate(invalid="ignore"):
            binomial = np.where(self.proportion, value * (1 - value) / self.n, np.nan)
        return np.where(np.isfinite(self.se), self.se**2, binomial)


@dataclass(frozen=True)
class Points:
    """Where every model of a table lies on one panel.

    Attributes
    ----------
    models : DataFrame
        Indexed by model, in the table's order: the columns that do not change with the distribution, and `key` of the shifted
        value.
    x : Values of shape (models, references)
    y : Values of shape (models,)
    metrics : bool
        Reference and shift are measured by different metrics.
    """

    shift: str
    models: pd.DataFrame
    x: Values
    y: Values
    metrics: bool


PER_DISTRIBUTION = {"distribution", "value", "n", "se", "label_space", "subset", "proportion", "metric", "key", "model"}


def panel(table: pd.DataFrame, shift: str, *, references: Sequence[str] = (REFERENCE,)) -> Points:
    """Join reference and shifted accuracy by model, both in the label space of the shift.

    Raises
    ------
    AnalysisError
        The shift has values in several label spaces, or a reference has none in the shift's.
    """
    y = table[table["distribution"] == shift].set_index("model")
    spaces = list(dict.fromkeys(y["label_space"]))
    if len(spaces) > 1:
        raise AnalysisError(f"{shift!r} has values in the label spaces {', '.join(map(repr, spaces))}: keep one.")
    axes = [_reference(table, name, shift, spaces) for name in references]
    models = table.drop_duplicates("model").set_index("model")
    models = models[[c for c in models.columns if c not in PER_DISTRIBUTION]]
    if "key" in table.columns:
        models = models.assign(key=y["key"].reindex(models.index))
    columns = [_values(rows, models.index) for rows in axes]
    x = Values(*(np.column_stack([getattr(one, name) for one in columns]) for name in ("value", "n", "se", "proportion")))
    metrics = {name for rows in (y, *axes) for name in rows.get("metric", ())}
    return Points(shift, models, x, _values(y, models.index), len(metrics) > 1)


def _reference(table: pd.DataFrame, reference: str, shift: str, spaces: Sequence[str]) -> pd.DataFrame:
    rows = table[table["distribution"] == reference]
    if rows.empty:
        raise AnalysisError(
            f"the table has no rows for {reference!r}: it has {', '.join(map(repr, dict.fromkeys(table['distribution'])))}."
        )
    there = list(dict.fromkeys(rows["label_space"]))
    if spaces and spaces[0] not in there:
        raise AnalysisError(
            f"{shift!r} is scored in the label space {spaces[0]!r}, {reference!r} only in {', '.join(map(repr, there))}: both axes "
            "of a panel need one."
        )
    return rows[rows["label_space"].isin(spaces)].set_index("model")


def _values(rows: pd.DataFrame, models: pd.Index) -> Values:
    value, n, se = (rows[name].astype(float).reindex(models).to_numpy() for name in ("value", "n", "se"))
    return Values(value, n, se, rows["proportion"].reindex(models, fill_value=True).to_numpy(bool))
