"""Features of a frozen encoder, read by every job that fits a head on them."""

from __future__ import annotations

from dataclasses import dataclass

from safetensors.torch import load_file
from torch import Tensor

from shiftline.contracts.files import FEATURES
from shiftline.engine.context import Context
from shiftline.errors import StoreError
from shiftline.plan.jobs import Job


@dataclass(frozen=True)
class CachedFeatures:
    """Features, float32 (N, d), with labels and ids, int64 (N,), in id order."""

    features: Tensor
    labels: Tensor
    ids: Tensor


def cached(job: Job, context: Context) -> CachedFeatures | None:
    """Return the features that a job was planned with; None where it looks at images.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    keys = job.document.get("features")
    if keys is None:
        return None
    path = context.store.file(keys[0], FEATURES)
    try:
        return CachedFeatures(**load_file(path))
    except Exception as error:
        raise StoreError(f"the features {keys[0][:12]} are damaged ({error}): {path}.") from error
