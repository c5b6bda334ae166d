"""Published accuracies as rows of a study: the models of its baseline table, in the label spaces of its shifts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from shiftline.analysis.accuracy_tables import tidy_accuracies
from shiftline.analysis.table_files import read_table
from shiftline.analysis.tables import REFERENCE
from shiftline.contracts.identity import digest
from shiftline.contracts.published import PublishedBaseline
from shiftline.errors import AnalysisError


def with_published(table: pd.DataFrame, published: PublishedBaseline, *, shifts: Sequence[str]) -> pd.DataFrame:
    """Return the table of a study's axes with the rows of its baseline table.

    Their column `key` is the digest of the table's content and of what was said of its columns. ``attrs["no_line"]`` lists the
    shifts for which the table has no column.

    Raises
    ------
    AnalysisError
        The table cannot be read, lacks a column, or names a model of the study; or a shift of other classes than the reference's
        has no reference column of its own.
    """
    wide = read_table(Path(published.path))
    lined = [name for name in shifts if name in dict(published.shifts) or name in wide.columns]
    if not lined:
        raise AnalysisError(
            f"the baseline table {published.path} has no column for any shift: it has {', '.join(map(repr, wide.columns))}, the "
            f"shifts are {', '.join(map(repr, shifts))}. Write shifts={{shift: column}}."
        )
    columns = {name: published.column_of(name) for name in lined}
    spaces = table.drop_duplicates("distribution").set_index("distribution")["label_space"]
    references = _references(published, lined, spaces)
    numbers = tidy_accuracies(
        wide,
        model=published.model,
        reference=list(dict.fromkeys(references.values())),
        shifts=list(dict.fromkeys(columns.values())),
        baseline=None,
        percent=published.percent,
        cluster=published.family,
    )
    if shared := sorted(set(numbers["model"]) & set(table["model"])):
        raise AnalysisError(
            f"the baseline table {published.path} and the study both have a model {shared[0]!r}: rename the study's, or leave "
            "it out of the table."
        )
    # One reference column is named "reference" in the tidy table, several keep their names.
    single = len(set(references.values())) == 1
    key = digest({"table": wide.to_csv(index=False), "read as": repr(published)})
    parts = []
    for distribution, space, column, n in (
        *((REFERENCE, space, REFERENCE if single else column, published.n_reference) for space, column in references.items()),
        *((shift, spaces[shift], columns[shift], published.n_shift) for shift in lined),
    ):
        rows = numbers[numbers["distribution"] == column]
        like = table[(table["distribution"] == distribution) & (table["label_space"] == space)].iloc[0]
        shown = {"distribution": distribution, "label_space": space, "metric": like["metric"], "proportion": like["proportion"]}
        parts.append(rows.assign(**shown, subset=like["subset"], n=n, architecture=rows.get(published.family or "", rows["model"])))
    rows = pd.concat(parts, ignore_index=True).assign(
        group=published.group,
        recipe=f"of {Path(published.path).name}",
        other_data=False,
        order_unverified=False,
        primary=True,
        published=True,
        key=key,
        model_key="",
    )
    rows = rows.assign(replicates_of=rows["model"], run=rows["model"]).reindex(columns=table.columns)
    whole = pd.concat([table, rows.astype(table.dtypes.to_dict())], ignore_index=True)
    whole.attrs["no_line"] = [name for name in shifts if name not in lined]
    return whole


def published_accuracies(published: PublishedBaseline, shift: str) -> pd.DataFrame:
    """Return the published accuracies on one shift and the reference, as `shiftline.analysis` reads them."""
    column = published.reference_of(shift)
    if column is None:
        raise AnalysisError(f"the baseline table names no reference column for {shift!r}: write --column reference=COLUMN.")
    return tidy_accuracies(
        read_table(Path(published.path)),
        model=published.model,
        reference=column,
        shifts=[published.column_of(shift)],
        baseline=None,
        percent=published.percent,
        n_reference=published.n_reference,
        n_shift=published.n_shift,
        cluster=published.family,
    )


def _references(published: PublishedBaseline, shifts: list[str], spaces: pd.Series) -> dict[str, str]:
    """Return the columns of reference accuracies by label space."""
    found: dict[str, str] = {}
    for shift in shifts:
        space, column = spaces[shift], published.reference_of(shift)
        if column is None:
            raise AnalysisError(
                f"the baseline table names no reference column for {shift!r}: write reference={{{shift!r}: column, ...}}, or one "
                "column for all."
            )
        if isinstance(published.reference, str) and space != spaces[REFERENCE]:
            raise AnalysisError(
                f"{shift!r} is scored in the label space {space!r}, and {column!r} holds reference accuracies in that of the "
                f"reference, {spaces[REFERENCE]!r}: name a column of reference accuracies on these classes for every shift, "
                f"reference={{{shift!r}: column, ...}}."
            )
        if found.setdefault(space, column) != column:
            raise AnalysisError(
                f"{shift!r} is scored in the label space {space!r}, whose reference accuracies stand in {found[space]!r} and in "
                f"{column!r}: name one column for all shifts of these classes."
            )
    return found
