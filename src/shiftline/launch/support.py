"""The density ratios of a study's shifts, read from the store, and the images behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import DOMAINS
from shiftline.data.sidecar import DataFolder
from shiftline.operations.support.classifiers import describe_classifier
from shiftline.operations.support.declaration import SupportRatio
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store


@dataclass(frozen=True)
class Ratios:
    """Calibrated density ratios p_ref(x) / p_shift(x) of one shift.

    Attributes
    ----------
    shift : str
        The study's name of the whole shift, or its description where the study declares subsets only.
    key : str
    subsets : mapping
        Name of a subset in the study -> ("in" or "out", threshold).
    classifier : str
    ids, ratios : arrays of shape (n_shift,)
    reference_ids, reference_ratios : arrays of shape (n_reference,)
    summary : mapping
        auc, slope, n_reference, n_shift, poor, sizes by threshold, calibration bins.
    """

    shift: str
    key: str
    subsets: Mapping[str, tuple[str, float]]
    classifier: str
    ids: np.ndarray
    ratios: np.ndarray
    reference_ids: np.ndarray
    reference_ratios: np.ndarray
    summary: Mapping[str, Any]
    expression: SupportRatio


def support_ratios(plan: Plan, store: Store) -> list[Ratios]:
    """Return the ratios that have been estimated, one per shift and way of splitting."""
    whole = {where.predicted: name for name, where in plan.study.shifts if where.support is None}
    found: dict[SupportRatio, dict[str, tuple[str, float]]] = {}
    for name, where in plan.study.shifts:
        if (subset := where.support) is not None:
            found.setdefault(subset.ratio, {})[name] = (subset.side, subset.threshold)
    result = []
    for expression, subsets in found.items():
        key = plan.artifacts[expression]
        if not store.has(key):
            continue
        tensors, summary = load_file(store.file(key, DOMAINS)), store.manifest(key).summary
        shift = whole.get(expression.shifted, str(expression.shifted))
        result.append(
            Ratios(
                shift,
                key,
                subsets,
                describe_classifier(expression.split.classifier),
                tensors["shift_ids"],
                tensors["ratios"],
                tensors["reference_ids"],
                tensors["reference_ratios"],
                summary,
                expression,
            )
        )
    return result


def example_images(ratios: Ratios, folder: DataFolder, count: int) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Return the images that are most and least like the reference, and some of the reference, with captions.

    Returns
    -------
    dict
        "most in-support", "most out-of-support" (of the shift) and "reference": lists of (uint8 array (H, W, 3), class and ratio).
    """
    order = np.argsort(-ratios.ratios, kind="stable")
    spread = np.linspace(0, len(ratios.reference_ids) - 1, count).astype(int)
    shifted, reference = ratios.expression.shifted, ratios.expression.split.reference
    chosen = {
        "most in-support": (shifted, ratios.ids, ratios.ratios, order[:count]),
        "most out-of-support": (shifted, ratios.ids, ratios.ratios, order[::-1][:count]),
        "reference": (reference, ratios.reference_ids, ratios.reference_ratios, spread),
    }
    return {title: _images(where, folder, ids[rows], values[rows]) for title, (where, ids, values, rows) in chosen.items()}


def _images(where: Distribution, folder: DataFolder, ids: np.ndarray, values: np.ndarray) -> list[tuple[np.ndarray, str]]:
    from shiftline.data.loader import shifted_runs
    from shiftline.data.readers import PlainReader
    from shiftline.data.views import open_view

    view = open_view(where, folder)
    runs = shifted_runs(view, PlainReader(view.index).images(ids), ids)
    images = [image.permute(1, 2, 0).numpy() for run in runs for image in run]
    labels = view.labels_of(ids)
    captions = [f"{_short(view.classes[label])}\n{ratio:.2g}" for label, ratio in zip(labels, values, strict=True)]
    return list(zip(images, captions, strict=True))


def _short(name: str, most: int = 15) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
