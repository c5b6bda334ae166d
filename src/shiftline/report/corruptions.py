"""Corruption errors of a study's models."""

from __future__ import annotations

import pandas as pd

from shiftline.analysis.corruption_errors import ALEXNET, corruption_errors
from shiftline.contracts.distributions import Split
from shiftline.errors import AnalysisError
from shiftline.plan.jobs import Plan
from shiftline.report.tables import shift_table
from shiftline.store.artifacts import Store

DATASETS = ("imagenet-c", "cifar10-c")


def corruptions_of(plan: Plan, *, baseline: str) -> dict[str, tuple[str, int]]:
    """Return corruption and severity of the shifts that are a split of a data set of corruptions, as it is.

    Raises
    ------
    AnalysisError
        They are of two data sets, or of one on which AlexNet has no published errors, with AlexNet as the baseline.
    """
    found, datasets = {}, set()
    for name, shift in plan.study.shifts:
        if isinstance(shift, Split) and shift.dataset in DATASETS:
            corruption, _, severity = shift.split.rpartition("-")
            found[name] = (corruption, int(severity))
            datasets.add(shift.dataset)
    if len(datasets) > 1:
        raise AnalysisError(f"the shifts are of {' and '.join(sorted(datasets))}: corruption errors are of one data set.")
    if baseline == ALEXNET and datasets == {"cifar10-c"}:
        raise AnalysisError("AlexNet has no published errors on CIFAR-10-C: name a model of the study, --baseline MODEL.")
    return found


def corruption_table(plan: Plan, store: Store, *, baseline: str) -> pd.DataFrame:
    """Return the corruption errors: see `ExperimentManager.corruption_errors`."""
    table = shift_table(plan, store)
    return corruption_errors(table[~table["published"]], corruptions_of(plan, baseline=baseline), baseline=baseline)
