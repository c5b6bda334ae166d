"""Does weight interpolation recover the robustness that fine-tuning loses? On real handwritten digits, in a few minutes."""

from __future__ import annotations

import os
from typing import Any

import shiftline as sl

# Shares of the 900 training images, from 20 images to all: they spread the baselines along the line.
SHARES = (0.0225, 0.05, 0.09, 0.16, 0.3, 0.55, 1.0)
TRUNK_SHARES = (0.05, 0.16, 0.4, 1.0)


class Digits(sl.ExperimentManager):
    """Handwritten digits with a class-correlated tint as the reference; a small CLIP of typed characters as the model.

    Severities were chosen by looking at the baselines only.

    Parameters
    ----------
    seeds : int
        Replicates of the fine-tuned model.
    """

    name = "digits"
    baseline = "from scratch"

    reference = sl.handwritten_digits().shifted(sl.Tint(p=0.6))
    plain = sl.handwritten_digits().test
    shifts = {
        # In-support: the reference could have produced these images, at other rates.
        "decorrelated tint": plain.shifted(sl.Tint(p=0.0, seed=1)),
        "label shift": reference.test.class_rates([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        # Out-of-support.
        "blur": reference.test.shifted(sl.Blur(2.0)),
        "noise": reference.test.shifted(sl.Noise(0.3)),
        "low contrast": reference.test.shifted(sl.Contrast(0.5)),
        "vertical flip": reference.test.shifted(sl.VerticalFlip()),
        "rotation": reference.test.shifted(sl.Rotate(20)),
        "recolour": plain.shifted(sl.Recolour()),
        "invert": reference.test.shifted(sl.Invert()),
        "typed": sl.typed_digits(),
    }
    # Half of the images of the first are as in the reference; of the second, some could be.
    split = sl.SupportSplit(reference.training, sl.EmbeddingClassifier(sl.glyph_clip()))
    half_inverted = reference.test.shifted(sl.Sometimes(sl.Invert(), 0.5))
    less_contrast = reference.test.shifted(sl.Contrast(0.75))
    shifts |= {
        "half inverted": half_inverted,
        "half inverted, in support": half_inverted.in_support(split),
        "half inverted, out of support": half_inverted.out_of_support(split),
        "less contrast": less_contrast,
        "less contrast, in support": less_contrast.in_support(split),
        "less contrast, out of support": less_contrast.out_of_support(split),
    }
    claims = [
        sl.Claim(
            "zero-shot models are more robust than their accuracy predicts (Radford et al. 2021)",
            sl.effective_robustness("zero-shot") >= 0.02,
        ),
        sl.Claim("fine-tuning loses robustness (Wortsman et al. 2022)", sl.gain("fine-tuned", over="zero-shot") <= -0.02),
        sl.Claim(
            "weight interpolation recovers it (Wortsman et al. 2022)", sl.gain("wise-ft@validated", over="fine-tuned") >= 0.02
        ),
        sl.Claim(
            "pre-training does not help where the reference has support (Cohen-Wang et al. 2024)",
            sl.effective_robustness("fine-tuned", on="half inverted, in support").between(-0.02, 0.02),
        ),
        sl.Claim(
            "a high learning rate loses more of it (Kumar et al. 2022)", sl.gain("fine-tuned, high lr", over="fine-tuned") <= -0.02
        ),
    ]

    def __init__(self, *, seeds: int = 3, store: str | os.PathLike[str] = "results", quiet: bool = False) -> None:
        super().__init__(store=store, quiet=quiet)
        self.seeds = seeds

    def models(self) -> dict[str, Any]:
        small = sl.grid(
            lambda net, share: self._baseline(net, share, epochs=16),
            net=("linear", "mlp", "conv-narrow", "conv-wide"),
            share=SHARES,
        )
        trunk = [self._baseline("trunk", share, epochs=12) for share in TRUNK_SHARES]
        zero_shot = sl.ZeroShot(sl.glyph_clip(), templates=sl.PROMPTS)
        tuned = [
            sl.FineTune(zero_shot, epochs=8, batch_size=64, optimizer=sl.AdamW(lr=lr), schedule=sl.Cosine(warmup=1))
            for lr in (3e-3, 1e-3, 3e-4)
        ]
        strong = sl.FineTune(zero_shot, epochs=8, batch_size=64, optimizer=sl.AdamW(lr=1e-2), schedule=sl.Cosine(warmup=1))
        chosen = sl.best(tuned)
        return {
            "from scratch": [*small, *trunk],
            "zero-shot": zero_shot,
            "linear probe": sl.LinearProbe(zero_shot, inverse_l2=0.1),
            "fine-tuned": sl.replicates(chosen, range(self.seeds)),
            "wise-ft": sl.interpolations(zero_shot, chosen),
            "fine-tuned, high lr": strong,
            "wise-ft, high lr": sl.interpolations(zero_shot, strong),
        }

    def _baseline(self, net: str, share: float, *, epochs: int) -> sl.FromScratch:
        """Train on a share of the images; small shares are seen more often, so that the steps are comparable."""
        return sl.FromScratch(
            sl.glyph_net(net),
            train_on=self.reference.training.fraction(share),
            epochs=round(min(epochs / share, 6 * epochs)),
            batch_size=20,
            optimizer=sl.AdamW(lr=2e-3),
        )
