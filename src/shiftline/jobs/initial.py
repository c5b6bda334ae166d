"""Where a training or a probe starts: architecture, weights, head."""

from __future__ import annotations

from dataclasses import replace

from shiftline.declare.architectures import Leaf
from shiftline.declare.expressions import Model
from shiftline.declare.training import FineTune, FromScratch
from shiftline.jobs.context import Context
from shiftline.models.classifier import Classifier
from shiftline.models.leaves import encoder_state, leaf_spec
from shiftline.models.spec import ModelSpec, build_classifier


def initial_classifier(
    init: Model | Leaf, context: Context, *, num_classes: int, features: str = "keep", new_head: bool = False
) -> tuple[Classifier, ModelSpec]:
    """Build the classifier that a recipe starts from; new weights come from torch's generator.

    Parameters
    ----------
    features : str
        What the head sees: one of `shiftline.declare.origins.FEATURES`.
    new_head : bool
        Do not take the head of `init`. A leaf never has one.
    """
    if isinstance(init, Leaf):
        record = context.leaves[init]
        spec = leaf_spec(record, num_classes=num_classes, features=features)
        classifier = build_classifier(spec)
        classifier.encoder.load_state_dict(encoder_state(init, record, backbone=spec.features == "backbone"))
        return classifier, spec
    state, spec = context.bank.state(init, context.plan.artifacts)
    if new_head:
        spec = replace(spec, num_classes=num_classes, classes=(), templates=())
    if features != "keep" and spec.features != "plain":
        spec = replace(spec, features=features)
    classifier = build_classifier(spec)
    wanted = (
        classifier.state_dict()
        if not new_head
        else {f"encoder.{n}": t for n, t in classifier.encoder.state_dict().items()}
    )
    classifier.load_state_dict({name: state[name].cpu() for name in wanted}, strict=not new_head)
    return classifier, spec


def from_scratch(recipe: FromScratch, context: Context, *, num_classes: int) -> tuple[Classifier, ModelSpec]:
    """Build an architecture with random weights from torch's generator."""
    spec = leaf_spec(context.leaves[recipe.architecture], num_classes=num_classes, features="plain")
    return build_classifier(spec), spec


def fine_tuned(recipe: FineTune, context: Context, *, num_classes: int) -> tuple[Classifier, ModelSpec]:
    """Build what a fine-tuning starts from."""
    return initial_classifier(
        recipe.init, context, num_classes=num_classes, features=str(recipe.features), new_head=recipe.head == "random"
    )
