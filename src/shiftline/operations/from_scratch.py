"""Training from random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.require import require
from shiftline.operations.training import Trained

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.networks.classifier import Classifier
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts, Head


class FromScratch(Trained):
    """Train an architecture from random weights.

    Parameters
    ----------
    architecture : Backbone
        ``timm(...)``, ``glyph_net(...)``, or an `Architecture` of your own; pre-trained weights are not looked at.
    epochs, steps : int, optional
        How long, 1 or more: one of the two; 8 epochs unless given. Schedules count in the same way.
    batch_size : int
        Examples in a step, over all devices and accumulated shares; 1 or more.
    accumulate : int
        Shares into which a batch is cut, one after the other, to save memory; 1 to `batch_size`. The gradient is that of the
        whole batch; batch normalisation sees the shares.
    optimizer : Optimizer
        ``SGD(...)``, ``Adam(...)``, ``AdamW(...)``.
    schedule : Schedule
        ``Constant()``, ``Cosine()``, ``Triangle()``, ``Step(...)``, with their warm-up.
    augment : sequence of Augmentation
        Applied in order, drawn per (seed, epoch, example id).
    mix : Mix, optional
        ``Mixup()`` or ``CutMix()``: mixes pairs of a batch, pixels and labels.
    label_smoothing : float
        0 to below 1.
    clip_norm : float, optional
        Largest norm of a step's gradient, above 0.
    precision : str
        "32", "bf16" (autocast) or "fp16" (autocast with a gradient scaler).
    train_on : Distribution, optional
        The reference's train split unless given. Anything but (a subset of) it needs ``other_data=True``.
    other_data : bool
        Training reads other data than the reference's train split: marked in every table, refused as baseline.
    save : sequence of int
        Epochs (steps, where the duration is given in steps) after which the weights are kept: see `checkpoints`.
    seed : int
        Of the weights, the order, the augmentations and dropout.
    devices : int
        Processes that share the training, one per GPU: what `shiftline run` starts and a line of a SLURM array asks for, unless
        ``--devices`` says otherwise. `ExperimentManager.run` and ``--workers`` give every training one. Not part of identity:
        the model is the same up to rounding.
    """

    tag = "from-scratch"
    architecture: Backbone

    @property
    def needs_weights(self) -> bool:
        return False

    def validate(self) -> None:
        require(
            isinstance(self.architecture, Backbone),
            f"FromScratch(architecture=...) is a {type(self.architecture).__name__}: expected timm(...), open_clip(...) "
            "or glyph_net(...).",
        )
        require(
            self.architecture.base is self.architecture,
            f"FromScratch({self.architecture}): a training from random weights would not read the file. Fine-tune from it, or name "
            "the architecture alone.",
        )
        super().validate()

    def features_seen(self, facts: Facts) -> str:
        return "plain"

    def head_made(self, facts: Facts) -> Head:
        return facts.new_head()

    def start(self, context: Context, classes: int) -> tuple[Classifier, ModelSpec]:
        from shiftline.engine.initial import from_scratch

        return from_scratch(self.architecture, context, num_classes=classes)
