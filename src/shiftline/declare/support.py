"""Splitting a shift into the part that the reference could have produced, and the rest (Cohen-Wang et al. 2024, appendix B.4)."""

from __future__ import annotations

from collections.abc import Mapping

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution, Reference, Split, _Derived
from shiftline.declare.expressions import Model, describe, require
from shiftline.declare.label_spaces import LabelSpace
from shiftline.declare.origins import require_choice, require_origin, set_features
from shiftline.identity import Declaration

PARTS = ("in", "out")
THRESHOLD = 0.2
"""Below this ratio p_ref(x) / p_shift(x) an example is out-of-support: the paper's choice."""
LEARNING_RATES = (2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6)
LARGEST_REFERENCE = 100_000
"""Reference examples that a domain classifier sees at most, unless a size is given."""


class EmbeddingClassifier(Declaration):
    """Tell reference from shift by logistic regression on the embeddings of a model, and on pooled pixels: fast, computed once.

    Attributes
    ----------
    init : Leaf or Model
        Whose embeddings.
    features : str, optional
        As in `LinearProbe`.
    pooled : int
        Side of the grid to which pixels are averaged, 0 for none: colours and brightness, which embeddings may not tell.
    inverse_l2 : float
        scikit-learn's C.
    """

    tag = "embedding-classifier"
    init: Leaf | Model
    features: str | None = None
    pooled: int = 4
    inverse_l2: float = 0.1

    def validate(self) -> None:
        require_origin(self)
        set_features(self, new_head=True)
        require(self.pooled >= 0, f"EmbeddingClassifier.pooled is {self.pooled}: expected 0 or more.")
        require(
            self.inverse_l2 > 0, f"EmbeddingClassifier.inverse_l2 is {self.inverse_l2}: expected a positive number."
        )


class FineTunedClassifier(Declaration):
    """Tell reference from shift by a fine-tuned model: linear probe, then fine-tuning, as published.

    Attributes
    ----------
    init : Leaf or Model
        The paper takes OpenCLIP's ViT-L/14, laion2b.
    learning_rates : tuple of float
        Tried on one fold; the best by held-out AUC is used for all folds.
    """

    tag = "fine-tuned-classifier"
    init: Leaf | Model
    features: str | None = None
    learning_rates: tuple[float, ...] = LEARNING_RATES
    epochs: int = 8
    batch_size: int = 128
    weight_decay: float = 0.1

    def validate(self) -> None:
        require_origin(self)
        set_features(self, new_head=True)
        require(
            bool(self.learning_rates) and all(rate > 0 for rate in self.learning_rates),
            f"FineTunedClassifier.learning_rates is {self.learning_rates}: expected positive numbers, one or more.",
        )
        require(self.epochs >= 1, f"FineTunedClassifier.epochs is {self.epochs}: expected 1 or more.")
        require(self.batch_size >= 4, f"FineTunedClassifier.batch_size is {self.batch_size}: expected 4 or more.")


class SupportSplit(Declaration):
    """How examples of a shift are told to be inside or outside the support of the reference.

    Attributes
    ----------
    reference : Distribution
        (A subset of) the study's reference train split.
    classifier : EmbeddingClassifier or FineTunedClassifier
    folds : int
        Every example is scored by the classifier that did not see it.
    size : int, optional
        Reference examples, drawn with `seed`; all, at most 100,000, unless given. Where a shift has fewer classes, only
        reference examples of these classes count.
    groups : bool
        Keep examples of one group (which the data say) in one fold.
    seed : int
    """

    tag = "support-split"
    reference: Distribution
    classifier: EmbeddingClassifier | FineTunedClassifier
    folds: int = 10
    size: int | None = None
    groups: bool = False
    seed: int = 0

    def validate(self) -> None:
        require(
            isinstance(self.reference, Distribution),
            f"SupportSplit.reference is a {type(self.reference).__name__}: expected the reference's train split.",
        )
        require(
            isinstance(self.classifier, (EmbeddingClassifier, FineTunedClassifier)),
            f"SupportSplit.classifier is a {type(self.classifier).__name__}: expected EmbeddingClassifier(...) or "
            "FineTunedClassifier(...).",
        )
        require(self.folds >= 2, f"SupportSplit.folds is {self.folds}: expected 2 or more.")
        require(self.size is None or self.size >= 1, f"SupportSplit.size is {self.size}: expected 1 or more, or None.")

    def ratio(self, shifted: Distribution) -> SupportRatio:
        """Return the expression of the density ratio on a shift: its jobs are tunings or features, then folds."""
        folds = tuple(DomainFold(self, shifted, fold, self._inputs(shifted)) for fold in range(self.folds))
        return SupportRatio(self, shifted, folds)

    def _inputs(self, shifted: Distribution) -> tuple[Model, ...]:
        if isinstance(self.classifier, FineTunedClassifier):
            return tuple(DomainTuning(self, shifted, rate) for rate in self.classifier.learning_rates)
        return DomainFeatures(self, shifted, "reference"), DomainFeatures(self, shifted, "shift")


class SupportModel(Model):
    """Base of the steps that lead to a split: models of domains, not of classes."""

    split: SupportSplit
    shifted: Distribution

    @property
    def has_weights(self) -> bool:
        return False

    @property
    def groups(self) -> str | None:
        """What makes the metadata of the data part of the identity."""
        return "metadata" if self.split.groups else None

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"reference": self.split.reference, "shifted": self.shifted}

    def describe(self) -> str:
        return f"{type(self).tag} of {self.shifted}"


class DomainFeatures(SupportModel):
    """Embeddings and pooled pixels of the reference's sample, or of the shift."""

    tag = "domain-features"
    makes = "domain-features"
    side: str

    def describe(self) -> str:
        return f"domain-features of {self.split.reference if self.side == 'reference' else self.shifted}"


class DomainTuning(SupportModel):
    """The held-out AUC of a fine-tuned domain classifier at one learning rate."""

    tag = "domain-tuning"
    makes = "domain-tuning"
    rate: float

    def describe(self) -> str:
        return f"domain-tuning of {self.shifted}, lr={self.rate:g}"


class DomainFold(SupportModel):
    """A domain classifier that has seen all folds but one, and its logits on that one."""

    tag = "domain-fold"
    makes = "domain-fold"
    fold: int
    inputs: tuple[Model, ...]

    def describe(self) -> str:
        return f"domain-fold {self.fold + 1} of {self.split.folds} of {self.shifted}"


class SupportRatio(SupportModel):
    """Calibrated density ratios p_ref(x) / p_shift(x) of every example of a shift."""

    tag = "support"
    makes = "support"
    folds: tuple[DomainFold, ...]


class SupportPart(SupportModel):
    """The examples of one part of a shift."""

    tag = "support-part"
    makes = "support-part"
    ratio: SupportRatio
    part: str
    threshold: float

    def describe(self) -> str:
        return f"{self.part}-support part of {self.shifted} (ratio {self.threshold:g})"


class PartOfSupport(_Derived):
    """The examples of a shift inside, or outside, the support of the reference. Predictions are those of the whole shift."""

    tag = "part-of-support"
    split: SupportSplit
    part: str
    threshold: float = THRESHOLD

    def validate(self) -> None:
        super().validate()
        require(
            isinstance(self.split, SupportSplit),
            f"{self.part}_support_of(...) is given a {type(self.split).__name__}: expected SupportSplit(reference.train, ...).",
        )
        require_choice("PartOfSupport.part", self.part, PARTS)
        require(self.threshold > 0, f"the threshold is {self.threshold}: expected a density ratio above 0.")

    @property
    def predicted(self) -> Distribution:
        return self.of.predicted

    @property
    def label_space(self) -> LabelSpace | None:
        return self.of.label_space

    @property
    def classes_of(self) -> Split | None:
        return self.of.classes_of

    @property
    def support(self) -> SupportPart:
        shifted = self.of.predicted
        return SupportPart(self.split, shifted, self.split.ratio(shifted), self.part, float(self.threshold))

    def __str__(self) -> str:
        return f"{self.of}, {self.part} support"


def describe_classifier(classifier: EmbeddingClassifier | FineTunedClassifier) -> str:
    """Return a classifier on one line."""
    init = classifier.init
    return f"{type(classifier).tag}({describe(init) if isinstance(init, Model) else init})"
