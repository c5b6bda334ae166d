"""The command that judges the claims of a study."""

from __future__ import annotations

import typer
from rich.table import Table

from shiftline.cli.line_options import (
    ClusterOption,
    Errors,
    ErrorsOption,
    Extremes,
    ExtremesOption,
    LevelOption,
    Weights,
    WeightsOption,
    line_options,
)
from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.contracts.require import counted
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, Scale, ScaleOption, console, interval, points, print_frame, print_legend

EXIT_FAILS, EXIT_UNKNOWN = 3, 4


def claims(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    scale: ScaleOption = Scale.probit,
    extremes: ExtremesOption = Extremes.exclude,
    weights: WeightsOption = Weights.none,
    errors: ErrorsOption = Errors.none,
    cluster: ClusterOption = "auto",
    level: LevelOption = 0.95,
) -> None:
    """Say of every claim of a study whether it holds, fails, or cannot be told, and what would settle it.

    The level is that of all claims together. Exit status: 0 if all hold, 3 if one fails, 4 if none fails and one cannot be told.
    """
    from shiftline.analysis.claims import FAILS, HOLDS

    options = line_options(scale.value, extremes, weights, errors, cluster)
    table = make_study(study, parameters, store).verdicts(level=level, **options)
    if format is Format.table:
        each = table["level"].iloc[0]
        title = f"{counted(len(table), 'claim')}, {100 * each:.4g} % intervals (together {100 * level:g} %)"
        shown = Table("verdict", "claim", "measure", "estimate", "interval", "notes", title=title)
        for row in table.itertuples():
            cells = [points(row.value), interval(row.low, row.high)]
            if row.condition.startswith("R^2"):
                cells = [f"{row.value:.2f}", f"{row.low:.2f} to {row.high:.2f}"]
            shown.add_row(row.verdict, row.claim, row.condition, *cells, row.notes)
        console().print(shown)
        for row in table.itertuples():
            if row.settled_by:
                print(f"{row.claim}: settled by {row.settled_by}")
        print_legend(table["notes"])
        print("Estimates and intervals in percentage points (R^2: as it is), conditions in fractions.")
    else:
        print_frame(table, format)
    verdicts = set(table["verdict"])
    if verdicts != {HOLDS}:
        raise typer.Exit(EXIT_FAILS if FAILS in verdicts else EXIT_UNKNOWN)
