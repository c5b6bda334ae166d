"""Running an execution group: from jobs to published artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from shiftline.engine.context import Context
from shiftline.engine.meter import Meter
from shiftline.plan.jobs import PREDICT, SCORE, Job
from shiftline.store.artifacts import Draft


def run_group(jobs: Sequence[Job], context: Context) -> None:
    """Run jobs that are executed together, and publish each output under its own key.

    Of several processes, rank 0 publishes: the others only do their share of the work.
    """
    if jobs[0].kind == PREDICT:
        # Imported when needed: a score uses none of what a prediction imports.
        from shiftline.engine.predict import predict_group

        predict_group(jobs, context)
        return
    (job,) = jobs
    if not context.ranks.first:
        with tempfile.TemporaryDirectory() as folder:
            _run(job, Draft(Path(folder)), context)
        return
    meter = Meter(context.device)
    with context.store.publish(job.key, job.kind, job.document) as draft:
        _run(job, draft, context)
        draft.cost.update(meter.reading())


def _run(job: Job, draft: Draft, context: Context) -> None:
    if job.kind == SCORE:
        from shiftline.engine.scores import score

        score(job, draft, context)
        return
    assert job.model is not None
    job.model.produce(job, draft, context)
