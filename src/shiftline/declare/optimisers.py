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
        betas = getattr(self, "betas", (0.9, 0.999))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise DeclarationError(f"{type(self).__name__}.betas is {betas}: expected two numbers from 0 to below 1.")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    tag = "sgd"
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False

    def validate(self) -> None:
        super().validate()
        if not 0 <= self.momentum < 1:
            raise DeclarationError(f"SGD.momentum is {self.momentum}: expected 0 to below 1.")
        if self.nesterov and not self.momentum:
            raise DeclarationError(
                "SGD(nesterov=True, momentum=0): Nesterov's method needs momentum. Set it to 0.9, for example."
            )


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
    """Base of the schedules: a factor on the learning rate, after `warmup` epochs (or `warmup_steps`) of linear growth from 0."""

    def validate(self) -> None:
        name, warmup, steps = type(self).__name__, getattr(self, "warmup", 0.0), getattr(self, "warmup_steps", None)
        if not warmup >= 0 or (steps is not None and not steps >= 0):
            raise DeclarationError(f"{name}.warmup is negative: expected epochs or steps, 0 or more.")
        if warmup and steps is not None:
            raise DeclarationError(f"{name}(warmup={warmup:g}, warmup_steps={steps}): give epochs or steps, not both.")


class Constant(Schedule):
    """The learning rate stays."""

    tag = "constant"
    warmup: float = 0.0
    warmup_steps: int | None = None


class Cosine(Schedule):
    """From the peak to 0 along half a cosine (Loshchilov & Hutter 2017)."""

    tag = "cosine"
    warmup: float = 0.0
    warmup_steps: int | None = None


class Triangle(Schedule):
    """Linear growth during the warm-up, then linear decay to 0."""

    tag = "triangle"
    warmup: float = 0.0
    warmup_steps: int | None = None


class Step(Schedule):
    """Multiplied by `factor` every `every` epochs (or `every_steps` steps), counted from the end of the warm-up."""

    tag = "step"
    every: float | None = None
    factor: float = 0.1
    warmup: float = 0.0
    warmup_steps: int | None = None
    every_steps: int | None = None

    def validate(self) -> None:
        super().validate()
        if (self.every is None) == (self.every_steps is None):
            raise DeclarationError("Step needs every=EPOCHS or every_steps=STEPS, one of the two.")
        period = self.every if self.every is not None else self.every_steps
        if not period > 0 or not self.factor > 0:  # type: ignore[operator]
            raise DeclarationError(f"Step(every={period}, factor={self.factor}): expected positive numbers.")
