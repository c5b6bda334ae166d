"""Fine-tuning, of one task or of several that share an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.identity import Declaration
from shiftline.contracts.models import Model, require_weights
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require, require_choice
from shiftline.operations.features import Features
from shiftline.operations.start import check_start, encoder_from, features_from, require_start, set_features
from shiftline.operations.training import Trained

if TYPE_CHECKING:
    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.networks.classifier import Classifier
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts, Head
    from shiftline.plan.graph import Planner


class TrainingTask(Declaration):
    """One task of a joint training: its examples pass through the shared encoder and the task's own, frozen head.

    Parameters
    ----------
    train_on : Distribution
    head : Model
        Whose head it is: zero-shot, as a rule.
    """

    tag = "training-task"
    train_on: Distribution
    head: Model

    def validate(self) -> None:
        require(
            isinstance(self.train_on, Distribution),
            f"TrainingTask.train_on is a {type(self.train_on).__name__}: expected a distribution.",
        )
        require_weights("TrainingTask.head", self.head)


class FineTune(Trained):
    """Train a model further.

    Parameters
    ----------
    init : Model or Backbone
        What to start from.
    head : str
        "keep" starts from the model's own head: zero-shot, linear-probed (LP-FT) or interpolated. "random" puts a new one
        on the encoder; only this is possible for a pre-trained backbone.
    trainable : str
        "all", "head" (the encoder is frozen, its batch-norm statistics too) or "encoder" (the head is frozen, as in
        patching).
    features : str, optional
        What a new head sees: "keep", "backbone" (before a vision-language model's projection) or "embedding" (after it, scaled to
        length one). Unless given: "keep" for a model; "backbone" for a backbone (Cohen-Wang et al. 2024).
    tasks : sequence of TrainingTask
        Train on several tasks at once, each with its own frozen head; batches take turns at random.
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

    tag = "fine-tune"
    init: Model | Backbone
    _: dataclasses.KW_ONLY
    head: str = "keep"
    trainable: str = "all"
    features: str | None = None
    tasks: tuple[TrainingTask, ...] = ()

    def validate(self) -> None:
        require_start(self)
        require_choice("FineTune.head", self.head, ("keep", "random"))
        require_choice("FineTune.trainable", self.trainable, ("all", "head", "encoder"))
        require(
            self.head == "random" or isinstance(self.init, Model),
            f"FineTune of {self.init}: a pre-trained backbone brings no head for the classes of a study. Give it one first "
            '(ZeroShot(backbone) or LinearProbe(backbone)), or say head="random".',
        )
        require(
            not (self.head == "random" and self.trainable == "encoder"),
            'FineTune(head="random", trainable="encoder"): a random head that is frozen says nothing about the classes. Start '
            "from a zero-shot or linear-probed model, or train the head too.",
        )
        set_features(self, new_head=self.head == "random")
        if self.tasks:
            require(
                all(isinstance(task, TrainingTask) for task in self.tasks),
                "FineTune.tasks: expected a list of TrainingTask(train_on, head).",
            )
            require(
                self.trainable == "encoder" and self.train_on is None,
                'FineTune(tasks=...) trains the encoder under frozen heads: say trainable="encoder" and leave train_on out.',
            )
        super().validate()

    def settings(self) -> Iterator[str]:
        yield from super().settings()
        if self.features != "keep":
            yield f"features={self.features}"

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        if self.tasks:
            return {f"tasks[{row}]": task.train_on for row, task in enumerate(self.tasks)}
        return super().data(reference)

    def data_heads(self) -> list[Model | None]:
        if self.tasks:
            return [task.head for task in self.tasks]
        return [self.init] if self.head == "keep" and isinstance(self.init, Model) else []

    def check(self, facts: Facts) -> None:
        super().check(facts)
        check_start(self, facts)
        if isinstance(self.init, Model):
            facts.require_mixable([self.init, *(task.head for task in self.tasks)], heads=False)

    def features_seen(self, facts: Facts) -> str:
        return features_from(self, facts)

    def head_made(self, facts: Facts) -> Head:
        if self.head == "random" or not isinstance(self.init, Model):
            return facts.new_head()
        return facts.head(self.init)

    def cached_features(self, reference: Reference) -> Features | None:
        """Return the features that are trained on; None where images are looked at.

        A frozen encoder gives an example the same features in every epoch, unless augmentations change its pixels.
        """
        if self.trainable != "head" or self.augment or self.mix is not None:
            return None
        train_on = self.train_on or reference.training
        return None if train_on.is_fresh else Features(self.init, str(self.features), train_on)

    def inputs(self, planner: Planner) -> dict[str, list[str]]:
        features = self.cached_features(planner.study.reference)
        return {} if features is None else {"features": [planner.artifact(features)]}

    def encoder_identity(self) -> tuple[object, ...]:
        return encoder_from(self) if self.trainable == "head" else super().encoder_identity()

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        tasks = tuple(TrainingTask(cut(task.train_on), shrink(task.head)) for task in self.tasks)
        return super().shrunken(shrink, cut).replace(tasks=tasks)  # type: ignore[no-any-return]

    def start(self, context: Context, classes: int) -> tuple[Classifier, ModelSpec]:
        from shiftline.engine.initial import initial_classifier

        return initial_classifier(
            self.init, context, num_classes=classes, features=str(self.features), new_head=self.head == "random"
        )
