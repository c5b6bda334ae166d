"""What planning knows, as models and distributions ask it: counts, architectures, heads, and whether models can be mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.models import Model, describe, distinct
from shiftline.contracts.records import BackboneRecord, SplitRecord
from shiftline.contracts.reference import Reference
from shiftline.contracts.study import Study
from shiftline.errors import DeclarationError, PlanError

Records = Mapping[Backbone | Model, BackboneRecord]
"""What is known of backbones, and of models that are named by their keys."""


@dataclass(frozen=True)
class Head:
    """The head of a model: its number of classes, and the names and templates of one that a text tower wrote.

    `is_verified` says that its outputs are known to be the reference's classes in their order.
    """

    count: int
    classes: tuple[object, ...] = ()
    templates: object = ()
    is_verified: bool = True


@dataclass(frozen=True)
class Facts:
    """A study with the records of its data and weights.

    Attributes
    ----------
    study : Study
    splits : mapping of Split to SplitRecord
    backbones : mapping of Backbone (or a model known by its key) to BackboneRecord
    """

    study: Study
    splits: Mapping[Split, SplitRecord]
    backbones: Records
    _records: dict[Model, BackboneRecord] = field(default_factory=dict, repr=False)
    _features: dict[Model, str] = field(default_factory=dict, repr=False)
    _heads: dict[Model, Head] = field(default_factory=dict, repr=False)

    @property
    def reference(self) -> Reference:
        """The reference distribution."""
        return self.study.reference

    @property
    def labelled(self) -> SplitRecord:
        """The record of the split whose classes are those of the study."""
        return self.splits[self.reference.labelled]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the reference."""
        return self.labelled.classes

    def source(self, distribution: Distribution) -> SplitRecord:
        """Return the record of the split that a distribution is made of."""
        return self.splits[distribution.source]

    def count(self, distribution: Distribution) -> int:
        """Return the number of examples of a distribution, as far as the records tell."""
        return distribution.count(self.splits)

    def record(self, below: Model | Backbone) -> BackboneRecord:
        """Return what is known of a backbone, or of the architecture that an expression ends in."""
        if below in self.backbones:
            return self.backbones[below]
        assert isinstance(below, Model)
        if below not in self._records:
            self._records[below] = below.record(self)
        return self._records[below]

    def features(self, below: Model | Backbone) -> str:
        """Return what the head of a model sees, or a head on a backbone would: "embedding", "backbone" or "plain"."""
        if not isinstance(below, Model):
            return "embedding" if self.backbones[below].text else "plain"
        if below not in self._features:
            self._features[below] = below.features_seen(self)
        return self._features[below]

    def head(self, model: Model) -> Head:
        """Return what is known of a model's head before it is made."""
        if model not in self._heads:
            self._heads[model] = model.head_made(self)
        return self._heads[model]

    def reads_other_data(self, model: Model) -> bool:
        """Return whether something in an expression is trained on other data than the reference's train split, or selected on
        other than its val split; of a file that was taken in nobody knows, and it counts."""
        reference = self.reference
        for below in distinct(model):
            known = below.trained_on(self)
            if known is None or not all(d.within(reference.train) or d.within(reference.val) for d in known):
                return True
            if below.selects and not all(where.within(reference.val) for where in below.data(reference).values()):
                return True
            if below.reads_other_data:
                return True
        return False

    def new_head(self) -> Head:
        """Return a head that is trained on the reference's classes."""
        return Head(len(self.classes))

    def outputs(self, model: Model, class_ids: Sequence[str]) -> tuple[int, ...] | None:
        """Return the output of a head for each class of the reference; None where nothing is known: see `SplitRecord.rows_in`."""
        try:
            return self.labelled.rows_in(class_ids)
        except DeclarationError as error:
            raise DeclarationError(f"{describe(model)}: {error}") from error

    # ---- conditions ----------------------------------------------------------------------------------------------------

    def require_mixable(self, members: Sequence[Model], *, heads: bool) -> None:
        """Refuse to mix the weights of models that are not of one kind; with `heads`, of other classes or templates too.

        Raises
        ------
        DeclarationError
            They differ in architecture, features, preprocessing, number of classes, classes or templates.
        """
        first, *others = [variant for member in members for variant in member.variants()]
        for other in others:
            a, b = self.record(first), self.record(other)
            pairs: list[tuple[str, object, object]] = [
                ("architecture", a.network(), b.network()),
                ("features", self.features(first), self.features(other)),
                ("preprocessing", dict(a.preprocessing), dict(b.preprocessing)),
            ]
            if heads:
                one, two = self.head(first), self.head(other)
                pairs.append(("number of classes", one.count, two.count))
                # A head that was trained has no names and templates: it may be mixed with a zero-shot one.
                if one.classes and two.classes:
                    pairs += [("classes", one.classes, two.classes), ("templates", one.templates, two.templates)]
            for what, left, right in pairs:
                if left != right:
                    raise DeclarationError(
                        f"the weights of two models cannot be mixed, they differ in {what}: {describe(first)} has {left}, "
                        f"{describe(other)} has {right}. Weights can be mixed only between models of one {what}."
                    )

    def require_pretrained(self, model: Model, start: Backbone) -> None:
        """Raise `DeclarationError` unless a backbone brings weights."""
        if self.backbones[start].sha256 is None:
            raise DeclarationError(
                f"{describe(model)}: {start} has no pre-trained weights to start from. Train it with FromScratch({start!r}), "
                "or give a file: LocalWeights(architecture, path)."
            )

    def require_grouped(self, owner: str, distribution: Distribution) -> None:
        """Raise `DeclarationError` unless the data of a distribution were written with groups."""
        if not self.source(distribution).grouped:
            raise DeclarationError(
                f"{owner} reads the groups of {distribution.source}, which was written without: `shiftline data list` shows which "
                "have them."
            )

    def require_batch(self, model: Model, distribution: Distribution, batch_size: int) -> None:
        """Raise `PlanError` where a training distribution has fewer examples than a batch."""
        if (available := self.count(distribution)) < batch_size:
            raise PlanError(
                f"{describe(model)}: {distribution} has {available} examples, fewer than one batch of {batch_size}. "
                f"Set batch_size to {available} or less, or keep more examples."
            )

    def require_predictable(self, model: Model, distribution: Distribution) -> None:
        """Raise `DeclarationError` where a head has another number of classes than the data that it is to predict."""
        # What is evaluated is scored in a label space made of the reference's classes.
        evaluated = any(where.predicted == distribution for _, where in self.study.evaluated())
        there = len(self.classes if evaluated else self.source(distribution).classes)
        if (head := self.head(model)).count != there:
            whose = "the reference" if evaluated else str(distribution)
            raise DeclarationError(
                f"{describe(model)} has a head of {head.count} classes, {whose} has {there}: put another head on it "
                '(WithHead, or a training with head="random"), or name one class per label.'
            )
