"""A line from published accuracies, as options of commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiftline.contracts.published import PublishedBaseline, baseline_table
from shiftline.errors import AnalysisError

if TYPE_CHECKING:
    from shiftline.study import ExperimentManager

BaselineTable = Annotated[
    Path | None, typer.Option("--baseline-table", metavar="FILE", help="Fit the line on published accuracies (csv, xlsx, ...).")
]
BaselineColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=COLUMN",
        help="Of the baseline table: model=, reference=, reference:SHIFT=, family= or SHIFT=; may be repeated. Columns are named "
        "model, reference and as the shifts unless said.",
    ),
]
BaselinePercent = Annotated[bool, typer.Option("--percent", help="Accuracies of the baseline table are percent, not fractions.")]
BaselineReferences = Annotated[
    int | None, typer.Option("--n-reference", min=1, help="Examples behind a reference accuracy of the baseline table.")
]
BaselineShifts = Annotated[
    int | None, typer.Option("--n-shift", min=1, help="Examples behind an accuracy under shift of the baseline table.")
]


def set_baseline(
    study: ExperimentManager,
    path: Path | None,
    columns: Sequence[str] | None,
    *,
    percent: bool,
    n_reference: int | None,
    n_shift: int | None,
) -> None:
    """Give a study the baseline that the options declare, if they do."""
    found = published_baseline(path, columns, shifts=list(study.shifts), percent=percent, n_reference=n_reference, n_shift=n_shift)
    if found is not None:
        study.baseline = found


def published_baseline(
    path: Path | None,
    columns: Sequence[str] | None,
    *,
    shifts: Sequence[str],
    percent: bool,
    n_reference: int | None,
    n_shift: int | None,
) -> PublishedBaseline | None:
    """Return the baseline that the options declare; None where no table is named.

    Raises
    ------
    AnalysisError
        A column is not written as ROLE=COLUMN, a role does not exist, or columns are named without a table.
    """
    if path is None:
        if columns or percent or n_reference or n_shift:
            raise AnalysisError("--column, --percent, --n-reference and --n-shift say how --baseline-table FILE is read: name one.")
        return None
    said: dict[str, str] = {}
    for word in columns or ():
        # Names of shifts may hold the sign, those of columns too: roles are known.
        roles = ("model", "family", "reference", *shifts, *(f"reference:{shift}" for shift in shifts))
        role = next((role for role in sorted(roles, key=len, reverse=True) if word.startswith(f"{role}=")), None)
        if role is None:
            raise AnalysisError(f"--column {word}: expected ROLE=COLUMN, roles are {', '.join(roles)}.")
        said[role] = word.removeprefix(f"{role}=")
    apart = {shift: said[f"reference:{shift}"] for shift in shifts if f"reference:{shift}" in said}
    shared = said.get("reference", "reference")
    named = {shift: said[shift] for shift in shifts if shift in said}
    return baseline_table(
        str(path),
        model=said.get("model", "model"),
        reference={shift: apart.get(shift, shared) for shift in shifts} if apart else shared,
        shifts=named,
        percent=percent,
        n_reference=n_reference,
        n_shift=n_shift,
        family=said.get("family"),
    )
