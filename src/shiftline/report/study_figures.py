"""Every figure of a study, each with the numbers that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import pandas as pd
from matplotlib.figure import Figure

from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import joint_effective_robustness
from shiftline.analysis.settings import LineOptions
from shiftline.analysis.support import calibration_curve, over_thresholds
from shiftline.analysis.tables import REFERENCE
from shiftline.launch.planning import data_folder
from shiftline.launch.support import example_images, support_ratios
from shiftline.plan.jobs import Plan
from shiftline.report.alphas import curve_figures
from shiftline.report.forest import accuracies_figure, forest_figure
from shiftline.report.panels import robustness_figure
from shiftline.report.robustness import answers_on
from shiftline.report.support import examples_figure, support_figure
from shiftline.report.tables import axis_table, line_table, shift_table
from shiftline.store.artifacts import Store

Figures = dict[str, tuple[Figure, pd.DataFrame]]

EXAMPLES = 8
"""Images in a row of the examples of a split by support."""


def study_figures(
    plan: Plan,
    store: Store,
    *,
    reference: str | Sequence[str] | None = None,
    linear_accuracy: bool = False,
    **line: Unpack[LineOptions],
) -> Figures:
    """Return the figures of a study by name, with their numbers: see `ExperimentManager.figures`.

    A study without shifts or a baseline has those that need no line.
    """
    study, title = plan.study, plan.study.name
    lined = bool(study.shifts) and study.baseline is not None
    baseline: str | None
    if lined:
        table, baseline, references = line_table(plan, store, reference)
    else:
        table, baseline, references = shift_table(plan, store), None, (REFERENCE,)
    drawn: Figures = {}
    if study.shifts:
        drawn["robustness" if lined else "shifts"] = robustness_figure(
            table, baseline=baseline, reference=references, title=title, linear_accuracy=linear_accuracy, **line
        )
    if not lined:
        drawn["accuracies"] = accuracies_figure(axis_table(plan, store), title=title)
    drawn |= curve_figures(shift_table(plan, store), title=title, linear_accuracy=linear_accuracy)
    # The mean over a curve of mixing coefficients is no model's.
    curves = [group for group, rows in table.groupby("group") if rows["alpha"].nunique() > 1]
    table, found = table[~table["group"].isin(curves)], answers_on(plan, store, references)
    if baseline is not None and set(table["group"]) != {baseline}:
        robustness = joint_effective_robustness(table, found, baseline=baseline, by="group", reference=references, **line)
        drawn["effective-robustness"] = forest_figure(robustness, baseline=baseline, title=title)
    return drawn | _support_figures(plan, store, table, found, baseline, line)


def _support_figures(
    plan: Plan, store: Store, table: pd.DataFrame, found: Mapping[str, Answers], baseline: str | None, line: LineOptions
) -> Figures:
    """Draw the splits by support: the examples of each, and robustness over thresholds where the whole shift has a line too."""
    title = plan.study.name
    drawn: Figures = {}
    for split in support_ratios(plan, store):
        name = f"support-{split.shift.replace(' ', '-').replace('/', '-')}"
        name = name if name not in drawn and f"{name}-examples" not in drawn else f"{name}-{split.key[:8]}"
        images = example_images(split, data_folder(store), EXAMPLES)
        drawn[f"{name}-examples"] = (
            examples_figure(images, title=f"{title}: {split.shift}, class and density ratio"),
            pd.DataFrame({"id": split.ids, "ratio": split.ratios, "key": split.key}),
        )
        # Published models have no answers on the images of a subset.
        if split.shift not in found or baseline is None or plan.study.published is not None:
            continue
        chosen = [threshold for _, threshold in split.subsets.values()]
        curve = over_thresholds(
            table,
            found[split.shift],
            split.ids,
            split.ratios,
            shift=split.shift,
            baseline=baseline,
            thresholds=sorted({*(threshold for threshold, _, _ in split.summary["sizes"]), *chosen}),
            **line,
        )
        figure = support_figure(
            curve,
            calibration_curve(split.summary["calibration"]),
            split.reference_ratios,
            split.ratios,
            baseline=baseline,
            chosen=chosen,
            title=f"{title}: {split.shift} split by support (AUC {split.summary['auc']:.2f})",
        )
        drawn[name] = figure, curve.assign(support=split.key)
    return drawn
