"""The command that says what the rest of a study will take."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shiftline.cli.loading import make_study
from shiftline.cli.options import Parameters, StudyName
from shiftline.contracts.require import counted
from shiftline.terminal.options import DEFAULT_STORE, StoreFolder
from shiftline.terminal.tables import Format, console, print_frame

if TYPE_CHECKING:
    from shiftline.launch.cost import Cost


def cost(
    study: StudyName,
    parameters: Parameters = None,
    store: StoreFolder = DEFAULT_STORE,
    format: Annotated[Format, typer.Option("--format", help="table, csv or json (seconds and bytes).")] = Format.table,
) -> None:
    """Estimate time, disk space and memory of what is missing, from the finished jobs of the study. Writes nothing."""
    manager = make_study(study, parameters, store)
    rows = manager.cost()
    if format is not Format.table:
        import pandas as pd

        from shiftline.launch.cost import Cost

        names = [one.name for one in dataclasses.fields(Cost)]
        print_frame(pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=names), format)
        return
    if not rows:
        print(f"{manager.name}: nothing is missing.")
        return
    table = Table("kind", "network", "missing", "measured", "on", "time", "size", "peak memory")
    for row in rows:
        numbers = _time(row.seconds), _size(row.size), _size(row.memory)
        table.add_row(row.kind, row.network, str(row.missing), str(row.measured), row.device, *numbers)
    console().print(table)
    print(_sum(manager.name, rows))


def _sum(name: str, rows: list[Cost]) -> str:
    known = [row for row in rows if row.seconds is not None]
    missing, unknown = sum(row.missing for row in rows), sum(row.missing for row in rows if row.seconds is None)
    if not known:
        return f"{name}: {counted(missing, 'job')} missing, and no job like them is finished: run a few (--group, --kind) first."
    seconds = sum(row.seconds or 0 for row in known)
    on_gpu = sum(row.seconds or 0 for row in known if row.device not in ("cpu", "mps"))
    said = f"{name}: {_time(seconds)} for {counted(missing - unknown, 'job')}, one after another"
    said += f" ({on_gpu / 3600:.2g} GPU-hours)" if on_gpu else ""
    said += f", {_size(sum(row.size or 0 for row in known))}."
    return said + (f" {counted(unknown, 'job')} more, of kinds of which none is finished." if unknown else "")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size(size: float | None) -> str:
    if size is None:
        return "?"
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
