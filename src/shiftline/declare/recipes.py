"""Recipes that write a head or take weights in: zero-shot heads, linear probes, DFR, stored models, users' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from shiftline.declare.architectures import Leaf, LocalWeights, Timm
from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe, require
from shiftline.declare.origins import require_choice, require_origin, require_train_on, set_features
from shiftline.declare.training import FineTune

TEMPLATE_SETS = (
    "openai-imagenet", "simple-imagenet", "cars", "cifar10", "cifar100", "dtd", "eurosat", "fashion-mnist", "food101", "gtsrb",
    "kitti", "mnist", "mtsd", "resisc45", "stl10", "sun397", "svhn", "wilds-fmow", "wilds-iwildcam",
)  # fmt: skip
"""Sets of templates by name: the 80 for ImageNet of Radford et al. 2021 and their subset of 7, which open_clip brings, and
those of other data sets, each under the name of the set."""
PROMPTS = ("a photo of the digit {}", "a picture of the digit {}", "an image of the digit {}", "the digit {}")
"""Templates for the digits study's zero-shot head."""


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
                    isinstance(template, str)
                    and template.count("{}") + template.count("{a}") == 1
                    and not set(template.replace("{}", "").replace("{a}", "")) & set("{}"),
                    f"the template {template!r} must hold exactly one {{}} for the class name ({{a}} for the name with a or an), "
                    "and no other braces.",
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


class Published(Model):
    """A published classifier as it is: the pre-trained weights of timm with the head that they bring, of the reference's classes.

    Attributes
    ----------
    model : Leaf
        `timm("resnet50.a1_in1k")`, or local weights of one.
    other_data : bool
        It was trained on other data than the reference's train split. What a tag says of its training (``in1k``) is yours to
        read: a baseline is made of classifiers that saw the reference only.
    """

    tag = "published"
    makes = "published"
    unspoken = ("other_data",)
    model: Leaf
    _: dataclasses.KW_ONLY
    other_data: bool = False

    def validate(self) -> None:
        architecture = self.model.architecture if isinstance(self.model, LocalWeights) else self.model
        require(
            isinstance(architecture, Timm),
            f"Published(model=...) is {architecture!r}: expected timm(...), or LocalWeights(timm(...), path). Weights of open_clip "
            "have no classifier: write one with ZeroShot(...).",
        )

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"published({self.model})" + (" [reads other data]" if self.other_data else "")


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
        require_origin(self)
        set_features(self, new_head=True)
        require_train_on(self)
        require(self.inverse_l2 > 0, f"{name}.inverse_l2 is {self.inverse_l2}: expected a positive number.")
        require(self.max_iterations >= 1, f"{name}.max_iterations is {self.max_iterations}: expected 1 or more.")

    def settings(self) -> Iterator[str]:
        yield from super().settings()
        if self.features != "keep":
            yield f"features={self.features}"

    def data(self, reference: Reference) -> Mapping[str, Distribution]:
        return {"train_on": self.train_on or reference.training}

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
        require_choice("DFR.groups", self.groups, ("class", "metadata"))
        super().validate()


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
        require_choice("Stored.unit", self.unit, ("epoch", "step"))

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
        return {"train_on": getattr(self, "train_on", None) or reference.training} if "train_on" in names else {}


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
    train_on = recipe.train_on or reference.training
    if train_on.is_fresh:
        return None
    assert recipe.features is not None
    return Features(recipe.init, recipe.features, train_on)
