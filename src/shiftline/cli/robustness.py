"""The commands about the robustness of a study: of its models, between two of them, and of shifts that are split by support."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shiftline.cli.line_options import (
    ClusterOption,
    Errors,
    ErrorsOption,
    Extremes,
    ExtremesOption,
    LevelOption,
    ReferencesOption,
    Scales,
    ScalesOption,
    Weights,
    WeightsOption,
    line_options,
)
from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.contracts.require import counted
from shiftline.errors import AnalysisError
from shiftline.terminal.baseline_tables import (
    BaselineColumns,
    BaselinePercent,
    BaselineReferences,
    BaselineShifts,
    BaselineTable,
    set_baseline,
)
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, Scale, ScaleOption, console, interval, points, print_frame, print_legend

if TYPE_CHECKING:
    import pandas as pd


class By(StrEnum):
    """What effective robustness is averaged over."""

    model = "model"
    recipe = "recipe"
    group = "group"


def robustness(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    by: Annotated[
        By | None,
        typer.Option("--by", help="Average over replicates (recipe) or groups; tables: group, csv and json: model, unless given."),
    ] = None,
    reference: ReferencesOption = None,
    scale: ScalesOption = Scales.probit,
    extremes: ExtremesOption = Extremes.exclude,
    weights: WeightsOption = Weights.none,
    errors: ErrorsOption = Errors.none,
    cluster: ClusterOption = "auto",
    level: LevelOption = 0.95,
    parts: Annotated[bool, typer.Option("--parts", help="Show how wide line, images and seeds alone make the interval.")] = False,
    baseline_table: BaselineTable = None,
    column: BaselineColumns = None,
    percent: BaselinePercent = False,
    n_reference: BaselineReferences = None,
    n_shift: BaselineShifts = None,
) -> None:
    """Print effective robustness per shift, with joint intervals for the line, the test images and the seeds."""
    over = by or (By.group if format is Format.table else By.model)
    manager = make_study(study, parameters, store)
    set_baseline(manager, baseline_table, column, percent=percent, n_reference=n_reference, n_shift=n_shift)
    tables = [
        manager.effective_robustness(
            by=over.value, reference=reference, level=level, **line_options(one, extremes, weights, errors, cluster)
        )
        for one in scale.chosen
    ]
    if format is not Format.table:
        import pandas as pd

        from shiftline.analysis.robustness import COLUMNS

        for shift, (note, *_) in tables[0].attrs["notes"].items():
            if shift not in set(tables[0]["shift"]):
                print(f"{shift}: {note}", file=sys.stderr)
        table = pd.concat(tables, ignore_index=True)
        print_frame(table if parts else table[list(COLUMNS)], format)
        return
    console().print(_robustness_table(tables, over, level, parts))
    for table in tables:
        where = f", {table['scale'].iloc[0]}" if len(tables) > 1 else ""
        for shift, notes in table.attrs["notes"].items():
            for note in notes:
                print(f"{shift}{where}: {note}")
    own = [cell for table in tables for cell in table["notes"]]
    said = {code for table in tables for code in table.attrs["codes"]}
    print_legend([code for cell in own for code in cell.split() if code not in said])
    print("ER: accuracy under shift minus the baseline fit at the model's reference accuracy, percentage points.")
    print("The interval joins the line, the test images and the seeds.")


def _robustness_table(tables: Sequence[pd.DataFrame], over: By, level: float, parts: bool) -> Table:
    """Put the scales side by side, and what the intervals are made of beside them."""
    from shiftline.analysis.notes import codes

    first, several = tables[0], len(tables) > 1
    scales = [str(table["scale"].iloc[0]) for table in tables]
    heads = ["shift", *([] if several else ["R2"]), "group", *(["model"] if over is not By.group else []), "models"]
    for scale in scales:
        prefix = f"{scale} " if several else ""
        heads += [f"{prefix}ER (pp)", f"{prefix}{100 * level:g} % interval"]
        heads += ["+- line", "+- images", "+- seeds"] if parts else []
    count = first["n_baseline"].iloc[0]
    shown = Table(*heads, "notes", title=f"effective robustness, {', '.join(scales)} axes, {counted(count, 'baseline model')}")
    for rows in zip(*(table.itertuples() for table in tables), strict=True):
        row = rows[0]
        cells = [row.shift, *([] if several else [f"{row.r2:.2f}"]), row.group]
        cells += [*([row.model] if over is not By.group else []), str(row.replicates)]
        for one in rows:
            cells += [points(one.effective_robustness), interval(one.low, one.high)]
            if parts:
                cells += [_halves(one.line_low, one.line_high), _halves(one.images_low, one.images_high)]
                cells += [_halves(one.seeds, one.seeds)]
        shown.add_row(*cells, codes(code for one in rows for code in one.notes.split()))
    return shown


def _halves(low: float, high: float) -> str:
    """Half-widths of an interval in points: one where both round to the same."""
    if low != low:
        return "-"
    ends = [f"{100 * half:.1f}" for half in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}/{ends[1]}"


def compare(
    study: StudyName,
    a: Annotated[str, typer.Argument(help="A model or a group.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    reference: ReferencesOption = None,
    scale: ScaleOption = Scale.probit,
    extremes: ExtremesOption = Extremes.exclude,
    weights: WeightsOption = Weights.none,
    errors: ErrorsOption = Errors.none,
    cluster: ClusterOption = "auto",
    level: LevelOption = 0.95,
) -> None:
    """Say under which shifts, and on average, one model, or group of replicates, is more robust than another."""
    options = line_options(scale.value, extremes, weights, errors, cluster)
    table = make_study(study, parameters, store).compare(a, b, reference=reference, level=level, **options)
    if format is not Format.table:
        print_frame(table, format)
        return
    shown = Table(
        "shift",
        "accuracy",
        "p images",
        "ER",
        f"{100 * level:g} % interval",
        "p ER",
        "p seeds",
        "notes",
        title=f"{a} minus {b} (percentage points; p-values of shifts corrected for their number, Holm)",
    )
    for row in table.itertuples():
        shown.add_row(
            row.shift,
            points(row.accuracy_difference),
            _p(row.p_images_holm),
            points(row.er_difference),
            interval(row.er_low, row.er_high),
            _p(row.p_er_holm),
            _p(row.p_seeds_holm),
            row.notes,
        )
    console().print(shown)
    print_legend(table["notes"])
    print("p images: is accuracy on these images another (McNemar, two models).")
    print("p ER: is effective robustness another, over images, the line, and the seeds of groups (1 - level of the interval at 0).")
    print("p seeds: is it another over seeds, on these images and with this line (Welch): nothing is said of others.")


LARGEST_MEAN_RATIO = 1.1
"""Of a density ratio over the shift, with room for chance."""


def support(
    study: StudyName, parameters: Parameters = None, store: StoreFolder = DEFAULT_STORE, format: FormatOption = Format.table
) -> None:
    """Say how well shifts were split by support: AUC of the domain classifiers, sizes of the subsets by threshold."""
    table = make_study(study, parameters, store).support()
    if table.empty:
        raise AnalysisError(
            "no shift of the study has been split: declare shift.in_support(SupportSplit(reference.train, ...)), and run it."
        )
    if format is not Format.table:
        print_frame(table, format)
        return
    for _, rows in table.groupby("key", sort=False):
        first = rows.iloc[0]
        shown = Table(
            "threshold",
            *(f"{row.threshold:g}" for row in rows.itertuples()),
            title=f"{first['shift']}: AUC {first['auc']:.3f} (p {_p(first['p_value'])}), calibration slope {first['slope']:.3f}, "
            f"intercept {first['intercept']:+.3f},\nmean ratio {first['mean_ratio']:.2f}, {first['bins_outside']} of "
            f"{first['bins']} bins outside their intervals, "
            f"{first['n_reference']:,} reference and {first['n_shift']:,} shifted examples",
        )
        shown.add_row("in-support", *(str(row.n_in) for row in rows.itertuples()))
        shown.add_row("out-of-support", *(str(row.n_out) for row in rows.itertuples()))
        console().print(shown)
        if first["mean_ratio"] > LARGEST_MEAN_RATIO:
            print(
                f"{first['shift']}: the density ratio averages to {first['mean_ratio']:.2f} over the shift, where 1 is the most "
                "that can be: the logits are biased, and too many examples count as in-support. Say SupportSplit(..., "
                'calibration="slope-and-intercept").'
            )
        if first["poor"]:
            print(
                f"{first['shift']}: the classifier ({first['classifier']}) does not tell the shift from the reference "
                f"(p = {first['p_value']:.2f}). Either they are alike, or the features are too weak: try FineTunedClassifier(...)."
            )


def _p(value: float) -> str:
    """A p-value for people; a dash where there is none."""
    return "-" if value != value else "< 0.001" if value < 0.001 else f"{value:.3f}"
