"""Write the tables of the documentation that are made from the code (operations, data sets, metrics, notes) or were measured.

    .venv/bin/python scripts/write_tables.py

A test compares the documentation with what this makes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import shiftline as sl
from shiftline.analysis import LEGEND
from shiftline.contracts.plugins import tagged
from shiftline.datasets.catalogue import catalogue

ROOT = Path(__file__).parent.parent
DECISIONS = ("p_er", "p_seeds", "claim holds")
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |") for cells in lines)


def operations() -> str:
    """Return the table of operations: every public name with a formula."""
    rows = []
    for name in sl.__all__:
        formula = getattr(getattr(sl, name), "formula", None)
        if formula is not None:
            rows.append([f"`{name}`", formula.text, formula.source, formula.members, formula.restrictions])
    return table(["operation", "formula", "source", "members in memory", "restrictions"], rows)


def data_sets() -> str:
    """Return the table of known data sets."""
    rows = []
    for family in catalogue().families.values():
        if family.generated:
            rows.append(
                [f"**{family.name}**: {family.title}", ", ".join(family.splits), family.classes, family.groups or "-", *"---"]
            )
            continue
        named = "" if family.usual_splits else f"--split {family.splits[0].replace('CORRUPTION-SEVERITY', 'gaussian_noise-3')} "
        rows.append(
            [
                f"**{family.name}**: {family.title}",
                ", ".join(family.splits),
                family.classes,
                family.groups or "-",
                f"`{(family.folders or (family.name,))[0]}`: {family.layout}",
                f"{family.licence}; {family.source}",
                f"`shiftline data write {family.name} {named}--root DIR`",
            ]
        )
    return table(["data set", "splits", "classes", "groups", "layout expected", "licence and source", "command"], rows)


def metrics() -> str:
    """Return the table of metrics that a study may ask for."""
    rows = []
    for tag, cls in sorted(tagged(sl.Metric).items()):
        if cls.requestable:
            shown = "%" if cls.percent else cls.unit
            better = "higher" if cls.higher_is_better else "lower"
            rows.append(
                [f"`{tag}`", inspect.getdoc(cls).partition("\n\n")[0].replace("\n", " ").replace("|", "\\|"), shown, better]
            )
    return table(["metric", "definition", "shown in", "better"], rows)


def notes() -> str:
    """Return the legend of the notes beside numbers."""
    return table(["note", "says"], [[f"`{code}`", text] for code, text in LEGEND.items()])


def _measured(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text())["measured"]["settings"]
    return found


def coverage() -> str:
    """Return the coverage of 95 % intervals by regime and number of baseline models."""
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in _measured("interval_coverage"):
        rows.setdefault((row["regime"], row["baselines"]), []).append(row)
    cells = []
    for (regime, baselines), found in rows.items():
        ranges = [f"{min(row[name] for row in found):.2f} to {max(row[name] for row in found):.2f}" for name in ("joint", "table")]
        # Codes that half of the studies carry, in some of the settings.
        said = dict.fromkeys(code for row in found for code in row["notes"].split())
        cells.append([regime, str(baselines), *ranges, " ".join(f"`{code}`" for code in LEGEND if code in said)])
    fewest = min(row["studies"] + row["refused"] + row["undefined"] for of_size in rows.values() for row in of_size)
    return table([f"regime ({fewest} studies or more each)", "baselines", "with answers", "table alone", "notes"], cells)


def decisions() -> str:
    """Return how often comparisons and claims find a difference."""
    rows = [
        [row["case"], str(row["replicates"]), *(f"{row[name]:.3f}" if name in row else "-" for name in DECISIONS)]
        for row in _measured("decisions")
    ]
    return table(["groups", "replicates", "p ER", "p seeds", "claim holds"], rows)


TABLES = {
    ("models.md", "operations"): operations,
    ("data.md", "data sets"): data_sets,
    ("data.md", "metrics"): metrics,
    ("robustness.md", "notes"): notes,
    ("robustness.md", "coverage"): coverage,
    ("robustness.md", "decisions"): decisions,
}


def written(text: str, name: str, made: str) -> str:
    """Return a page with a table put between its marks."""
    start, end = f"<!-- table of {name}: scripts/write_tables.py -->", "<!-- end of the table -->"
    return re.sub(f"{re.escape(start)}\n.*?{re.escape(end)}", lambda _: f"{start}\n{made}\n{end}", text, count=1, flags=re.S)


def main() -> None:
    for (page, name), make in TABLES.items():
        path = DOCS / page
        path.write_text(written(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
