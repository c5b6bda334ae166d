"""Satellite images of later years (WILDS FMoW): fine-tuning, and last-layer re-weighting, by the accuracy of the worst region."""

from __future__ import annotations

from typing import Any

from shiftline.declare.architectures import Leaf, glyph_net, open_clip, random_clip, timm
from shiftline.declare.datasets import wilds, wilds_reference
from shiftline.declare.expressions import Model
from shiftline.declare.optimisers import AdamW, Cosine
from shiftline.declare.recipes import DFR, ZeroShot
from shiftline.declare.sweeps import best, replicates
from shiftline.declare.training import FineTune, FromScratch
from shiftline.declare.transforms import HorizontalFlip
from shiftline.declare.weight_space import interpolations
from shiftline.manager import ExperimentManager


class WildsFMoW(ExperimentManager):
    """Does re-weighting the last layer on validation images of later years help the worst region, beyond fine-tuning?

    Parameters
    ----------
    small : bool
        Small networks and one epoch, to try the study.
    """

    name = "wilds_fmow"
    reference = wilds_reference("fmow")
    shifts = {"later years": wilds("fmow", "test")}
    baseline = "from scratch"

    def __init__(self, *, small: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.small = small

    def models(self) -> dict[str, list[Model]]:
        small = self.small
        batch, rates = (16, (1e-3,)) if small else (128, (1e-4, 3e-5, 1e-5, 3e-6))
        networks: list[Leaf] = (
            [glyph_net(name) for name in ("linear", "mlp", "conv-narrow")]
            if small
            else [timm("resnet50"), timm("densenet121")]
        )
        clip = ZeroShot(random_clip() if small else open_clip("ViT-B-32", "openai"), templates="wilds-fmow")
        settings: dict[str, Any] = {"batch_size": batch, "augment": [HorizontalFlip()]}
        scratch = [
            checkpoint
            for network in networks
            for run in [FromScratch(network, epochs=2 if small else 60, optimizer=AdamW(lr=1e-3), **settings)]
            for checkpoint in run.checkpoints([2] if small else range(10, 61, 5))
        ]
        tuned = best(
            FineTune(clip, epochs=1 if small else 20, optimizer=AdamW(lr=lr), schedule=Cosine(warmup=0.5), **settings)
            for lr in rates
        )
        copies = replicates(tuned, range(2 if small else 3))
        later = wilds("fmow", "val")
        return {
            "from scratch": scratch,
            "zero-shot": [clip],
            "fine-tuned": copies,
            # Reads later years: marked in every table.
            "DFR on later years": [DFR(copy, groups="metadata", train_on=later, other_data=True) for copy in copies],
            "wise-ft": interpolations(clip, tuned),
        }
