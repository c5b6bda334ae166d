"""Running an execution group: from jobs to published artifacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shiftline.jobs.context import Context
from shiftline.jobs.predict import predict_group
from shiftline.jobs.probe import probe
from shiftline.jobs.score import score, select
from shiftline.jobs.train import train
from shiftline.jobs.zero_shot import zero_shot
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

_KINDS: dict[str, Callable[[Job, Draft, Context], None]] = {
    "train": train,
    "zero-shot": zero_shot,
    "probe": probe,
    "score": score,
    "select": select,
}


def run_group(jobs: Sequence[Job], context: Context) -> None:
    """Run jobs that are executed together, and publish each output under its own key."""
    if jobs[0].kind == "predict":
        predict_group(jobs, context)
        return
    (job,) = jobs
    with context.store.publish(job.key, job.kind, job.document) as draft:
        _KINDS[job.kind](job, draft, context)
