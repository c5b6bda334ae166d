"""Training by gradient descent, from scratch or from another model, and the checkpoints of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import checkpoint_file
from shiftline.contracts.identity import speed_only
from shiftline.contracts.models import Model, describe, map_children
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require, require_at_least, require_choice
from shiftline.contracts.transforms import Augmentation, Mix
from shiftline.operations.optimisers import AdamW, Cosine, Optimizer, Schedule
from shiftline.operations.start import require_train_on

if TYPE_CHECKING:
    from shiftline.contracts.models import Cut, Shrink
    from shiftline.engine.context import Context
    from shiftline.networks.classifier import Classifier
    from shiftline.networks.spec import ModelSpec
    from shiftline.plan.facts import Facts
    from shiftline.plan.graph import Planner
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft

PRECISIONS = ("32", "bf16", "fp16")
DEFAULT_EPOCHS = 8


class Trained(Model):
    """Fields that every training by gradient descent shares; see `FromScratch` and `FineTune`."""

    kind = "train"
    unspoken = ("epochs", "steps", "optimizer", "schedule", "save", "other_data", "features", "devices")
    has_epochs = True
    reads_images = True
    shared = True
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
    def epoch_or_step(self) -> str:
        """What the duration and saved checkpoints count: "epoch" or "step"."""
        return "epoch" if self.steps is None else "step"

    @property
    def duration(self) -> int:
        """Number of epochs or steps, see `epoch_or_step`."""
        length = self.epochs if self.steps is None else self.steps
        assert length is not None
        return length

    @property
    def device_count(self) -> int:
        return self.devices

    def validate(self) -> None:
        name = type(self).__name__
        require_at_least(f"{name}.devices", self.devices, 1)
        require(
            self.epochs is None or self.steps is None,
            f"{name} has epochs={self.epochs} and steps={self.steps}: a duration is one of the two (in replace(), set the other "
            "to None).",
        )
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        require_at_least(f"{name}.{self.epoch_or_step}s", self.duration, 1)
        require_at_least(f"{name}.batch_size", self.batch_size, 1)
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
        require(
            all(isinstance(a, Augmentation) for a in self.augment),
            f"{name}.augment is {self.augment!r}: expected a list of augmentations, HorizontalFlip(), RandAugment(), ...",
        )
        for one in self.augment:
            method = "boxes" if one.crops else "apply"
            require(
                getattr(type(one), method) is not getattr(Augmentation, method),
                f"the augmentation {type(one).__name__} has no {method} method: write def apply(self, images, ids, *, seed, epoch)",
            )
        require(
            not any(a.crops for a in self.augment[1:]),
            f"{name}.augment: RandomResizedCrop is applied while an image is decoded. Give one of them, and put it first.",
        )
        require(self.mix is None or isinstance(self.mix, Mix), f"{name}.mix is {self.mix!r}: expected Mixup() or CutMix().")
        require(0 <= self.label_smoothing < 1, f"{name}.label_smoothing is {self.label_smoothing}: expected 0 to 1.")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"{name}.clip_norm is {self.clip_norm}: expected a positive norm, or None.",
        )
        require_choice(f"{name}.precision", self.precision, PRECISIONS)
        require_train_on(self)
        require(
            all(isinstance(e, int) and 1 <= e <= self.duration for e in self.save),
            f"{name}.save is {self.save}: expected {self.epoch_or_step}s from 1 to {self.duration}.",
        )
        object.__setattr__(self, "save", tuple(sorted(set(self.save))))

    def checkpoints(self, after: Iterable[int]) -> list[Model]:
        """The models of this run after the given epochs (or steps, as the duration is given), all from one training."""
        wanted = sorted(set(after))
        run = dataclasses.replace(self, save=(*self.save, *wanted))
        return [Checkpoint(run, number) for number in wanted]

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

    def seeded(self, seed: int) -> Model:
        return self.replace(seed=seed)  # type: ignore[no-any-return]

    def attributes(self) -> dict[str, Any]:
        return {"seed": self.seed, self.epoch_or_step: self.duration}

    def settings(self) -> Iterator[str]:
        yield f"{self.duration} {self.epoch_or_step}{'' if self.duration == 1 else 's'}"
        yield f"{type(self.optimizer).tag} lr={getattr(self.optimizer, 'lr', 0.0):g}"
        yield from super().settings()

    def describe(self) -> str:
        return super().describe() + (" [reads other data]" if self.other_data else "")

    def check(self, facts: Facts) -> None:
        for train_on in self.data(facts.reference).values():
            facts.require_batch(self, train_on, self.batch_size)

    def identity(self, facts: Facts) -> dict[str, Any]:
        return {"classes": len(facts.source(next(iter(self.data(facts.reference).values()))).classes)}

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        small: dict[str, Any] = {"epochs": 1, "steps": None, "save": (1,) if self.save else ()}
        small |= {"batch_size": min(self.batch_size, 8), "accumulate": min(self.accumulate, 2)}
        small["train_on"] = cut(self.train_on) if self.other_data and self.train_on is not None else None
        return map_children(self, shrink).replace(**small)  # type: ignore[no-any-return]

    def start(self, context: Context, classes: int) -> tuple[Classifier, ModelSpec]:
        """Build what is trained; new weights come from torch's generator."""
        raise NotImplementedError

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Train, and write the last weights and those of every epoch or step that is requested."""
        from shiftline.engine.train import train

        train(self, job, draft, context)


class Checkpoint(Model):
    """The model of a training run after some epochs (steps, where its duration is in steps): ``run.checkpoints(...)``.

    Parameters
    ----------
    training : FromScratch or FineTune
    after : int
        One of the epochs or steps that it saves.
    """

    tag = "checkpoint"
    run: Trained
    after: int

    def validate(self) -> None:
        run = self.run
        require(
            self.after in run.save,
            f"the run saves {run.epoch_or_step}s {list(run.save)}, not {self.after}: make checkpoints with run.checkpoints(...).",
        )

    def attributes(self) -> dict[str, Any]:
        return {"seed": self.run.seed, self.run.epoch_or_step: self.after}

    def training_run(self) -> Model:
        return dataclasses.replace(self.run, save=())

    def describe(self) -> str:
        return f"{describe(self.run)} @ {self.run.epoch_or_step} {self.after}"

    def form(self, planner: Planner) -> dict[str, Any]:
        return {"artifact": planner.artifact(self.run), self.run.epoch_or_step: self.after}

    def parents(self, planner: Planner) -> list[str]:
        return [planner.artifact(self.run)]

    def location(self, artifacts: Mapping[Model, str]) -> tuple[str, str]:
        return artifacts[self.run], checkpoint_file(self.run.epoch_or_step, self.after)

    def shrunken(self, shrink: Shrink, cut: Cut) -> Model:
        run = shrink(self.run)
        assert isinstance(run, Trained)
        return Checkpoint(run, 1)
