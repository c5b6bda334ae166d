"""The command that fits a line on a table of accuracies from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shiftline.cli.line_options import (
    ClusterOption,
    Errors,
    ErrorsOption,
    Extremes,
    ExtremesOption,
    LevelOption,
    Scales,
    ScalesOption,
    Weights,
    WeightsOption,
    line_options,
)
from shiftline.errors import AnalysisError
from shiftline.terminal.tables import Format, console, interval, points, print_frame, print_legend

if TYPE_CHECKING:
    import pandas as pd

    from shiftline.analysis.settings import LineOptions


def fit(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A csv, tsv, xlsx, parquet or jsonl file with a row per model.")],
    model: Annotated[str, typer.Option("--model", metavar="COLUMN", help="Column of the models' names.")],
    reference: Annotated[
        list[str],
        typer.Option("--reference", metavar="COLUMN", help="Column of reference accuracies; several references share the line."),
    ],
    shift: Annotated[
        list[str], typer.Option("--shift", metavar="COLUMN", help="Column of accuracies under shift; may be repeated.")
    ],
    baseline: Annotated[str, typer.Option("--baseline", metavar="COLUMN=VALUE", help="The rows that fix the line.")],
    percent: Annotated[bool, typer.Option("--percent", help="Accuracies are percent, not fractions.")] = False,
    n_reference: Annotated[
        str | None, typer.Option("--n-reference", metavar="N|COLUMN", help="Examples behind a reference accuracy.")
    ] = None,
    n_shift: Annotated[str | None, typer.Option("--n-shift", metavar="N|COLUMN", help="Examples behind one under shift.")] = None,
    scale: ScalesOption = Scales.probit,
    extremes: ExtremesOption = Extremes.exclude,
    weights: WeightsOption = Weights.none,
    errors: ErrorsOption = Errors.none,
    cluster: ClusterOption = "auto",
    level: LevelOption = 0.95,
    format: Annotated[Format, typer.Option("--format", help="table (percent), csv or json (fractions).")] = Format.table,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the figure too.")] = None,
) -> None:
    """Fit the baseline of effective robustness on a table of accuracies; print the robustness of every row."""
    import pandas as pd

    from shiftline.analysis.accuracy_tables import fit_document, fit_table, tidy_accuracies
    from shiftline.analysis.table_files import read_table
    from shiftline.analysis.tables import REFERENCE

    column, equals, value = baseline.partition("=")
    if not equals:
        raise AnalysisError(f"--baseline {baseline}: expected COLUMN=VALUE, for instance type=scratch.")
    if weights is Weights.binomial and (n_reference is None or n_shift is None):
        raise AnalysisError("--weights binomial needs numbers of examples: say --n-reference and --n-shift, a number or a column.")
    tidy = tidy_accuracies(
        read_table(table),
        model=model,
        reference=list(dict.fromkeys(reference)),
        shifts=list(dict.fromkeys(shift)),
        baseline=(column, value),
        percent=percent,
        n_reference=_examples("--n-reference", n_reference),
        n_shift=_examples("--n-shift", n_shift),
        cluster=None if cluster == "none" else cluster,
    )
    references = list(dict.fromkeys(reference)) if len(set(reference)) > 1 else REFERENCE
    options = [line_options(one, extremes, weights, errors, cluster) for one in scale.chosen]
    fits = {
        name: [fit_table(tidy, name, reference=references, level=level, **one) for one in options] for name in dict.fromkeys(shift)
    }
    if plot is not None:
        _draw(tidy, references, table.stem, plot, options[0])
    found = [pair for of_shift in fits.values() for pair in of_shift]
    if format is Format.csv:
        print_frame(pd.concat([rows for _, rows in found]).drop(columns="key"), format)
        return
    documents = [fit_document(line, rows) for line, rows in found]
    if format is Format.json:
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1))
        return
    for start in range(0, len(documents), len(options)):
        _print(documents[start : start + len(options)], level)


def _examples(option: str, text: str | None) -> int | str | None:
    """Return a number of examples, or the column that holds them."""
    if text is None or not text.lstrip("-").isdecimal():
        return text
    if int(text) < 1:
        raise AnalysisError(f"{option} {text}: expected a number of examples, 1 or more, or a column that holds them.")
    return int(text)


def _print(documents: list[dict[str, Any]], level: float) -> None:
    """Print one shift, its scales side by side."""
    several = len(documents) > 1
    title = "\n".join(_equation(document) for document in documents)
    heads = ["model", "group", "reference", "shift"]
    for document in documents:
        prefix = f"{document['scale']} " if several else ""
        heads += [f"{prefix}predicted", f"{prefix}ER (pp)", f"{prefix}{100 * level:g} % interval"]
    shown = Table(*heads, "notes", title=title)
    by_model = [{row["model"]: row for row in document["models"]} for document in documents]
    for name, row in by_model[0].items():
        cells = [name, row["group"], *(f"{100 * row[end]:.1f}" for end in ("reference", "shift"))]
        for rows in by_model:
            one = rows.get(name)
            low, high = (one["low"], one["high"]) if one and one["low"] is not None else (float("nan"), float("nan"))
            cells += (
                [f"{100 * one['predicted']:.1f}", points(one["effective_robustness"]), interval(low, high)] if one else ["-"] * 3
            )
        shown.add_row(*cells, " ".join(dict.fromkeys(code for rows in by_model for code in rows.get(name, {}).get("notes", {}))))
    console().print(shown)
    said = set()
    for document in documents:
        where = f"{document['shift']}, {document['scale']}" if several else document["shift"]
        for code, text in document["notes"].items():
            said.add(code)
            print(f"{where}: {text}")
        if document["left_out"]:
            print(f"{where}: {document['left_out']} rows are left out, an accuracy is missing or extreme")
    print_legend([code for rows in by_model for row in rows.values() for code in row["notes"] if code not in said])


def _equation(document: dict[str, Any]) -> str:
    slopes = document["slopes"]
    terms = " ".join(f"{slope:+.3f} g({name})" for name, slope in slopes.items()).removeprefix("+")
    return (
        f"{document['shift']}: {document['scale']} axes, g(shift) = {terms} {document['intercept']:+.3f}, "
        f"R2 = {document['r2']:.2f}, {document['n']} baseline models"
    )


def _draw(tidy: pd.DataFrame, references: str | list[str], title: str, path: Path, line: LineOptions) -> None:
    from shiftline.analysis.accuracy_tables import BASELINE
    from shiftline.report.figures import save_figures
    from shiftline.report.panels import robustness_figure

    if path.suffix != ".png":
        raise AnalysisError(f"--plot {path}: expected a name that ends in .png (a PDF and the numbers as CSV are put beside it).")
    figure = robustness_figure(tidy, baseline=BASELINE, reference=references, title=title, **line)
    save_figures({path.stem: figure}, path.parent)
