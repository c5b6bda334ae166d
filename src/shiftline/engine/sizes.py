"""The exact sizes of a plan's distributions, looked at before the first job: labels decide what class rates leave."""

from __future__ import annotations

from shiftline.contracts.distributions import Distribution
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.errors import PlanError
from shiftline.plan.jobs import PREDICT, Plan


def check_views(plan: Plan, folder: DataFolder) -> None:
    """Open every distribution that a job reads.

    Raises
    ------
    DataError, PlanError
        One of them is empty or damaged, or has fewer examples than a batch.
    """
    sizes: dict[Distribution, int] = {}
    for job in plan.jobs.values():
        reads = [] if job.model is None else list(job.model.data(plan.study.reference).values())
        if job.kind == PREDICT and job.distribution is not None:
            reads = [job.distribution]
        for distribution in reads:
            if distribution not in sizes:
                sizes[distribution] = len(open_view(distribution, folder))
            batch = getattr(job.model, "batch_size", 0) if job.model is not None and job.model.has_epochs else 0
            if not job.is_evaluation and sizes[distribution] < batch:
                raise PlanError(
                    f"{job.label}: {distribution} has {sizes[distribution]} examples, fewer than one batch of {batch}. "
                    f"Set batch_size to {sizes[distribution]} or less, or keep more examples."
                )
