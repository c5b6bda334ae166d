"""Tables in files of other people: every cell is text as it stands, until its column is known to hold numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from shiftline.errors import AnalysisError

DELIMITERS = ",;\t"
MISSING = frozenset({"", "-", "\N{EN DASH}", "\N{EM DASH}", ".", "na", "n/a", "nan", "none", "null"})
"""What stands in the place of a number that there is not, in lower case; only in columns of numbers."""
_THOUSANDS = re.compile(r"[,. '\u00a0\u202f]")
_GROUPED = re.compile(r"\d{1,3}(?:[,. '\u00a0\u202f]\d{3})+\Z")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+\Z")


def read_table(path: Path) -> pd.DataFrame:
    """Read a table: csv, tsv, xlsx (its one visible sheet), parquet or jsonl (one object a line).

    Cells of csv, tsv and xlsx are text, without the blanks around them: ``001``, ``NA`` and ``true`` stay what they are, and
    nothing is missing but blank. Delimiters are commas, semicolons or tabs, whichever splits the header into most columns. Columns
    that have neither a name nor a cell, as commas at the end of lines make them, are left out.

    Raises
    ------
    AnalysisError
        There is no such file, its name ends otherwise, it cannot be read, has no rows, or a row has more or fewer cells
        than the header.
    """
    if path.suffix.lower() in (".xls", ".ods"):
        raise AnalysisError(f"{path}: save it as .xlsx or CSV (UTF-8) in the program that made it. Expected {', '.join(FORMATS)}.")
    if path.suffix.lower() not in FORMATS:
        raise AnalysisError(f"{path} ends in {path.suffix!r}: expected {', '.join(FORMATS)}.")
    if not path.is_file():
        raise AnalysisError(f"there is no table {path} (looked in {Path.cwd()}).")
    try:
        table = FORMATS[path.suffix.lower()](path)
    except AnalysisError:
        raise
    except Exception as error:
        raise AnalysisError(f"{path} cannot be read as {path.suffix[1:]}: {error}.") from error
    if table.empty:
        raise AnalysisError(f"{path} has no rows.")
    return table


def _delimited(path: Path) -> pd.DataFrame:
    raw = path.read_bytes()
    # Excel writes "Unicode text" as UTF-16; a byte order mark is no part of the first column's name.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
        if "\n" not in text:
            text = text.replace("\r", "\n")  # As old programs end lines.
    except UnicodeDecodeError as error:
        raise AnalysisError(f"{path} is no UTF-8 text (byte {error.start}): save it as CSV in UTF-8.") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
    try:
        # Strict: a quote that is never closed would take the rows below it into its cell.
        read = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise AnalysisError(
            f"{path} has a quote that is not closed, or text behind a closed one ({error}): check its quotes."
        ) from error
    return _of_rows(path, read, delimiter)


def _spreadsheet(path: Path) -> pd.DataFrame:
    from shiftline.analysis.spreadsheets import sheet_rows  # It loads openpyxl.

    return _of_rows(path, sheet_rows(path))


def _of_rows(path: Path, rows: list[list[str]], delimiter: str = "\t") -> pd.DataFrame:
    """Return the table of rows of text; the first that is not blank is the header."""
    rows = [[cell.strip() for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        raise AnalysisError(f"{path} has no rows.")
    head, cells = rows[0], rows[1:]
    while head and not head[-1] and not any(any(row[len(head) - 1 :]) for row in cells):
        head = head[:-1]
    for number, row in enumerate(cells, start=1):
        if len(row) < len(head) or any(row[len(head) :]):
            raise AnalysisError(
                f"{path}, row {number} below the header ({row[0]!r}, ...) has {len(row)} cells, the header has {len(head)}: "
                f"expected as many, separated by {delimiter!r}. Put a cell that holds {delimiter!r} in quotes."
            )
    names = [name or f"Unnamed: {position}" for position, name in enumerate(head)]
    return pd.DataFrame([row[: len(head)] for row in cells], columns=names, dtype=object)


def _lines(path: Path) -> pd.DataFrame:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    return pd.DataFrame(rows, dtype=object)


def _parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.reset_index() if any(name is not None for name in table.index.names) else table


FORMATS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".xlsx": _spreadsheet,
    ".parquet": _parquet,
    ".jsonl": _lines,
}


def as_text(column: pd.Series) -> pd.Series:
    """Return a column as text; what is missing is blank, and truth values are as JSON writes them."""

    def one(cell: object) -> str:
        if cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell)):
            return ""
        return str(cell).lower() if isinstance(cell, (bool, np.bool_)) else str(cell)

    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")  # Whole numbers, which pandas holds as floats beside missing ones.
    return column.map(one).astype(object)


def as_fractions(column: pd.Series, name: str, *, percent: bool) -> pd.Series:
    """Return a column of accuracies as fractions; what is missing, or one of `MISSING`, is NaN.

    Parameters
    ----------
    percent : bool
        The cells are percent; so they are where they end in a percent sign. A comma is the decimal comma where it is the only one
        and there is no point.

    Raises
    ------
    AnalysisError
        A cell is no number, or none is one; some have a percent sign and others not; or one is out of range.
    """
    cells = [_number(cell, name, row) for row, cell in enumerate(column, start=1)]
    signed = [sign for number, sign in cells if not np.isnan(number)]
    numbers = pd.Series([number for number, _ in cells], index=column.index, dtype=float)
    if not signed:
        raise AnalysisError(f"the column {name!r} holds no number.")
    if any(signed) != all(signed):
        raise AnalysisError(f"some cells of the column {name!r} have a percent sign and others have none: write all of them alike.")
    in_percent = percent or all(signed)
    smallest, largest = numbers.min(), numbers.max()
    if smallest < 0 or largest > 100:
        scale = "percent from 0 to 100" if in_percent else "fractions from 0 to 1, or percent with --percent"
        row = numbers.argmin() if smallest < 0 else numbers.argmax()
        raise AnalysisError(f"row {row + 1} of the column {name!r} holds {numbers.iloc[row]:g}: expected {scale}.")
    if not in_percent and largest > 1:
        raise AnalysisError(
            f"the column {name!r} holds {largest:g}: expected fractions from 0 to 1. If these are percent, say --percent."
        )
    return numbers / 100 if in_percent else numbers


def as_counts(column: pd.Series, name: str) -> pd.Series:
    """Return a column of numbers of examples; what is missing is NaN.

    Raises
    ------
    AnalysisError
        A cell is no whole number of 1 or more.
    """
    # Of whole numbers a comma or a point before three digits is a separator of thousands.
    cells = [_THOUSANDS.sub("", cell) if isinstance(cell, str) and _GROUPED.match(cell.strip()) else cell for cell in column]
    numbers = pd.Series([_number(cell, name, row)[0] for row, cell in enumerate(cells, start=1)], index=column.index, dtype=float)
    wrong = numbers.notna() & ((numbers < 1) | (numbers % 1 != 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise AnalysisError(f"row {row + 1} of the column {name!r} holds {numbers.iloc[row]:g}: expected a number of examples.")
    return numbers


def _number(cell: object, name: str, row: int) -> tuple[float, bool]:
    """Return a cell's number as it is written, NaN where it has none, and whether a percent sign follows it."""
    wrong = AnalysisError(f"row {row} of the column {name!r} holds {cell!r}: expected a number or nothing.")
    if isinstance(cell, (bool, np.bool_)):
        raise wrong
    if not isinstance(cell, str):
        try:
            return np.nan if cell is None or cell is pd.NA else float(cell), False  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise wrong from None
    text = cell.strip().replace("\N{MINUS SIGN}", "-")
    if text.lower() in MISSING:
        return np.nan, False
    signed = text.endswith("%")
    text = text.removesuffix("%").strip()
    if _DECIMAL_COMMA.match(text):
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        raise wrong from None
    if not np.isfinite(number) or "_" in text:
        raise wrong
    return number, signed
