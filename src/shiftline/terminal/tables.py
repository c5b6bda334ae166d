"""How tables are printed: for people, as CSV, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Scale(StrEnum):
    """The transformation of the axes."""

    probit = "probit"
    logit = "logit"
    linear = "linear"


FormatOption = Annotated[Format, typer.Option("--format", help="table (percent), csv or json (fractions).")]
ScaleOption = Annotated[Scale, typer.Option("--scale", help="Axes on which the line is fitted.")]


def console() -> Console:
    """Return where tables go."""
    # A pipe has no width: rows must not be cut to 80 columns.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def print_frame(table: pd.DataFrame, format: Format) -> None:
    """Print a table as CSV or JSON.

    The codes of a column `notes` are explained: in JSON each stands with its text, beside CSV the legend goes to standard error.
    """
    if format is Format.csv:
        sys.stdout.write(table.to_csv(index=False))
        if "notes" in table.columns:
            print_legend(table["notes"], file=sys.stderr)
        return
    from shiftline.analysis.notes import legend

    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    for row in rows:
        if isinstance(row.get("notes"), str):
            row["notes"] = legend([row["notes"]])
    print(json.dumps(rows, indent=1, default=lambda value: value.item()))


def print_legend(cells: Iterable[str], *, file: TextIO | None = None) -> None:
    """Print what the codes of some cells say."""
    from shiftline.analysis.notes import legend

    for code, text in legend(cells).items():
        print(f"{code}: {text}", file=file or sys.stdout)


def points(value: float) -> str:
    """Percentage points for people; a dash where there is no value."""
    return "-" if value != value else f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """An interval in percentage points for people; nothing where there is none."""
    return "" if low != low else f"{points(low)} to {points(high)}"
