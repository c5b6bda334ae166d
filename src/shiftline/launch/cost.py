"""What the missing part of a study will cost, from what its finished jobs did."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shiftline.contracts.models import backbones_of, distinct
from shiftline.plan.jobs import PREDICT, Job, Plan
from shiftline.store.artifacts import Store


@dataclass(frozen=True)
class Cost:
    """What the missing jobs of one kind with the same network will cost.

    Attributes
    ----------
    kind : str
        Of the jobs.
    network : str
        The architecture; several where predictions run several, empty where none runs.
    missing : int
        Jobs.
    measured : int
        Finished jobs that the estimate is from: of the kind and the network, or of the kind alone where there are none of those; 0
        where there are none at all.
    device : str
        What those ran on, "cpu" or the name of a GPU; empty where nothing was measured.
    seconds : float or None
        One job after another, as they were run; None where nothing was measured.
    size : int or None
        Bytes in the store.
    memory : int or None
        Bytes that one of those jobs took at most: networks on a GPU; elsewhere the process, whose earlier jobs count too.
    """

    kind: str
    network: str
    missing: int
    measured: int
    device: str
    seconds: float | None
    size: int | None
    memory: int | None


@dataclass(frozen=True)
class _Measured:
    """Sums over finished jobs, and the most memory of one."""

    jobs: int = 0
    images: int = 0
    seconds: float = 0.0
    size: float = 0.0
    memory: int = 0
    device: str = ""

    def __add__(self, other: _Measured) -> _Measured:
        return _Measured(
            self.jobs + other.jobs,
            self.images + other.images,
            self.seconds + other.seconds,
            self.size + other.size,
            max(self.memory, other.memory),
            other.device or self.device,
        )


def expected_cost(plan: Plan, store: Store) -> list[Cost]:
    """Return what is missing of a plan, by kind and network, in the order of the plan.

    Predictions and trainings are estimated per image that passes through a network, other jobs each. The size of a prediction grows
    with its images, that of anything else does not. Jobs that wait for a selection count like others.

    Parameters
    ----------
    plan : Plan
    store : Store
        Whose manifests say what finished jobs took.
    """
    complete = store.complete()
    done = [job for job in plan.jobs.values() if job.key in complete]
    missing = [job for job in plan.jobs.values() if job.key not in complete]
    measured: dict[Hashable, _Measured] = {}
    for job in done:
        one = _measured(job, store, plan)
        for name in ((job.kind, _network(job, plan)), job.kind):
            measured[name] = measured.get(name, _Measured()) + one
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in missing:
        groups.setdefault((job.kind, _network(job, plan)), []).append(job)
    return [_cost(kind, network, jobs, plan, measured) for (kind, network), jobs in groups.items()]


def _cost(kind: str, network: str, jobs: list[Job], plan: Plan, measured: Mapping[Hashable, _Measured]) -> Cost:
    known = [found for name in ((kind, network), kind) if (found := measured.get(name)) and found.jobs]
    if not known:
        return Cost(kind, network, len(jobs), 0, "", None, None, None)
    basis = known[0]
    images = sum(_images(job, plan) for job in jobs)
    by_image = basis.images > 0
    seconds = basis.seconds / basis.images * images if by_image else basis.seconds / basis.jobs * len(jobs)
    grows = by_image and kind == PREDICT
    size = basis.size / basis.images * images if grows else basis.size / basis.jobs * len(jobs)
    return Cost(kind, network, len(jobs), basis.jobs, basis.device, seconds, round(size), basis.memory)


def _measured(job: Job, store: Store, plan: Plan) -> _Measured:
    manifest = store.manifest(job.key)
    took = manifest.provenance
    if "device" not in took:
        return _Measured()
    size = sum(file["size"] for file in manifest.files.values())
    images = int(took.get("images", 0))
    # What was computed before a stop is not in the seconds, and is in the file.
    whole = _images(job, plan) if images else 0
    seconds = took["seconds"] * whole / images if images else took["seconds"]
    return _Measured(1, whole, seconds, size, took["peak_memory"], took.get("device_name", took["device"]))


def _images(job: Job, plan: Plan) -> int:
    """Return how many images pass through a job's network: each as often as it does; 0 where none runs."""
    if job.kind == PREDICT:
        assert job.distribution is not None
        return plan.facts.count(job.distribution)
    model: Any = job.model
    if model is None or job.is_evaluation or not model.has_epochs:
        return 0
    if model.epoch_or_step == "step":
        return int(model.duration * model.batch_size)
    counts = [plan.facts.count(distribution) for distribution in model.data(plan.study.reference).values()]
    return int(model.duration * max(counts, default=0))


def _network(job: Job, plan: Plan) -> str:
    """Return the architectures that a job runs."""
    if job.model is None or (job.is_evaluation and job.kind != PREDICT):
        return ""
    below: Iterable[Any] = (backbone for model in distinct(job.model) for backbone in backbones_of(model))
    return ", ".join(dict.fromkeys(plan.facts.record(backbone).architecture for backbone in below))
