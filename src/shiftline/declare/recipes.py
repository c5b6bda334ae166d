"""Recipes that fit weights to data: zero-shot heads, training, linear probes, last-layer re-weighting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe, require, require_weights
from shiftline.declare.optimisers import AdamW, Cosine, Optimizer, Schedule
from shiftline.declare.transforms import Augmentation, Mix
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration

PRECISIONS = ("32", "bf16", "fp16")
FEATURES = ("keep", "backbone", "embedding")
"""What a head sees: the features of `init`; those before a vision-language model's projection, as they are; or those
after it, scaled to length one. A model without a projection has one kind of features."""
TEMPLATE_SETS = ("openai-imagenet", "simple-imagenet")
"""Sets of templates that open_clip brings, by name: the 80 of Radford et al. 2021, and their subset of 7."""
PROMPTS = ("a photo of the digit {}", "a picture of the digit {}", "an image of the digit {}", "the digit {}")
"""Templates for the digits study's zero-shot head."""
DEFAULT_EPOCHS = 8


class ZeroShot(Model):
    """A vision-language model with the head that its text tower writes (Radford et al. 2021).

    Attributes
    ----------
    model : Leaf
        `open_clip(...)`, `glyph_clip()`, or local weights of one.
    templates : tuple of str, or str
        Texts with one ``{}`` for the class name, or the name of a set: one of `TEMPLATE_SETS`.
    classes : tuple of (str or tuple of str), optional
        Names by label; a class may have several. The reference distribution's class names if left out.
    """

    tag = "zero-shot"
    makes = "zero-shot"
    model: Leaf
    templates: tuple[str, ...] | str = ("a photo of a {}.",)
    classes: tuple[str | tuple[str, ...], ...] | None = None

    def validate(self) -> None:
        require(
            isinstance(self.model, Leaf),
            f"ZeroShot(model=...) is a {type(self.model).__name__}: expected open_clip(...) or glyph_clip().",
        )
        if isinstance(self.templates, str):
            require(
                self.templates in TEMPLATE_SETS,
                f"ZeroShot.templates is {self.templates!r}: expected a list of texts with {{}} for the name, or the name of a "
                f"set: {', '.join(TEMPLATE_SETS)}.",
            )
        else:
            require(bool(self.templates), "ZeroShot.templates is empty: give at least one text with {} for the name.")
            for template in self.templates:
                require(
                    isinstance(template, str) and template.count("{}") == 1,
                    f"the template {template!r} must hold exactly one {{}} for the class name.",
                )
        for row, names in enumerate(self.classes or ()):
            group = (names,) if isinstance(names, str) else names
            require(
                bool(group) and all(isinstance(n, str) and n.strip() for n in group),
                f"ZeroShot.classes[{row}] is {names!r}: every class needs at least one name.",
            )

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"zero-shot({self.model})"


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
    """

    makes = "train"
    unspoken = ("epochs", "steps", "optimizer", "schedule", "save", "other_data", "features")
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
        known = ", ".join(sorted(cls.__name__ for cls in Augmentation.__subclasses__()))
        require(
            all(isinstance(a, Augmentation) for a in self.augment),
            f"{name}.augment is {self.augment!r}: expected a list of {known}.",
        )
        require(
            self.mix is None or isinstance(self.mix, Mix), f"{name}.mix is {self.mix!r}: expected Mixup() or CutMix()."
        )
        require(0 <= self.label_smoothing < 1, f"{name}.label_smoothing is {self.label_smoothing}: expected 0 to 1.")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"{name}.clip_norm is {self.clip_norm}: expected a positive norm, or None.",
        )
        _require_choice(f"{name}.precision", self.precision, PRECISIONS)
        _require_distribution(self)
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
        return {"train_on": self.train_on or reference.train}

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
        _require_origin(self)
        _require_choice("FineTune.head", self.head, ("keep", "random"))
        _require_choice("FineTune.trainable", self.trainable, ("all", "head", "encoder"))
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
        _set_features(self, new_head=self.head == "random")
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


class LinearProbe(Model):
    """Fit only a linear head, by L2-regularised logistic regression on standardised features (scikit-learn).

    `inverse_l2` is scikit-learn's C. Features are computed once; the solution is unique, so there is no seed.
    """

    tag = "linear-probe"
    makes = "probe"
    unspoken = ("other_data", "features")
    init: Model | Leaf
    _: dataclasses.KW_ONLY
    inverse_l2: float = 1.0
    max_iterations: int = 1000
    features: str | None = None
    train_on: Distribution | None = None
    other_data: bool = False

    def validate(self) -> None:
        name = type(self).__name__
        _require_origin(self)
        _set_features(self, new_head=True)
        _require_distribution(self)
        require(self.inverse_l2 > 0, f"{name}.inverse_l2 is {self.inverse_l2}: expected a positive number.")
        require(self.max_iterations >= 1, f"{name}.max_iterations is {self.max_iterations}: expected 1 or more.")

    def settings(self) -> Iterator[str]:
        yield from super().settings()
        if self.features != "keep":
            yield f"features={self.features}"

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.train}

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return super().describe() + (" [reads other data]" if self.other_data else "")


class DFR(LinearProbe):
    """Deep feature re-weighting (Kirichenko et al. 2023): fit the last layer anew, every group counting the same.

    Features are standardised, example weights are ``n / (G * n_g)``, and the head is an L2-regularised logistic regression
    with C = `inverse_l2`; the scaler is folded into it.

    Attributes
    ----------
    groups : str
        "class", or "metadata": the group that the data were written with (a WILDS set's metadata), times the class.
    """

    tag = "dfr"
    makes = "dfr"
    _: dataclasses.KW_ONLY
    inverse_l2: float = 0.2
    groups: str = "class"

    def validate(self) -> None:
        _require_choice("DFR.groups", self.groups, ("class", "metadata"))
        super().validate()


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


class Stored(Model):
    """The model of any artifact of the store, by its key: another study's, or one that `shiftline import` took in.

    `after` picks a checkpoint of a training; left out, its last weights.
    """

    tag = "stored"
    key: str
    after: int | None = None
    unit: str = "epoch"

    def validate(self) -> None:
        require(
            len(self.key) == 64 and set(self.key) <= set("0123456789abcdef"),
            f"Stored({self.key!r}): expected a whole key, 64 hexadecimal digits, as `shiftline explain` and `shiftline "
            "import` print it.",
        )
        _require_choice("Stored.unit", self.unit, ("epoch", "step"))

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"stored({self.key[:12]}{f' @ {self.unit} {self.after}' if self.after is not None else ''})"


class Recipe(Model):
    """Base of users' own recipes: weights made by your own code, in a job of its own.

    A subclass sets a `tag`, a `revision`, fields (models among them, `train_on` where it reads data), and::

        def make(self, work): ...

    which returns a `shiftline.models.classifier.Classifier`. `work` is a `shiftline.jobs.own.Work`.
    """

    makes = "own"

    def validate(self) -> None:
        require(
            callable(getattr(self, "make", None)),
            f"the recipe {type(self).__name__} has no make method: write def make(self, work) and return a classifier.",
        )

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        names = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"train_on": getattr(self, "train_on", None) or reference.train} if "train_on" in names else {}


class Features(Model):
    """What a frozen encoder gives for the examples of a distribution: computed once for every probe that needs it."""

    tag = "features"
    makes = "features"
    init: Model | Leaf
    kind: str
    on: Distribution

    @property
    def has_weights(self) -> bool:
        return False

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"on": self.on}

    def describe(self) -> str:
        return f"features of {describe(self.init)} on {self.on}"


def cached_features(recipe: Model, reference: Reference) -> Features | None:
    """Return the features that a recipe fits its head on; None where it looks at images.

    A frozen encoder gives an example the same features in every epoch, unless augmentations change its pixels.
    """
    frozen = isinstance(recipe, FineTune) and recipe.trainable == "head" and not recipe.augment and recipe.mix is None
    if not (frozen or isinstance(recipe, LinearProbe)):
        return None
    assert isinstance(recipe, (FineTune, LinearProbe))
    train_on = recipe.train_on or reference.train
    if train_on.is_fresh:
        return None
    assert recipe.features is not None
    return Features(recipe.init, recipe.features, train_on)


def _require_choice(owner: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f"{owner} is {value!r}: choose one of {', '.join(choices)}.")


def _require_distribution(recipe: Trained | LinearProbe) -> None:
    require(
        recipe.train_on is None or isinstance(recipe.train_on, Distribution),
        f"{type(recipe).__name__}.train_on is a {type(recipe.train_on).__name__}: expected a distribution, or None for the "
        "reference's train split.",
    )


def _require_origin(recipe: FineTune | LinearProbe) -> None:
    owner = f"{type(recipe).__name__}(init=...)"
    require(
        isinstance(recipe.init, (Model, Leaf)),
        f"{owner} is a {type(recipe.init).__name__}: expected a model expression or a pre-trained leaf.",
    )
    if isinstance(recipe.init, Model):
        require_weights(owner, recipe.init)


def _set_features(recipe: FineTune | LinearProbe, *, new_head: bool) -> None:
    """Put in the kind of features that is meant where none is given, and refuse one that a kept head cannot see."""
    from_leaf = isinstance(recipe.init, Leaf)
    if recipe.features is None:
        object.__setattr__(recipe, "features", "backbone" if from_leaf else "keep")
    name = type(recipe).__name__
    _require_choice(f"{name}.features", str(recipe.features), FEATURES[1:] if from_leaf else FEATURES)
    require(
        new_head or recipe.features == "keep",
        f"{name}.features is {recipe.features!r} under a head that is kept: it was made for the features of the model. Say "
        'head="random", or leave features out.',
    )
