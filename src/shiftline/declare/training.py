"""Training by gradient descent, from scratch or from another model, and the checkpoints of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shiftline.declare.architectures import Leaf, LocalWeights
from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe, require, require_weights
from shiftline.declare.optimisers import AdamW, Cosine, Optimizer, Schedule
from shiftline.declare.origins import require_choice, require_origin, require_train_on, set_features
from shiftline.declare.transforms import Augmentation, Mix, RandomResizedCrop
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration, speed_only

PRECISIONS = ("32", "bf16", "fp16")
DEFAULT_EPOCHS = 8


class Trained(Model):
    """Fields that every training by gradient descent shares.

    Attributes
    ----------
    epochs, steps : int, optional
        How long: one of the two; 8 epochs unless given. Schedules count in the same run.
    batch_size : int
        Examples in a step, over all devices and accumulated parts.
    accumulate : int
        Parts into which a batch is cut, one after the other, to save memory. The gradient is that of the whole batch;
        batch normalisation sees the parts.
    augment : tuple of Augmentation
        Applied in order, drawn per (seed, epoch, example id).
    mix : Mixup or CutMix, optional
        Mixes pairs of a batch, pixels and labels.
    precision : str
        "32", "bf16" (autocast) or "fp16" (autocast with a gradient scaler).
    train_on : Distribution, optional
        The reference's train split unless given. Anything but (a subset of) it needs ``other_data=True``.
    save : tuple of int
        Epochs (steps, where the duration is given in steps) after which the weights are kept: see `checkpoints`.
    devices : int
        Processes that share the training, one per GPU: what `shiftline run` starts and a line of a SLURM array asks for, unless
        ``--devices`` says otherwise. `ExperimentManager.run` and ``--workers`` give every training one. Not part of identity:
        the model is the same up to rounding.
    """

    makes = "train"
    unspoken = ("epochs", "steps", "optimizer", "schedule", "save", "other_data", "features", "devices")
    _: dataclasses.KW_ONLY
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 64
    accumulate: int = 1
    optimizer: Optimizer = AdamW(lr=1e-3)
    schedule: Schedule = Cosine()
    augment: tuple[Augmentation, ...] = ()
    mix: Mix | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: str = "32"
    train_on: Distribution | None = None
    other_data: bool = False
    save: tuple[int, ...] = ()
    seed: int = 0
    devices: int = speed_only(default=1)

    @property
    def unit(self) -> str:
        """What the duration and saved checkpoints count: "epoch" or "step"."""
        return "epoch" if self.steps is None else "step"

    @property
    def duration(self) -> int:
        """Number of epochs or steps, see `unit`."""
        length = self.epochs if self.steps is None else self.steps
        assert length is not None
        return length

    def validate(self) -> None:
        name = type(self).__name__
        require(self.devices >= 1, f"{name}.devices is {self.devices}: expected 1 or more.")
        require(
            self.epochs is None or self.steps is None,
            f"{name} has epochs={self.epochs} and steps={self.steps}: a duration is one of the two (in replace(), set the other "
            "to None).",
        )
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        require(self.duration >= 1, f"{name}.{self.unit}s is {self.duration}: expected 1 or more.")
        require(self.batch_size >= 1, f"{name}.batch_size is {self.batch_size}: expected 1 or more.")
        require(
            1 <= self.accumulate <= self.batch_size,
            f"{name}.accumulate is {self.accumulate}: expected 1 to batch_size ({self.batch_size}).",
        )
        require(
            isinstance(self.optimizer, Optimizer),
            f"{name}.optimizer is {self.optimizer!r}: expected SGD(...), Adam(...) or AdamW(...).",
        )
        require(
            isinstance(self.schedule, Schedule),
            f"{name}.schedule is {self.schedule!r}: expected Constant(), Cosine(), Triangle() or Step(...).",
        )
        known = (cls for cls in Augmentation.__subclasses__() if cls.__module__ == Augmentation.__module__)
        require(
            all(isinstance(a, Augmentation) for a in self.augment),
            f"{name}.augment is {self.augment!r}: expected a list of {', '.join(sorted(cls.__name__ for cls in known))}.",
        )
        require(
            not any(isinstance(a, RandomResizedCrop) for a in self.augment[1:]),
            f"{name}.augment: RandomResizedCrop is applied while an image is decoded. Give one of them, and put it first.",
        )
        require(
            self.mix is None or isinstance(self.mix, Mix), f"{name}.mix is {self.mix!r}: expected Mixup() or CutMix()."
        )
        require(0 <= self.label_smoothing < 1, f"{name}.label_smoothing is {self.label_smoothing}: expected 0 to 1.")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"{name}.clip_norm is {self.clip_norm}: expected a positive norm, or None.",
        )
        require_choice(f"{name}.precision", self.precision, PRECISIONS)
        require_train_on(self)
        require(
            all(isinstance(e, int) and 1 <= e <= self.duration for e in self.save),
            f"{name}.save is {self.save}: expected {self.unit}s from 1 to {self.duration}.",
        )
        object.__setattr__(self, "save", tuple(sorted(set(self.save))))

    def checkpoints(self, after: Iterable[int]) -> list[Model]:
        """The models of this run after the given epochs (or steps, as the duration is given), all from one training."""
        wanted = sorted(set(after))
        run = dataclasses.replace(self, save=(*self.save, *wanted))
        return [Checkpoint(run, number) for number in wanted]  # type: ignore[arg-type]

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

    def seeded(self, seed: int) -> Model:
        return self.replace(seed=seed)  # type: ignore[no-any-return]

    def attributes(self) -> dict[str, Any]:
        return {"seed": self.seed, self.unit: self.duration}

    def settings(self) -> Iterator[str]:
        yield f"{self.duration} {self.unit}s"
        yield f"{type(self.optimizer).tag} lr={getattr(self.optimizer, 'lr', 0.0):g}"
        yield from super().settings()

    def describe(self) -> str:
        return super().describe() + (" [reads other data]" if self.other_data else "")


def without_seeds(model: Model) -> Model:
    """Return what a model and its replicates share: the expression with the seeds of its outermost trainings set to 0."""
    return model.seeded(0)


def run_of(model: Model) -> Model:
    """Return the training that a model is a point of: of a checkpoint its run, whichever checkpoints that keeps."""
    if not isinstance(model, Checkpoint):
        return model
    return dataclasses.replace(model.run, save=())  # type: ignore[no-any-return]


def devices_asked(models: Iterable[Model | None]) -> int:
    """Return the largest number of devices that one of some trainings asks for."""
    return max((model.devices for model in models if isinstance(model, Trained)), default=1)


class FromScratch(Trained):
    """Train an architecture from random weights."""

    tag = "from-scratch"
    architecture: Leaf

    def validate(self) -> None:
        require(
            isinstance(self.architecture, Leaf),
            f"FromScratch(architecture=...) is a {type(self.architecture).__name__}: expected timm(...), open_clip(...) "
            "or glyph_net(...).",
        )
        require(
            not isinstance(self.architecture, LocalWeights),
            f"FromScratch({self.architecture}): a training from random weights would not read the file. Fine-tune from it, or name "
            "the architecture alone.",
        )
        super().validate()


class Part(Declaration):
    """One task of a joint training: its examples pass through the shared encoder and the task's own, frozen head."""

    tag = "part"
    train_on: Distribution
    head: Model

    def validate(self) -> None:
        require(
            isinstance(self.train_on, Distribution),
            f"Part.train_on is a {type(self.train_on).__name__}: expected a distribution.",
        )
        require_weights("Part.head", self.head)


class FineTune(Trained):
    """Train a model further.

    Attributes
    ----------
    init : Model or Leaf
    head : str
        "keep" starts from the model's own head: zero-shot, linear-probed (LP-FT) or interpolated. "random" puts a new one
        on the encoder; only this is possible for a pre-trained leaf.
    trainable : str
        "all", "head" (the encoder is frozen, its batch-norm statistics too) or "encoder" (the head is frozen, as in
        patching).
    features : str, optional
        One of `FEATURES`. Unless given: "keep" for a model; "backbone" for a leaf (Cohen-Wang et al. 2024).
    parts : tuple of Part
        Train on several tasks at once, each with its own frozen head; batches take turns at random.
    """

    tag = "fine-tune"
    init: Model | Leaf
    _: dataclasses.KW_ONLY
    head: str = "keep"
    trainable: str = "all"
    features: str | None = None
    parts: tuple[Part, ...] = ()

    def validate(self) -> None:
        require_origin(self)
        require_choice("FineTune.head", self.head, ("keep", "random"))
        require_choice("FineTune.trainable", self.trainable, ("all", "head", "encoder"))
        if self.head != "random" and isinstance(self.init, Leaf):
            raise DeclarationError(
                f"FineTune of {self.init}: a pre-trained leaf brings no head for the classes of a study. Give it one first "
                '(ZeroShot(leaf) or LinearProbe(leaf)), or say head="random".'
            )
        require(
            not (self.head == "random" and self.trainable == "encoder"),
            'FineTune(head="random", trainable="encoder"): a random head that is frozen says nothing about the classes. Start '
            "from a zero-shot or linear-probed model, or train the head too.",
        )
        set_features(self, new_head=self.head == "random")
        if self.parts:
            require(
                all(isinstance(part, Part) for part in self.parts),
                "FineTune.parts: expected a list of Part(train_on, head).",
            )
            require(
                self.trainable == "encoder" and self.train_on is None,
                'FineTune(parts=...) trains the encoder under frozen heads: say trainable="encoder" and leave train_on out.',
            )
        super().validate()

    def settings(self) -> Iterator[str]:
        yield from super().settings()
        if self.features != "keep":
            yield f"features={self.features}"

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        if self.parts:
            return {f"parts[{row}]": part.train_on for row, part in enumerate(self.parts)}
        return super().data(reference)


class Checkpoint(Model):
    """The model of a training run after some epochs (steps, where its duration is in steps): ``run.checkpoints(...)``."""

    tag = "checkpoint"
    run: Trained
    after: int

    def validate(self) -> None:
        require(
            self.after in self.run.save,
            f"the run saves {self.run.unit}s {list(self.run.save)}, not {self.after}: make checkpoints with "
            "run.checkpoints(...).",
        )

    def attributes(self) -> dict[str, Any]:
        return {"seed": self.run.seed, self.run.unit: self.after}

    def describe(self) -> str:
        return f"{describe(self.run)} @ {self.run.unit} {self.after}"
