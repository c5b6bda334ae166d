"""CIFAR-10 at half the brightness: the smallest study that trains from scratch on real images."""

from __future__ import annotations

from typing import Any

from shiftline.declare.architectures import Leaf, glyph_net, timm
from shiftline.declare.datasets import cifar10_reference
from shiftline.declare.expressions import Model
from shiftline.declare.optimisers import SGD, Triangle
from shiftline.declare.training import FromScratch
from shiftline.declare.transforms import Brightness, Cutout, HorizontalFlip, Translate
from shiftline.manager import ExperimentManager


class Cifar10Brightness(ExperimentManager):
    """How much of its accuracy does a ResNet-18 keep when the images get darker?

    Parameters
    ----------
    epochs : int
        24 as in the original's notebook.
    small : bool
        A small network and six epochs, to try the study.
    """

    name = "cifar10_brightness"
    reference = cifar10_reference()
    shifts = {"half the brightness": reference.test.shifted(Brightness(0.5))}
    baseline = "from scratch"

    def __init__(self, *, epochs: int = 24, small: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.epochs, self.small = 6 if small else epochs, small

    def models(self) -> dict[str, list[Model]]:
        network: Leaf = glyph_net("conv-narrow") if self.small else timm("resnet18")
        run = FromScratch(
            network, epochs=self.epochs, batch_size=20 if self.small else 512, label_smoothing=0.1,
            precision="32" if self.small else "fp16", augment=(HorizontalFlip(), Translate(2), Cutout(4)),
            optimizer=SGD(lr=0.02 if self.small else 0.5, weight_decay=5e-4, decay_all=True),
            schedule=Triangle(warmup=self.epochs * 5 / 24),
        )  # fmt: skip
        step = max(1, self.epochs // 6)
        return {"from scratch": run.checkpoints(range(step, self.epochs + 1, step))}
