"""Scores and selections: counts from stored predictions, and the best of several counts."""

from __future__ import annotations

from shiftline.jobs.context import Context
from shiftline.jobs.predict import load_predictions
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft


def score(job: Job, draft: Draft, context: Context) -> None:
    """Count the correct predictions. A score keeps counts, so that its interval can be exact."""
    tensors = load_predictions(context.store, job.parents[0])
    correct = int((tensors["logits"].argmax(dim=1) == tensors["labels"]).sum())
    draft.summary.update(metric="accuracy", correct=correct, n=len(tensors["labels"]))


def select(job: Job, draft: Draft, context: Context) -> None:
    """Find the candidate with the most correct predictions on the reference's val split; the first of ties."""
    counts = [context.store.manifest(key).summary for key in job.document["candidates"]]
    correct = [int(count["correct"]) for count in counts]
    draft.summary.update(position=correct.index(max(correct)), correct=correct, n=counts[0]["n"])
