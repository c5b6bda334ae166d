"""Rows of a workbook, as the program that made it shows them."""

from __future__ import annotations

import datetime
import re
import warnings
from pathlib import Path
from typing import Any

from shiftline.errors import AnalysisError

_LITERAL = re.compile(r'"[^"]*"|\\.')
"""Characters of a number format that are shown as they are: a percent sign among them does not multiply by 100."""


def sheet_rows(path: Path) -> list[list[str]]:
    """Return the cells of a workbook's one visible sheet as text.

    A number in a percent format ends in a percent sign, as it does on the screen; other numbers have all their digits.

    Raises
    ------
    AnalysisError
        Several visible sheets have cells, cells are merged, or a formula's value is not in the file.
    """
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Of styles and drop-down lists, which hold no cells.
        values, formulas = load_workbook(path, data_only=True), load_workbook(path)
    sheets = [s for s in values.worksheets if s.sheet_state == "visible" and any(c is not None for r in s.values for c in r)]
    if len(sheets) > 1:
        names = ", ".join(repr(sheet.title) for sheet in sheets)
        raise AnalysisError(f"{path} has the sheets {names}: expected one. Save the one that is meant in a file of its own.")
    if not sheets:
        return []
    (sheet,) = sheets
    if merged := sorted(map(str, sheet.merged_cells.ranges)):
        raise AnalysisError(f"{path} has merged cells ({merged[0]}): expected one value a cell. Split them, and fill each cell.")
    written = formulas[sheet.title]
    return [[_text(path, cell, written[cell.coordinate].value) for cell in row] for row in sheet.iter_rows()]


def _text(path: Path, cell: Any, written: Any) -> str:
    value = cell.value
    if value is None:
        if written is not None:
            raise AnalysisError(
                f"{path} has a formula without a value in {cell.coordinate}: open it in a spreadsheet program, save it there."
            )
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        if "%" in _LITERAL.sub("", cell.number_format):
            return f"{100 * value:.15g}%"
        return (str(int(value)) if value == int(value) else repr(value)) + "%" * ("%" in cell.number_format)
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)
