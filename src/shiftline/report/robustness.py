"""Robustness of a study's models about its baseline fit: the joint intervals, and pairwise comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from shiftline.analysis.comparisons import compare
from shiftline.analysis.joint import joint_effective_robustness
from shiftline.launch.answers import answers
from shiftline.plan.jobs import Plan
from shiftline.report.tables import axis_table, require_line
from shiftline.store.artifacts import Store


def robustness_table(
    plan: Plan, store: Store, *, shifts: Sequence[str] | None, scale: str, by: str, weights: str, resamples: int
) -> pd.DataFrame:
    """Return effective robustness per shift: see `shiftline.analysis.joint_effective_robustness`."""
    baseline = require_line(plan.study)
    return joint_effective_robustness(
        axis_table(plan, store),
        answers(plan, store),
        baseline=baseline,
        by=by,
        shifts=shifts,
        scale=scale,
        weights=weights,
        resamples=resamples,
    )


def comparison_table(plan: Plan, store: Store, a: str, b: str, *, scale: str) -> pd.DataFrame:
    """Return whether a model, or group of replicates, is more robust than another: see `shiftline.analysis.compare`."""
    baseline = require_line(plan.study)
    return compare(axis_table(plan, store), answers(plan, store), a, b, baseline=baseline, scale=scale)
