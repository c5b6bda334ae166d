"""Statistics of robustness on tidy tables. Never imports torch.

A tidy table has one row per model and distribution, with the columns ``model``, ``group``, ``distribution``, ``value``
(accuracy, a fraction) and where known ``n`` (number of examples), ``alpha``, ``epoch``, ``recipe`` and ``key``.
"""

from shiftline.analysis.agreement import Classes, agreement_on_the_line, agreements
from shiftline.analysis.alphas import AlphaChoice, alpha_curve, choose_alpha
from shiftline.analysis.axes import SCALES
from shiftline.analysis.baseline import BaselineFit, fit_baseline
from shiftline.analysis.claims import verdicts
from shiftline.analysis.comparisons import compare, holm, mcnemar
from shiftline.analysis.correctness import Correctness
from shiftline.analysis.diversity import (
    centered_kernel_alignment,
    cohen_kappa,
    corrected_examples,
    disagreement,
    diversity_table,
    error_consistency,
    error_overlap,
    prediction_diversity,
    prediction_kl,
)
from shiftline.analysis.intervals import clopper_pearson, mean_interval
from shiftline.analysis.leaving_out import leave_one_out
from shiftline.analysis.notes import LEGEND, legend
from shiftline.analysis.ood_select import ood_select
from shiftline.analysis.panels import Answers
from shiftline.analysis.robustness import effective_robustness, group_means, joint_effective_robustness, relative_robustness
from shiftline.analysis.settings import LineOptions
from shiftline.analysis.support import calibration_curve, difficulty, matching_weights, over_thresholds

__all__ = [
    "LEGEND",
    "SCALES",
    "AlphaChoice",
    "Answers",
    "BaselineFit",
    "Classes",
    "Correctness",
    "LineOptions",
    "agreement_on_the_line",
    "agreements",
    "alpha_curve",
    "calibration_curve",
    "centered_kernel_alignment",
    "choose_alpha",
    "clopper_pearson",
    "cohen_kappa",
    "compare",
    "corrected_examples",
    "difficulty",
    "disagreement",
    "diversity_table",
    "effective_robustness",
    "error_consistency",
    "error_overlap",
    "fit_baseline",
    "group_means",
    "holm",
    "joint_effective_robustness",
    "leave_one_out",
    "legend",
    "matching_weights",
    "mcnemar",
    "mean_interval",
    "ood_select",
    "over_thresholds",
    "prediction_diversity",
    "prediction_kl",
    "relative_robustness",
    "verdicts",
]
