"""Synthetic shifts of ImageNet that the reference could, or could not, have produced (Cohen-Wang et al. 2024, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import shiftline as sl
from shiftline.errors import DeclarationError

AUGMENT = (sl.RandomResizedCrop(), sl.HorizontalFlip())
CLASSES = 1000
COLOURS = 1000


@dataclass(frozen=True)
class Scale:
    """What a run of the study costs: the paper's settings, or small ones that try it out."""

    scratch: sl.Backbone = sl.open_clip("ViT-B-32", "openai")
    pretrained: tuple[tuple[str, sl.Backbone], ...] = (
        ("CLIP", sl.open_clip("ViT-B-32", "openai")),
        ("AugReg", sl.timm("vit_base_patch32_224.augreg_in21k")),
    )
    batch_size: int = 512
    precision: str = "fp16"
    scratch_epochs: int = 100
    scratch_warmup: float = 10
    first: int = 51
    last: int = 85
    scratch_lr: float = 0.003
    learning_rates: tuple[float, ...] = (3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    epochs: int = 8
    probe_epochs: int = 4
    copies: int = 4
    durations: tuple[tuple[int, float], ...] = ((1, 0.125), (2, 0.25), (4, 0.5), (8, 1), (16, 2), (32, 4))
    batch_sizes: tuple[int, ...] = (64, 128, 256, 512)
    weight_decays: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 0.0)


SMALL = Scale(
    scratch=sl.glyph_net("conv-wide"),
    pretrained=(("CLIP", sl.random_clip()), ("AugReg", sl.random_clip(1))),
    batch_size=100,
    precision="32",
    scratch_epochs=6,
    scratch_warmup=1,
    first=3,
    last=6,
    learning_rates=(1e-3, 3e-4),
    epochs=1,
    probe_epochs=1,
    copies=2,
    durations=((1, 0.125), (2, 0.25)),
    batch_sizes=(50, 100),
    weight_decays=(0.1, 0.0),
)
"""Networks that learn something from a miniature in seconds; the two pre-trained ones know nothing, and say nothing."""


class ImageNetSyntheticShift(sl.ExperimentManager):
    """Pre-training should help where the shift is out of the reference's support, and not where it is inside.

    Parameters
    ----------
    tint_p : float
        In-support: how often the reference's tint is that of the class; the shift's never is. 0.5 to 0.9 in the paper.
    label_p : float
        In-support: share of the less frequent half of the classes in the reference, one minus it in the shift. 0.1 to 0.3.
    out_of_support : bool
        A plain reference; the shifts are a tint and a vertical flip.
    hparams : bool
        Also fine-tune zero-shot CLIP with other epochs, learning rates, batch sizes and weight decays.
    small : bool
        Small networks, few epochs, two learning rates and copies: to try the study on `shiftline data make-miniature imagenet`.
    """

    baseline = "baseline"

    def __init__(
        self,
        *,
        tint_p: float = 0.0,
        label_p: float = 0.0,
        out_of_support: bool = False,
        hparams: bool = False,
        small: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if sum((tint_p > 0, label_p > 0, out_of_support)) != 1:
            raise DeclarationError(
                "imagenet_synthetic_shift is several studies: say one of tint_p=0.5, label_p=0.1, out_of_support=true."
            )
        self.scale, self.hparams = SMALL if small else Scale(), hparams
        # A label shift leaves little more than half of the images: twice as many epochs are about as many steps.
        self.longer = 2 if label_p else 1
        kind = f"tint_p={tint_p:g}" if tint_p else f"label_p={label_p:g}" if label_p else "out_of_support"
        self.name = f"imagenet_synthetic_shift {kind}{' small' if small else ''}"  # type: ignore[misc]
        plain = sl.imagenet_reference()
        if tint_p:
            self.reference = plain.shifted(sl.Tint(tint_p, colours=COLOURS))
            self.shifts = {"target": plain.test.shifted(sl.Tint(0.0, colours=COLOURS))}
        elif label_p:
            shares = class_shares(label_p)
            train, val, test = (split.class_shares(shares) for split in (plain.training, plain.selection, plain.test))
            self.reference = type(plain)(train, val, test)
            self.shifts = {"target": plain.test.class_shares(class_shares(1 - label_p), seed=1)}
        else:
            self.reference = plain
            self.shifts: dict[str, sl.Distribution] = {
                "tint": plain.test.shifted(sl.Tint(0.0, colours=COLOURS)),
                "flip": plain.test.shifted(sl.VerticalFlip()),
            }

    def models(self) -> dict[str, list[sl.Model]]:
        s = self.scale
        scratch = sl.FromScratch(
            s.scratch,
            epochs=s.scratch_epochs * self.longer,
            batch_size=s.batch_size,
            augment=AUGMENT,
            label_smoothing=0.1,
            clip_norm=1.0,
            precision=s.precision,
            optimizer=sl.AdamW(lr=s.scratch_lr, weight_decay=0.1, decay_all=True),
            schedule=sl.Cosine(warmup=s.scratch_warmup * self.longer),
        )
        epochs = range(s.first * self.longer, s.last * self.longer + 1, self.longer)
        groups: dict[str, list[sl.Model]] = {"baseline": scratch.checkpoints(epochs)}
        for name, network in s.pretrained:
            starts = {"FT": self._tuned(network, head="random"), "LP-FT": self._tuned(self._probe(network))}
            if name == "CLIP":
                starts["ZS-FT"] = self._tuned(sl.ZeroShot(network, templates="openai-imagenet"))
            for how, tuned in starts.items():
                groups[f"{name} ({how})"] = sl.replicates(tuned, range(s.copies))
        if self.hparams:
            clip = sl.ZeroShot(s.pretrained[0][1], templates="openai-imagenet")
            groups["CLIP zero-shot"] = [clip]
            groups |= self._variations(self._tuned(clip))
        return groups

    def _tuned(self, init: sl.Backbone | sl.Model, *, head: str = "keep") -> sl.Model:
        """Return the fine-tuning with the best learning rate on the reference's val split."""
        s = self.scale
        return sl.best(
            sl.FineTune(
                init,
                head=head,
                epochs=s.epochs,
                batch_size=s.batch_size,
                augment=AUGMENT,
                clip_norm=1.0,
                precision=s.precision,
                optimizer=sl.AdamW(lr=lr, weight_decay=0.1, decay_all=True),
                schedule=sl.Cosine(warmup=1),
            )
            for lr in s.learning_rates
        )

    def _probe(self, network: sl.Backbone) -> sl.FineTune:
        """Return a head that was trained on a frozen encoder."""
        s = self.scale
        return sl.FineTune(
            network,
            head="random",
            trainable="head",
            epochs=s.probe_epochs,
            batch_size=s.batch_size,
            augment=AUGMENT,
            precision=s.precision,
            optimizer=sl.AdamW(lr=1e-3, weight_decay=0.0),
            schedule=sl.Cosine(),
        )

    def _variations(self, tuned: sl.Model) -> dict[str, list[sl.Model]]:
        """Return copies of the winner with one setting changed at a time."""
        s = self.scale
        changes: dict[str, dict[str, Any]] = {
            **{f"epochs={n}": {"epochs": n, "schedule__warmup": w} for n, w in s.durations},
            **{f"lr={lr:g}": {"optimizer__lr": lr} for lr in s.learning_rates},
            **{f"batch_size={n}": {"batch_size": n} for n in s.batch_sizes},
            **{f"weight_decay={wd:g}": {"optimizer__weight_decay": wd} for wd in s.weight_decays},
        }
        return {
            f"CLIP (ZS-FT) {name}": sl.replicates(sl.varied(tuned, **change), range(s.copies)) for name, change in changes.items()
        }


def class_shares(label_p: float) -> tuple[float, ...]:
    """Return the share of each class's images that is kept: half of the classes, always the same ones, are drawn at `label_p`.

    The more frequent half is kept whole, as published.
    """
    preferred = np.zeros(CLASSES, dtype=bool)
    preferred[: CLASSES // 2] = True
    np.random.RandomState(0).shuffle(preferred)
    rates = np.where(preferred, label_p, 1 - label_p)
    return tuple(float(rate) for rate in rates / rates.max())
