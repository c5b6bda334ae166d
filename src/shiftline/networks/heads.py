"""Zero-shot heads: the classifier that a vision-language model's text tower writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def zero_shot_head(
    model: Any, tokenizer: Callable[[Sequence[str]], Tensor], classes: Sequence[Sequence[str]], templates: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Compute a zero-shot head (Radford et al. 2021).

    ``w_c = exp(logit_scale) * normalise(mean over texts of normalise(text))``, the mean running over all templates and
    all names of class c; logits are ``w_c . normalise(image features) + b``. The bias b is that of models trained with a sigmoid
    loss (SigLIP, Zhai et al. 2023), the same for every class, and 0 for others.

    Parameters
    ----------
    model
        A model with `encode_text`, `logit_scale` and perhaps `logit_bias`, as open_clip builds them.
    tokenizer : callable
        Maps a list of texts to an int64 tensor of shape (texts, context).
    classes : sequence of sequences of str
        The names of each class, in the order of the labels; a class may have several.
    templates : sequence of str
        Texts with one ``{}`` for the name, or ``{a}`` for the name with its article.

    Returns
    -------
    weight : float32 tensor, shape (classes, embedding)
    bias : float32 tensor, shape (classes,)
    """
    device = next(model.parameters()).device
    rows = []
    for names in classes:
        texts = [filled(template, name) for template in templates for name in names]
        features = model.encode_text(tokenizer(texts).to(device)).float()
        mean = nn.functional.normalize(features, dim=-1).mean(dim=0)
        rows.append(nn.functional.normalize(mean, dim=0))
    weight = torch.stack(rows) * model.logit_scale.float().exp()
    bias = getattr(model, "logit_bias", None)
    return weight.cpu(), torch.full((len(rows),), 0.0 if bias is None else float(bias.detach()))


def filled(template: str, name: str) -> str:
    """Put a class name in the place of ``{}``, or with "a" or "an" before it in the place of ``{a}``."""
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    return template.replace("{a}", f"{article} {name}").replace("{}", name)
