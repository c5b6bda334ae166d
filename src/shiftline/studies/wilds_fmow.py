"""Satellite images of later years (WILDS FMoW): fine-tuning, and last-layer re-weighting, by the accuracy of the worst region."""

from __future__ import annotations

from typing import Any

import shiftline as sl


class WildsFMoW(sl.ExperimentManager):
    """Does re-weighting the last layer on validation images of later years help the worst region, beyond fine-tuning?

    Parameters
    ----------
    small : bool
        Small networks and one epoch, to try the study.
    """

    name = "wilds_fmow"
    reference = sl.wilds_reference("fmow")
    shifts = {"later years": sl.wilds("fmow", "test")}
    baseline = "from scratch"

    def __init__(self, *, small: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.small = small

    def models(self) -> dict[str, list[sl.Model]]:
        small = self.small
        batch, rates = (16, (1e-3,)) if small else (128, (1e-4, 3e-5, 1e-5, 3e-6))
        networks: list[sl.Backbone] = (
            [sl.glyph_net(name) for name in ("linear", "mlp", "conv-narrow")]
            if small
            else [sl.timm("resnet50"), sl.timm("densenet121")]
        )
        clip = sl.ZeroShot(sl.random_clip() if small else sl.open_clip("ViT-B-32", "openai"), templates="wilds-fmow")
        settings: dict[str, Any] = {"batch_size": batch, "augment": [sl.HorizontalFlip()]}
        scratch = [
            checkpoint
            for network in networks
            for run in [sl.FromScratch(network, epochs=2 if small else 60, optimizer=sl.AdamW(lr=1e-3), **settings)]
            for checkpoint in run.checkpoints([2] if small else range(10, 61, 5))
        ]
        tuned = sl.best(
            sl.FineTune(clip, epochs=1 if small else 20, optimizer=sl.AdamW(lr=lr), schedule=sl.Cosine(warmup=0.5), **settings)
            for lr in rates
        )
        copies = sl.replicates(tuned, range(2 if small else 3))
        later = sl.wilds("fmow", "val")
        return {
            "from scratch": scratch,
            "zero-shot": [clip],
            "fine-tuned": copies,
            # Reads later years: marked in every table.
            "DFR on later years": [sl.DFR(copy, groups="metadata", train_on=later, other_data=True) for copy in copies],
            "wise-ft": sl.interpolations(clip, tuned),
        }
