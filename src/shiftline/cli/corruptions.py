"""The command that prints corruption errors."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, console, print_frame


def corruption_errors(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="MODEL", help="Whose errors are 100: alexnet as published, or a model.")
    ] = "alexnet",
    format: FormatOption = Format.table,
) -> None:
    """Print mCE, relative mCE and the error under every corruption of ImageNet-C or CIFAR-10-C."""
    from shiftline.analysis.corruption_errors import MEAN, what_is_missing
    from shiftline.report.corruptions import corruptions_of

    manager = make_study(study, parameters, store)
    table = manager.corruption_errors(baseline=baseline)
    if format is not Format.table:
        print_frame(table, format)
        return
    means = table[table["corruption"] == MEAN].set_index("model")
    parts = table[table["corruption"] != MEAN]
    names = list(dict.fromkeys(parts["corruption"]))
    shown = Table(
        "group", "model", "mCE", "relative mCE", *(f"{name.replace('_', ' ')}" for name in names), title="errors in percent"
    )
    for model, row in means.iterrows():
        errors = parts[parts["model"] == model].set_index("corruption")["error"]
        shown.add_row(row["group"], str(model), *map(_percent, (row["ce"], row["relative_ce"], *errors.reindex(names))))
    console().print(shown)
    print(f"mCE: errors as a share of those of {baseline}, mean over the corruptions (Hendrycks & Dietterich 2019).")
    if missing := what_is_missing(corruptions_of(manager.plan(), baseline=baseline), baseline=baseline):
        print(missing)


def _percent(number: float) -> str:
    return "-" if number != number else f"{100 * number:.1f}"
