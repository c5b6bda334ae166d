"""Every figure of a study, each with the numbers that it shows."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from shiftline.analysis.joint import joint_effective_robustness
from shiftline.analysis.panels import Answers
from shiftline.analysis.support import calibration_curve, over_thresholds
from shiftline.launch.answers import answers
from shiftline.launch.planning import data_folder
from shiftline.launch.support import example_images, support_ratios
from shiftline.plan.jobs import Plan
from shiftline.report.figures import forest_figure, table_figures
from shiftline.report.support import examples_figure, support_figure
from shiftline.report.tables import axis_table, require_line
from shiftline.store.artifacts import Store

Figures = dict[str, tuple[Figure, pd.DataFrame]]

EXAMPLES = 8
"""Images in a row of the examples of a split by support."""


def study_figures(plan: Plan, store: Store, *, scale: str) -> Figures:
    """Return the figures of a study by name, with their numbers: see `ExperimentManager.figures`."""
    baseline, title = require_line(plan.study), plan.study.name
    table, found = axis_table(plan, store), answers(plan, store)
    drawn = table_figures(table, baseline=baseline, scale=scale, title=title)
    # The mean over a curve of mixing coefficients is no model's.
    curves = [group for group, rows in table.groupby("group") if rows["alpha"].nunique() > 1]
    table = table[~table["group"].isin(curves)]
    if set(table["group"]) == {baseline}:
        return drawn
    robustness = joint_effective_robustness(table, found, baseline=baseline, by="group", scale=scale)
    drawn["effective-robustness"] = forest_figure(robustness, baseline=baseline, title=title)
    return drawn | _support_figures(plan, store, table, found, scale)


def _support_figures(plan: Plan, store: Store, table: pd.DataFrame, found: Mapping[str, Answers], scale: str) -> Figures:
    """Draw the splits by support: the examples of each, and robustness over thresholds where the whole shift is declared too."""
    baseline, title = require_line(plan.study), plan.study.name
    drawn: Figures = {}
    for split in support_ratios(plan, store):
        name = f"support-{split.shift.replace(' ', '-').replace('/', '-')}"
        name = name if name not in drawn and f"{name}-examples" not in drawn else f"{name}-{split.key[:8]}"
        images = example_images(split, data_folder(store), EXAMPLES)
        drawn[f"{name}-examples"] = (
            examples_figure(images, title=f"{title}: {split.shift}, class and density ratio"),
            pd.DataFrame({"id": split.ids, "ratio": split.ratios, "key": split.key}),
        )
        if split.shift not in found:
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
            scale=scale,
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
