"""How differently two models see the same examples: errors, predictions, probabilities, features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from shiftline.contracts.predictions import Predictions
from shiftline.errors import AnalysisError

CHUNK = 4096
"""Examples whose probabilities are in memory at once."""


class Corrected(NamedTuple):
    """Examples on which an intervention changed whether the prediction is right.

    Attributes
    ----------
    corrected, broken : int64 arrays
        Ids: right after and wrong before; wrong after and right before.
    """

    corrected: NDArray[np.int64]
    broken: NDArray[np.int64]


def prediction_diversity(a: Predictions, b: Predictions) -> float:
    """Return the share of examples that exactly one of two models gets right (Skalak 1996; Wortsman et al. 2022, appendix)."""
    a, b = _same(a, b)
    return float((a.correct != b.correct).mean())


def disagreement(a: Predictions, b: Predictions) -> float:
    """Return the share of examples for which two models predict different classes."""
    a, b = _same(a, b)
    return float((a.predicted != b.predicted).mean())


def error_overlap(a: Predictions, b: Predictions) -> float:
    """Return the share of examples that both models get wrong among those that either gets wrong; NaN where neither errs."""
    a, b = _same(a, b)
    either = (~a.correct | ~b.correct).sum()
    return float((~a.correct & ~b.correct).sum() / either) if either else float("nan")


def error_consistency(a: Predictions, b: Predictions) -> float:
    """Return Cohen's kappa of being right (Geirhos et al. 2020): agreement beyond what two accuracies give by chance.

    ``(c_obs - c_exp) / (1 - c_exp)`` with ``c_exp = p_a p_b + (1 - p_a)(1 - p_b)``; 1 for the same errors, 0 for independent ones,
    NaN where both models are always right, or always wrong.
    """
    a, b = _same(a, b)
    return _kappa(a.correct, b.correct)


def cohen_kappa(a: Predictions, b: Predictions) -> float:
    """Return Cohen's kappa of the predicted classes: agreement beyond what their frequencies give by chance."""
    a, b = _same(a, b)
    return _kappa(a.predicted, b.predicted)


def prediction_kl(a: Predictions, b: Predictions) -> float:
    """Return the mean over examples of ``(KL(p_a || p_b) + KL(p_b || p_a)) / 2`` of the softmax probabilities, in nats."""
    a, b = _same(a, b)
    total = 0.0
    for p, q in _log_probabilities(a, b):
        total += float(((np.exp(p) - np.exp(q)) * (p - q)).sum()) / 2
    return total / len(a) if len(a) else float("nan")


def corrected_examples(after: Predictions, before: Predictions) -> Corrected:
    """Return which examples an intervention corrects, and which it breaks, by id."""
    after, before = _same(after, before)
    return Corrected(after.ids[after.correct & ~before.correct], after.ids[~after.correct & before.correct])


def centered_kernel_alignment(a: ArrayLike, b: ArrayLike) -> float:
    """Return the linear CKA of two sets of features of the same examples (Kornblith et al. 2019).

    ``||Y'X||^2 / (||X'X|| ||Y'Y||)`` of centred features, Frobenius norms: 1 for features that are rotations of each other, near 0
    for unrelated ones. Logits are features too; those of an encoder are what `encode_image` of open_clip, or
    `forward_features` of timm, returns for the exported model.

    Parameters
    ----------
    a, b : arrays of shape (examples, features)
        With as many rows; the numbers of features may differ.

    Raises
    ------
    AnalysisError
        The shapes do not fit, or features do not vary.
    """
    x, y = (np.asarray(features, dtype=np.float64) for features in (a, b))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise AnalysisError(f"features have the shapes {x.shape} and {y.shape}: expected (examples, features), as many rows.")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if norms == 0:
        raise AnalysisError("all examples have the same features: their alignment is not defined.")
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


MEASURES = {
    "diversity": prediction_diversity,
    "disagreement": disagreement,
    "error_overlap": error_overlap,
    "error_consistency": error_consistency,
    "kappa": cohen_kappa,
    "kl": prediction_kl,
}


def diversity_table(predictions: Mapping[str, Predictions]) -> pd.DataFrame:
    """Return how differently every two of some models see the same examples.

    Parameters
    ----------
    predictions : mapping of str to Predictions
        By model, on one distribution.

    Returns
    -------
    DataFrame
        a, b, n (examples), accuracy_a, accuracy_b; diversity, disagreement, error_overlap, error_consistency, kappa, kl: the
        functions of this module; only_a, only_b (examples that one of them alone gets right).

    Raises
    ------
    AnalysisError
        There are fewer than two models, or they predicted on other examples.
    """
    if len(predictions) < 2:
        raise AnalysisError(f"{len(predictions)} models have no pair: give the predictions of two or more.")
    inside = {name: found.in_space() for name, found in predictions.items()}
    rows = []
    for (name, one), (other_name, other) in combinations(inside.items(), 2):
        change = corrected_examples(one, other)
        rows.append(
            {
                "a": name,
                "b": other_name,
                "n": len(one),
                "accuracy_a": float(one.correct.mean()),
                "accuracy_b": float(other.correct.mean()),
                **{measure: function(one, other) for measure, function in MEASURES.items()},
                "only_a": len(change.corrected),
                "only_b": len(change.broken),
            }
        )
    return pd.DataFrame(rows)


def _same(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Return two models' predictions in their label space, on the same examples."""
    a, b = a.in_space(), b.in_space()
    if not np.array_equal(a.ids, b.ids) or not np.array_equal(a.labels, b.labels) or a.classes != b.classes:
        raise AnalysisError(
            f"the predictions are on other examples or classes ({len(a)} and {len(b)} examples, {a.classes} and {b.classes} "
            "classes): give those of two models on one distribution."
        )
    if not len(a):
        raise AnalysisError("there are no examples to compare predictions on.")
    return a, b


def _kappa(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:

    from sklearn.metrics import cohen_kappa_score

    # Where both are one constant, agreement by chance is certain.
    return float("nan") if len(np.unique([a, b])) == 1 else float(cohen_kappa_score(a, b))


def _log_probabilities(*models: Predictions) -> Iterator[tuple[NDArray[np.float64], ...]]:
    for start in range(0, len(models[0]), CHUNK):
        found = []
        for one in models:
            logits = one.logits[start : start + CHUNK].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            found.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
        yield tuple(found)
