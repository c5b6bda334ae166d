"""Where a training or a probe starts: architecture, weights, head."""

from __future__ import annotations

from dataclasses import replace

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.models import Model
from shiftline.engine.context import Context
from shiftline.networks.classifier import Classifier
from shiftline.networks.pretrained import backbone_spec, encoder_state
from shiftline.networks.spec import ModelSpec, build_classifier


def initial_classifier(
    init: Model | Backbone, context: Context, *, num_classes: int, features: str = "keep", new_head: bool = False
) -> tuple[Classifier, ModelSpec]:
    """Build the classifier that a recipe starts from; new weights come from torch's generator.

    Parameters
    ----------
    features : str
        What the head sees: one of `shiftline.operations.start.FEATURES`.
    new_head : bool
        Do not take the head of `init`. A backbone never has one.
    """
    if not isinstance(init, Model):
        record = context.backbones[init]
        spec = backbone_spec(record, num_classes=num_classes, features=features)
        classifier = build_classifier(spec)
        state = encoder_state(init, record, unprojected=spec.features == "backbone")
        classifier.encoder.load_state_dict(state)
        return classifier, spec
    weights, spec = context.weights.state(init)
    if new_head:
        spec = replace(spec, num_classes=num_classes, classes=(), templates=())
    if features != "keep" and spec.features != "plain":
        spec = replace(spec, features=features)
    classifier = build_classifier(spec)
    wanted = [name for name in classifier.state_dict() if not new_head or name.startswith("encoder.")]
    classifier.load_state_dict({name: weights[name].cpu() for name in wanted}, strict=not new_head)
    return classifier, spec


def from_scratch(architecture: Backbone, context: Context, *, num_classes: int) -> tuple[Classifier, ModelSpec]:
    """Build an architecture with random weights from torch's generator."""
    spec = backbone_spec(context.backbones[architecture], num_classes=num_classes, features="plain")
    return build_classifier(spec), spec
