"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from shiftline.errors import DeclarationError
from shiftline.identity import Declaration


class Optimizer(Declaration):
    """Base of the optimisers. `weight_decay` is applied to matrices and kernels only unless `decay_all` is set."""

    def validate(self) -> None:
        lr, decay = getattr(self, "lr", 1.0), getattr(self, "weight_decay", 0.0)
        if not lr > 0:
            raise DeclarationError(f"{type(self).__name__}.lr is {lr}: expected a positive learning rate.")
        if not decay >= 0:
            raise DeclarationError(f"{type(self).__name__}.weight_decay is {decay}: expected 0 or more.")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    tag = "sgd"
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    tag = "adam"
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_all: bool = False


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    tag = "adamw"
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    decay_all: bool = False


class Schedule(Declaration):
    """Base of the schedules: a factor on the learning rate, after `warmup` epochs of linear growth from 0."""

    def validate(self) -> None:
        if not getattr(self, "warmup", 0.0) >= 0:
            raise DeclarationError(f"{type(self).__name__}.warmup is negative: expected epochs, 0 or more.")


class Constant(Schedule):
    """The learning rate stays."""

    tag = "constant"
    warmup: float = 0.0


class Cosine(Schedule):
    """From the peak to 0 along half a cosine (Loshchilov & Hutter 2017)."""

    tag = "cosine"
    warmup: float = 0.0


class Triangle(Schedule):
    """Linear growth during `warmup` epochs, then linear decay to 0."""

    tag = "triangle"
    warmup: float = 0.0


class Step(Schedule):
    """Multiplied by `factor` every `every` epochs."""

    tag = "step"
    every: float
    factor: float = 0.1
    warmup: float = 0.0

    def validate(self) -> None:
        super().validate()
        if not self.every > 0 or not self.factor > 0:
            raise DeclarationError(f"Step(every={self.every}, factor={self.factor}): expected positive numbers.")
