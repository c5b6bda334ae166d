"""Running an execution group: from jobs to published artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from shiftline.jobs.context import Context
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

_RUNNERS = {
    "train": "train.train",
    "zero-shot": "zero_shot.zero_shot",
    "published": "published.published",
    "features": "features.features",
    "probe": "probe.probe",
    "dfr": "probe.probe",
    "keep": "combination.keep",
    "greedy-soup": "combination.soup",
    "fisher": "fisher.fisher",
    "fisher-average": "combination.fishers_average",
    "batch-norm": "batch_norm.reestimate",
    "own": "own.own",
    "ensemble": "ensemble.ensemble",
    "score": "score.score",
    "select": "score.select",
    "domain-features": "support.domain_features",
    "domain-tuning": "support.domain_tuning",
    "domain-fold": "support.domain_fold",
    "support": "support.support",
    "support-part": "support.support_part",
}
"""Module and function of each kind, imported when needed: what a training imports takes seconds, and a score uses none of it."""

SHARED = ("train", "predict")
"""Kinds of jobs that several processes work on together; the others are rank 0's."""


def run_group(jobs: Sequence[Job], context: Context) -> None:
    """Run jobs that are executed together, and publish each output under its own key.

    Of several processes, rank 0 publishes: the others only do their share of the work.
    """
    if jobs[0].kind == "predict":
        from shiftline.jobs.predict import predict_group

        predict_group(jobs, context)
        return
    (job,) = jobs
    run = _runner(job.kind)
    if not context.ranks.first:
        with tempfile.TemporaryDirectory() as folder:
            run(job, Draft(Path(folder)), context)
        return
    with context.store.publish(job.key, job.kind, job.document) as draft:
        run(job, draft, context)


def _runner(kind: str) -> Callable[[Job, Draft, Context], None]:
    """Return the function that makes the artifacts of a kind."""
    module, function = _RUNNERS[kind].split(".")
    found: Callable[[Job, Draft, Context], None] = getattr(import_module(f"shiftline.jobs.{module}"), function)
    return found
