"""Names of the files in artifacts: known without loading torch."""

from __future__ import annotations

WEIGHTS = "model.safetensors"
LOGITS = "predictions.safetensors"
"""Of a prediction: logits, labels, ids."""
PER_EXAMPLE = "per_example.safetensors"
"""Of a score that is a mean over examples: values (uint8 for a proportion, else float32) and ids (int64)."""
FEATURES = "features.safetensors"
"""Of a frozen encoder: features, labels, ids."""
FISHER = "fisher.safetensors"
"""Fisher information, by the names of the parameters."""
DOMAINS = "domains.safetensors"
"""Of a step that splits a shift by support: ids, logits, density ratios."""


def checkpoint_file(epoch_or_step: str, after: int) -> str:
    """Name of the weights after an epoch or a step in the artifact of a training."""
    return f"{epoch_or_step}-{after:04d}.safetensors"
