"""Names of the files in an artifact that holds a model: known without loading torch."""

from __future__ import annotations

WEIGHTS = "model.safetensors"


def checkpoint_file(unit: str, after: int) -> str:
    """Name of the weights after an epoch or a step in the artifact of a training."""
    return f"{unit}-{after:04d}.safetensors"


LOGITS = "predictions.safetensors"
"""Of a prediction: logits, labels, ids."""
RIGHT = "right.safetensors"
"""Of a score that is a proportion: right (uint8) and ids (int64), one per example."""
DOMAINS = "domains.safetensors"
"""Of a step that splits a shift by support: ids, logits, density ratios."""
