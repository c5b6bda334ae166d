"""Recipes: every model of a study as an expression over architectures, training and weight operations.

An expression is data. It can be printed, hashed, stored and compared without loading torch, and one expression is one
model wherever it stands: in two groups, two studies, or inside another expression.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import Distribution
from shiftline.declare.optimisers import AdamW, Cosine, Optimizer, Schedule
from shiftline.declare.transforms import Augmentation, HorizontalFlip, RandomResizedCrop, Translate
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration

PRECISIONS = ("32", "bf16", "fp16")
PROMPTS = ("a photo of the digit {}", "a picture of the digit {}", "an image of the digit {}", "the digit {}")
"""Templates for the digits study's zero-shot head."""
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DeclarationError(message)


class Model(Declaration):
    """Base of the expressions."""


class ZeroShot(Model):
    """A vision-language model with the head that its text tower writes (see SCIENCE: zero-shot heads).

    Attributes
    ----------
    model : Leaf
        `open_clip(...)`, `glyph_clip()`, or local weights of one.
    templates : tuple of str
        Texts with one ``{}`` for the class name.
    classes : tuple of (str or tuple of str), optional
        Names by label; a class may have several. The reference distribution's class names if left out.
    """

    tag = "zero-shot"
    model: Leaf
    templates: tuple[str, ...] = ("a photo of a {}.",)
    classes: tuple[str | tuple[str, ...], ...] | None = None

    def validate(self) -> None:
        _require(
            isinstance(self.model, Leaf),
            f"ZeroShot(model=...) is a {type(self.model).__name__}: expected open_clip(...) or glyph_clip().",
        )
        _require(bool(self.templates), "ZeroShot.templates is empty: give at least one text with {} for the name.")
        for template in self.templates:
            _require(
                isinstance(template, str) and template.count("{}") == 1,
                f"the template {template!r} must hold exactly one {{}} for the class name.",
            )
        for row, names in enumerate(self.classes or ()):
            group = (names,) if isinstance(names, str) else names
            _require(
                bool(group) and all(isinstance(n, str) and n.strip() for n in group),
                f"ZeroShot.classes[{row}] is {names!r}: every class needs at least one name.",
            )


class _Trained(Model):
    """Fields that every training by gradient descent shares."""

    _: dataclasses.KW_ONLY
    epochs: int = 8
    batch_size: int = 64
    optimizer: Optimizer = AdamW(lr=1e-3)
    schedule: Schedule = Cosine()
    augment: tuple[Augmentation, ...] = ()
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: str = "32"
    train_on: Distribution | None = None
    other_data: bool = False
    save: tuple[int, ...] = ()
    seed: int = 0

    def validate(self) -> None:
        name = type(self).__name__
        _require(
            isinstance(self.epochs, int) and self.epochs >= 1, f"{name}.epochs is {self.epochs}: expected 1 or more."
        )
        _require(
            isinstance(self.batch_size, int) and self.batch_size >= 1,
            f"{name}.batch_size is {self.batch_size}: expected 1 or more.",
        )
        _require(
            isinstance(self.optimizer, Optimizer),
            f"{name}.optimizer is {self.optimizer!r}: expected SGD(...), Adam(...) or AdamW(...).",
        )
        _require(
            isinstance(self.schedule, Schedule),
            f"{name}.schedule is {self.schedule!r}: expected Constant(), Cosine(), Triangle() or Step(...).",
        )
        _require(
            all(isinstance(a, (HorizontalFlip, Translate, RandomResizedCrop)) for a in self.augment),
            f"{name}.augment is {self.augment!r}: expected a list of HorizontalFlip, Translate, RandomResizedCrop.",
        )
        _require(0 <= self.label_smoothing < 1, f"{name}.label_smoothing is {self.label_smoothing}: expected 0 to 1.")
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"{name}.clip_norm is {self.clip_norm}: expected a positive norm, or None.",
        )
        _require(
            self.precision in PRECISIONS,
            f"{name}.precision is {self.precision!r}: choose one of {', '.join(PRECISIONS)}.",
        )
        _require(
            self.train_on is None or isinstance(self.train_on, Distribution),
            f"{name}.train_on is a {type(self.train_on).__name__}: expected a distribution, or None for the "
            "reference's train split.",
        )
        _require(
            all(isinstance(e, int) and 1 <= e <= self.epochs for e in self.save),
            f"{name}.save is {self.save}: expected epochs from 1 to {self.epochs}.",
        )
        object.__setattr__(self, "save", tuple(sorted(set(self.save))))

    def checkpoints(self, epochs: Iterable[int]) -> list[Checkpoint]:
        """The models of this run after the given epochs (counted from 1), all from one training."""
        wanted = sorted(set(epochs))
        run = dataclasses.replace(self, save=(*self.save, *wanted))
        return [Checkpoint(run, epoch) for epoch in wanted]  # type: ignore[arg-type]


class FromScratch(_Trained):
    """Train an architecture from random weights."""

    tag = "from-scratch"
    architecture: Leaf

    def validate(self) -> None:
        _require(
            isinstance(self.architecture, Leaf),
            f"FromScratch(architecture=...) is a {type(self.architecture).__name__}: expected timm(...), open_clip(...) "
            "or glyph_net(...).",
        )
        super().validate()


class FineTune(_Trained):
    """Train a model further.

    ``head="keep"`` starts from the model's own head: zero-shot, linear-probed (LP-FT) or interpolated.
    ``head="random"`` puts a new one on the encoder; only this is possible for a pre-trained leaf.
    ``trainable="head"`` freezes the encoder.
    """

    tag = "fine-tune"
    init: Model | Leaf
    _: dataclasses.KW_ONLY
    head: str = "keep"
    trainable: str = "all"

    def validate(self) -> None:
        _require_origin(self)
        _require(self.head in ("keep", "random"), f'FineTune.head is {self.head!r}: choose "keep" or "random".')
        _require(
            self.trainable in ("all", "head"), f'FineTune.trainable is {self.trainable!r}: choose "all" or "head".'
        )
        _require(
            self.head == "random" or isinstance(self.init, Model),
            f"FineTune of {self.init}: a pre-trained leaf brings no head for the classes of a study. Give it one first "
            '(ZeroShot(leaf) or LinearProbe(leaf)), or say head="random".',
        )
        super().validate()


class LinearProbe(Model):
    """Fit only a linear head, by L2-regularised logistic regression on standardised features (scikit-learn).

    `inverse_l2` is scikit-learn's C. Features are computed once; the solution is unique, so there is no seed.
    """

    tag = "linear-probe"
    init: Model | Leaf
    _: dataclasses.KW_ONLY
    inverse_l2: float = 1.0
    max_iterations: int = 1000
    train_on: Distribution | None = None
    other_data: bool = False

    def validate(self) -> None:
        _require_origin(self)
        _require(self.inverse_l2 > 0, f"LinearProbe.inverse_l2 is {self.inverse_l2}: expected a positive number.")
        _require(self.max_iterations >= 1, f"LinearProbe.max_iterations is {self.max_iterations}: expected 1 or more.")


class Checkpoint(Model):
    """The model of a training run after `epoch` epochs. Made by ``run.checkpoints(...)``."""

    tag = "checkpoint"
    run: FromScratch | FineTune
    epoch: int

    def validate(self) -> None:
        _require(
            self.epoch in self.run.save,
            f"the run saves epochs {list(self.run.save)}, not {self.epoch}: make checkpoints with run.checkpoints(...).",
        )


class Interpolate(Model):
    """Weight interpolation (WiSE-FT): ``(1 - alpha) * start + alpha * end``, tensor by tensor."""

    tag = "interpolate"
    start: Model
    end: Model
    alpha: float

    def validate(self) -> None:
        for name in ("start", "end"):
            _require(
                isinstance(getattr(self, name), Model),
                f"Interpolate.{name} is a {type(getattr(self, name)).__name__}: expected a model with a head.",
            )
        number = isinstance(self.alpha, (int, float)) and not isinstance(self.alpha, bool)
        _require(
            number and math.isfinite(self.alpha) and 0 <= self.alpha <= 1,
            f"Interpolate.alpha is {self.alpha!r}: expected a mixing coefficient from 0 (start) to 1 (end).",
        )


class Best(Model):
    """The candidate with the highest accuracy on the reference's val split; the first one where several tie."""

    tag = "best"
    candidates: tuple[Model, ...]

    def validate(self) -> None:
        _require(bool(self.candidates), "best() of nothing: give at least one candidate.")
        for candidate in self.candidates:
            _require(
                isinstance(candidate, Model),
                f"best(): a candidate is a {type(candidate).__name__}, expected model expressions.",
            )


class Replicate(Model):
    """The recipe of a model that is not known yet (a `Best`), with another seed."""

    tag = "replicate"
    of: Best
    seed: int


def _require_origin(recipe: FineTune | LinearProbe) -> None:
    _require(
        isinstance(recipe.init, (Model, Leaf)),
        f"{type(recipe).__name__}(init=...) is a {type(recipe.init).__name__}: expected a model expression or a "
        "pre-trained leaf.",
    )


def best(candidates: Iterable[Model]) -> Best:
    """Select on the reference's val split. It trains nothing: the result *is* the winning candidate."""
    return Best(tuple(candidates))


def interpolations(start: Model, end: Model, alphas: Iterable[float] = ALPHAS) -> list[Model]:
    """Interpolate at each mixing coefficient: 0, 0.1, ... 1 unless told otherwise."""
    return [Interpolate(start, end, alpha) for alpha in alphas]


def replicates(model: Model, seeds: Iterable[int]) -> list[Model]:
    """Return the same recipe with other seeds.

    The seeds of the outermost training operations change; what they start from stays. Replicates of `best(...)` are
    copies with the winning setting: the tuning comes first.
    """
    seeds = list(seeds)
    _require(
        len(seeds) < 2 or with_seed(model, seeds[0]) != with_seed(model, seeds[1]),
        f"replicates({describe(model)}, {seeds}): nothing in it depends on a seed, the copies would be one model. Replicate the "
        "training that it is made from: [LinearProbe(run) for run in replicates(...)].",
    )
    return [with_seed(model, seed) for seed in seeds]


def with_seed(model: Model, seed: int) -> Model:
    """Set the seed of the outermost training operations of an expression."""
    if isinstance(model, (FromScratch, FineTune)):
        return model.replace(seed=seed)
    if isinstance(model, Checkpoint):
        return model.replace(run=with_seed(model.run, seed))
    if isinstance(model, Best):
        return Replicate(model, seed)
    if isinstance(model, Interpolate):
        return model.replace(start=with_seed(model.start, seed), end=with_seed(model.end, seed))
    return model


def grid(recipe: Callable[..., Model], **settings: Iterable[object]) -> list[Model]:
    """Call `recipe` with every combination of settings.

    Keys joined by a double underscore are tied: they change together.

    >>> from shiftline.declare.optimisers import SGD
    >>> from shiftline.declare.architectures import glyph_net
    >>> runs = grid(lambda lr, epochs, seed: FromScratch(glyph_net("mlp"), optimizer=SGD(lr=lr), epochs=epochs, seed=seed),
    ...             lr__epochs=[(0.1, 4), (0.2, 8)], seed=[0, 1])
    >>> [(run.optimizer.lr, run.epochs, run.seed) for run in runs]
    [(0.1, 4, 0), (0.1, 4, 1), (0.2, 8, 0), (0.2, 8, 1)]
    """
    combinations: list[dict[str, object]] = [{}]
    for name, values in settings.items():
        keys, values = name.split("__"), tuple(values)
        extended = []
        for chosen in combinations:
            for value in values:
                tied = (value,) if len(keys) == 1 else tuple(value)  # type: ignore[arg-type]
                _require(
                    len(tied) == len(keys),
                    f"grid({name}=...): {value!r} has {len(tied)} values for the {len(keys)} tied keys {', '.join(keys)}.",
                )
                extended.append(chosen | dict(zip(keys, tied, strict=True)))
        combinations = extended
    return [recipe(**chosen) for chosen in combinations]


def children(model: Model) -> Iterator[Model]:
    """Yield the model expressions directly below a model."""
    for field in dataclasses.fields(model):  # type: ignore[arg-type]
        value = getattr(model, field.name)
        if isinstance(value, Model):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Model))


def map_children(model: Model, change: Callable[[Model], Model]) -> Model:
    """Return the model with `change` applied to the expressions directly below it."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(model):  # type: ignore[arg-type]
        value = getattr(model, field.name)
        if isinstance(value, Model):
            new: object = change(value)
        elif isinstance(value, tuple) and any(isinstance(item, Model) for item in value):
            new = tuple(change(item) if isinstance(item, Model) else item for item in value)
        else:
            continue
        if new != value:
            changes[field.name] = new
    return model.replace(**changes) if changes else model


def leaf(model: Model | Leaf) -> Leaf:
    """Return the architecture that an expression ends in (of the first branch, where it branches)."""
    while not isinstance(model, Leaf):
        if isinstance(model, ZeroShot):
            return model.model
        if isinstance(model, FromScratch):
            return model.architecture
        below = getattr(model, "init", None)
        model = below if below is not None else next(children(model))
    return model


def describe(model: Model | Leaf) -> str:
    """Return an expression on one line, with the settings that differ from their defaults."""
    if isinstance(model, Leaf):
        return str(model)
    if isinstance(model, ZeroShot):
        return f"zero-shot({model.model})"
    if isinstance(model, Checkpoint):
        return f"{describe(model.run)} @ epoch {model.epoch}"
    if isinstance(model, Interpolate):
        return f"interpolate({describe(model.start)}, {describe(model.end)}, alpha={model.alpha:g})"
    if isinstance(model, Best):
        return f"best of {len(model.candidates)} ({describe(model.candidates[0])}, ...)"
    if isinstance(model, Replicate):
        return f"replicate({describe(model.of)}, seed={model.seed})"
    origin = model.architecture if isinstance(model, FromScratch) else getattr(model, "init", None)
    words = [describe(origin)] if isinstance(origin, (Model, Leaf)) else []
    if isinstance(model, _Trained):
        words += [f"{model.epochs} epochs", f"{type(model.optimizer).tag} lr={getattr(model.optimizer, 'lr', '?'):g}"]
    for field in dataclasses.fields(model):  # type: ignore[arg-type]
        if field.name in ("architecture", "init", "epochs", "optimizer", "save", "schedule", "other_data"):
            continue
        value = getattr(model, field.name)
        if value != field.default:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            words.append(f"{field.name}={shown}" if field.name != "train_on" else shown)
    marked = " [reads other data]" if getattr(model, "other_data", False) else ""
    return f"{type(model).tag}({', '.join(words)}){marked}"
