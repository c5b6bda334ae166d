"""Calibrated density ratios of the examples of a shift, and the subsets of it inside and outside the support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.optimize import brentq
from scipy.special import expit, ndtr
from scipy.stats import rankdata
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
POOR_P = 0.05
"""Beyond, the classifier does not tell the shift from the reference."""
LARGEST_SLOPE, LARGEST_LOGIT = 100.0, 50.0
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
    calibration = calibrate(reference, shifted, form=model.split.calibration)
    pooled["ratios"], pooled["reference_ratios"] = calibration.ratio(shifted), calibration.ratio(reference)
    save_file(pooled, draft.folder / DOMAINS)
    p_value = two_sample_p([(fold["reference_logits"], fold["shift_logits"]) for fold in folds])
    bins = calibration_bins(calibration.probability(reference), calibration.probability(shifted))
    draft.summary.update(
        auc=auc_of(reference, shifted),
        slope=calibration.slope,
        intercept=calibration.intercept,
        n_reference=len(reference),
        n_shift=len(shifted),
        mean_ratio=float(pooled["ratios"].mean()),
        p_value=p_value,
        poor=p_value > POOR_P,
        sizes=[[t, int((pooled["ratios"] >= t).sum()), int((pooled["ratios"] < t).sum())] for t in THRESHOLDS],
        calibration=bins,
    )


def auc_of(reference: np.ndarray, shifted: np.ndarray) -> float:
    """Return the area under the ROC curve of telling reference from shift by logits."""
    domains = np.repeat([1, 0], [len(reference), len(shifted)])
    return float(roc_auc_score(domains, np.concatenate([reference, shifted])))


def two_sample_p(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the p-value of the hypothesis that reference and shift are one distribution.

    The classifier two-sample test (Lopez-Paz & Oquab 2017) on ranks: within a fold, which the classifier has not seen, logits of
    the reference are larger no more often than not (Mann & Whitney); folds are summed (van Elteren).

    Parameters
    ----------
    folds : sequence of (logits of reference examples, logits of shifted examples)

    Returns
    -------
    float
        One-sided, by the normal approximation.
    """
    above = variance = 0.0
    for reference, shifted in folds:
        n, m = len(reference), len(shifted)
        both = np.concatenate([reference, shifted])
        ranks = rankdata(both)
        _, ties = np.unique(both, return_counts=True)
        above += ranks[:n].sum() - n * (n + m + 1) / 2
        variance += n * m * ((n + m + 1) - (ties**3 - ties).sum() / ((n + m) * (n + m - 1))) / 12
    return float(ndtr(-above / np.sqrt(variance))) if variance > 0 else 1.0


@dataclass(frozen=True)
class Calibration:
    """From a classifier's logit f to a calibrated one: ``slope * (f - offset) + offset + intercept``.

    Attributes
    ----------
    prior : float
        ``log(n_reference / n_shift)``: what the logit of an example is that tells nothing.
    """

    slope: float
    intercept: float
    offset: float
    prior: float

    def logit(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits of an example being of the reference."""
        calibrated: np.ndarray = self.slope * (logits - self.offset) + self.offset + self.intercept
        return calibrated

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of an example being of the reference."""
        probability: np.ndarray = expit(self.logit(logits))
        return probability

    def ratio(self, logits: np.ndarray) -> np.ndarray:
        """Return ``p_ref(x) / p_shift(x) = [p(ref|x) / p(shift|x)] * [p(shift) / p(ref)]``, float64."""
        with np.errstate(over="ignore"):
            ratio: np.ndarray = np.exp(self.logit(logits) - self.prior)
        return ratio


def calibrate(reference: np.ndarray, shifted: np.ndarray, *, form: str) -> Calibration:
    """Return the calibration that makes the examples most probable.

    Parameters
    ----------
    reference, shifted : float64 arrays
        Logits of examples that the classifier has not seen.
    form : str
        "slope", of the logit without its prior: an example that tells nothing keeps the ratio 1. "slope-and-intercept": also
        takes out a constant bias of the classifier (Platt 1999). "published": slope of the logit as it is (Cohen-Wang et al. 2024),
        which the sizes of reference and shift hold where they differ.

    Returns
    -------
    Calibration
        Slopes from 0, where the logits tell nothing, to 100, which is reached where they tell everything.
    """
    prior = float(np.log(len(reference) / len(shifted)))
    offset = 0.0 if form == "published" else prior
    logits = np.concatenate([reference, shifted]) - offset
    signs = np.repeat([1.0, -1.0], [len(reference), len(shifted)])

    def derivative(slope: float, constant: float) -> tuple[float, float]:
        pulls = -signs * expit(-signs * (slope * logits + constant))
        return float(pulls @ logits), float(pulls.sum())

    def slope_at(constant: float) -> float:
        if derivative(0.0, constant)[0] >= 0:
            return 0.0
        if derivative(LARGEST_SLOPE, constant)[0] < 0:
            return LARGEST_SLOPE
        return float(brentq(lambda slope: derivative(slope, constant)[0], 0.0, LARGEST_SLOPE, xtol=1e-12))

    if form != "slope-and-intercept":
        return Calibration(slope_at(offset), 0.0, offset, prior)
    # Convex: the best slope at each constant leaves a function whose derivative grows with the constant.
    constant = float(brentq(lambda value: derivative(slope_at(value), value)[1], -LARGEST_LOGIT, LARGEST_LOGIT, xtol=1e-9))
    return Calibration(slope_at(constant), constant - offset, offset, prior)


def calibration_bins(reference: np.ndarray, shifted: np.ndarray) -> list[list[float]]:
    """Return [mean probability of being reference, examples of the reference, examples] by tenths of the examples.

    Parameters
    ----------
    reference, shifted : float64 arrays
        Probabilities of being reference.
    """
    predicted = np.concatenate([reference, shifted])
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
