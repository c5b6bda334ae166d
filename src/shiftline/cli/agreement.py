"""The commands that look at how models agree, and where better ones are worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shiftline.cli.line_options import LevelOption
from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, Scale, ScaleOption, console, print_frame, print_legend

ShiftNames = Annotated[list[str] | None, typer.Option("--shift", metavar="NAME", help="All unless named.")]


def agreement(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    shift: ShiftNames = None,
    group: Annotated[list[str] | None, typer.Option("--group", metavar="NAME", help="Of models; all unless named.")] = None,
    scale: ScaleOption = Scale.probit,
) -> None:
    """Estimate accuracy under shift from how often models agree, without labels (ALine-S and ALine-D), beside the measured one."""
    table = make_study(study, parameters, store).agreement(shifts=shift, groups=group, scale=scale.value)
    if format is not Format.table:
        print_frame(table, format)
        return
    for name, rows in table.groupby("shift", sort=False):
        first = rows.iloc[0]
        title = (
            f"{name}: {scale.value} axes, g(agreement under shift) = {first['slope']:.3f} g(agreement on the reference) "
            f"{first['intercept']:+.3f}, R2 = {first['r2']:.2f}, {first['pairs']} pairs"
        )
        shown = Table("group", "model", "reference", "ALine-S", "ALine-D", "measured", title=title)
        for row in rows.itertuples():
            numbers = (row.reference, row.aline_s, row.aline_d, row.shifted)
            shown.add_row(row.group, row.model, *("-" if number != number else f"{100 * number:.1f}" for number in numbers))
        console().print(shown)
        errors = [(rows[column] - rows["shifted"]).abs().mean() for column in ("aline_s", "aline_d")]
        print(f"{name}: mean absolute error {100 * errors[0]:.1f} points (ALine-S), {100 * errors[1]:.1f} points (ALine-D)")
    print_legend(table["notes"])


def ood_select(
    study: StudyName,
    shift: Annotated[str, typer.Argument(help="A shift of the study.")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    share: Annotated[list[float] | None, typer.Option("--share", help="Of the images; five sizes unless given.")] = None,
    ids: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE.csv", help="Write the selected images: columns share and id.")
    ] = None,
    scale: ScaleOption = Scale.probit,
    level: LevelOption = 0.95,
) -> None:
    """Find images of a shift on which accuracy falls as reference accuracy rises; other models test what half of them select."""
    import pandas as pd

    found = make_study(study, parameters, store).ood_select(shift, shares=share, scale=scale.value, level=level)
    if ids is not None:
        parts = [pd.DataFrame({"share": size, "id": chosen}) for size, chosen in found.ids.items()]
        ids.parent.mkdir(parents=True, exist_ok=True)
        pd.concat(parts).to_csv(ids, index=False)
    if format is not Format.table:
        print_frame(found.table, format)
        return
    first = found.table.iloc[0]
    title = f"{shift}: correlation of accuracy with reference accuracy ({scale.value}), {first['models']:.0f} models"
    shown = Table("share", "images", "all images", "selected", "held out", f"{100 * level:g} % interval", "p", title=title)
    for row in found.table.itertuples():
        shown.add_row(
            f"{row.share:g}",
            str(row.n),
            f"{row.r_whole:+.2f}",
            f"{row.r_selected:+.2f}",
            f"{row.r_held_out:+.2f}",
            f"{row.low:+.2f} to {row.high:+.2f}",
            f"{row.p:.3f}",
        )
    console().print(shown)
    print("selected: over the models that selected the images, which flatters. held out: over the others; p: of 0 or more.")
