"""Heads that are fitted on features: L2-regularised logistic regression, scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np

from shiftline.errors import TrainingError

ABSENT_CLASS_BIAS = -1e4
"""Bias of a class without training examples: it is never predicted."""


def group_weights(groups: np.ndarray) -> np.ndarray:
    """Return example weights under which every group counts the same: ``n / (G * n_g)``, float64, shape (N,)."""
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights: np.ndarray = (len(groups) / (len(counts) * counts))[index]
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
