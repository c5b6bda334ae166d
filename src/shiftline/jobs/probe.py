"""Heads that are fitted on cached features: linear probes, and last-layer re-weighting (DFR)."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from shiftline.data.sidecar import DataFolder
from shiftline.data.views import groups_of, open_view
from shiftline.declare.distributions import Distribution
from shiftline.declare.recipes import DFR, LinearProbe
from shiftline.errors import DataError, TrainingError
from shiftline.jobs.context import Context
from shiftline.jobs.features import cached
from shiftline.jobs.initial import initial_classifier
from shiftline.models.classifier import set_head
from shiftline.models.spec import save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS

ABSENT_CLASS_BIAS = -1e4
"""Bias of a class without training examples: it is never predicted."""


def probe(job: Job, draft: Draft, context: Context) -> None:
    """Fit the head and write it with the encoder that it was fitted on."""
    recipe = job.model
    assert isinstance(recipe, LinearProbe)
    assert job.distribution is not None
    found = cached(job, context)
    assert found is not None
    view = open_view(job.distribution, context.data, fingerprint=job.fingerprint(job.distribution))
    weights = None
    if isinstance(recipe, DFR):
        now = context.data.open(job.distribution.source).record.metadata
        if job.document.get("metadata", [now]) != [now]:
            raise DataError(
                f"{job.distribution.source} was written anew with other groups since the study was planned: run the study again."
            )
        groups = example_groups(job.distribution, context.data, found.ids.numpy(), found.labels.numpy(), recipe.groups)
        weights = group_weights(groups)
        draft.summary.update(groups=len(np.unique(groups)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier, spec = initial_classifier(
            recipe.init, context, num_classes=len(view.classes), features=str(recipe.features), new_head=True
        )
    weight, bias, converged = fit_head(
        found.features.double().numpy(), found.labels.numpy(), num_classes=len(view.classes),
        inverse_l2=recipe.inverse_l2, max_iterations=recipe.max_iterations, weights=weights,
    )  # fmt: skip
    set_head(classifier, torch.from_numpy(weight), torch.from_numpy(bias))
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    draft.summary.update(examples=len(view), converged=converged)


def example_groups(
    distribution: Distribution, folder: DataFolder, ids: np.ndarray, labels: np.ndarray, groups: str
) -> np.ndarray:
    """Return the group of each example as a number: its class, or its class and the group that the data say.

    Raises
    ------
    DataError
        The data were written without groups.
    """
    if groups == "class":
        return labels
    said = groups_of(folder, distribution.source)[ids]
    pairs = np.array([f"{label} {group}" for label, group in zip(labels, said, strict=True)])
    return np.unique(pairs, return_inverse=True)[1]


def group_weights(groups: np.ndarray) -> np.ndarray:
    """Return example weights under which every group counts the same: ``n / (G * n_g)``, float64, shape (N,)."""
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights: np.ndarray = (len(groups) / (len(counts) * counts))[place]
    return weights


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    inverse_l2: float,
    max_iterations: int,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Fit L2-regularised logistic regression on standardised features, and fold the scaler into the head.

    Parameters
    ----------
    features : ndarray of float64, shape (N, d)
    labels : ndarray of int64, shape (N,)
    inverse_l2 : float
        scikit-learn's C.
    weights : ndarray of float64, shape (N,), optional
        What each example counts in the loss.

    Returns
    -------
    weight : ndarray of float32, shape (num_classes, d)
        For the features as they came: ``w / sigma``.
    bias : ndarray of float32, shape (num_classes,)
        ``b - (w / sigma) . mu``.
    converged : bool

    Raises
    ------
    TrainingError
        Only one class is present.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    present = np.unique(labels)
    if len(present) < 2:
        raise TrainingError(
            f"a linear probe needs two classes or more, the training distribution has {len(present)}: keep more examples."
        )
    scaler = StandardScaler().fit(features)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        regression = LogisticRegression(C=inverse_l2, max_iter=max_iterations)
        regression.fit(scaler.transform(features), labels, sample_weight=weights)
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:
        # scikit-learn gives the difference of the two classes' logits.
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    weight = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, ABSENT_CLASS_BIAS)
    weight[present] = coefficients / scaler.scale_
    bias[present] = intercepts - weight[present] @ scaler.mean_
    return weight.astype(np.float32), bias.astype(np.float32), converged
