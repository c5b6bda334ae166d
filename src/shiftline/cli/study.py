"""The commands that are the verbs of a study: planning, looking, results, figures, looking after the store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shiftline.cli.line_options import (
    ClusterOption,
    Errors,
    ErrorsOption,
    Extremes,
    ExtremesOption,
    ReferencesOption,
    Weights,
    WeightsOption,
    line_options,
)
from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.contracts.require import counted, near
from shiftline.errors import AnalysisError
from shiftline.terminal.baseline_tables import (
    BaselineColumns,
    BaselinePercent,
    BaselineReferences,
    BaselineShifts,
    BaselineTable,
    set_baseline,
)
from shiftline.terminal.options import DEFAULT_STORE, LinearAccuracy, StoreFolder
from shiftline.terminal.tables import Format, FormatOption, Scale, ScaleOption, console, print_frame

if TYPE_CHECKING:
    import pandas as pd


def plan(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    jobs: Annotated[bool, typer.Option("--jobs", help="List every job with its key.")] = False,
) -> None:
    """Lay out the jobs of a study by wave."""
    laid_out = make_study(study, parameters, store).plan()
    if jobs:
        for job in laid_out.jobs.values():
            print(f"{job.key[:12]}  {job.kind:<9}  {job.label}")
        return
    table = Table("wave", "kind", "jobs")
    for number, wave in enumerate(laid_out.waves(), start=1):
        for kind in dict.fromkeys(job.kind for job in wave):
            table.add_row(str(number), kind, str(sum(job.kind == kind for job in wave)))
    console().print(table)
    deferred = sum(job.deferred for job in laid_out.jobs.values())
    print(
        f"{laid_out.study.name}: {counted(len(laid_out.jobs), 'job')}, {counted(len(laid_out.models), 'model')}"
        + (f"; {deferred} of them after a selection" if deferred else "")
    )


def status(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: Annotated[Format, typer.Option("--format", help="table, csv or json (one row per job).")] = Format.table,
) -> None:
    """Say what is complete, running, queued, failed, blocked, waiting or missing. Writes nothing."""
    from shiftline.launch.status import STATES, counts

    rows = make_study(study, parameters, store).status()
    if format is not Format.table:
        _print_rows(
            [{"key": r.job.key, "kind": r.job.kind, "label": r.job.label, "state": r.state, "detail": r.detail} for r in rows],
            format,
        )
        return
    table = Table("kind", *STATES)
    for kind, states in counts(rows).items():
        table.add_row(kind, *(str(states[state] or "") for state in STATES))
    console().print(table)
    for row in rows:
        if row.state in ("failed", "running"):
            print(f"{row.state}: {row.job.kind} {row.job.key[:12]} {row.job.label}: {row.detail}")
    if waiting := {row.detail.split("_")[0] for row in rows if row.state == "queued"}:
        print(f"in SLURM's queue: {', '.join(sorted(waiting))} (squeue --jobs shows them, scancel takes them out)")


def explain(
    study: StudyName,
    key: Annotated[str, typer.Argument(help="A key, or its first digits.")],
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Say why a key is what it is: its document, and the difference to the nearest relative."""
    explanation = make_study(study, parameters, store).explain(key)
    print(f"{explanation.job.key}\n{explanation.job.kind}: {explanation.job.label}")
    print(json.dumps(explanation.job.document, indent=2))
    if explanation.relative is not None:
        print(f"\nnearest relative: {explanation.relative.key[:12]} {explanation.relative.label}")
        for path, here, there in explanation.differences:
            print(f"  {path}: {here!r} here, {there!r} there")


def results(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Show this metric; each distribution's own main one unless given.")
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Print every score, with 95 % intervals: exact for proportions, bootstrap for other metrics."""
    table = make_study(study, parameters, store).results()
    if format is not Format.table:
        print_frame(table if metric is None else table[table["metric"] == metric], format)
        return
    known = dict.fromkeys(table["metric"])
    if metric is not None and metric not in known:
        raise AnalysisError(
            f"the study has no metric {metric!r}{near(metric, known)} It has {', '.join(known)}. Others "
            "are requested with metrics = (...)."
        )
    table = table[table["primary"] if metric is None else table["metric"] == metric]
    console().print(_results_table(table))
    if table["other_data"].any():
        print("*: trained or selected on other data than the reference's train and val splits.")
    if table["order_unverified"].any():
        print("?: order unverified. Nobody knows which class each output of its head is of (LocalWeights(..., classes=...)).")


def _results_table(table: pd.DataFrame) -> Table:
    """Put models in rows and distributions in columns; a column says its label space and metric where they are unusual."""
    own, units = table["label_space"].iloc[0], table.attrs["units"]
    unusual = (table["distribution"] == "reference") & (table["label_space"] != own)
    heads = table["distribution"].where(~unusual, table["distribution"] + " in " + table["label_space"])
    heads = heads.where(table["metric"] == "accuracy", heads + "\n" + table["metric"])
    shown_in = table["metric"].map(units)
    several = shown_in.nunique() > 1
    if several:
        heads = heads + shown_in.map(lambda unit: f" ({unit})" if unit else "")
    numbers = [_number(value, unit) for value, unit in zip(table["value"], shown_in, strict=True)]
    table = table.assign(head=heads, shown=numbers)
    wide = table.pivot(index="model", columns="head", values="shown")
    wide = wide.loc[list(dict.fromkeys(table["model"])), list(dict.fromkeys(heads))]
    groups = table.drop_duplicates("model").set_index("model")["group"]
    metrics = ", ".join(dict.fromkeys(table["metric"]))
    unit = "" if several or not shown_in.iloc[0] else f" ({shown_in.iloc[0]})"
    keys = table.drop_duplicates("model").set_index("model")["model_key"]
    shown = Table("group", "model", "key", *wide.columns, title=f"{metrics}{unit}")
    other, unverified = (set(table.loc[table[column], "model"]) for column in ("other_data", "order_unverified"))
    for model, row in wide.iterrows():
        name = f"{model}{' *' if model in other else ''}{' ?' if model in unverified else ''}"
        shown.add_row(str(groups[model]), name, keys[model][:8] or "-", *row.fillna("-"))
    return shown


def _number(value: float, unit: str) -> str:
    if value != value:
        return "-"
    return f"{100 * value:.1f}" if unit == "%" else f"{value:.3f}"


def candidates(
    study: StudyName, parameters: Parameters = None, store: StoreFolder = DEFAULT_STORE, format: FormatOption = Format.table
) -> None:
    """Print the candidates of every selection with their held-out metric, and which was chosen."""
    table = make_study(study, parameters, store).candidates()
    if format is not Format.table:
        print_frame(table, format)
        return
    shown = Table("selection", "", "candidate", "metric", "value", "")
    for row in table.itertuples():
        value = "-" if row.value != row.value else f"{row.value:.4f}"
        shown.add_row(row.selection, str(row.candidate), row.recipe, row.metric, value, "chosen" if row.chosen else "")
    console().print(shown)


def plot(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the figures.")] = None,
    reference: ReferencesOption = None,
    scale: ScaleOption = Scale.probit,
    extremes: ExtremesOption = Extremes.exclude,
    weights: WeightsOption = Weights.none,
    errors: ErrorsOption = Errors.none,
    cluster: ClusterOption = "auto",
    linear_accuracy: LinearAccuracy = False,
    baseline_table: BaselineTable = None,
    column: BaselineColumns = None,
    percent: BaselinePercent = False,
    n_reference: BaselineReferences = None,
    n_shift: BaselineShifts = None,
) -> None:
    """Draw the figures as PNG and PDF, with their numbers as CSV; those that need no line where the study has none."""
    manager = make_study(study, parameters, store)
    set_baseline(manager, baseline_table, column, percent=percent, n_reference=n_reference, n_shift=n_shift)
    options = line_options(scale.value, extremes, weights, errors, cluster)
    for path in manager.plot(out, reference=reference, linear_accuracy=linear_accuracy, **options).values():
        print(path)


def verify(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    repair: Annotated[bool, typer.Option("--repair", help="Move damaged artifacts aside: the next run makes them again.")] = False,
) -> None:
    """Hash every artifact of the store against its manifest."""
    manager = make_study(study, parameters, store)
    damages = manager.verify(repair=repair)
    for damage in damages:
        print(f"damaged: {damage.key[:12]}: {damage.problem}" + (" (moved aside)" if repair else ""))
    checked = len(manager.store.complete()) + (len(damages) if repair else 0)
    print(f"{counted(checked, 'artifact')} checked, {len(damages)} damaged.")
    raise typer.Exit(1 if damages and not repair else 0)


def collect(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    remove: Annotated[bool, typer.Option("--delete", help="Delete what is listed; without it nothing is deleted.")] = False,
) -> None:
    """List what no study that ran on this store needs."""
    items = make_study(study, parameters, store).collect(remove=remove)
    for item in items:
        print(f"{item.size:>12,} bytes  {item.path}  ({item.reason})")
    size = sum(item.size for item in items)
    done = "deleted" if remove else "can be deleted with --delete"
    print(f"{counted(len(items), 'item')}, {size:,} bytes {done}.")


def _print_rows(rows: list[dict[str, str]], format: Format) -> None:
    if format is Format.json:
        print(json.dumps(rows, indent=1))
        return
    import csv

    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
