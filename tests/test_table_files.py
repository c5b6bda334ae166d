"""Tables of other people: text stays text, numbers are what was written, and what is neither is said."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from shiftline.analysis.table_files import as_counts, as_fractions, as_text, read_table
from shiftline.errors import AnalysisError
from test_cli import error, ok

WORDS = st.one_of(
    st.sampled_from(
        ["None", "NA", "null", "nan", "001", "1", "1.0", "true", "False", "-", "1e5", "2026-01-02", "a,b", 'say "x"', ""]
    ),
    st.text(st.characters(exclude_categories=("C", "Z")), max_size=6),
)
ROWS = ["{0},0.70,0.60", "{0},0.75,0.66", "{0},0.80,0.71"]


@given(
    cells=st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=6).filter(lambda rows: all(map(any, rows))),
    delimiter=st.sampled_from(",;\t"),
    mark=st.booleans(),
    trailing=st.booleans(),
)
def test_random_cells_survive_as_text(cells, delimiter, mark, trailing, tmp_path_factory):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    for row in [["first", "second", "third"], *cells]:
        writer.writerow(row + [""] * trailing)
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(stream.getvalue(), encoding="utf-8-sig" if mark else "utf-8", newline="")
    found = read_table(path)
    assert list(found.columns) == ["first", "second", "third"]
    assert found.to_numpy().tolist() == cells


@given(
    values=st.lists(st.integers(0, 10_000).map(lambda value: value / 100), min_size=1, max_size=8),
    comma=st.booleans(),
    sign=st.sampled_from(["", "%", " %"]),
)
def test_numbers_are_what_was_written(values, comma, sign):
    written = [f"{value:.2f}".replace(".", "," if comma else ".") + sign for value in values]
    found = as_fractions(pd.Series([*written, "", "-", "NA"], dtype=object), "v2", percent=not sign)
    np.testing.assert_allclose(found[: len(values)], np.asarray(values) / 100)
    assert found[len(values) :].isna().all()


@pytest.mark.parametrize("cell", ["1,234.5", "76.1 ± 0.2", "0x1", "1_0", "inf", "high", "7 6", "1,2,3", "--", True, [1]])
def test_what_is_no_number_is_named(cell):
    with pytest.raises(AnalysisError, match="row 2 of the column 'v2' holds .*: expected a number or nothing"):
        as_fractions(pd.Series(["50", cell], dtype=object), "v2", percent=True)


@pytest.mark.parametrize(
    ("cells", "percent", "message"),
    [
        (["50%", "60"], True, "some cells of the column 'v2' have a percent sign and others have none"),
        (["", "-"], False, "holds no number"),
        (["0.5", "70"], False, "holds 70: expected fractions from 0 to 1. If these are percent, say --percent"),
        (["50", "170"], True, "row 2 of the column 'v2' holds 170: expected percent from 0 to 100"),
        (["170%"], False, "expected percent from 0 to 100"),
        (["-0.1", "0.2"], False, "row 1 of the column '.*' holds -0.1"),
    ],
)
def test_accuracies_off_the_scale_are_refused(cells, percent, message):
    with pytest.raises(AnalysisError, match=message):
        as_fractions(pd.Series(cells, dtype=object), "v2", percent=percent)


def table(tmp_path, words, kinds, name="t.csv", delimiter=","):
    accuracies = [(0.70, 0.60), (0.75, 0.66), (0.80, 0.71), (0.85, 0.80)]
    rows = [["model", "kind", "imagenet", "v2"]]
    rows += [[word, kind, str(x), str(y)] for word, kind, (x, y) in zip(words, kinds, accuracies, strict=True)]
    path = tmp_path / name
    path.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    return path


FIT = ("--model", "model", "--reference", "imagenet", "--shift", "v2", "--format", "csv")


@pytest.mark.parametrize("word", ["None", "NA", "null", "nan", "1", "001", "1.0", "true", "TRUE", "", "-", "x y"])
def test_a_group_is_the_text_that_stands_there(tmp_path, word):
    path = table(tmp_path, ["001", "1", "1.0", "NA"], [word, word, word, "other"])
    rows = pd.read_csv(io.StringIO(ok("fit", path, *FIT, "--baseline", f"kind={word}")), dtype=str, keep_default_na=False)
    assert rows["model"].tolist() == ["001", "1", "1.0", "NA"]
    assert rows["group"].tolist() == ["baseline"] * 3 + ["others"]


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_tabs_and_semicolons_separate(tmp_path, name):
    path = table(tmp_path, "abcd", [*"sss", "o"], name, "\t" if name == "t.tsv" else ";")
    assert "v2,d,others" in ok("fit", path, *FIT, "--baseline", "kind=s")


def test_utf_16_of_a_spreadsheet_is_read(tmp_path):
    path = table(tmp_path, "abcd", [*"sss", "o"], "t.tsv", "\t")
    path.write_text(path.read_text(), encoding="utf-16")
    assert list(read_table(path).columns) == ["model", "kind", "imagenet", "v2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("a,s,0.7", "a,s,x,0.7"), "row 1 below the header ('a', ...) has 5 cells, the header has 4"),
        (lambda text: text.replace(",0.66", ""), "row 2 below the header ('b', ...) has 3 cells, the header has 4"),
        (lambda text: text.replace("kind", "v2"), "the table has 2 columns 'v2'"),
        (lambda text: text.replace("b,s", ",s"), "row 2 has no model in the column 'model'"),
        (lambda text: text.replace(",s,", ",,"), "no row has kind=s: the column 'kind' has blank, o"),
        (lambda text: "", "has no rows"),
    ],
)
def test_a_table_that_is_not_one_is_one_clear_error(tmp_path, change, message):
    path = table(tmp_path, "abcd", [*"sss", "o"])
    path.write_text(change(path.read_text()))
    assert message in error("fit", path, *FIT, "--baseline", "kind=s")


def test_bytes_that_are_no_text_are_one_clear_error(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("model,v2\nnaïve,0.5\n".encode("latin-1"))
    with pytest.raises(AnalysisError, match="is no UTF-8 text .byte 11.: save it as CSV in UTF-8"):
        read_table(path)


def test_values_of_json_and_parquet_are_named_as_they_stand(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": "001", "b": true, "c": 1}\n{"a": 1, "b": null, "c": 2}\n')
    found = read_table(path)
    assert [as_text(found[name]).tolist() for name in "abc"] == [["001", "1"], ["true", ""], ["1", "2"]]


@pytest.mark.parametrize(
    "cells", [["50,000", "10,000"], ["50.000", "10.000"], ["50 000", "10 000"], ["50'000", "10'000"], ["50000", "10000"]]
)
def test_numbers_of_examples_may_have_separators_of_thousands(cells):
    assert as_counts(pd.Series(cells), "n").tolist() == [50_000, 10_000]


def saved(path, rows, change=lambda sheet: None):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    for cell in (cell for row in book.active for cell in row if isinstance(cell.value, str)):
        cell.data_type = "s"  # The writer would take a name that begins with = for a formula, and #N/A for an error.
    change(book.active)
    book.save(path)
    return path


@settings(max_examples=30)
@given(cells=st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=6).filter(lambda rows: all(map(any, rows))))
@example(cells=[["=a", "#N/A", "="]])
def test_random_cells_of_a_workbook_survive_as_text(cells, tmp_path_factory):
    path = saved(tmp_path_factory.mktemp("t") / "t.xlsx", [["first", "second", "third"], *cells])
    found = read_table(path)
    assert list(found.columns) == ["first", "second", "third"]
    assert found.to_numpy().tolist() == cells


def test_a_workbook_is_read_as_it_is_shown(tmp_path):
    def formats(sheet):
        sheet["C2"].number_format = "0.0%"

    rows = [
        ["model", "seed", "v2", None],
        ["001", 1, 0.123, None],
        [None, None, None, None],
        ["b", 2.0, 0.4, None],
        ["c", True, None],
    ]
    found = read_table(saved(tmp_path / "t.xlsx", rows, formats))
    assert list(found.columns) == ["model", "seed", "v2"]
    assert found.to_numpy().tolist() == [["001", "1", "12.3%"], ["b", "2", "0.4"], ["c", "true", ""]]


@pytest.mark.parametrize(("form", "scale"), [("0.00%", 1), ('0.0"%"', 100), ("0.0\\%", 100)])
def test_a_percent_format_is_a_percent_sign(tmp_path, form, scale):
    def formats(sheet):
        for cell in (sheet["B2"], sheet["B3"]):
            cell.number_format = form

    rows = [["model", "v2"], ["a", 0.7613 * scale], ["b", 0.29 * scale]]
    table = read_table(saved(tmp_path / "t.xlsx", rows, formats))
    assert as_fractions(table["v2"], "v2", percent=True).tolist() == pytest.approx([0.7613, 0.29], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sheet: sheet.parent.create_sheet("more").append(["x"]), "has the sheets 'Sheet', 'more': expected one"),
        (lambda sheet: sheet.merge_cells("A2:A3"), r"has merged cells \(A2:A3\): expected one value a cell"),
        (lambda sheet: sheet.__setitem__("B3", "=B2/2"), "has a formula without a value in B3: open it in a spreadsheet program"),
        (lambda sheet: sheet.delete_rows(1, 9), "has no rows"),
    ],
)
def test_workbooks_that_may_mean_several_things_are_refused(change, message, tmp_path):
    with pytest.raises(AnalysisError, match=message):
        read_table(saved(tmp_path / "t.xlsx", [["model", "v2"], ["a", 0.7], ["b", 0.6]], change))


def test_hidden_and_empty_sheets_are_no_tables(tmp_path):
    def hide(sheet):
        other = sheet.parent.create_sheet("old")
        other.append(["x"])
        other.sheet_state = "hidden"
        sheet.parent.create_sheet("empty")

    assert len(read_table(saved(tmp_path / "t.xlsx", [["model", "v2"], ["a", 0.7]], hide))) == 1
