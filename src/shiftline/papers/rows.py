"""Results as the original programs keep them: one JSON object a line, with the options of the call and ``NAME:top1`` numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.errors import AnalysisError
from shiftline.store.files import disk_errors

if TYPE_CHECKING:
    import pandas as pd

    from shiftline.papers.names import NamedData
    from shiftline.store.artifacts import Store

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a results file.

    Raises
    ------
    AnalysisError
        There is no such file, or a line of it is no row.
    """
    if not path.is_file():
        raise AnalysisError(f"there are no results {path}: expected a file with one JSON object a line, as --results-db writes it.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise AnalysisError(f"{path}, line {number}, is no JSON ({error}): expected one object a line.") from error
        if not isinstance(row, dict) or "alpha" not in row:
            raise AnalysisError(
                f"{path}, line {number}, is no row of an original program: expected an object with its options (alpha, ...) and "
                "numbers such as ImageNet:top1. Give the results a file of their own."
            )
        rows.append(row)
    return rows


def append_rows(path: Path, rows: Iterable[Row]) -> int:
    """Add rows to a results file, but for those that it has; return how many were added.

    A row is known by its `key`, which stands for the model and for what it was evaluated on: the same call made twice leaves the
    same file.
    """
    there = {row.get("key") for row in read_rows(path)} if path.exists() else set()
    new = [row for row in rows if row["key"] not in there]
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in new)
    return len(new)


def interpolation_rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the rows of mixing coefficients of some results files; rows of the epochs of a fine-tuning hold a list there.

    Raises
    ------
    AnalysisError
        As `read_rows`; or there are none.
    """
    rows = [row for path in paths for row in read_rows(path) if isinstance(row["alpha"], (int, float))]
    if not rows:
        raise AnalysisError(f"{', '.join(map(str, paths))} hold no row of a mixing coefficient: run shiftline wise-ft first.")
    return rows


def require_numbers(rows: Sequence[Row], names: Iterable[str]) -> None:
    """Raise `AnalysisError` unless every row has some numbers: those that they have are listed."""
    for name in names:
        if lacking := [row for row in rows if name not in row]:
            known = sorted({key for row in rows for key, value in row.items() if ":" in key and isinstance(value, float)})
            raise AnalysisError(
                f"{len(lacking)} of {len(rows)} rows have no {name}: the file is of another study, or the data set was not "
                f"evaluated. The rows have {', '.join(known) or 'no numbers'}."
            )


def device_of(store: Store, predictions: Iterable[str]) -> str | None:
    """Return the device on which the predictions of a model were made, by their keys; None where the store does not say."""
    return next((store.manifest(key).provenance.get("device") for key in predictions if store.has(key)), None)


def named_numbers(
    table: pd.DataFrame, distributions: Mapping[tuple[str, str], str], evaluated: Sequence[NamedData]
) -> dict[str, dict[str, float]]:
    """Return numbers of a study by model and by ``NAME:SUFFIX``; a number that was not made is left out.

    Parameters
    ----------
    table : DataFrame
        From `ExperimentManager.results`.
    distributions : mapping
        From the name of a data set and a suffix to the study's name of the distribution.
    """
    made = table[table["value"].notna()]
    own = table["label_space"].iloc[0]
    found: dict[str, dict[str, float]] = {model: {} for model in dict.fromkeys(table["model"])}
    for one in evaluated:
        for suffix, scored in one.scores.items():
            name = distributions[one.name, suffix]
            rows = made[made["distribution"] == name]
            rows = rows[rows["metric"] == scored.metric] if scored.metric else rows[rows["primary"]]
            if name == "reference":
                rows = rows[rows["label_space"] == own]
            for model, value in zip(rows["model"], rows["value"], strict=True):
                found[model][f"{one.name}:{suffix}"] = float(value)
    return found
