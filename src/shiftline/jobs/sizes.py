"""The exact sizes of a plan's distributions, looked at before the first job: labels decide what class rates leave."""

from __future__ import annotations

from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.declare.recipes import FineTune, FromScratch
from shiftline.errors import PlanError
from shiftline.plan.jobs import Plan


def check_views(plan: Plan, folder: DataFolder) -> None:
    """Open every distribution that a job reads.

    Raises
    ------
    DataError, PlanError
        One of them is empty or damaged, or has fewer examples than a batch.
    """
    sizes: dict[object, int] = {}
    for job in plan.jobs.values():
        if job.distribution is None or job.kind not in ("train", "probe", "predict"):
            continue
        if job.distribution not in sizes:
            sizes[job.distribution] = len(open_view(job.distribution, folder))
        model = job.model
        if isinstance(model, (FromScratch, FineTune)) and job.kind == "train":
            size = sizes[job.distribution]
            if size < model.batch_size:
                raise PlanError(
                    f"{job.label}: {job.distribution} has {size} examples, fewer than one batch of {model.batch_size}. "
                    f"Set batch_size to {size} or less, or keep more examples."
                )
