"""The command line: the verbs of `ExperimentManager`, and writing data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shiftline.cli_data import DEFAULT_STORE, StoreFolder, data
from shiftline.cli_images import SplitName  # noqa: F401 - the commands of the module are added to `data`.
from shiftline.cli_models import export_model, import_model
from shiftline.cli_patch import patch
from shiftline.cli_robustness import compare, fit, robustness, support
from shiftline.cli_rows import scatter_plot, wise_ft_table
from shiftline.cli_run import run, work
from shiftline.cli_slurm import Parameters, StudyName, freeze, logs, submit, work_line
from shiftline.cli_tables import (
    Format,
    FormatOption,
    Scale,
    ScaleOption,
    console,
    print_frame,
)
from shiftline.cli_wise_ft import ManyAlphas, fine_tune, fisher, wise_ft, zero_shot
from shiftline.errors import AnalysisError, ShiftlineError
from shiftline.loading import make_study

if TYPE_CHECKING:
    import pandas as pd


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data, name="data")
app.command("export")(export_model)
app.command("import")(import_model)
app.command("run")(run)
app.command("fit")(fit)
app.command("robustness")(robustness)
app.command("compare")(compare)
app.command("support")(support)
app.command("work", hidden=True)(work)
app.command("freeze")(freeze)
app.command("submit")(submit)
app.command("work-line", hidden=True)(work_line)
app.command("logs")(logs)
app.command("wise-ft", cls=ManyAlphas)(wise_ft)
app.command("zero-shot")(zero_shot)
app.command("fine-tune")(fine_tune)
app.command("fisher")(fisher)
app.command("patch", cls=ManyAlphas)(patch)
app.command("scatter-plot")(scatter_plot)
app.command("wise-ft-table")(wise_ft_table)


@app.command()
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
    print(f"{laid_out.study.name}: {len(laid_out.jobs)} jobs, {len(laid_out.models)} models" + (
        f"; {deferred} wait for a selection" if deferred else ""
    ))  # fmt: skip


@app.command()
def status(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    form: Annotated[Format, typer.Option("--format", help="table, csv or json (one row per job).")] = Format.table,
) -> None:
    """Say what is complete, running, queued, failed, blocked, waiting or missing. Writes nothing."""
    from shiftline.launch.status import STATES, counts

    rows = make_study(study, parameters, store).status()
    if form is not Format.table:
        _print_rows(
            [
                {"key": r.job.key, "kind": r.job.kind, "label": r.job.label, "state": r.state, "detail": r.detail}
                for r in rows
            ],
            form,
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


@app.command()
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


@app.command()
def results(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Show this metric; each distribution's own main one unless given.")
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Print every score, with 95 % intervals: exact for proportions, bootstrap for other metrics."""
    table = make_study(study, parameters, store).results()
    if form is not Format.table:
        print_frame(table if metric is None else table[table["metric"] == metric], form)
        return
    known = dict.fromkeys(table["metric"])
    if metric is not None and metric not in known:
        raise AnalysisError(
            f"the study has no metric {metric!r}: it has {', '.join(known)}. Others are asked for with metrics = (...)."
        )
    table = table[table["primary"] if metric is None else table["metric"] == metric]
    console().print(_results_table(table))
    if table["other_data"].any():
        print("*: trained or selected on other data than the reference's train and val splits.")


def _results_table(table: pd.DataFrame) -> Table:
    """Put models in rows and distributions in columns; a column says its label space and metric where they are unusual."""
    own = table["label_space"].iloc[0]
    unusual = (table["distribution"] == "reference") & (table["label_space"] != own)
    heads = table["distribution"].where(~unusual, table["distribution"] + " in " + table["label_space"])
    heads = heads.where(table["metric"] == "accuracy", heads + "\n" + table["metric"])
    percent = ~table["metric"].isin(["negative-log-likelihood"])
    table = table.assign(head=heads, shown=table["value"].where(~percent, 100 * table["value"]))
    wide = table.pivot(index="model", columns="head", values="shown")
    wide = wide.loc[list(dict.fromkeys(table["model"])), list(dict.fromkeys(heads))]
    groups = table.drop_duplicates("model").set_index("model")["group"]
    metrics = ", ".join(dict.fromkeys(table["metric"]))
    shown = Table("group", "model", *wide.columns, title=f"{metrics} ({'%' if percent.all() else 'nats'})")
    other = set(table.loc[table["other_data"], "model"])
    for model, row in wide.iterrows():
        name = f"{model} *" if model in other else str(model)
        shown.add_row(str(groups[model]), name, *("-" if v != v else f"{v:.{1 if percent.all() else 3}f}" for v in row))
    return shown


@app.command()
def candidates(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    form: FormatOption = Format.table,
) -> None:
    """Print the candidates of every selection with their held-out metric, and which was chosen."""
    table = make_study(study, parameters, store).candidates()
    if form is not Format.table:
        print_frame(table, form)
        return
    shown = Table("selection", "", "candidate", "metric", "value", "")
    for row in table.itertuples():
        value = "-" if row.value != row.value else f"{row.value:.4f}"
        shown.add_row(row.selection, str(row.candidate), row.recipe, row.metric, value, "chosen" if row.chosen else "")
    console().print(shown)


@app.command()
def plot(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the figures.")] = None,
    scale: ScaleOption = Scale.probit,
) -> None:
    """Draw the figures as PNG and PDF, with their numbers as CSV."""
    for path in make_study(study, parameters, store).plot(out, scale=scale.value).values():
        print(path)


@app.command()
def verify(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    mend: Annotated[
        bool, typer.Option("--repair", help="Move damaged artifacts aside: the next run makes them anew.")
    ] = False,
) -> None:
    """Hash every artifact of the store against its manifest."""
    manager = make_study(study, parameters, store)
    damages = manager.verify(mend=mend)
    for damage in damages:
        print(f"damaged: {damage.key[:12]}: {damage.problem}" + (" (moved aside)" if mend else ""))
    print(f"{len(manager.store.complete()) + (len(damages) if mend else 0)} artifacts checked, {len(damages)} damaged.")
    raise typer.Exit(1 if damages and not mend else 0)


@app.command()
def collect(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    remove: Annotated[
        bool, typer.Option("--delete", help="Delete what is listed; without it nothing is deleted.")
    ] = False,
) -> None:
    """List what no study that ran on this store needs."""
    items = make_study(study, parameters, store).collect(remove=remove)
    for item in items:
        print(f"{item.size:>12,} bytes  {item.path}  ({item.reason})")
    size = sum(item.size for item in items)
    done = "deleted" if remove else "can be deleted with --delete"
    print(f"{len(items)} items, {size:,} bytes {done}.")


def _print_rows(rows: list[dict[str, str]], form: Format) -> None:
    if form is Format.json:
        print(json.dumps(rows, indent=1))
        return
    import csv

    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def main() -> None:
    """Run the command line: errors of shiftline are one message on standard error and exit status 1."""
    try:
        app()
    except ShiftlineError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing is left to say, and the shutdown must not try.
        sys.stderr.close()
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
