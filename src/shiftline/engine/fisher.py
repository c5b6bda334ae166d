"""The diagonal Fisher information of a model, for Fisher-weighted averages (Matena & Raffel 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from shiftline.data.randomness import uniform
from shiftline.networks.classifier import Classifier

GRADIENT_BYTES = 1 << 29
"""Memory for per-example gradients: it decides how many examples are differentiated at once."""


def fisher_diagonal(module: Classifier, examples: Iterator[tuple[Tensor, Tensor, Tensor]], *, target: str) -> dict[str, Tensor]:
    """Return ``mean over x of E_y [(d log p(y|x) / d theta)^2]`` for every parameter, in eval mode.

    Parameters
    ----------
    examples : iterator
        Of inputs (B, 3, S, S), labels (B,) and ids (B,).
    target : str
        Where y comes from: "expected" (over the model's own p(y|x)), "sampled" (one draw of it by id) or "empirical" (the label).

    Returns
    -------
    dict of str to Tensor
        Of 0 or more, by the names of the parameters.
    """
    module.eval()
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    buffers = {name: b.detach() for name, b in module.named_buffers()}
    size = sum(p.numel() * 4 for p in parameters.values())
    at_once = max(1, GRADIENT_BYTES // size)

    def log_likelihood(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(module, (weights, buffers), (image[None],))
        return -nn.functional.cross_entropy(logits, label[None])

    # Dropout and the like are off in eval mode: nothing here is random.
    gradients = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    for images, labels, ids in examples:
        for rows in torch.split(torch.arange(len(images)), at_once):
            pixels = images[rows]
            for classes, weights in _targets(module, pixels, labels[rows], ids[rows], target):
                # Fused attention has no rule for gradients per example.
                with sdpa_kernel(SDPBackend.MATH):
                    found = gradients(parameters, pixels, classes)
                for name, gradient in found.items():
                    total[name] += torch.einsum("b,b...->...", weights, gradient.square())
        count += len(images)
    return {name: tensor / count for name, tensor in total.items()}


@torch.no_grad()
def _targets(module: Classifier, images: Tensor, labels: Tensor, ids: Tensor, target: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield classes (B,) to differentiate the likelihood of, with their weights (B,)."""
    ones = torch.ones(len(images), device=images.device)
    if target == "empirical":
        yield labels, ones
        return
    probabilities = module(images).softmax(dim=1)
    if target == "sampled":
        u = uniform("fisher-class", 0, ids)[:, 0].to(images.device, probabilities.dtype)
        drawn = (probabilities.cumsum(dim=1) < u[:, None]).sum(dim=1)
        yield drawn.clamp_max(probabilities.shape[1] - 1), ones
        return
    for row in range(probabilities.shape[1]):
        yield torch.full_like(labels, row), probabilities[:, row]
