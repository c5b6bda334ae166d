"""The tables of a study, as DataFrames: its scores, its selections, its splits by support, and what an axis shows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shiftline.analysis.intervals import clopper_pearson
from shiftline.contracts.identity import canonical, digest
from shiftline.contracts.study import Study
from shiftline.errors import AnalysisError
from shiftline.launch.results import candidates, group_scores, scores
from shiftline.launch.support import support_ratios
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store

NORMAL_95 = 1.96
"""Half the width of a 95 % interval, in standard errors."""


def results_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return every score of a plan.

    Returns
    -------
    DataFrame
        model, group, recipe, seed, epoch, step, alpha, other_data (it reads other data than the reference's train and val),
        distribution, label_space, metric, primary (the metric stands for its distribution on an axis), value, n, low, high (95 %:
        exact for proportions, else bootstrap over the examples), key. The reference has rows in the label space of every shift. A
        score that has not been made is a row without a value. ``attrs["units"]`` says by metric what tables for people show: "%"
        for 100 times the value, else its unit.
    """
    table = _scored(plan, store).drop(columns="correct")
    metrics = {score.metric for planned in plan.models for score in planned.scores}
    table.attrs["units"] = {metric.name: "%" if metric.percent else metric.unit for metric in metrics}
    return table


def _scored(plan: Plan, store: Store) -> pd.DataFrame:
    table = pd.DataFrame([vars(score) for score in scores(plan, store)])
    counted = table["correct"].notna()
    for column in ("value", "low", "high", "alpha"):
        table[column] = table[column].astype(float)
    if counted.any():
        interval = clopper_pearson(table.loc[counted, "correct"].astype(int), table.loc[counted, "n"].astype(int))
        table.loc[counted, "low"], table.loc[counted, "high"] = interval.low, interval.high
    for column in ("seed", "epoch", "step", "n"):
        table[column] = table[column].astype("Int64")
    return table


def group_accuracies_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the accuracy within every group of the data, for the distributions that were scored by groups.

    Returns
    -------
    DataFrame
        model, group (of the study), distribution, label_space, subgroup (of the data), value, n, low, high (exact 95 %), key.
        Empty where no metric reads groups: say metrics = ("worst-group-accuracy",).
    """
    columns = ["model", "group", "distribution", "label_space", "subgroup", "value", "n", "low", "high", "key"]
    rows = [vars(score) for score in group_scores(plan, store)]
    if not rows:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(rows)
    interval = clopper_pearson(table["correct"], table["n"])
    return table.assign(value=table["correct"] / table["n"], low=interval.low, high=interval.high)[columns]


def candidates_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the candidates of every selection.

    Returns
    -------
    DataFrame
        selection, candidate (its number), recipe, metric, value (the mean over the held-out distributions), rule, chosen, key (of
        the selection). Values that have not been made are missing, and nothing is chosen then.
    """
    columns = ["selection", "candidate", "recipe", "metric", "value", "rule", "chosen", "key"]
    return pd.DataFrame([vars(row) for row in candidates(plan, store)], columns=columns)


def support_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return how well shifts were split by support.

    Returns
    -------
    DataFrame
        shift, classifier, auc (of telling reference from shift, out of fold), slope (of the calibration), n_reference, n_shift,
        threshold, n_in, n_out (examples at that ratio), poor (the AUC is below 0.6: the classifier hardly tells), key. One row per
        threshold; empty where no shift is split.
    """
    known = ["auc", "slope", "n_reference", "n_shift"]
    rows = [
        {
            "shift": found.shift,
            "classifier": found.classifier,
            **{name: found.summary[name] for name in (*known, "poor")},
            "threshold": threshold,
            "n_in": n_in,
            "n_out": n_out,
            "key": found.key,
        }
        for found in support_ratios(plan, store)
        for threshold, n_in, n_out in found.summary["sizes"]
    ]
    return pd.DataFrame(rows, columns=["shift", "classifier", *known, "threshold", "n_in", "n_out", "poor", "key"])


def axis_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the values that stand for their distributions on an axis, as `shiftline.analysis` reads them.

    Returns
    -------
    DataFrame
        The columns of `results_table` with: replicates_of (equal for models that differ in their seeds only), run (equal for
        checkpoints of one training), subset (the distribution is a subset by support), se (of what is no proportion).

    Raises
    ------
    AnalysisError
        None of them has been made.
    """
    table = _scored(plan, store)
    table = table[table["primary"]].reset_index(drop=True)
    study = plan.study
    if table["value"].isna().all():
        raise AnalysisError(f"{study.name!r} has no results in {store.root} yet: run the study first.")
    expressions = {named.model: named.expression for named in study.models}
    replicates_of = {name: digest(canonical(model.seeded(0))) for name, model in expressions.items()}
    run = {name: digest(canonical(model.training_run())) for name, model in expressions.items()}
    table = table.assign(replicates_of=table["model"].map(replicates_of), run=table["model"].map(run))
    table["subset"] = table["distribution"].isin([name for name, where in study.shifts if where.support is not None])
    # Of what is no proportion, the images' share of the uncertainty is read from the bootstrap interval.
    bootstrapped = table["value"].notna() & table["correct"].isna()
    table["se"] = ((table["high"] - table["low"]) / (2 * NORMAL_95)).where(bootstrapped, np.nan)
    table["n"] = table["n"].mask(bootstrapped)
    return table.drop(columns="correct")


def require_line(study: Study) -> str:
    """Return the baseline group of a study.

    Raises
    ------
    AnalysisError
        It has no shifts or no baseline group, or that has fewer than three models.
    """
    if not study.shifts:
        raise AnalysisError(
            f"effective robustness was requested, but {study.name!r} declares no shifts: write shifts = {{name: "
            "reference.test.shifted(...)}."
        )
    if study.baseline is None:
        raise AnalysisError(
            f"effective robustness was requested, but {study.name!r} declares no baseline: write baseline = GROUP, one of "
            f"{', '.join(map(repr, study.groups))}, with three models or more."
        )
    members = sum(named.group == study.baseline for named in study.models)
    if members < 3:
        raise AnalysisError(
            f"the baseline group {study.baseline!r} of {study.name!r} has {members} models: a line needs at least 3. Add other "
            "architectures, training-set sizes or epochs."
        )
    return study.baseline
