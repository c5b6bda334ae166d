"""The tables of a study, as DataFrames: its scores, its selections, its splits by support, and what an axis shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shiftline.analysis.intervals import clopper_pearson
from shiftline.analysis.tables import REFERENCE
from shiftline.contracts.identity import canonical, digest
from shiftline.contracts.models import Model, backbones_of, distinct
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
        order_unverified (nobody knows which class each output is of),
        distribution, label_space, metric, primary (the metric stands for its distribution on an axis), value, n, low, high (95 %:
        exact for proportions, else bootstrap over the examples), key, model_key (which `shiftline export` takes; empty for a
        mixture, whose weights are stored nowhere). The reference has rows in the label space of every shift. A
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
        shift, classifier, auc (of telling reference from shift, out of fold), p_value (of reference and shift being one
        distribution, by these logits), slope, intercept (of the calibration), mean_ratio (over the shift: a density ratio averages
        to at most 1), bins, bins_outside (of the calibration, and how many of them predict what lies outside their 95 % interval),
        n_reference, n_shift, threshold, n_in, n_out (examples at that ratio), poor (p_value is above 0.05: the classifier does not
        tell), key. One row per threshold; empty where no shift is split.
    """
    # Imported when needed, as what fits lines is: it brings scipy.stats, without which tables of results are printed at once.
    from shiftline.analysis.support import calibration_curve

    known = ["auc", "p_value", "slope", "intercept", "mean_ratio", "bins", "bins_outside", "n_reference", "n_shift"]
    rows = []
    for found in support_ratios(plan, store):
        curve = calibration_curve(found.summary["calibration"])
        outside = (curve["predicted"] < curve["low"]) | (curve["predicted"] > curve["high"])
        of_shift = {**found.summary, "bins": len(curve), "bins_outside": int(outside.sum())}
        shared = {"shift": found.shift, "classifier": found.classifier, **{name: of_shift[name] for name in (*known, "poor")}}
        rows += [
            {**shared, "threshold": threshold, "n_in": n_in, "n_out": n_out, "key": found.key}
            for threshold, n_in, n_out in found.summary["sizes"]
        ]
    return pd.DataFrame(rows, columns=["shift", "classifier", *known, "threshold", "n_in", "n_out", "poor", "key"])


def axis_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the values that stand for their distributions on an axis, as `shiftline.analysis` reads them.

    Returns
    -------
    DataFrame
        The columns of `results_table` with: replicates_of (equal for models that differ in their seeds only), run (equal for
        checkpoints of one training), architecture, subset (the distribution is a subset by support), proportion (the value is a
        share of n examples), se (of what is no proportion), published (its model stands in the study's
        baseline table, whose rows come last).

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
    architecture = {name: _architecture(model) for name, model in expressions.items()}
    known = {"replicates_of": replicates_of, "run": run, "architecture": architecture}
    table = table.assign(**{name: table["model"].map(of_model) for name, of_model in known.items()}, published=False)
    table["subset"] = table["distribution"].isin([name for name, where in study.shifts if where.support is not None])
    # Of what is no proportion, the images' share of the uncertainty is read from the bootstrap interval.
    table["proportion"] = table["correct"].notna() | table["value"].isna()
    table["se"] = ((table["high"] - table["low"]) / (2 * NORMAL_95)).where(~table["proportion"], np.nan)
    table = table.drop(columns="correct")
    if study.published is None:
        return table
    from shiftline.report.published import with_published

    return with_published(table, study.published, shifts=list(dict(study.shifts)))


def line_table(plan: Plan, store: Store, reference: str | Sequence[str] | None = None) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """Return the values of a study that has a line, the group that fixes it, and the references that it stands on.

    Shifts for which the study's baseline table has no column are left out, and are in ``attrs["no_line"]``; so are references that
    are not asked for.

    Parameters
    ----------
    reference : str or sequence of str, optional
        "reference", or names of further references; all of the study unless given (with a baseline table the first).

    Raises
    ------
    AnalysisError
        The study declares no line or no such reference, or has no results yet.
    """
    study = plan.study
    baseline = require_line(study)
    known = (REFERENCE, *dict(study.references))
    default = known if study.published is None else known[:1]
    chosen = default if reference is None else (reference,) if isinstance(reference, str) else tuple(reference)
    for name in chosen:
        if name not in known:
            raise AnalysisError(f"{study.name!r} has no reference {name!r}: it has {', '.join(map(repr, known))}.")
    if study.published is not None and chosen != known[:1]:
        raise AnalysisError(f"the baseline table of {study.name!r} has accuracies on the first reference only: name 'reference'.")
    table = axis_table(plan, store)
    without = table.attrs.get("no_line", [])
    lined = table[~table["distribution"].isin({*without, *known} - {*chosen})].reset_index(drop=True)
    lined.attrs["no_line"] = without
    return lined, baseline, chosen


def shift_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return `axis_table` without further references: the reference, its val split, and the shifts."""
    table = axis_table(plan, store)
    kept = table[~table["distribution"].isin(dict(plan.study.references))].reset_index(drop=True)
    kept.attrs.update(table.attrs)
    return kept


def _architecture(model: Model) -> str:
    """Return the network that a model ends in, of its first branch."""
    return next(str(backbone) for below in distinct(model) for backbone in backbones_of(below))


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
    if study.published is not None:
        return study.baseline
    members = sum(named.group == study.baseline for named in study.models)
    if members < 3:
        raise AnalysisError(
            f"the baseline group {study.baseline!r} of {study.name!r} has {members} models: a line needs at least 3. Add other "
            "architectures, training-set sizes or epochs."
        )
    return study.baseline
