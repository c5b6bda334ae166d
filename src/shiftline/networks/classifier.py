"""One shape for every model of a study: an encoder and a linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """An encoder followed by a linear head.

    Parameters
    ----------
    encoder : nn.Module
        Maps images (B, 3, S, S) to features (B, num_features).
    num_features, num_classes : int
    normalise : bool
        Features are scaled to length one before the head, as CLIP's are.
    """

    def __init__(self, encoder: nn.Module, *, num_features: int, num_classes: int, normalise: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalise = normalise
        self.head = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the head sees, shape (B, num_features)."""
        features = self.encoder(images)
        return nn.functional.normalize(features, dim=-1) if self.normalise else features

    def forward(self, images: Tensor, head: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return logits; with `head` (weight, bias), those of another task's head."""
        features = self.features(images)
        return self.head(features) if head is None else nn.functional.linear(features, *head)


@torch.no_grad()
def set_head(model: Classifier, weight: Tensor, bias: Tensor | None = None) -> None:
    """Put a head in place: weight of shape (classes, features); a missing bias is zero."""
    model.head.weight.copy_(weight)
    model.head.bias.copy_(torch.zeros_like(model.head.bias) if bias is None else bias)
