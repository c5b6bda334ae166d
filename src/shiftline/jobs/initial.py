"""Where a training or a probe starts: architecture, weights, head."""

from __future__ import annotations

import torch

from shiftline.declare.architectures import Leaf
from shiftline.declare.recipes import FineTune, FromScratch, LinearProbe
from shiftline.jobs.context import Context
from shiftline.models.classifier import Classifier
from shiftline.models.leaves import encoder_state, leaf_spec
from shiftline.models.spec import ModelSpec, build_classifier


def initial_classifier(
    recipe: FromScratch | FineTune | LinearProbe, context: Context, *, num_classes: int
) -> tuple[Classifier, ModelSpec]:
    """Build the classifier that a recipe starts from; new weights come from torch's generator."""
    if isinstance(recipe, FromScratch):
        record = context.leaves[recipe.architecture]
        spec = leaf_spec(record, num_classes=num_classes, from_scratch=True)
        return build_classifier(spec), spec
    if isinstance(recipe.init, Leaf):
        record = context.leaves[recipe.init]
        spec = leaf_spec(record, num_classes=num_classes, from_scratch=False)
        classifier = build_classifier(spec)
        classifier.encoder.load_state_dict(encoder_state(recipe.init, record))
        return classifier, spec
    state, spec = context.bank.state(recipe.init, context.plan.artifacts)
    classifier = build_classifier(spec)
    head = {name: tensor.clone() for name, tensor in classifier.head.state_dict().items()}
    classifier.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
    if isinstance(recipe, FineTune) and recipe.head == "random":
        with torch.no_grad():
            classifier.head.load_state_dict(head)
    return classifier, spec
