"""Declared optimisers and schedules as torch objects and functions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from shiftline.declare.optimisers import SGD, Adam, AdamW, Constant, Cosine, Optimizer, Schedule, Step, Triangle
from shiftline.errors import TrainingError


def parameter_groups(parameters: Iterable[nn.Parameter], optimizer: Optimizer) -> list[dict[str, object]]:
    """Split parameters by weight decay: norms and biases (one dimension or none) are left out unless all decay."""
    trained = [p for p in parameters if p.requires_grad]
    decay: float = optimizer.weight_decay  # type: ignore[attr-defined]
    if optimizer.decay_all:  # type: ignore[attr-defined]
        return [{"params": trained, "weight_decay": decay}]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(parameters: Iterable[nn.Parameter], optimizer: Optimizer, *, fused: bool) -> torch.optim.Optimizer:
    """Build the torch optimiser; `fused` asks for the single-kernel version (GPU)."""
    groups = parameter_groups(parameters, optimizer)
    if isinstance(optimizer, SGD):
        return torch.optim.SGD(
            groups, lr=optimizer.lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov, fused=fused or None
        )
    if isinstance(optimizer, AdamW):
        return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas, fused=fused or None)
    if isinstance(optimizer, Adam):
        return torch.optim.Adam(groups, lr=optimizer.lr, betas=optimizer.betas, fused=fused or None)
    raise TrainingError(f"{type(optimizer).__name__} is unknown: expected SGD, Adam or AdamW.")


def learning_rate_factor(schedule: Schedule, *, step: int, total: int, steps_per_epoch: int) -> float:
    """Return what the learning rate is multiplied by at a step (counted from 0 over the whole training of `total` steps).

    Warm-up grows linearly and reaches 1 with its last step; what follows decays over the steps that remain.
    """
    warmup = schedule.warmup_steps  # type: ignore[attr-defined]
    if warmup is None:
        warmup = round(schedule.warmup * steps_per_epoch)  # type: ignore[attr-defined]
    warmup = min(warmup, total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Cosine):
        return 0.5 * (1 + math.cos(math.pi * progress))
    if isinstance(schedule, Triangle):
        return 1 - progress
    if isinstance(schedule, Step):
        every = schedule.every_steps if schedule.every is None else schedule.every * steps_per_epoch
        assert every is not None
        return schedule.factor ** math.floor((step - warmup) / every)
    raise TrainingError(f"{type(schedule).__name__} is unknown: expected Constant, Cosine, Triangle or Step.")
