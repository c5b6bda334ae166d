"""The diagonal Fisher information of a model, for Fisher-weighted averages (Matena & Raffel 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from shiftline.data.loader import evaluation_chunks
from shiftline.data.randomness import uniform
from shiftline.data.views import open_view, select_some
from shiftline.declare.weight_space import Fisher
from shiftline.jobs.context import Context, Interrupted
from shiftline.models.classifier import Classifier
from shiftline.models.preprocessing import prepare
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

FISHER = "fisher.safetensors"
GRADIENT_BYTES = 1 << 29
"""Memory for per-example gradients: it decides how many examples are differentiated at once."""


def fisher(job: Job, draft: Draft, context: Context) -> None:
    """Estimate the Fisher information of a model on a few examples, drawn by id."""
    recipe = job.model
    assert isinstance(recipe, Fisher)
    view = open_view(recipe.on, context.data, fingerprint=job.fingerprint(recipe.on))
    view = select_some(view, recipe.examples)
    module = context.bank.module(recipe.of, context.plan.artifacts)
    spec = context.bank.spec(recipe.of, context.plan.artifacts)
    context.progress.begin(job.label, len(view))

    def examples() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for chunk in evaluation_chunks(view, chunk_size=64, workers=context.workers, device=context.device):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; the Fisher information is estimated anew by the next run.")
            images = torch.cat([prepare(run.to(context.device), spec.preprocessing) for run in chunk.images])
            yield images, chunk.labels.to(context.device), chunk.ids
            context.progress.advance(len(chunk.ids))

    information = fisher_diagonal(module, examples(), target=recipe.target)
    save_file({name: tensor.cpu().contiguous() for name, tensor in information.items()}, draft.folder / FISHER)
    draft.summary.update(n=len(view), target=recipe.target)


def fisher_diagonal(
    module: Classifier, examples: Iterator[tuple[Tensor, Tensor, Tensor]], *, target: str
) -> dict[str, Tensor]:
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
        for rows in torch.arange(len(images)).split(at_once):
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
def _targets(
    module: Classifier, images: Tensor, labels: Tensor, ids: Tensor, target: str
) -> Iterator[tuple[Tensor, Tensor]]:
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
