"""Splitting a shift into what the reference could have produced, and the rest (Cohen-Wang et al. 2024, appendix B.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution, SupportSplitter
from shiftline.contracts.identity import digest
from shiftline.contracts.models import Model, describe, distinct
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require, require_at_least
from shiftline.errors import PlanError
from shiftline.operations.support.classifiers import EmbeddingClassifier, FineTunedClassifier

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


CALIBRATIONS = ("slope", "slope-and-intercept", "published")


class SupportSplit(SupportSplitter):
    """How examples of a shift are told to be inside or outside the support of the reference.

    Parameters
    ----------
    reference : Distribution
        (A subset of) the study's reference train split.
    classifier : EmbeddingClassifier or FineTunedClassifier
    folds : int
        Every example is scored by the classifier that did not see it. 2 or more.
    size : int, optional
        Reference examples, drawn with `seed`; all, at most 100,000, unless given. Where a shift has fewer classes, only
        reference examples of these classes count.
    groups : bool
        Keep examples of one group (which the data say) in one fold.
    calibration : str
        Of the classifier's logits: "slope", "slope-and-intercept", or "published", the paper's, which is wrong where reference and
        shift differ in size: see `shiftline.operations.support.ratios.calibrate`.
    seed : int
        Of the sample, the folds and the classifiers.
    """

    tag = "support-split"
    reference: Distribution
    classifier: EmbeddingClassifier | FineTunedClassifier
    folds: int = 10
    size: int | None = None
    groups: bool = False
    seed: int = 0
    calibration: str = "slope"

    def validate(self) -> None:
        require(
            self.calibration in CALIBRATIONS,
            f"SupportSplit.calibration is {self.calibration!r}: expected one of {', '.join(CALIBRATIONS)}.",
        )
        require(
            isinstance(self.reference, Distribution),
            f"SupportSplit.reference is a {type(self.reference).__name__}: expected the reference's train split.",
        )
        require(
            isinstance(self.classifier, (EmbeddingClassifier, FineTunedClassifier)),
            f"SupportSplit.classifier is a {type(self.classifier).__name__}: expected EmbeddingClassifier(...) or "
            "FineTunedClassifier(...).",
        )
        require_at_least("SupportSplit.folds", self.folds, 2)
        require(self.size is None or self.size >= 1, f"SupportSplit.size is {self.size}: expected 1 or more, or None.")

    def ratio(self, shifted: Distribution) -> SupportRatio:
        """Return the expression of the density ratio on a shift: its jobs are tunings or features, then folds."""
        folds = tuple(DomainFold(self, shifted, fold, self._inputs(shifted)) for fold in range(self.folds))
        return SupportRatio(self, shifted, folds)

    def subset(self, shifted: Distribution, side: str, threshold: float) -> SupportIds:
        return SupportIds(self, shifted, self.ratio(shifted), side, threshold)

    def _inputs(self, shifted: Distribution) -> tuple[Model, ...]:
        if isinstance(self.classifier, FineTunedClassifier):
            return tuple(DomainTuning(self, shifted, rate) for rate in self.classifier.learning_rates)
        return DomainFeatures(self, shifted, "reference"), DomainFeatures(self, shifted, "shift")


class SupportModel(Model):
    """Base of the steps that lead to a split: models of domains, not of classes."""

    tells_distributions_apart = True
    split: SupportSplit
    shifted: Distribution

    @property
    def has_weights(self) -> bool:
        return False

    @property
    def reads_metadata(self) -> bool:
        return self.split.groups

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"reference": self.split.reference, "shifted": self.shifted}

    def identity(self, facts: Facts) -> dict[str, Any]:
        # Which classes the shift has decides which reference examples are looked at.
        return {"classes": [digest(list(facts.source(d).ids)) for d in self.data(facts.reference).values()]}

    def describe(self) -> str:
        return f"{type(self).tag} of {self.shifted}"


class DomainFeatures(SupportModel):
    """Embeddings and pooled pixels of the reference's sample, or of the shift."""

    tag = "domain-features"
    kind = "domain-features"
    side: str

    def describe(self) -> str:
        return f"domain-features of {self.split.reference if self.side == 'reference' else self.shifted}"

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        from shiftline.operations.support.domains import domain_features

        domain_features(self, job, draft, context)


class DomainTuning(SupportModel):
    """The held-out AUC of a fine-tuned domain classifier at one learning rate."""

    tag = "domain-tuning"
    revision = 3
    kind = "domain-tuning"
    reads_images = True
    rate: float

    def describe(self) -> str:
        return f"domain-tuning of {self.shifted}, lr={self.rate:g}"

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        from shiftline.operations.support.domains import domain_tuning

        domain_tuning(self, job, draft, context)


class DomainFold(SupportModel):
    """A domain classifier that has seen all folds but one, and its logits on that one."""

    tag = "domain-fold"
    revision = 3
    kind = "domain-fold"
    reads_images = True
    fold: int
    fitted_on: tuple[Model, ...]

    def describe(self) -> str:
        return f"domain-fold {self.fold + 1} of {self.split.folds} of {self.shifted}"

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        from shiftline.operations.support.domains import domain_fold

        domain_fold(self, job, draft, context)


class SupportRatio(SupportModel):
    """Calibrated density ratios p_ref(x) / p_shift(x) of every example of a shift."""

    tag = "support"
    revision = 2
    kind = "support"
    folds: tuple[DomainFold, ...]

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        from shiftline.operations.support.ratios import support_ratios

        support_ratios(self, draft, context)


class SupportIds(SupportModel):
    """The ids of the examples of a shift on one side: inside the support of the reference, or outside."""

    tag = "support-ids"
    kind = "support-subset"
    ratio: SupportRatio
    side: str
    threshold: float

    def describe(self) -> str:
        return f"{self.side}-support subset of {self.shifted} (ratio {self.threshold:g})"

    def check(self, facts: Facts) -> None:
        split, init = self.split, self.split.classifier.init
        require(
            not (isinstance(init, Model) and any(below.is_open for below in distinct(init))),
            f"{self.describe()}: the classifier of the support starts from a selection ({describe(init)}): name one model, so that "
            "every fold is known before anything is selected.",
        )
        require(
            not split.reference.is_fresh,
            f"{self.describe()}: {split.reference} is drawn again in every epoch: leave fresh=True out.",
        )
        if isinstance(init, Backbone):
            facts.require_pretrained(self, init)
        require(
            split.reference.within(facts.reference.train),
            f"{self.describe()}: the support is told by {split.reference}, which is not (a subset of) the reference's train split "
            f"({facts.reference.train}): the question is what that could have produced. Say SupportSplit(reference.train, ...).",
        )
        available = facts.count(split.reference)
        if split.size is not None and split.size > available:
            raise PlanError(
                f"{self.describe()}: SupportSplit.size is {split.size} reference examples, {split.reference} has {available}: "
                "take fewer."
            )
        for where in (split.reference, self.shifted) if split.groups else ():
            if not facts.source(where).grouped:
                raise PlanError(
                    f"{self.describe()}: SupportSplit(groups=True), but {where.source} was written without groups: leave it out, "
                    "or write the data with a group per example."
                )
        smaller = min(available, facts.count(self.shifted))
        if split.folds > smaller:
            raise PlanError(
                f"{self.describe()}: {split.folds} folds of {smaller} examples: every fold needs one of the reference and one of "
                "the shift. Take fewer folds."
            )

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        from shiftline.operations.support.ratios import support_ids

        support_ids(self, draft, context)
