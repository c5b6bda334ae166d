"""Linear probes: logistic regression on features that are computed once."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from shiftline.data.loader import evaluation_chunks
from shiftline.data.views import View, open_view
from shiftline.declare.recipes import LinearProbe
from shiftline.errors import TrainingError
from shiftline.jobs.context import Context
from shiftline.jobs.initial import initial_classifier
from shiftline.models.bank import WEIGHTS
from shiftline.models.classifier import Classifier, set_head
from shiftline.models.preprocessing import prepare
from shiftline.models.spec import ModelSpec, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

ABSENT_CLASS_BIAS = -1e4
"""Bias of a class without training examples: it is never predicted."""


def probe(job: Job, draft: Draft, context: Context) -> None:
    """Fit the head and write it with the encoder that it was fitted on."""
    recipe = job.model
    assert isinstance(recipe, LinearProbe)
    assert job.distribution is not None
    view = open_view(job.distribution, context.data, fingerprint=job.fingerprint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier, spec = initial_classifier(recipe, context, num_classes=len(view.classes))
    classifier = classifier.to(context.device).eval()
    features = _features(classifier, spec, view, context)
    weight, bias, converged = fit_head(
        features, view.labels, num_classes=len(view.classes), inverse_l2=recipe.inverse_l2,
        max_iterations=recipe.max_iterations,
    )  # fmt: skip
    set_head(classifier, torch.from_numpy(weight), torch.from_numpy(bias))
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    draft.summary.update(examples=len(view), converged=converged)


@torch.no_grad()
def _features(classifier: Classifier, spec: ModelSpec, view: View, context: Context) -> np.ndarray:
    context.progress.begin("features", len(view))
    rows = []
    for chunk in evaluation_chunks(view, workers=context.workers):
        for images in chunk.images:
            inputs = prepare(images.to(context.device), spec.preprocessing)
            rows.append(classifier.features(inputs).float().cpu())
        context.progress.advance(len(chunk.ids))
    return torch.cat(rows).double().numpy()


def fit_head(
    features: np.ndarray, labels: np.ndarray, *, num_classes: int, inverse_l2: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Fit L2-regularised logistic regression on standardised features, and fold the scaler into the head.

    Parameters
    ----------
    features : ndarray of float64, shape (N, d)
    labels : ndarray of int64, shape (N,)
    inverse_l2 : float
        scikit-learn's C.

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
        regression = LogisticRegression(C=inverse_l2, max_iter=max_iterations).fit(scaler.transform(features), labels)
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
