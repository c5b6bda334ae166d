"""Scores and selections: metrics of stored predictions, and the best of several."""

from __future__ import annotations

from statistics import fmean

from shiftline.declare.sweeps import MEANS
from shiftline.jobs.context import Context
from shiftline.jobs.metrics import METRICS, variance_of_mean, within_one_standard_error
from shiftline.jobs.predict import load_predictions
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft


def score(job: Job, draft: Draft, context: Context) -> None:
    """Score predictions. The number of correct ones is kept too, so that an accuracy's interval can be exact."""
    tensors = load_predictions(context.store, job.parents[0])
    logits, labels, metric = tensors["logits"], tensors["labels"], job.document["metric"]
    correct = int((logits.argmax(dim=1) == labels).sum())
    draft.summary.update(metric=metric, value=METRICS[metric](logits, labels), correct=correct, n=len(labels))
    if metric in MEANS:
        draft.summary.update(variance=variance_of_mean(metric, logits, labels))


def select(job: Job, draft: Draft, context: Context) -> None:
    """Find the best candidate: by the mean of its scores over the held-out distributions, the first of ties."""
    rows = [[context.store.manifest(key).summary for key in keys] for keys in job.document["candidates"]]
    values = [fmean(score["value"] for score in row) for row in rows]
    if job.document["rule"] == "highest":
        position = values.index(max(values))
    else:
        # Held-out sets are independent: the variance of a mean of k scores is the sum of theirs over k squared.
        variances = [sum(score["variance"] for score in row) / len(row) ** 2 for row in rows]
        position = within_one_standard_error(values, variances)
    draft.summary.update(position=position, values=values, n=[score["n"] for score in rows[0]])
