"""Domain classifiers: what tells the examples of the reference from those of a shift."""

from __future__ import annotations

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.identity import Declaration
from shiftline.contracts.models import Model, describe
from shiftline.contracts.require import require, require_at_least, require_positive
from shiftline.operations.start import require_start, set_features

LEARNING_RATES = (2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6)
LARGEST_REFERENCE = 100_000
"""Reference examples that a domain classifier sees at most, unless a size is given."""


class EmbeddingClassifier(Declaration):
    """Tell reference from shift by logistic regression on the embeddings of a model, and on pooled pixels: fast, computed once.

    Parameters
    ----------
    init : Backbone or Model
        Whose embeddings.
    features : str, optional
        Which of its features: as in `LinearProbe`.
    pooled : int
        Side of the grid to which pixels are averaged, 0 for none: colours and brightness, which embeddings may not tell.
    inverse_l2 : float
        scikit-learn's C, above 0.
    """

    tag = "embedding-classifier"
    init: Backbone | Model
    features: str | None = None
    pooled: int = 4
    inverse_l2: float = 0.1

    def validate(self) -> None:
        require_start(self)
        set_features(self, new_head=True)
        require_at_least("EmbeddingClassifier.pooled", self.pooled, 0)
        require_positive("EmbeddingClassifier.inverse_l2", self.inverse_l2)


class FineTunedClassifier(Declaration):
    """Tell reference from shift by a fine-tuned model: linear probe, then fine-tuning, as published.

    Parameters
    ----------
    init : Backbone or Model
        The paper takes OpenCLIP's ViT-L/14, laion2b.
    features : str, optional
        Which of its features: as in `LinearProbe`.
    learning_rates : sequence of float
        Tried on one fold; the best by held-out AUC is used for all folds. Above 0.
    epochs : int
        Of fine-tuning, 1 or more.
    batch_size : int
        4 or more.
    weight_decay : float
        0 or more.
    """

    tag = "fine-tuned-classifier"
    init: Backbone | Model
    features: str | None = None
    learning_rates: tuple[float, ...] = LEARNING_RATES
    epochs: int = 8
    batch_size: int = 128
    weight_decay: float = 0.1

    def validate(self) -> None:
        require_start(self)
        set_features(self, new_head=True)
        require(
            bool(self.learning_rates) and all(rate > 0 for rate in self.learning_rates),
            f"FineTunedClassifier.learning_rates is {self.learning_rates}: expected positive numbers, one or more.",
        )
        require_at_least("FineTunedClassifier.epochs", self.epochs, 1)
        require_at_least("FineTunedClassifier.batch_size", self.batch_size, 4)


def describe_classifier(classifier: EmbeddingClassifier | FineTunedClassifier) -> str:
    """Return a classifier on one line."""
    return f"{type(classifier).tag}({describe(classifier.init)})"
