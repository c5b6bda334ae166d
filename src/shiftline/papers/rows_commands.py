"""The commands on results files of the original programs' format: the scatter plot and the table of the WiSE-FT paper."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shiftline.terminal.baseline_tables import (
    BaselineColumns,
    BaselinePercent,
    BaselineReferences,
    BaselineShifts,
    BaselineTable,
    published_baseline,
)
from shiftline.terminal.options import LinearAccuracy
from shiftline.terminal.tables import Scale, console

if TYPE_CHECKING:
    import pandas as pd


class TableFormat(StrEnum):
    """How a table is printed."""

    text = "text"
    csv = "csv"
    latex = "latex"


EvalDatasets = Annotated[str, typer.Option("--eval-datasets", help="Shifts with commas; NAME, or NAME:METRIC of a row.")]
ResultsDb = Annotated[str, typer.Option("--results-db", help="Results files, with commas.")]
Reference = Annotated[str, typer.Option("--reference", help="The x-axis: NAME, or NAME:METRIC of a row.")]


def _number(name: str) -> str:
    return name if ":" in name else f"{name}:top1"


def _table(results_db: str, reference: str, eval_datasets: str) -> tuple[pd.DataFrame, str, list[str]]:
    from shiftline.analysis.interpolation import interpolation_table
    from shiftline.papers.rows import interpolation_rows, require_numbers

    rows = interpolation_rows([Path(word) for word in results_db.split(",") if word])
    shifts = [_number(word) for word in eval_datasets.split(",") if word and _number(word) != _number(reference)]
    require_numbers(rows, [_number(reference), *shifts])
    return interpolation_table(rows, reference=_number(reference), shifts=shifts), _number(reference), shifts


def scatter_plot(
    eval_datasets: EvalDatasets,
    results_db: ResultsDb,
    save: Annotated[Path, typer.Option("--save", help="Folder of the figures.")],
    reference: Reference = "ImageNet",
    scale: Annotated[Scale, typer.Option("--scale", help="Of both axes; the original's is logit.")] = Scale.logit,
    linear_accuracy: LinearAccuracy = False,
    baseline_table: BaselineTable = None,
    column: BaselineColumns = None,
    percent: BaselinePercent = False,
    n_reference: BaselineReferences = None,
    n_shift: BaselineShifts = None,
) -> None:
    """Draw accuracy under each shift against the reference's, along weight interpolation: one figure per shift.

    With a table of published accuracies also its models, their line and its 95 % band; its columns have the names of the shifts.
    """
    from shiftline.report.figures import save_figures
    from shiftline.report.interpolation import interpolation_figure
    from shiftline.report.published import published_accuracies

    table, x, shifts = _table(results_db, reference, eval_datasets)
    names = [shift.removesuffix(":top1").replace(":", "-").replace("/", "-") for shift in shifts]
    published = published_baseline(
        baseline_table,
        column,
        shifts=[shift.removesuffix(":top1") for shift in shifts],
        percent=percent,
        n_reference=n_reference,
        n_shift=n_shift,
    )
    figures = {
        name: interpolation_figure(
            table,
            reference=x,
            shift=shift,
            scale=scale.value,
            baseline=None if published is None else published_accuracies(published, shift.removesuffix(":top1")),
            linear_accuracy=linear_accuracy,
        )
        for name, shift in zip(names, shifts, strict=True)
    }
    for path in save_figures(figures, save).values():
        print(path)


def wise_ft_table(
    eval_datasets: EvalDatasets,
    results_db: ResultsDb,
    reference: Reference = "ImageNet",
    format: Annotated[
        TableFormat, typer.Option("--format", help="text and latex in percent, csv in fractions.")
    ] = TableFormat.text,
    every: Annotated[bool, typer.Option("--every-alpha", help="A row per mixing coefficient.")] = False,
) -> None:
    """Print the table of the paper: zero-shot, fine-tuned, alpha = 0.5, and the best alpha of each column, with averages."""
    from shiftline.analysis.interpolation import interpolation_summary

    table, _, _ = _table(results_db, reference, eval_datasets)
    shown = table if every else interpolation_summary(table)
    if format is TableFormat.csv:
        sys.stdout.write(shown.to_csv(index=False))
        return
    texts = _in_percent(shown)
    if format is TableFormat.latex:
        print(_latex(texts))
        return
    printed = Table(*texts.columns, title="accuracy (%); best alpha: chosen on the column itself, which nobody can do")
    for row in texts.itertuples(index=False):
        printed.add_row(*row)
    console().print(printed)


def _in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as texts: numbers in percent, mixing coefficients as they are."""
    texts = table.astype(object).copy()
    for column in table.columns:
        if column in ("method", "row", "alpha"):
            texts[column] = [f"{value:g}" if isinstance(value, float) else str(value) for value in table[column]]
        else:
            coefficients = table["row"].eq("its alpha") if "row" in table else [False] * len(table)
            texts[column] = [f"{v:g}" if plain else f"{100 * v:.1f}" for v, plain in zip(table[column], coefficients, strict=True)]
    return texts.rename(columns=lambda name: str(name).removesuffix(":top1"))


def _latex(texts: pd.DataFrame) -> str:
    """Return a tabular of the booktabs package."""
    escape = lambda cell: str(cell).replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")  # noqa: E731
    labels = sum(column in ("method", "row", "alpha") for column in texts.columns)
    lines = [rf"\begin{{tabular}}{{{'l' * labels}{'r' * (len(texts.columns) - labels)}}}", r"\toprule"]
    lines += [" & ".join(map(escape, texts.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(escape, row)) + r" \\" for row in texts.itertuples(index=False)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
