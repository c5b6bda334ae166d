"""Distributions as expressions: a dataset's split, subsets of it, and shifts of it.

An example id is the int64 position of an example in its source's canonical order. Subsets select ids and transforms
keep them, so that predictions under several shifts of one source can be joined by id.

The methods of `Distribution` make the classes below it, which is why base and subclasses stand in one file.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.identity import Declaration
from shiftline.contracts.label_spaces import LabelSpace
from shiftline.contracts.require import require, require_choice, require_share
from shiftline.contracts.transforms import Transform, defines
from shiftline.errors import DataError, DeclarationError, PlanError

if TYPE_CHECKING:
    import numpy as np

    from shiftline.contracts.records import SplitRecord
    from shiftline.data.views import View

Records = Mapping["Split", "SplitRecord"]
SIDES = ("in", "out")
"""Subsets of a shift by support."""
THRESHOLD = 0.2
"""Below this ratio p_ref(x) / p_shift(x) an example is out-of-support (Cohen-Wang et al. 2024)."""
ROUNDING = 1e-9
"""A count that is a whole number in exact arithmetic must not be cut by a rounding error."""


class SupportSplitter(Declaration):
    """Base of what tells the examples of a shift that the reference could have produced from the others."""

    def subset(self, shifted: Distribution, side: str, threshold: float) -> Any:
        """Return the model expression whose job finds the ids of one side."""
        raise NotImplementedError


class Distribution(Declaration):
    """Base of the expressions. The methods make new expressions and touch no data.

    Attributes
    ----------
    is_subset : bool
        Some or all of the examples of another distribution, with the same pixels.
    keeps_examples : bool
        The examples of another distribution, every one of them.
    """

    is_subset: ClassVar[bool] = False
    keeps_examples: ClassVar[bool] = False

    def fraction(self, share: float, *, seed: int = 0) -> Distribution:
        """Keep a random share of the examples; smaller shares of one seed are nested in larger ones."""
        return Fraction(self, share, seed)

    def parts(self, *shares: float, seed: int = 0) -> tuple[Distribution, ...]:
        """Cut it into disjoint random parts with these shares of every class: ``train, val, test = whole.parts(0.7, 0.1, 0.2)``.

        Shares are fractions of the examples of each class, rounded so that the parts of all shares together are the whole where
        the shares sum to 1. Parts of one call may be trained on and evaluated in one study.
        """
        return tuple(Part(self, tuple(shares), position, seed) for position in range(len(shares)))

    def indices(self, ids: Iterable[int]) -> Distribution:
        """Keep the examples with these ids, in id order.

        Ids are positions in the order in which the data were written, which is no random order: images of folders are sorted by
        class. `parts`, `fraction` and `few_shot` draw at random.
        """
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

    def in_support(self, split: SupportSplitter, *, threshold: float = THRESHOLD) -> Distribution:
        """Keep the examples that the reference could have produced: density ratio p_ref(x) / p_shift(x) of `threshold` or more.

        For shifts of a study only: predictions are those of the whole shift, so that every side and threshold costs a score.
        """
        return SupportSubset(self, split, "in", threshold)

    def out_of_support(self, split: SupportSplitter, *, threshold: float = THRESHOLD) -> Distribution:
        """Keep the examples that the reference could not have produced: see `in_support`."""
        return SupportSubset(self, split, "out", threshold)

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

    # ---- what others ask of it ---------------------------------------------------------------------------------------

    @property
    def source(self) -> Split:
        """The split of a dataset that the examples come from."""
        raise DeclarationError(f"{type(self).__name__} has no source: declare it over a split of a dataset.")

    @property
    def is_fresh(self) -> bool:
        """Its examples are drawn again in every epoch of a training."""
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
    def support(self) -> Any:
        """The model expression of the examples that are kept, for one side of a shift's support; None for others."""
        return None

    @property
    def kept_ids(self) -> frozenset[int] | None:
        """The ids that it can contain, where `indices` says so; None for any."""
        return None

    def is_apart_from(self, other: Distribution) -> bool:
        """Return whether it cannot share an example with another one of its source: by `indices`, or as another of the `parts`."""
        ids, others = self.kept_ids, other.kept_ids
        if ids is not None and others is not None and not ids & others:
            return True
        mine, theirs = ([step for step in one.chain() if isinstance(step, Part)] for one in (self, other))
        return any(a.is_other_part(b) for a in mine for b in theirs)

    def chain(self) -> Iterator[Distribution]:
        """Yield it and what it is made of, down to the split."""
        yield self

    def within(self, other: Distribution | None) -> bool:
        """Return whether it is another distribution, or a subset of that with the same pixels."""
        return self == other

    def count(self, records: Records) -> int:
        """Return the number of examples, as far as records tell: an upper bound where labels decide."""
        raise NotImplementedError

    def check(self, name: str, record: SplitRecord) -> None:
        """Raise `DeclarationError` or `PlanError` where it cannot be had of a source; `name` says whose it is."""

    def select(self, view: View) -> View:
        """Return the examples of an opened source, or of what it is made of."""
        raise DataError(f"{type(self).__name__} is no distribution that can be opened: it has no method select(view).")


class Split(Distribution):
    """A split of a dataset that has been written to the data folder, for instance ``Split("digits", "train")``.

    Parameters
    ----------
    dataset, split : str
        Plain names (no slash, no space): they name a folder and a file.
    """

    tag = "split"
    dataset: str
    split: str

    def validate(self) -> None:
        for word in (self.dataset, self.split):
            require(
                isinstance(word, str) and bool(word) and not set(word) & set("/\\ \0") and not word.startswith("."),
                f"Split({self.dataset!r}, {self.split!r}): expected two plain names (no slash, no space), because "
                "they name a folder and a file.",
            )

    @property
    def source(self) -> Split:
        return self

    def count(self, records: Records) -> int:
        return records[self].count

    def select(self, view: View) -> View:
        return view

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


class Derived(Distribution):
    """Base of what is made of another distribution, `of`; a subclass defines `select` at least."""

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

    @property
    def kept_ids(self) -> frozenset[int] | None:
        return self.of.kept_ids

    def chain(self) -> Iterator[Distribution]:
        yield self
        yield from self.of.chain()

    def within(self, other: Distribution | None) -> bool:
        return self == other or (self.is_subset and self.of.within(other))

    def count(self, records: Records) -> int:
        return self.of.count(records)

    @property
    def _whole_split(self) -> bool:
        """What it is made of has all examples of its source: how many there are of each class is known."""
        return all(step.keeps_examples for step in self.of.chain() if step != self.source)

    def validate(self) -> None:
        require(
            isinstance(self.of, Distribution),
            f"{type(self).__name__} needs a distribution, got {type(self.of).__name__}. "
            'Start from a split: Split("digits", "test").shifted(...)',
        )
        require(
            not isinstance(self.of, InLabelSpace),
            f"{type(self).__name__} of {self.of}: in_label_space(...) says how the result is scored. Make it the last step.",
        )
        require(
            not self.of.is_fresh or isinstance(self, Shifted),
            f"{type(self).__name__} of {self.of}, which is drawn again in every epoch: select first, and put fresh=True on the "
            "last selection.",
        )


class Fraction(Derived):
    """A random share of the examples."""

    tag = "fraction"
    is_subset = True
    share: float
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        require(0 < self.share <= 1, f"fraction({self.share}): expected a share above 0 and at most 1.")

    def count(self, records: Records) -> int:
        return round(self.share * self.of.count(records))

    def select(self, view: View) -> View:
        return view.keep(view.ids[view.ranked("fraction", self.seed)[: round(self.share * len(view.ids))]])

    def __str__(self) -> str:
        return f"{self.of} {self.share:.3g}"


class Part(Derived):
    """One of several disjoint random parts, with the same share of every class."""

    tag = "part"
    is_subset = True
    shares: tuple[float, ...]
    position: int
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        require(
            all(0 < share <= 1 for share in self.shares) and sum(self.shares) <= 1 + ROUNDING,
            f"parts({', '.join(f'{share:g}' for share in self.shares)}): expected shares above 0 that sum to 1 at most.",
        )
        require(0 <= self.position < len(self.shares), f"parts(): there is no part {self.position} of {len(self.shares)}.")

    def is_other_part(self, other: Part) -> bool:
        """Return whether another part was cut from the same whole, in the same way, and is not this one."""
        return self.position != other.position and self == other.replace(position=self.position)

    def count(self, records: Records) -> int:
        if not self._whole_split:
            return self.of.count(records)
        return sum(stop - start for start, stop in map(self._bounds, records[self.source].class_counts))

    def select(self, view: View) -> View:
        import numpy as np

        order = view.ranked("parts", self.seed)
        kept = []
        for label in np.unique(view.labels):
            of_class = order[view.labels[order] == label]
            kept.append(of_class[slice(*self._bounds(len(of_class)))])
        return view.keep(view.ids[np.sort(np.concatenate(kept))])

    def _bounds(self, count: int) -> tuple[int, int]:
        """Return where the part begins and ends among the examples of a class."""
        start, stop = (math.floor(sum(self.shares[:n]) * count + 0.5 + ROUNDING) for n in (self.position, self.position + 1))
        return min(start, count), min(stop, count)

    def __str__(self) -> str:
        return f"{self.of} part {self.position + 1} of {len(self.shares)}"


class Indices(Derived):
    """The examples with the given ids."""

    tag = "indices"
    is_subset = True
    ids: tuple[int, ...]

    def validate(self) -> None:
        super().validate()
        require(bool(self.ids), f"indices() of {self.of} keeps no example: give at least one id.")
        require(
            min(self.ids) >= 0 and len(set(self.ids)) == len(self.ids),
            f"indices() of {self.of}: ids must be 0 or more and appear once each.",
        )
        object.__setattr__(self, "ids", tuple(sorted(self.ids)))

    @property
    def kept_ids(self) -> frozenset[int]:
        below = self.of.kept_ids
        return frozenset(self.ids) if below is None else below.intersection(self.ids)

    def count(self, records: Records) -> int:
        return min(self.of.count(records), len(self.kept_ids))

    def check(self, name: str, record: SplitRecord) -> None:
        require(
            max(self.ids) < record.count,
            f"{name}: indices() asks for id {max(self.ids)}, {self.source} has ids 0 to {record.count - 1}.",
        )
        first, last = self.ids[0], self.ids[-1]
        if not record.is_sorted or len(self.ids) < max(2, last - first + 1):
            return
        ends = list(itertools.accumulate(record.class_counts))
        kept = sum(bool(n) and end - n <= last and end > first for end, n in zip(ends, record.class_counts, strict=True))
        there = sum(n > 0 for n in record.class_counts)
        if kept < there:
            warnings.warn(
                f"{name}: indices() keeps the examples {first} to {last} of {self.source}, which are sorted by class: {kept} of "
                f"its {there} classes. For random examples say .fraction(share), .few_shot(per_class) or .parts(share, ...).",
                stacklevel=2,
            )

    def select(self, view: View) -> View:
        import numpy as np

        return view.keep(view.ids[np.isin(view.ids, self.ids)])

    def __str__(self) -> str:
        return f"{self.of} [{len(self.ids)} ids]"


def check_rates(owner: str, rates: Sequence[float], shown: object) -> None:
    """Raise `DeclarationError` unless rates are 0 or more, and not all 0."""
    require(
        bool(rates) and all(math.isfinite(r) and r >= 0 for r in rates) and sum(rates) > 0,
        f"{owner}({shown}): expected rates of 0 or more, not all 0.",
    )


class ClassRates(Derived):
    """A subset with given class rates: as many examples as the scarcest class allows."""

    tag = "class-rates"
    is_subset = True
    rates: tuple[float, ...]
    seed: int = 0
    fresh: bool = False

    @property
    def is_fresh(self) -> bool:
        return self.fresh or self.of.is_fresh

    def validate(self) -> None:
        super().validate()
        check_rates("class_rates", self.rates, list(self.rates))

    def count(self, records: Records) -> int:
        if not self._whole_split:
            return self.of.count(records)  # Labels decide: they are counted before the first job.
        pairs = zip(self.rates, records[self.source].class_counts, strict=False)
        scale = min((n / rate for rate, n in pairs if rate > 0), default=0.0)
        return sum(int(scale * rate + ROUNDING) for rate in self.rates)

    def check(self, name: str, record: SplitRecord) -> None:
        require(
            len(self.rates) == len(record.classes),
            f"{name}: class_rates has {len(self.rates)} rates, {self.source} has {len(record.classes)} "
            f"classes ({', '.join(record.classes[:12])}): give one rate per class.",
        )
        for class_name, rate, n in zip(record.classes, self.rates, record.class_counts, strict=True):
            if rate > 0 and n == 0:
                raise PlanError(f"{name}: class_rates asks for {class_name!r}, of which {self.source} has no example.")

    def select(self, view: View) -> View:
        return view.redrawn(self) if self.fresh else view.keep(self.draw(view))

    def draw(self, view: View, *, epoch: int = 0) -> np.ndarray:
        """Return random ids so that class c has the share rates[c] / sum(rates), as many as the scarcest class allows.

        Class counts are ``floor(scale * rates[c])`` with the largest scale at which every class has enough examples.
        """
        order = view.ranked("class-rates", self.seed, epoch=epoch)
        kept: np.ndarray = view.ids[_at_rates(view.labels, self.rates, order)]
        return kept

    def __str__(self) -> str:
        return f"{self.of} with {'fresh ' if self.fresh else ''}class rates"


def _at_rates(labels: np.ndarray, rates: Sequence[float], order: np.ndarray) -> np.ndarray:
    """Return the positions of examples, in a random order, that give labels some rates: as many as the scarcest allows."""
    import numpy as np

    counts, weights = np.bincount(labels, minlength=len(rates)), np.asarray(rates)
    wanted = weights > 0
    with np.errstate(over="ignore"):  # A vanishing rate sets no limit.
        scale = (counts[wanted] / weights[wanted]).min()
    sizes = np.floor(scale * weights + ROUNDING).astype(int)
    return np.sort(np.concatenate([order[labels[order] == c][:n] for c, n in enumerate(sizes)]))


class ClassShares(Derived):
    """A subset with a share of each class's own examples."""

    tag = "class-shares"
    is_subset = True
    shares: tuple[float, ...]
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        require(
            bool(self.shares) and all(0 <= share <= 1 for share in self.shares) and any(self.shares),
            f"class_shares({list(self.shares)}): expected shares from 0 to 1, not all 0.",
        )

    def count(self, records: Records) -> int:
        if not self._whole_split:
            return self.of.count(records)
        of_class = zip(self.shares, records[self.source].class_counts, strict=False)
        return sum(int(share * n + ROUNDING) for share, n in of_class)

    def check(self, name: str, record: SplitRecord) -> None:
        require(
            len(self.shares) == len(record.classes),
            f"{name}: class_shares has {len(self.shares)} shares, {self.source} has {len(record.classes)} classes: "
            "give one share per class.",
        )

    def select(self, view: View) -> View:
        import numpy as np

        order = view.ranked("class-shares", self.seed)
        counts = np.bincount(view.labels, minlength=len(self.shares))
        sizes = np.floor(np.asarray(self.shares) * counts + ROUNDING).astype(int)
        return view.keep(view.ids[np.concatenate([order[view.labels[order] == c][:n] for c, n in enumerate(sizes)])])

    def __str__(self) -> str:
        return f"{self.of} with class shares"


class FewShot(Derived):
    """The same number of random examples of each class."""

    tag = "few-shot"
    is_subset = True
    per_class: int
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        require(self.per_class >= 1, f"few_shot({self.per_class}): expected 1 or more examples per class.")

    def count(self, records: Records) -> int:
        return min(self.of.count(records), self.per_class * len(records[self.source].classes))

    def check(self, name: str, record: SplitRecord) -> None:
        scarce, n = min(zip(record.classes, record.class_counts, strict=True), key=lambda pair: pair[1])
        if self._whole_split and n < self.per_class:
            raise PlanError(
                f"{name}: few_shot({self.per_class}) needs {self.per_class} examples of each class, {self.source} has "
                f"{n} of {scarce!r}: keep fewer."
            )

    def select(self, view: View) -> View:
        import numpy as np

        order, kept = view.ranked("few-shot", self.seed), []
        for label, name in enumerate(view.classes):
            found = view.ids[order[view.labels[order] == label][: self.per_class]]
            if len(found) < self.per_class:
                raise DataError(f"few_shot({self.per_class}): {name!r} has {len(found)} examples. Keep fewer per class.")
            kept.append(found)
        return view.keep(np.concatenate(kept))

    def __str__(self) -> str:
        return f"{self.of} {self.per_class}-shot"


class GroupRates(Derived):
    """A subset with given rates of the groups that the data were written with: as many as the scarcest group allows."""

    tag = "group-rates"
    is_subset = True
    rates: tuple[tuple[str, float], ...]
    seed: int = 0

    @property
    def reads_groups(self) -> bool:
        return True

    def validate(self) -> None:
        super().validate()
        check_rates("group_rates", [rate for _, rate in self.rates], dict(self.rates))

    def select(self, view: View) -> View:
        import numpy as np

        groups = view.groups()[view.ids]
        there = set(groups)
        if absent := [name for name, rate in self.rates if rate > 0 and name not in there]:
            raise DataError(f"{self}: no example has the group {absent[0]!r}. The groups are {', '.join(sorted(there)[:20])}.")
        numbers = {name: row for row, (name, _) in enumerate(self.rates)}
        rows = np.array([numbers.get(group, -1) for group in groups])
        named = view.keep(view.ids[rows >= 0])
        order = named.ranked("class-rates", self.seed)
        return named.keep(named.ids[_at_rates(rows[rows >= 0], [rate for _, rate in self.rates], order)])

    def __str__(self) -> str:
        return f"{self.of} with group rates"


class LabelNoise(Derived):
    """The same examples, a share of them under a wrong label. Shifts that look at labels keep seeing the correct one."""

    tag = "label-noise"
    is_subset = keeps_examples = True
    share: float
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        require_share("label_noise(...)", self.share, "a share")

    def check(self, name: str, record: SplitRecord) -> None:
        require(len(record.classes) >= 2, f"{name}: label_noise needs two classes or more, {self.source} has one.")

    def select(self, view: View) -> View:
        import numpy as np

        classes = len(view.classes)
        wrong = view.ranked("label-noise", self.seed)[: round(self.share * len(view.ids))]
        step = 1 + np.floor(view.uniform("wrong-label", self.seed) * (classes - 1)).astype(int)
        labels = view.labels.copy()
        labels[wrong] = (view.labels[wrong] + step[wrong]) % classes
        return view.relabelled(labels)

    def __str__(self) -> str:
        return f"{self.of} {self.share:.3g} label noise"


class Cropped(Derived):
    """The same examples at a canonical size: shorter side resized (antialiased bicubic), centre cut.

    A shift whose parameters count pixels means the same on every image then.
    """

    tag = "cropped"
    keeps_examples = True
    size: int

    def validate(self) -> None:
        super().validate()
        require(self.size >= 1, f"crop({self.size}): expected a size of 1 pixel or more.")
        require(
            not any(isinstance(step, (Shifted, Cropped)) for step in self.of.chain()),
            f"crop({self.size}) of {self.of}: the canonical crop comes once, before the shifts. Write "
            f"distribution.crop({self.size}).shifted(...).",
        )

    def select(self, view: View) -> View:
        return view.cropped(self.size)

    def __str__(self) -> str:
        return f"{self.of} at {self.size} px"


class InLabelSpace(Derived):
    """The same examples, scored in given classes. Predictions are the same with and without."""

    tag = "in-label-space"
    keeps_examples = True
    space: LabelSpace | Split

    def validate(self) -> None:
        super().validate()
        require(
            isinstance(self.space, (LabelSpace, Split)),
            f"in_label_space({self.space!r}): expected a shiftline.LabelSpace, or a Split whose classes are meant, got "
            f"{type(self.space).__name__}.",
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
    def support(self) -> Any:
        return self.of.support

    def select(self, view: View) -> View:
        return view

    def __str__(self) -> str:
        classes = self.space.name if isinstance(self.space, LabelSpace) else f"the classes of {self.space}"
        return f"{self.of} in {classes}"


class Shifted(Derived):
    """The same examples, their pixels transformed."""

    tag = "shifted"
    keeps_examples = True
    transform: Transform

    def validate(self) -> None:
        super().validate()
        hint = (
            " A plain function has no canonical form: write it as a subclass of shiftline.Transform with a tag, a "
            "revision and an apply method."
            if callable(self.transform)
            else ""
        )
        require(
            isinstance(self.transform, Transform),
            f"shifted({self.transform!r}): expected a shiftline.Transform, got {type(self.transform).__name__}.{hint}",
        )
        require(
            defines(self.transform, "apply", Transform),
            f"the transform {type(self.transform).__name__} has no apply method: write def apply(self, images, labels, ids) "
            "and return uint8 images of the same shape.",
        )

    def select(self, view: View) -> View:
        return view.shifted(self.transform)

    def __str__(self) -> str:
        return f"{self.of} + {self.transform}"


class SupportSubset(Derived):
    """The examples of a shift inside, or outside, the support of the reference. Predictions are those of the whole shift."""

    tag = "support-subset"
    split: SupportSplitter
    side: str
    threshold: float = THRESHOLD

    def validate(self) -> None:
        super().validate()
        require(
            isinstance(self.split, SupportSplitter),
            f"{self.side}_support(...) is given a {type(self.split).__name__}: expected SupportSplit(reference.train, ...).",
        )
        require_choice("SupportSubset.side", self.side, SIDES)
        require(self.threshold > 0, f"the threshold is {self.threshold}: expected a density ratio above 0.")

    @property
    def predicted(self) -> Distribution:
        return self.of.predicted

    @property
    def label_space(self) -> LabelSpace | None:
        return self.of.label_space

    @property
    def classes_of(self) -> Split | None:
        return self.of.classes_of

    @property
    def support(self) -> Any:
        return self.split.subset(self.of.predicted, self.side, float(self.threshold))

    def __str__(self) -> str:
        return f"{self.of}, {self.side} support"
