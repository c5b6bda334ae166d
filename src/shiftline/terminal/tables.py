"""How tables are printed: for people, as CSV, as JSON."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

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
    """Print a table as CSV or JSON."""
    if format is Format.csv:
        sys.stdout.write(table.to_csv(index=False))
    else:
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        print(json.dumps(rows, indent=1, default=lambda value: value.item()))
