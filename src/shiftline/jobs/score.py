"""Scores and selections: metrics of stored predictions, and the best of several."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from shiftline.data.families.wilds_sets import official_results
from shiftline.declare.metrics import FRAMES, GROUPED, MEANS, WILDS
from shiftline.errors import DataError
from shiftline.jobs.context import Context
from shiftline.jobs.metrics import (
    METRICS,
    Answers,
    Statistic,
    best_position,
    bootstrap_interval,
    group_counts,
    macro_f1,
    project,
    successes,
    variance_of_mean,
    within_one_standard_error,
    worst_group_accuracy,
)
from shiftline.jobs.metrics import balanced_accuracy as macro_recall
from shiftline.jobs.predictions import load_predictions, part_ids
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import RIGHT


def score(job: Job, draft: Draft, context: Context) -> None:
    """Score predictions in the classes of the job's label space.

    The summary holds the value and its number of examples; for a proportion the number of successes, so that its interval can be
    exact, for other metrics the ends of a bootstrap interval. Which examples of a proportion are right is kept in a file: tests
    between models, and intervals that know that all models share their images, need no logits then.
    """
    metric = job.document["metric"]
    answers, ids = _answers(job, context)
    draft.summary.update(metric=metric, n=len(answers))
    if metric.startswith(WILDS):
        draft.summary.update(_official(metric.removeprefix(WILDS), job, answers, ids, context))
        return
    if metric in MEANS:
        draft.summary.update(variance=variance_of_mean(metric, answers))
    if (found := successes(metric, answers)) is not None:
        draft.summary.update(value=float(found.mean()), correct=int(found.sum()), n=len(found))
        if len(found) == len(ids):
            save_file({"right": found.astype(np.uint8), "ids": ids}, draft.folder / RIGHT)
        return
    if metric == "worst-group-accuracy":
        draft.summary.update(groups=group_counts(answers))
    statistic = METRICS[metric](answers)
    work = len(answers) * (answers.classes if metric == "auroc" else 1)
    value = statistic(np.ones(len(answers)))
    if not math.isfinite(value):
        raise DataError(
            f"{job.label}: {metric} is not defined on {len(answers)} examples of {len(np.unique(answers.labels))} class. Leave the "
            "metric out, or keep examples of several classes."
        )
    draft.summary.update(value=value, **_interval(statistic, len(answers), work))


def _interval(statistic: Statistic, count: int, work: float | None = None) -> dict[str, float]:
    low, high, resamples = bootstrap_interval(statistic, count, work=work)
    return {"low": low, "high": high, "resamples": resamples}


def _answers(job: Job, context: Context) -> tuple[Answers, np.ndarray]:
    tensors = load_predictions(context.store, job.parents[0])
    logits, labels, ids = (tensors[name].numpy() for name in ("logits", "labels", "ids"))
    if (part := job.document.get("part")) is not None:
        kept = np.isin(ids, part_ids(context.store, part))
        logits, labels, ids = logits[kept], labels[kept], ids[kept]
    metric, projection = job.document["metric"], job.projection
    if metric in FRAMES:
        return _frames(job, context, logits, ids), ids
    if projection is not None:
        logits, labels, kept = project(logits, labels, projection.outputs, projection.labels, projection.count)
        ids = ids[kept]
        if not len(labels):
            raise DataError(f"{job.label}: no example has a class of the label space {projection.name!r}.")
    if metric not in GROUPED:
        return Answers(logits, labels), ids
    return Answers(logits, labels, _metadata(job, context, ["group"])["group"].to_numpy()[ids]), ids


def _metadata(job: Job, context: Context, columns: list[str]) -> Any:
    import pandas as pd

    assert job.distribution is not None
    record = context.data.open(job.distribution.source).record
    if record.metadata != job.document["metadata"]:
        raise DataError(
            f"{job.distribution.source} was written anew with other groups since the study was planned: run the study again, its "
            "keys follow the data."
        )
    return pd.read_parquet(context.data.metadata(job.distribution.source), columns=columns)


def _frames(job: Job, context: Context, logits: np.ndarray, ids: np.ndarray) -> Answers:
    """Return predictions of frames, with every label that is accepted; one none of whose labels is in the space is never right."""
    table = _metadata(job, context, ["group", "accepted"]).iloc[ids]
    count, places = logits.shape[1], list(range(logits.shape[1]))
    if (projection := job.projection) is not None:
        count, places = projection.count, list(projection.labels)
        everybody = np.zeros(len(ids), dtype=np.int64)
        logits, _, _ = project(logits, everybody, projection.outputs, [0], count)
    accepted = np.zeros((len(ids), count), dtype=bool)
    for row, words in enumerate(table["accepted"]):
        accepted[row, [places[int(word)] for word in words.split() if places[int(word)] >= 0]] = True
    return Answers(logits, accepted.argmax(axis=1), table["group"].to_numpy(), accepted)


def _official(name: str, job: Job, answers: Answers, ids: np.ndarray, context: Context) -> dict[str, Any]:
    """Let the wilds package evaluate; its value is reported, and an interval of the same statistic."""
    assert job.distribution is not None
    official = dict(context.data.open(job.distribution.source).official)
    metadata = _metadata(job, context, official["fields"]).to_numpy(np.int64)[ids]
    results = official_results(official, answers.predicted, answers.labels, metadata)
    if name == "acc_avg":
        return {"value": results[name], "correct": int(answers.right.sum())}
    grouped = Answers(answers.logits, answers.labels, _metadata(job, context, ["group"])["group"].to_numpy()[ids])
    same: dict[str, Statistic] = {
        "F1-macro_all": macro_f1(grouped),
        "recall-macro_all": macro_recall(grouped),
        "acc_wg": worst_group_accuracy(grouped),
        "acc_worst_region": worst_group_accuracy(grouped, without=["region=Other"]),
    }
    if name in same:
        return {"value": results[name], **_interval(same[name], len(answers)), "groups": group_counts(grouped)}

    def resampled(weights: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(answers)), weights.astype(int))
        return official_results(official, answers.predicted[rows], answers.labels[rows], metadata[rows])[name]

    return {"value": results[name], **_interval(resampled, len(answers), work=1e6)}


def select(job: Job, draft: Draft, context: Context) -> None:
    """Find the best candidate: by the mean of its scores over the held-out distributions, the first of ties."""
    metric = job.document["metric"]
    rows = [[context.store.manifest(key).summary for key in keys] for keys in job.document["candidates"]]
    values = [fmean(score["value"] for score in row) for row in rows]
    if job.document["rule"] == "best":
        position = best_position(metric, values)
    else:
        # Held-out sets are independent: the variance of a mean of k scores is the sum of theirs over k squared.
        variances = [sum(score["variance"] for score in row) / len(row) ** 2 for row in rows]
        position = within_one_standard_error(metric, values, variances)
    draft.summary.update(position=position, values=values, n=[score["n"] for score in rows[0]])
