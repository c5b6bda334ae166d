"""Published classifiers, as they are."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.models import Model, describe
from shiftline.contracts.require import require
from shiftline.errors import DeclarationError, ModelError
from shiftline.plan.facts import Head

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft


class Published(Model):
    """A published classifier as it is: the pre-trained weights of timm with the head that they bring, of the reference's classes.

    The head's outputs meet the reference's classes by their identifiers, where both sides have them: timm's are WordNet ids, those
    of local weights stand in their file or are given. Outputs in another order, or of more classes than the reference has, are put
    in its order. Where nothing is known, numbers of classes have to agree, and tables say "order unverified".

    Parameters
    ----------
    model : Backbone
        ``timm("resnet50.a1_in1k")``, or local weights of one.
    other_data : bool
        It was trained on other data than the reference's train split. What a tag says of its training (``in1k``) is yours to
        read: a baseline is made of classifiers that saw the reference only.
    """

    tag = "published"
    kind = "published"
    unspoken = ("other_data",)
    model: Backbone
    _: dataclasses.KW_ONLY
    other_data: bool = False

    def validate(self) -> None:
        require(
            isinstance(self.model, Backbone) and self.model.base.classifies,
            f"Published(model=...) is {getattr(self.model, 'base', self.model)!r}: expected timm(...), or LocalWeights(timm(...), "
            "path). Weights of open_clip have no classifier: write one with ZeroShot(...).",
        )

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"published({self.model})" + (" [reads other data]" if self.other_data else "")

    def check(self, facts: Facts) -> None:
        facts.require_pretrained(self, self.model)
        record = facts.record(self.model)
        found, classes = record.num_classes, len(facts.classes)
        if getattr(self.model, "classes", ()) and self._rows(facts) is None:
            raise DeclarationError(
                f"{describe(self)}: none of the classes that are named ({', '.join(record.class_ids[:3])}, ...) is one of the "
                f"reference's ({', '.join(facts.labelled.ids[:3])}, ...): name them by the reference's identifiers."
            )
        if found not in (None, classes) and self._rows(facts) is None:
            raise DeclarationError(
                f"{describe(self)} has a head of {found} classes, the reference has {classes}: only a classifier of its own "
                "classes is evaluated as it is. Fine-tune it under a new head, or name other weights."
            )

    def _rows(self, facts: Facts) -> tuple[int, ...] | None:
        return facts.outputs(self, facts.record(self.model).class_ids)

    def features_seen(self, facts: Facts) -> str:
        return "plain"

    def head_made(self, facts: Facts) -> Head:
        record, rows = facts.record(self.model), self._rows(facts)
        count = record.num_classes if rows is None else len(rows)
        return facts.new_head() if count is None else Head(count, is_verified=rows is not None)

    def identity(self, facts: Facts) -> dict[str, Any]:
        classes, rows = len(facts.classes), self._rows(facts)
        as_they_are = rows is None or (rows == tuple(range(classes)) and facts.record(self.model).num_classes == classes)
        return {"classes": classes} | ({} if as_they_are else {"rows": rows})

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Write pre-trained weights with their own head."""
        import torch

        from shiftline.contracts.files import WEIGHTS
        from shiftline.networks.pretrained import backbone_spec, classifier_state
        from shiftline.networks.spec import build_classifier, save_model

        record = context.backbones[self.model]
        state = classifier_state(self.model, record)
        if rows := job.document.get("rows"):
            state |= {name: state[name][list(rows)] for name in ("head.weight", "head.bias")}
            outputs = record.num_classes
            note = f"{self.model}: the {len(rows)} classes of the reference were met among {outputs} by their identifiers"
            warnings.warn(f"{note}, whose head has others too, or another order.", stacklevel=2)
            draft.summary.update(met_by_identifier=True)
        classes, expected = len(state["head.weight"]), int(job.document["classes"])
        if classes != expected:
            raise ModelError(f"{self.model} has a head of {classes} classes, the reference has {expected}.")
        spec = backbone_spec(record, num_classes=classes, features="plain")
        with torch.random.fork_rng(devices=[]):
            classifier = build_classifier(spec)
        # Strict: what timm puts between features and head is part of the encoder, or this is refused.
        classifier.load_state_dict(state)
        save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
        draft.summary.update(classes=classes)
