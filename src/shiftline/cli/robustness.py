"""The commands about robustness: of a study, between two of its models, and on a table of accuracies from elsewhere."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.errors import AnalysisError
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, Scale, ScaleOption, console, print_frame


class Extremes(StrEnum):
    """What is done with accuracies of exactly 0 or 1."""

    clip = "clip"
    exclude = "exclude"


class Weights(StrEnum):
    """How baseline models are weighted."""

    none = "none"
    binomial = "binomial"


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
    scale: ScaleOption = Scale.probit,
    by: Annotated[
        By | None,
        typer.Option("--by", help="Average over replicates (recipe) or groups; tables: group, csv and json: model, unless given."),
    ] = None,
    weights: Annotated[Weights, typer.Option("--weights", help="Of the baseline models in the fit.")] = Weights.none,
    shares: Annotated[bool, typer.Option("--parts", help="Show what the line, the images and the seeds contribute.")] = False,
) -> None:
    """Print effective robustness per shift, with joint intervals for the line, the test images and the seeds."""
    over = by or (By.group if format is Format.table else By.model)
    table = make_study(study, parameters, store).effective_robustness(scale=scale.value, by=over.value, weights=weights.value)
    if format is not Format.table:
        from shiftline.analysis.robustness import COLUMNS

        print_frame(table if shares else table[list(COLUMNS)], format)
        return
    columns = ["shift", "R2", "group", *(["model"] if over is not By.group else []), "models", "ER (pp)", "95 % interval"]
    extra = ["sd line", "sd images", "sd seeds"] if shares else []
    shown = Table(
        *columns, *extra, "", title=f"effective robustness, {scale.value} axes, {table['n_baseline'].iloc[0]} baseline models"
    )
    for row in table.itertuples():
        interval = "" if row.low != row.low else f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
        cells = [row.shift, f"{row.r2:.2f}", row.group, *([row.model] if over is not By.group else []), str(row.replicates)]
        cells += [_points(row.effective_robustness), interval]
        cells += [_points(value).lstrip("+") for value in (row.sd_line, row.sd_images, row.sd_seeds)] if shares else []
        shown.add_row(*cells, "extrapolated" if row.extrapolated else "")
    console().print(shown)
    for shift, notes in table.attrs.get("notes", {}).items():
        for note in notes:
            print(f"{shift}: {note}")
    print("ER: accuracy under shift minus the baseline fit at the model's reference accuracy, percentage points.")
    print("The interval joins the line, the test images and the seeds; of one model it is conditional on its seed.")
    print("A low R2 means that reference accuracy says little about this shift: the line, and ER, then mean little.")


def compare(
    study: StudyName,
    a: Annotated[str, typer.Argument(help="A model or a group.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: FormatOption = Format.table,
    scale: ScaleOption = Scale.probit,
) -> None:
    """Say under which shifts one model, or group of replicates, is more robust than another."""
    table = make_study(study, parameters, store).compare(a, b, scale=scale.value)
    if format is not Format.table:
        print_frame(table, format)
        return
    shown = Table(
        "shift",
        "accuracy",
        "p images",
        "ER",
        "95 % interval",
        "p ER",
        "p seeds",
        title=f"{a} minus {b} (percentage points; p-values corrected over {len(table)} shifts, Holm)",
    )
    for row in table.itertuples():
        shown.add_row(
            row.shift,
            _points(row.accuracy_difference),
            _p(row.p_images_holm),
            _points(row.er_difference),
            f"{100 * row.er_low:+.1f} to {100 * row.er_high:+.1f}",
            _p(row.p_er_holm),
            _p(row.p_seeds_holm),
        )
    console().print(shown)
    print("p images: McNemar, two models on the same images. p ER: paired bootstrap over images. p seeds: Welch's t over seeds.")


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
            title=f"{first['shift']}: AUC {first['auc']:.3f}, calibration slope {first['slope']:.3f}, "
            f"{first['n_reference']:,} reference and {first['n_shift']:,} shifted examples",
        )
        shown.add_row("in-support", *(str(row.n_in) for row in rows.itertuples()))
        shown.add_row("out-of-support", *(str(row.n_out) for row in rows.itertuples()))
        console().print(shown)
        if first["poor"]:
            print(
                f"{first['shift']}: the classifier ({first['classifier']}) hardly tells the shift from the reference. Either it is "
                "inside the support, or the features are too weak: try FineTunedClassifier(...)."
            )


def _p(value: float) -> str:
    """A p-value for people; a dash where there is none."""
    return "-" if value != value else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _points(value: float) -> str:
    """Percentage points for people; a dash where there is no value."""
    return "-" if value != value else f"{100 * value:+.1f}"


def fit(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A csv, parquet or jsonl file with a row per model.")],
    model: Annotated[str, typer.Option("--model", metavar="COLUMN", help="Column of the models' names.")],
    reference: Annotated[str, typer.Option("--reference", metavar="COLUMN", help="Column of reference accuracies.")],
    shift: Annotated[
        list[str], typer.Option("--shift", metavar="COLUMN", help="Column of accuracies under shift; may be repeated.")
    ],
    baseline: Annotated[str, typer.Option("--baseline", metavar="COLUMN=VALUE", help="The rows that fix the line.")],
    percent: Annotated[bool, typer.Option("--percent", help="Accuracies are percent, not fractions.")] = False,
    scale: Annotated[Scale, typer.Option("--scale", help="Axes on which the line is fitted.")] = Scale.probit,
    extremes: Annotated[
        Extremes, typer.Option("--extremes", help="Accuracies of 0 and 1: clip (needs the numbers of examples) or exclude.")
    ] = Extremes.clip,
    weights: Annotated[Weights, typer.Option("--weights", help="binomial: by the numbers of examples.")] = Weights.none,
    n_reference: Annotated[int | None, typer.Option("--n-reference", min=1, help="Examples behind a reference accuracy.")] = None,
    n_shift: Annotated[int | None, typer.Option("--n-shift", min=1, help="Examples behind one under shift.")] = None,
    format: Annotated[Format, typer.Option("--format", help="table (percent), csv or json (fractions).")] = Format.table,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the figure too.")] = None,
) -> None:
    """Fit the baseline of effective robustness on a table of accuracies; print the robustness of every row."""
    from shiftline.analysis.accuracy_tables import fit_document, fit_table, read_table, tidy_accuracies

    column, equals, value = baseline.partition("=")
    if not equals:
        raise AnalysisError(f"--baseline {baseline}: expected COLUMN=VALUE, for instance type=scratch.")
    tidy = tidy_accuracies(
        read_table(table),
        model=model,
        reference=reference,
        shifts=shift,
        baseline=(column, value),
        percent=percent,
        n_reference=n_reference,
        n_shift=n_shift,
    )
    settings = {"scale": scale.value, "extremes": extremes.value, "weights": weights.value}
    fits = {name: fit_table(tidy, name, **settings) for name in dict.fromkeys(shift)}
    documents = [fit_document(tidy, name, line, rows) for name, (line, rows) in fits.items()]
    if plot is not None:
        _draw(tidy, table.stem, plot, settings)
    if format is Format.json:
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1))
    elif format is Format.csv:
        import pandas as pd

        sys.stdout.write(pd.concat([rows for _, rows in fits.values()]).drop(columns="key").to_csv(index=False))
    else:
        for document in documents:
            _print(document)


def _print(document: dict[str, object]) -> None:
    title = (
        f"{document['shift']}: {document['scale']} axes, "
        f"g(shift) = {document['slope']:.3f} g(reference) {document['intercept']:+.3f}, "
        f"R2 = {document['r2']:.2f}, {document['n']} baseline models"
    )
    shown = Table("model", "group", "reference", "shift", "predicted", "ER (pp)", "95 % interval", "", title=title)
    for row in document["models"]:  # type: ignore[attr-defined]
        shown.add_row(
            row["model"],
            row["group"],
            *(f"{100 * row[name]:.1f}" for name in ("reference", "shift", "predicted")),
            f"{100 * row['effective_robustness']:+.1f}",
            f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
            "extrapolated" if row["extrapolated"] else "",
        )
    console().print(shown)
    for note in document["notes"]:  # type: ignore[attr-defined]
        print(f"{document['shift']}: {note}")
    if document["left_out"]:
        print(f"{document['shift']}: {document['left_out']} rows are left out, an accuracy is missing or extreme")


def _draw(tidy: object, title: str, path: Path, settings: dict[str, str]) -> None:
    from shiftline.analysis.accuracy_tables import BASELINE
    from shiftline.report.figures import robustness_figure, save_figures

    if path.suffix != ".png":
        raise AnalysisError(f"--plot {path}: expected a name that ends in .png (a PDF and the numbers as CSV are put beside it).")
    figure = robustness_figure(tidy, baseline=BASELINE, title=title, **settings)
    save_figures({path.stem: figure}, path.parent)
