"""What scores are computed from: stored predictions, and the examples of a subset of a shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import Tensor

from shiftline.contracts.files import DOMAINS, LOGITS
from shiftline.errors import StoreError
from shiftline.store.artifacts import Store


def load_predictions(store: Store, key: str) -> dict[str, Tensor]:
    """Return the logits (N, C), labels (N,) and ids (N,) of a prediction.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    path: Path = store.file(key, LOGITS)
    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except Exception as error:
        raise StoreError(f"the predictions {key[:12]} are damaged ({error}): {path}.") from error


def subset_ids(store: Store, key: str) -> np.ndarray:
    """Return the ids of a subset by support, int64, in increasing order."""
    ids: np.ndarray = load_arrays(store.file(key, DOMAINS))["ids"]
    return ids
