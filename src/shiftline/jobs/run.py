"""Running an execution group: from jobs to published artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from shiftline.jobs.batch_norm import reestimate
from shiftline.jobs.combination import fishers_average, keep, soup
from shiftline.jobs.context import Context
from shiftline.jobs.ensemble import ensemble
from shiftline.jobs.features import features
from shiftline.jobs.fisher import fisher
from shiftline.jobs.own import own
from shiftline.jobs.predict import predict_group
from shiftline.jobs.probe import probe
from shiftline.jobs.published import published
from shiftline.jobs.score import score, select
from shiftline.jobs.support import domain_features, domain_fold, domain_tuning, support, support_part
from shiftline.jobs.train import train
from shiftline.jobs.zero_shot import zero_shot
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

_KINDS: dict[str, Callable[[Job, Draft, Context], None]] = {
    "train": train,
    "zero-shot": zero_shot,
    "published": published,
    "features": features,
    "probe": probe,
    "dfr": probe,
    "keep": keep,
    "greedy-soup": soup,
    "fisher": fisher,
    "fisher-average": fishers_average,
    "batch-norm": reestimate,
    "own": own,
    "ensemble": ensemble,
    "score": score,
    "select": select,
    "domain-features": domain_features,
    "domain-tuning": domain_tuning,
    "domain-fold": domain_fold,
    "support": support,
    "support-part": support_part,
}


SHARED = ("train", "predict")
"""Kinds of jobs that several processes work on together; the others are rank 0's."""


def run_group(jobs: Sequence[Job], context: Context) -> None:
    """Run jobs that are executed together, and publish each output under its own key.

    Of several processes, rank 0 publishes: the others only do their share of the work.
    """
    if jobs[0].kind == "predict":
        predict_group(jobs, context)
        return
    (job,) = jobs
    if not context.ranks.first:
        with tempfile.TemporaryDirectory() as folder:
            _KINDS[job.kind](job, Draft(Path(folder)), context)
        return
    with context.store.publish(job.key, job.kind, job.document) as draft:
        _KINDS[job.kind](job, draft, context)
