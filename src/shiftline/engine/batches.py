"""How many images pass through a model at once, and the memory that this takes. Needs no torch: asked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shiftline.contracts.distributions import Distribution
from shiftline.errors import DeclarationError
from shiftline.plan.jobs import PREDICT, Plan
from shiftline.store.artifacts import Store

BATCHES = {"cpu": 32, "cuda": 256}
"""Images that pass through a model at once: fixed for a kind of device, so that logits do not depend on who else is predicted. What
32 images need in a network fits the caches and pages of a processor: batches of 256 take three times as long there."""


def inference_batch(device: str) -> int:
    """Return how many images pass through a model at once on a device."""
    return BATCHES.get(device.partition(":")[0], BATCHES["cuda"])


def name_of(preprocessing: Mapping[str, Any]) -> str:
    """Return a name that equal preprocessings share: an image is prepared once for all models of one."""
    return str(sorted(preprocessing.items()))


def check_memory(plan: Plan, store: Store, memory: int, device: str) -> None:
    """Raise `DeclarationError` where the memory for prepared images does not hold two batches of every distribution.

    Parameters
    ----------
    memory : int
        Bytes.
    device : str
        "cpu", "cuda", "cuda:N" or "mps".
    """
    sizes: dict[Distribution, dict[str, int]] = {}
    for job in plan.jobs.values():
        if job.kind == PREDICT and not job.deferred and job.distribution is not None and not store.has(job.key):
            assert job.model is not None
            preprocessing = plan.facts.record(job.model.network).preprocessing
            sizes.setdefault(job.distribution, {})[name_of(preprocessing)] = int(preprocessing["size"])
    batch = inference_batch(device)
    for distribution, of_one in sizes.items():
        needed = 2 * batch * sum(3 * size**2 for size in of_one.values())
        if needed > memory:
            pixels = ", ".join(f"{size} px" for size in of_one.values())
            raise DeclarationError(
                f"--memory {memory >> 20}: two batches of {batch} images of {distribution}, prepared at {pixels}, take "
                f"{needed / 2**20:.1f} MiB: give --memory {-(-needed // 2**20)} or more."
            )
