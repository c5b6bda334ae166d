"""Zero-shot heads: the classifier that a vision-language model's text tower writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def zero_shot_weights(
    model: Any,
    tokenizer: Callable[[Sequence[str]], Tensor],
    classes: Sequence[Sequence[str]],
    templates: Sequence[str],
) -> Tensor:
    """Compute the weights of a zero-shot head (Radford et al. 2021).

    ``w_c = exp(logit_scale) * normalise(mean over texts of normalise(text))``, the mean running over all templates and
    all names of class c; logits are ``w_c . normalise(image features)``.

    Parameters
    ----------
    model
        A model with `encode_text` and `logit_scale`, as open_clip builds them.
    tokenizer : callable
        Maps a list of texts to an int64 tensor of shape (texts, context).
    classes : sequence of sequences of str
        The names of each class, in the order of the labels; a class may have several.
    templates : sequence of str
        Texts with one ``{}`` for the name.

    Returns
    -------
    float32 tensor, shape (classes, embedding)
    """
    device = next(model.parameters()).device
    rows = []
    for names in classes:
        texts = [template.format(name) for template in templates for name in names]
        features = model.encode_text(tokenizer(texts).to(device)).float()
        mean = nn.functional.normalize(features, dim=-1).mean(dim=0)
        rows.append(nn.functional.normalize(mean, dim=0))
    return torch.stack(rows) * model.logit_scale.float().exp()
