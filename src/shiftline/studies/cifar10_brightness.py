"""CIFAR-10 at half the brightness: the smallest study that trains from scratch on real images."""

from __future__ import annotations

from typing import Any

import shiftline as sl


class Cifar10Brightness(sl.ExperimentManager):
    """How much of its accuracy does a ResNet-18 keep when the images get darker?

    Parameters
    ----------
    epochs : int
        24 as in the original's notebook.
    small : bool
        A small network and six epochs, to try the study.
    """

    name = "cifar10_brightness"
    reference = sl.cifar10_reference()
    shifts = {"half the brightness": reference.test.shifted(sl.Brightness(0.5))}
    baseline = "from scratch"

    def __init__(self, *, epochs: int = 24, small: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.epochs, self.small = 6 if small else epochs, small

    def models(self) -> dict[str, list[sl.Model]]:
        network: sl.Backbone = sl.glyph_net("conv-narrow") if self.small else sl.timm("resnet18")
        run = sl.FromScratch(
            network,
            epochs=self.epochs,
            batch_size=20 if self.small else 512,
            label_smoothing=0.1,
            precision="32" if self.small else "fp16",
            augment=(sl.HorizontalFlip(), sl.Translate(2), sl.Cutout(4)),
            optimizer=sl.SGD(lr=0.02 if self.small else 0.5, weight_decay=5e-4, decay_all=True),
            schedule=sl.Triangle(warmup=self.epochs * 5 / 24),
        )
        step = max(1, self.epochs // 6)
        return {"from scratch": run.checkpoints(range(step, self.epochs + 1, step))}
