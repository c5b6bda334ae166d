"""Calibrated density ratios of the examples of a shift, and the subsets of it inside and outside the support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from shiftline.contracts.files import DOMAINS
from shiftline.engine.context import Context
from shiftline.errors import DataError
from shiftline.store.artifacts import Draft

if TYPE_CHECKING:
    from shiftline.operations.support.declaration import SupportIds, SupportRatio

FEWEST = 50
"""Examples of a subset: with fewer an accuracy is known to no better than 14 points."""
THRESHOLDS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the sizes that are reported."""
POOR_AUC = 0.6
BINS = 10


def support_ratios(model: SupportRatio, draft: Draft, context: Context) -> None:
    """Pool the folds, calibrate, and write the density ratio of every example."""
    folds = [load_file(context.store.file(context.plan.artifacts[fold], DOMAINS)) for fold in model.folds]
    pooled = {name: np.concatenate([fold[name] for fold in folds]) for name in folds[0]}
    for side in ("reference", "shift"):
        order = np.argsort(pooled[f"{side}_ids"], kind="stable")
        for name in ("ids", "logits"):
            pooled[f"{side}_{name}"] = pooled[f"{side}_{name}"][order]
    reference, shifted = pooled["reference_logits"], pooled["shift_logits"]
    slope = calibration_slope(np.concatenate([reference, shifted]), np.repeat([1, -1], [len(reference), len(shifted)]))
    pooled["ratios"] = density_ratio(shifted, slope, len(reference), len(shifted))
    pooled["reference_ratios"] = density_ratio(reference, slope, len(reference), len(shifted))
    save_file(pooled, draft.folder / DOMAINS)
    auc = auc_of(reference, shifted)
    sizes = [[t, int((pooled["ratios"] >= t).sum()), int((pooled["ratios"] < t).sum())] for t in THRESHOLDS]
    draft.summary.update(auc=auc, slope=slope, n_reference=len(reference), n_shift=len(shifted), poor=auc < POOR_AUC)
    draft.summary.update(sizes=sizes, calibration=calibration_bins(reference, shifted, slope))


def auc_of(reference: np.ndarray, shifted: np.ndarray) -> float:
    """Return the area under the ROC curve of telling reference from shift by logits."""
    domains = np.repeat([1, 0], [len(reference), len(shifted)])
    return float(roc_auc_score(domains, np.concatenate([reference, shifted])))


def calibration_slope(logits: np.ndarray, signs: np.ndarray) -> float:
    """Return ``argmin_a sum log(1 + exp(-a f y))``, solved exactly: the root of its monotone derivative.

    Parameters
    ----------
    logits : float64 array, shape (N,)
    signs : array of 1 (reference) and -1 (shift), shape (N,)

    Returns
    -------
    float
        0 where the logits tell nothing; at most 100, which is reached where they tell everything.
    """
    margins = logits * signs

    def derivative(a: float) -> float:
        return float(-(margins * expit(-a * margins)).sum())

    if derivative(0.0) >= 0:
        return 0.0
    return 100.0 if derivative(100.0) < 0 else float(brentq(derivative, 0.0, 100.0, xtol=1e-12))


def density_ratio(logits: np.ndarray, slope: float, n_reference: int, n_shift: int) -> np.ndarray:
    """Return ``p_ref(x) / p_shift(x) = [p(ref|x) / p(shift|x)] * [p(shift) / p(ref)]``, float64, shape (N,)."""
    with np.errstate(over="ignore"):
        ratio: np.ndarray = np.exp(slope * logits) * (n_shift / n_reference)
    return ratio


def calibration_bins(reference: np.ndarray, shifted: np.ndarray, slope: float) -> list[list[float]]:
    """Return [mean predicted probability of being reference, examples of the reference, examples] by tenths of the examples."""
    predicted = expit(slope * np.concatenate([reference, shifted]))
    domains = np.repeat([1, 0], [len(reference), len(shifted)])
    order = np.argsort(predicted, kind="stable")
    return [
        [float(predicted[rows].mean()), int(domains[rows].sum()), len(rows)] for rows in np.array_split(order, BINS) if len(rows)
    ]


def support_ids(model: SupportIds, draft: Draft, context: Context) -> None:
    """Write the ids of one side.

    Raises
    ------
    DataError
        It has fewer than 50 examples.
    """
    key = context.plan.artifacts[model.ratio]
    found = load_file(context.store.file(key, DOMAINS))
    inside = found["ratios"] >= model.threshold
    ids = found["shift_ids"][inside if model.side == "in" else ~inside]
    if len(ids) < FEWEST:
        sizes = context.store.manifest(key).summary["sizes"]
        row = "; ".join(f"{t:g}: {a}/{b}" for t, a, b in sizes)
        raise DataError(
            f"the {model.side}-support subset of {model.shifted} has {len(ids)} of {len(inside)} examples at the ratio "
            f"{model.threshold:g}: expected {FEWEST} or more, an accuracy would mean little. In- and out-of-support examples by "
            f"threshold: {row}. Choose another threshold, or leave this subset out."
        )
    save_file({"ids": np.ascontiguousarray(ids)}, draft.folder / DOMAINS)
    draft.summary.update(n=len(ids), of=len(inside))
