"""Statistics of robustness on tidy tables. Never imports torch.

A tidy table has one row per model and distribution, with the columns ``model``, ``group``, ``distribution``, ``value``
(accuracy, a fraction) and where known ``n`` (number of examples), ``alpha``, ``epoch``, ``recipe`` and ``key``.
"""

from shiftline.analysis.alphas import AlphaChoice, alpha_curve, choose_alpha
from shiftline.analysis.axes import SCALES
from shiftline.analysis.baseline import BaselineFit, fit_baseline, leave_one_out
from shiftline.analysis.comparisons import compare, holm, mcnemar
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.intervals import clopper_pearson, mean_interval
from shiftline.analysis.joint import joint_effective_robustness
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import effective_robustness, group_means, relative_robustness
from shiftline.analysis.support import calibration_curve, difficulty, matching_weights, over_thresholds

__all__ = [
    "SCALES",
    "AlphaChoice",
    "Answers",
    "BaselineFit",
    "Correctness",
    "alpha_curve",
    "calibration_curve",
    "choose_alpha",
    "clopper_pearson",
    "compare",
    "difficulty",
    "effective_robustness",
    "fit_baseline",
    "group_means",
    "holm",
    "joint_effective_robustness",
    "leave_one_out",
    "matching_weights",
    "mcnemar",
    "mean_interval",
    "over_thresholds",
    "relative_robustness",
]
