"""Writing the zero-shot head of a vision-language model."""

from __future__ import annotations

import torch

from shiftline.data.sidecar import DataFolder
from shiftline.declare.recipes import ZeroShot
from shiftline.jobs.context import Context
from shiftline.models.classifier import set_head
from shiftline.models.heads import template_set, zero_shot_head
from shiftline.models.leaves import encoder_state, leaf_spec, text_model
from shiftline.models.spec import ModelSpec, build_classifier, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import WEIGHTS


def zero_shot(job: Job, draft: Draft, context: Context) -> None:
    """Write the image encoder with the head that the text tower gives for the study's classes."""
    recipe = job.model
    assert isinstance(recipe, ZeroShot)
    classes = recipe.classes or _reference_classes(context)
    names = [(name,) if isinstance(name, str) else tuple(name) for name in classes]
    record = context.leaves[recipe.model]
    templates = template_set(recipe.templates) if isinstance(recipe.templates, str) else recipe.templates
    leaf_of = leaf_spec(record, num_classes=len(names), features="embedding")
    spec = ModelSpec(**vars(leaf_of) | {"classes": tuple(names), "templates": templates})
    with torch.random.fork_rng(devices=[]):
        classifier = build_classifier(spec)
        model, tokenizer = text_model(recipe.model, record)
    classifier.encoder.load_state_dict(encoder_state(recipe.model, record))
    set_head(classifier, *zero_shot_head(model.to(context.device), tokenizer, names, templates))
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    draft.summary.update(classes=len(names), templates=len(templates))


def _reference_classes(context: Context) -> tuple[str, ...]:
    folder: DataFolder = context.data
    return folder.open(context.plan.study.reference.labelled).record.classes
