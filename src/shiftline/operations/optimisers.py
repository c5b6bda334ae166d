"""Optimisers and learning-rate schedules: each says how it is built, so that a user's own is a subclass like these."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shiftline.contracts.identity import Declaration
from shiftline.contracts.require import require

if TYPE_CHECKING:
    import torch
    from torch import nn


class Optimizer(Declaration):
    """Base of the optimisers.

    A subclass has a field `lr`, the highest learning rate, which a schedule multiplies; perhaps `weight_decay`, which applies to
    matrices and kernels only unless a field `decay_all` is set; and defines `build`.
    """

    def validate(self) -> None:
        name, lr, decay = type(self).__name__, getattr(self, "lr", 1.0), self._decay
        require(lr > 0, f"{name}.lr is {lr}: expected a positive learning rate.")
        require(decay >= 0, f"{name}.weight_decay is {decay}: expected 0 or more.")

    @property
    def _decay(self) -> float:
        return float(getattr(self, "weight_decay", 0.0))

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Split parameters by weight decay: norms and biases (one dimension or none) are left out unless all decay."""
        trained = [p for p in parameters if p.requires_grad]
        if getattr(self, "decay_all", False):
            return [{"params": trained, "weight_decay": self._decay}]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self._decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def build(self, parameters: Iterable[nn.Parameter], *, fused: bool) -> torch.optim.Optimizer:
        """Return the torch optimiser; `fused` asks for the single-kernel version (GPU)."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    lr : float
        Above 0.
    momentum : float
        0 to below 1.
    nesterov : bool
        Nesterov's method, which needs momentum.
    weight_decay : float
        0 or more.
    decay_all : bool
        Decay norms and biases too.
    """

    tag = "sgd"
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False

    def validate(self) -> None:
        super().validate()
        require(0 <= self.momentum < 1, f"SGD.momentum is {self.momentum}: expected 0 to below 1.")
        require(
            not self.nesterov or self.momentum > 0,
            "SGD(nesterov=True, momentum=0): Nesterov's method needs momentum. Set it to 0.9, for example.",
        )

    def build(self, parameters: Iterable[nn.Parameter], *, fused: bool) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(
            self.groups(parameters), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused or None
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient.

    Parameters
    ----------
    lr : float
        Above 0.
    betas : tuple of float
        Two numbers from 0 to below 1.
    weight_decay : float
        0 or more.
    decay_all : bool
        Decay norms and biases too.
    """

    tag = "adam"
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_all: bool = False

    def validate(self) -> None:
        super().validate()
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"{type(self).__name__}.betas is {self.betas}: expected two numbers from 0 to below 1.",
        )

    def build(self, parameters: Iterable[nn.Parameter], *, fused: bool) -> torch.optim.Optimizer:
        import torch

        return torch.optim.Adam(self.groups(parameters), lr=self.lr, betas=self.betas, fused=fused or None)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Parameters
    ----------
    lr : float
        Above 0.
    betas : tuple of float
        Two numbers from 0 to below 1.
    weight_decay : float
        0 or more.
    decay_all : bool
        Decay norms and biases too.
    """

    tag = "adamw"
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    decay_all: bool = False

    def build(self, parameters: Iterable[nn.Parameter], *, fused: bool) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(self.groups(parameters), lr=self.lr, betas=self.betas, fused=fused or None)


class Schedule(Declaration):
    """Base of the schedules: a factor on the learning rate, after a warm-up of linear growth that ends at 1.

    A subclass defines `decay`, and has the fields `warmup` (epochs) and `warmup_steps` where it can warm up.
    """

    def validate(self) -> None:
        name, warmup, steps = type(self).__name__, getattr(self, "warmup", 0.0), getattr(self, "warmup_steps", None)
        require(warmup >= 0 and (steps is None or steps >= 0), f"{name}.warmup is negative: expected epochs or steps, 0 or more.")
        require(not warmup or steps is None, f"{name}(warmup={warmup:g}, warmup_steps={steps}): give epochs or steps, not both.")

    def multiplier(self, *, step: int, total: int, steps_per_epoch: int) -> float:
        """Return what the learning rate is multiplied by at a step, counted from 0 over the whole training of `total` steps.

        Warm-up grows linearly and reaches 1 with its last step; what follows decays over the steps that remain.
        """
        steps = getattr(self, "warmup_steps", None)
        warmup = min(round(getattr(self, "warmup", 0.0) * steps_per_epoch) if steps is None else steps, total)
        if step < warmup:
            return (step + 1) / warmup
        return self.decay(step=step - warmup, rest=max(1, total - warmup), steps_per_epoch=steps_per_epoch)

    def decay(self, *, step: int, rest: int, steps_per_epoch: int) -> float:
        """Return the factor after the warm-up, at a step of the `rest` that remain."""
        raise NotImplementedError


class Constant(Schedule):
    """The learning rate stays.

    Parameters
    ----------
    warmup, warmup_steps
        Epochs, or steps, of linear growth from 0 before.
    """

    tag = "constant"
    warmup: float = 0.0
    warmup_steps: int | None = None

    def decay(self, *, step: int, rest: int, steps_per_epoch: int) -> float:
        return 1.0


class Cosine(Schedule):
    """From the peak to 0 along half a cosine (Loshchilov & Hutter 2017).

    Parameters
    ----------
    warmup, warmup_steps
        Epochs, or steps, of linear growth from 0 before.
    """

    tag = "cosine"
    warmup: float = 0.0
    warmup_steps: int | None = None

    def decay(self, *, step: int, rest: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * (step / rest)))


class Triangle(Schedule):
    """Linear growth during the warm-up, then linear decay to 0.

    Parameters
    ----------
    warmup, warmup_steps
        Epochs, or steps, of linear growth from 0 before.
    """

    tag = "triangle"
    warmup: float = 0.0
    warmup_steps: int | None = None

    def decay(self, *, step: int, rest: int, steps_per_epoch: int) -> float:
        return 1 - step / rest


class Step(Schedule):
    """Multiplied by a factor again and again, counted from the end of the warm-up.

    Parameters
    ----------
    every : float, optional
        Epochs between two changes; one of `every` and `every_steps` is given.
    factor : float
        What the learning rate is multiplied by, above 0.
    warmup, warmup_steps
        Epochs, or steps, of linear growth from 0 before.
    every_steps : int, optional
        Steps between two changes.
    """

    tag = "step"
    every: float | None = None
    factor: float = 0.1
    warmup: float = 0.0
    warmup_steps: int | None = None
    every_steps: int | None = None

    def validate(self) -> None:
        super().validate()
        require((self.every is None) != (self.every_steps is None), "Step needs every=EPOCHS or every_steps=STEPS, one of the two.")
        period = self.every if self.every is not None else self.every_steps
        require(
            bool(period and period > 0) and self.factor > 0,
            f"Step(every={period}, factor={self.factor}): expected positive numbers.",
        )

    def decay(self, *, step: int, rest: int, steps_per_epoch: int) -> float:
        every = self.every_steps if self.every is None else self.every * steps_per_epoch
        assert every is not None
        return self.factor ** math.floor(step / every)
