"""Trying what a user wrote on a few random numbers before the first job: a mistake is found before time is spent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from shiftline.contracts.distributions import Distribution, Shifted
from shiftline.contracts.identity import Declaration
from shiftline.contracts.metrics import Metric
from shiftline.contracts.models import distinct
from shiftline.contracts.predictions import Predictions
from shiftline.contracts.transforms import Transform
from shiftline.data.pixels import apply_transforms
from shiftline.plan.checks import expressions
from shiftline.plan.jobs import Plan

EXAMPLES = 4
SIDE = 32


def rehearse(plan: Plan) -> None:
    """Call the transforms, metrics and merges that a study brings of its own.

    Raises
    ------
    DataError, WeightsError
        One returns something else than its contract says; what it raises itself is passed on.
    """
    classes = 10
    for transform in dict.fromkeys(_transforms(plan)):
        if _is_own(transform):
            generator = torch.Generator().manual_seed(0)
            images = torch.randint(0, 256, (EXAMPLES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
            apply_transforms([transform], images, torch.arange(EXAMPLES) % 2, torch.arange(EXAMPLES))
    for metric in _metrics(plan):
        if _is_own(metric):
            metric.measure(random_predictions(40 * classes, classes))
    for model in expressions(plan.study):
        model.rehearse(plan.facts)


def random_predictions(count: int, classes: int, *, seed: int = 0) -> Predictions:
    """Return random predictions, every class among their labels, in two groups."""
    import pandas as pd

    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    logits = random.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    groups = np.array([f"group {number % 2}" for number in range(count)], dtype=object)
    return Predictions(logits, labels, np.arange(count), metadata=lambda columns: pd.DataFrame({"group": groups})[columns])


def _is_own(value: Declaration) -> bool:
    return not type(value).__module__.startswith("shiftline.")


def _metrics(plan: Plan) -> Iterator[Metric]:
    yield from dict.fromkeys(job.metric for job in plan.jobs.values() if job.metric is not None)


def _transforms(plan: Plan) -> Iterator[Transform]:
    found: list[Distribution] = [where for _, where in plan.study.evaluated()]
    for model in distinct(*expressions(plan.study)):
        found += model.data(plan.study.reference).values()
    for distribution in dict.fromkeys(found):
        for step in distribution.chain():
            if isinstance(step, Shifted):
                yield step.transform
