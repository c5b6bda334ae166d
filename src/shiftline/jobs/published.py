"""Taking a published classifier as it is."""

from __future__ import annotations

import torch

from shiftline.declare.recipes import Published
from shiftline.errors import ModelError
from shiftline.jobs.context import Context
from shiftline.models.leaves import classifier_state, leaf_spec
from shiftline.models.spec import build_classifier, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS


def published(job: Job, draft: Draft, context: Context) -> None:
    """Write pre-trained weights with their own head."""
    recipe = job.model
    assert isinstance(recipe, Published)
    record = context.leaves[recipe.model]
    state = classifier_state(recipe.model, record)
    classes, expected = len(state["head.weight"]), int(job.document["classes"])
    if classes != expected:
        raise ModelError(f"{recipe.model} has a head of {classes} classes, the reference has {expected}.")
    spec = leaf_spec(record, num_classes=classes, features="plain")
    with torch.random.fork_rng(devices=[]):
        classifier = build_classifier(spec)
    # Strict: what timm puts between features and head is part of the encoder, or this is refused.
    classifier.load_state_dict(state)
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    draft.summary.update(classes=classes)
