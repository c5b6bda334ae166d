"""Curves along the mixing coefficient, and two ways of choosing it: validated (honest) and oracle (a bound)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from shiftline.analysis.tables import AVERAGE, REFERENCE, VALIDATION, averaged, check_table, reference_once, shifts_of
from shiftline.errors import AnalysisError


def alpha_curve(table: pd.DataFrame, *, group: str) -> pd.DataFrame:
    """Return accuracy by mixing coefficient.

    Parameters
    ----------
    table : DataFrame
        Tidy, with a column `alpha`.
    group : str
        A group of interpolations of one pair of models.

    Returns
    -------
    DataFrame
        Indexed by alpha: one column per distribution and "average" (of the shifts), fractions.

    Raises
    ------
    AnalysisError
        The group has no mixing coefficients, or has one of them twice.
    """
    table = check_table(table, "group", "alpha")
    table = reference_once(table)
    rows = table[(table["group"] == group) & table["alpha"].notna()]
    if rows.empty:
        with_alpha = dict.fromkeys(table.loc[table["alpha"].notna(), "group"])
        raise AnalysisError(
            f"the group {group!r} has no mixing coefficients: groups that have are {', '.join(map(repr, with_alpha)) or 'none'}."
        )
    if rows.duplicated(["alpha", "distribution"]).any():
        raise AnalysisError(f"the group {group!r} holds several curves (one alpha twice): give each pair a group of its own.")
    curve = rows.pivot(index="alpha", columns="distribution", values="value")
    curve = curve[list(dict.fromkeys(rows["distribution"]))]
    shifts = [c for c in curve.columns if c not in (REFERENCE, VALIDATION)]
    if shifts:
        # skipna=False: an average over fewer shifts would be another number.
        curve[AVERAGE] = curve[averaged(table, shifts)].mean(axis=1, skipna=False)
    return curve


@dataclass(frozen=True)
class AlphaChoice:
    """Two chosen mixing coefficients.

    Attributes
    ----------
    validated : float
        Best on the reference's val split: what a practitioner can choose.
    oracle : float
        Best on the average of the shifts: what nobody can choose, a bound.
    cost : float
        Average accuracy under shift that choosing by validation gives away, a fraction.
    """

    validated: float
    oracle: float
    cost: float


def choose_alpha(table: pd.DataFrame, *, group: str, one_standard_error: bool = False) -> AlphaChoice:
    """Choose the mixing coefficient of a group in both ways; of ties the smallest.

    Parameters
    ----------
    one_standard_error : bool
        Validated: the smallest coefficient whose accuracy is within one standard error of the best one's.

    Raises
    ------
    AnalysisError
        There are no shifts or no validation rows.
    """
    curve = alpha_curve(table, group=group)
    shifts_of(table, None)
    if VALIDATION not in curve.columns:
        raise AnalysisError(f"the group {group!r} was not evaluated on {VALIDATION!r}: alpha cannot be validated.")
    best = curve[VALIDATION].max()
    slack = 0.0
    if not curve[AVERAGE].notna().any():
        raise AnalysisError(f"no mixing coefficient of {group!r} has been evaluated on every shift: run the study to its end.")
    if one_standard_error:
        if not table["n"].notna().any() if "n" in table.columns else True:
            raise AnalysisError("the one-standard-error rule needs the number of examples: give the table a column n.")
        rows = table[(table["group"] == group) & (table["distribution"] == VALIDATION)]
        slack = float((best * (1 - best) / rows["n"].iloc[0]) ** 0.5)
    validated = float(curve.index[curve[VALIDATION] >= best - slack].min())
    oracle = float(curve[AVERAGE].idxmax())
    return AlphaChoice(validated, oracle, float(curve[AVERAGE].max() - curve.loc[validated, AVERAGE]))
