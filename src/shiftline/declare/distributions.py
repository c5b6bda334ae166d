"""Distributions as expressions: a dataset's split, subsets of it, and shifts of it.

An example id is the int64 position of an example in its source's canonical order. Subsets select ids and transforms
keep them, so that predictions under several shifts of one source can be joined by id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from shiftline.declare.label_spaces import LabelSpace
from shiftline.declare.transforms import Transform
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration

if TYPE_CHECKING:
    from shiftline.declare.support import SupportPart, SupportSplit


class Distribution(Declaration):
    """Base of the expressions. The methods make new expressions and touch no data."""

    def fraction(self, share: float, *, seed: int = 0) -> Distribution:
        """Keep a random share of the examples; smaller shares of one seed are nested in larger ones."""
        return Fraction(self, share, seed)

    def indices(self, ids: Iterable[int]) -> Distribution:
        """Keep the examples with these ids, in id order."""
        return Indices(self, tuple(int(i) for i in ids))

    def class_rates(self, rates: Sequence[float], *, seed: int = 0, fresh: bool = False) -> Distribution:
        """Keep a random subset in which class c has the share rates[c] / sum(rates) (label shift).

        With `fresh`, training draws another subset in every epoch.
        """
        return ClassRates(self, tuple(rates), seed, fresh)

    def class_shares(self, shares: Sequence[float], *, seed: int = 0) -> Distribution:
        """Keep a random share of each class's own examples, ``floor(shares[c] * n_c)`` (label shift)."""
        return ClassShares(self, tuple(shares), seed)

    def group_rates(self, rates: Mapping[str, float], *, seed: int = 0) -> Distribution:
        """Keep a random subset in which the examples of a group have the share rates[group] / sum(rates).

        Groups are those that the data were written with (hospital, region, background); one that is not named is left out.
        """
        return GroupRates(self, tuple((str(group), float(rate)) for group, rate in rates.items()), seed)

    def crop(self, size: int) -> Distribution:
        """Resize the shorter side to `size` pixels and cut the centre: the canonical pixels that later shifts see."""
        return Cropped(self, size)

    def in_label_space(self, space: LabelSpace | Split) -> Distribution:
        """Score in these classes, or in those of another data set's split, on both axes; the last method of a chain."""
        return InLabelSpace(self, space)

    def in_support(self, split: SupportSplit, *, threshold: float = 0.2) -> Distribution:
        """Keep the examples that the reference could have produced: density ratio p_ref(x) / p_shift(x) of `threshold` or more.

        For shifts of a study only: predictions are those of the whole shift, so that every part and threshold costs a score.
        """
        return self._part_of_support(split, "in", threshold)

    def out_of_support(self, split: SupportSplit, *, threshold: float = 0.2) -> Distribution:
        """Keep the examples that the reference could not have produced: see `in_support`."""
        return self._part_of_support(split, "out", threshold)

    def _part_of_support(self, split: SupportSplit, part: str, threshold: float) -> Distribution:
        # The classifiers of a split are models, whose expressions are built on distributions.
        from shiftline.declare.support import PartOfSupport

        return PartOfSupport(self, split, part, threshold)

    def few_shot(self, per_class: int, *, seed: int = 0) -> Distribution:
        """Keep `per_class` random examples of each class; smaller numbers of one seed are nested in larger ones."""
        return FewShot(self, per_class, seed)

    def label_noise(self, share: float, *, seed: int = 0) -> Distribution:
        """Give a random share of the examples a wrong label, drawn uniformly from the other classes."""
        return LabelNoise(self, share, seed)

    def shifted(self, *transforms: Transform) -> Distribution:
        """Apply transforms, the first one first."""
        result: Distribution = self
        for transform in transforms:
            result = Shifted(result, transform)
        return result

    @property
    def source(self) -> Split:
        """The split of a dataset that the examples come from."""
        raise DeclarationError(f"{type(self).__name__} has no source: declare it over a split of a dataset.")

    @property
    def is_fresh(self) -> bool:
        """Its examples are drawn anew in every epoch of a training."""
        return False

    @property
    def reads_groups(self) -> bool:
        """The groups of the examples decide which ones it has."""
        return False

    @property
    def label_space(self) -> LabelSpace | None:
        """The classes that it is scored in, where they were said."""
        return None

    @property
    def classes_of(self) -> Split | None:
        """The split whose classes it is scored in, where that was said."""
        return None

    @property
    def predicted(self) -> Distribution:
        """The distribution that models are run on: the same without its label space, and whole."""
        return self

    @property
    def support(self) -> SupportPart | None:
        """The expression of the examples that are kept, for a part of a shift's support."""
        return None


class Split(Distribution):
    """A split of a dataset that has been written to the data folder, for instance ``Split("digits", "train")``."""

    tag = "split"
    dataset: str
    split: str

    def validate(self) -> None:
        for word in (self.dataset, self.split):
            if not isinstance(word, str) or not word or set(word) & set("/\\ \0") or word.startswith("."):
                raise DeclarationError(
                    f"Split({self.dataset!r}, {self.split!r}): expected two plain names (no slash, no space), because "
                    "they name a folder and a file."
                )

    @property
    def source(self) -> Split:
        return self

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


class _Derived(Distribution):
    of: Distribution

    @property
    def source(self) -> Split:
        return self.of.source

    @property
    def is_fresh(self) -> bool:
        return self.of.is_fresh

    @property
    def reads_groups(self) -> bool:
        return self.of.reads_groups

    def validate(self) -> None:
        if not isinstance(self.of, Distribution):
            raise DeclarationError(
                f"{type(self).__name__} needs a distribution, got {type(self.of).__name__}. "
                'Start from a split: Split("digits", "test").shifted(...)'
            )
        if isinstance(self.of, InLabelSpace):
            raise DeclarationError(
                f"{type(self).__name__} of {self.of}: in_label_space(...) says how the result is scored. Make it the last step."
            )
        if self.of.is_fresh and not isinstance(self, Shifted):
            raise DeclarationError(
                f"{type(self).__name__} of {self.of}, which is drawn anew in every epoch: select first, and put fresh=True on the "
                "last selection."
            )


class Fraction(_Derived):
    """A random share of the examples."""

    tag = "fraction"
    share: float
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        if not 0 < self.share <= 1:
            raise DeclarationError(f"fraction({self.share}): expected a share above 0 and at most 1.")

    def __str__(self) -> str:
        return f"{self.of} {self.share:.3g}"


class Indices(_Derived):
    """The examples with the given ids."""

    tag = "indices"
    ids: tuple[int, ...]

    def validate(self) -> None:
        super().validate()
        if not self.ids:
            raise DeclarationError(f"indices() of {self.of} keeps no example: give at least one id.")
        if min(self.ids) < 0 or len(set(self.ids)) < len(self.ids):
            raise DeclarationError(f"indices() of {self.of}: ids must be 0 or more and appear once each.")
        object.__setattr__(self, "ids", tuple(sorted(self.ids)))

    def __str__(self) -> str:
        return f"{self.of} [{len(self.ids)} ids]"


class ClassRates(_Derived):
    """A subset with given class rates: as many examples as the scarcest class allows."""

    tag = "class-rates"
    rates: tuple[float, ...]
    seed: int = 0
    fresh: bool = False

    @property
    def is_fresh(self) -> bool:
        return self.fresh or self.of.is_fresh

    def validate(self) -> None:
        super().validate()
        rates = tuple(float(rate) for rate in self.rates)
        if not rates or not all(math.isfinite(r) and r >= 0 for r in rates) or sum(rates) <= 0:
            raise DeclarationError(f"class_rates({list(self.rates)}): expected rates of 0 or more, not all 0.")
        object.__setattr__(self, "rates", rates)

    def __str__(self) -> str:
        return f"{self.of} with {'fresh ' if self.fresh else ''}class rates"


class ClassShares(_Derived):
    """A subset with a share of each class's own examples."""

    tag = "class-shares"
    shares: tuple[float, ...]
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        shares = tuple(float(share) for share in self.shares)
        if not shares or not all(0 <= share <= 1 for share in shares) or not any(shares):
            raise DeclarationError(f"class_shares({list(self.shares)}): expected shares from 0 to 1, not all 0.")
        object.__setattr__(self, "shares", shares)

    def __str__(self) -> str:
        return f"{self.of} with class shares"


class FewShot(_Derived):
    """The same number of random examples of each class."""

    tag = "few-shot"
    per_class: int
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        if self.per_class < 1:
            raise DeclarationError(f"few_shot({self.per_class}): expected 1 or more examples per class.")

    def __str__(self) -> str:
        return f"{self.of} {self.per_class}-shot"


class GroupRates(_Derived):
    """A subset with given rates of the groups that the data were written with: as many as the scarcest group allows."""

    tag = "group-rates"
    rates: tuple[tuple[str, float], ...]
    seed: int = 0

    @property
    def reads_groups(self) -> bool:
        return True

    def validate(self) -> None:
        super().validate()
        values = [rate for _, rate in self.rates]
        if not values or not all(math.isfinite(r) and r >= 0 for r in values) or sum(values) <= 0:
            raise DeclarationError(f"group_rates({dict(self.rates)}): expected rates of 0 or more, not all 0.")

    def __str__(self) -> str:
        return f"{self.of} with group rates"


class LabelNoise(_Derived):
    """The same examples, a share of them under a wrong label. Shifts that look at labels keep seeing the right one."""

    tag = "label-noise"
    share: float
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        if not 0 <= self.share <= 1:
            raise DeclarationError(f"label_noise({self.share}): expected a share from 0 to 1.")

    def __str__(self) -> str:
        return f"{self.of} {self.share:.3g} label noise"


class Cropped(_Derived):
    """The same examples at a canonical size: shorter side resized (antialiased bicubic), centre cut.

    A shift whose parameters count pixels means the same on every image then.
    """

    tag = "cropped"
    size: int

    def validate(self) -> None:
        super().validate()
        if self.size < 1:
            raise DeclarationError(f"crop({self.size}): expected a size of 1 pixel or more.")
        step = self.of
        while isinstance(step, _Derived):
            if isinstance(step, (Shifted, Cropped)):
                raise DeclarationError(
                    f"crop({self.size}) of {self.of}: the canonical crop comes once, before the shifts. Write "
                    f"distribution.crop({self.size}).shifted(...)."
                )
            step = step.of

    def __str__(self) -> str:
        return f"{self.of} at {self.size} px"


class InLabelSpace(_Derived):
    """The same examples, scored in given classes. Predictions are the same with and without."""

    tag = "in-label-space"
    space: LabelSpace | Split

    def validate(self) -> None:
        super().validate()
        if not isinstance(self.space, (LabelSpace, Split)):
            raise DeclarationError(
                f"in_label_space({self.space!r}): expected a shiftline.LabelSpace, or a Split whose classes are meant, got "
                f"{type(self.space).__name__}."
            )

    @property
    def label_space(self) -> LabelSpace | None:
        return self.space if isinstance(self.space, LabelSpace) else None

    @property
    def classes_of(self) -> Split | None:
        return self.space if isinstance(self.space, Split) else None

    @property
    def predicted(self) -> Distribution:
        return self.of.predicted

    @property
    def support(self) -> SupportPart | None:
        return self.of.support

    def __str__(self) -> str:
        return (
            f"{self.of} in {self.space.name if isinstance(self.space, LabelSpace) else f'the classes of {self.space}'}"
        )


class Shifted(_Derived):
    """The same examples, their pixels transformed."""

    tag = "shifted"
    transform: Transform

    def validate(self) -> None:
        super().validate()
        if not isinstance(self.transform, Transform):
            hint = (
                " A plain function has no canonical form: write it as a subclass of shiftline.Transform with a tag, a "
                "revision and an apply method."
                if callable(self.transform)
                else ""
            )
            raise DeclarationError(
                f"shifted({self.transform!r}): expected a shiftline.Transform, got {type(self.transform).__name__}.{hint}"
            )

        own = not type(self.transform).__module__.startswith("shiftline.")
        if own and not callable(getattr(self.transform, "apply", None)):
            raise DeclarationError(
                f"the transform {type(self.transform).__name__} has no apply method: write def apply(self, images, labels, ids) "
                "and return uint8 images of the same shape."
            )

    def __str__(self) -> str:
        return f"{self.of} + {type(self.transform).tag}"


class Reference(Declaration):
    """The reference distribution: where models are trained (train), selected (val) and reported (test, the x-axis).

    Without a val split (None) nothing is selected unless ``best(..., on=...)`` names the data; without a train split nothing is
    trained on the reference, and models are evaluated only.
    """

    tag = "reference"
    train: Distribution | None
    val: Distribution | None
    test: Distribution

    def validate(self) -> None:
        for name in ("train", "val", "test"):
            if name != "test" and getattr(self, name) is None:
                continue
            if not isinstance(getattr(self, name), Distribution):
                raise DeclarationError(
                    f"Reference.{name} is a {type(getattr(self, name)).__name__}: expected a distribution, for example "
                    f'Split("digits", "{name}").'
                )
            if getattr(self, name).label_space is not None:
                raise DeclarationError(
                    f"Reference.{name} has a label space: the reference's own classes are those of its data. Put "
                    "in_label_space(...) on the shift; the reference follows."
                )
            if getattr(self, name).is_fresh:
                raise DeclarationError(
                    f"Reference.{name} ({getattr(self, name)}) is drawn anew in every epoch: only a training can do that. Leave "
                    "fresh=True out, and give the fresh distribution to train_on."
                )
        if self.val == self.test:
            raise DeclarationError(
                "Reference: val and test are the same distribution. Models would be selected on the accuracy that is "
                "then reported as the x-axis. Hold out a part of the training data as val."
            )

    def shifted(self, *transforms: Transform) -> Reference:
        """Apply transforms to all splits."""
        train, val = (None if split is None else split.shifted(*transforms) for split in (self.train, self.val))
        return Reference(train, val, self.test.shifted(*transforms))

    @property
    def labelled(self) -> Split:
        """The split whose classes, in their order, are those of the study."""
        return (self.test if self.train is None else self.train).source

    @property
    def training(self) -> Distribution:
        """The train split.

        Raises
        ------
        DeclarationError
            There is none.
        """
        if self.train is None:
            raise DeclarationError(
                "something is trained on the reference's train split, and this reference has none (train=None): it is for "
                "evaluating models that are there."
            )
        return self.train

    @property
    def selection(self) -> Distribution:
        """The val split.

        Raises
        ------
        DeclarationError
            There is none.
        """
        if self.val is None:
            raise DeclarationError(
                "something is selected on the reference's val split, and this reference has none (val=None): say what to select "
                "on, best(..., on=...), or hold out a part of the training data."
            )
        return self.val


def handwritten_digits() -> Reference:
    """The embedded reference: scikit-learn's handwritten digits, 900 to train, 200 to select, 697 to report."""
    return Reference(Split("digits", "train"), Split("digits", "val"), Split("digits", "test"))


def typed_digits() -> Split:
    """720 digits in fonts that the small CLIP was not trained on, white on black."""
    return Split("typed-digits", "test")
