"""The exact sizes of a plan's distributions, looked at before the first job: labels decide what class rates leave."""

from __future__ import annotations

from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.declare.distributions import Distribution
from shiftline.declare.training import Trained
from shiftline.errors import PlanError
from shiftline.plan.jobs import Plan


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
        if job.kind == "predict" and job.distribution is not None:
            reads = [job.distribution]
        for distribution in reads:
            if distribution not in sizes:
                sizes[distribution] = len(open_view(distribution, folder))
            size = sizes[distribution]
            if job.kind == "train" and isinstance(job.model, Trained) and size < job.model.batch_size:
                raise PlanError(
                    f"{job.label}: {distribution} has {size} examples, fewer than one batch of {job.model.batch_size}. "
                    f"Set batch_size to {size} or less, or keep more examples."
                )
