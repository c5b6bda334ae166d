"""Robustness of a study's models about its baseline fit: the joint intervals, and pairwise comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import pandas as pd

from shiftline.analysis.claims import verdicts
from shiftline.analysis.comparisons import compare
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import joint_effective_robustness
from shiftline.analysis.settings import LineOptions
from shiftline.launch.answers import answers
from shiftline.plan.jobs import Plan
from shiftline.report.tables import line_table, shift_table
from shiftline.store.artifacts import Store

NO_LINE = "left out: the baseline table has no column for it"


def robustness_table(
    plan: Plan,
    store: Store,
    *,
    shifts: Sequence[str] | None,
    reference: str | Sequence[str] | None,
    by: str,
    level: float,
    resamples: int,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Return effective robustness per shift: see `shiftline.analysis.joint_effective_robustness`."""
    table, baseline, chosen = line_table(plan, store, reference)
    found = joint_effective_robustness(
        table,
        answers_on(plan, store, chosen),
        baseline=baseline,
        by=by,
        shifts=shifts,
        reference=chosen,
        level=level,
        resamples=resamples,
        **line,
    )
    found.attrs["notes"] |= dict.fromkeys(table.attrs["no_line"], (NO_LINE,))
    return found


def verdicts_table(plan: Plan, store: Store, *, level: float, resamples: int, **line: Unpack[LineOptions]) -> pd.DataFrame:
    """Return the verdicts on the claims of a study, whose line stands on its first reference: see `shiftline.analysis.verdicts`."""
    study = plan.study
    table, found = shift_table(plan, store), answers(plan, store, on_reference=True)
    return verdicts(table, found, study.claims, baseline=study.baseline, level=level, resamples=resamples, **line)


def answers_on(plan: Plan, store: Store, references: Sequence[str]) -> dict[str, Answers]:
    """Return which examples every model answers correctly, by shift, with those of some of the references in their order."""
    names = ("reference", *dict(plan.study.references))
    found = {}
    for shift, one in answers(plan, store).items():
        ends = dict(zip(names, (one.reference, *one.more), strict=True))
        first, *more = (ends[name] for name in references)
        found[shift] = Answers(first, one.shifted, tuple(more))
    return found


def comparison_table(
    plan: Plan, store: Store, a: str, b: str, *, reference: str | Sequence[str] | None, level: float, **line: Unpack[LineOptions]
) -> pd.DataFrame:
    """Return whether a model, or group of replicates, is more robust than another: see `shiftline.analysis.compare`."""
    table, baseline, chosen = line_table(plan, store, reference)
    return compare(table, answers_on(plan, store, chosen), a, b, baseline=baseline, reference=chosen, level=level, **line)
