"""A study as one value: reference, shifts, groups of models, and the group that fixes the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.metrics import Metric, requested_metric
from shiftline.contracts.models import Model
from shiftline.contracts.reference import Reference
from shiftline.errors import DeclarationError

Models = Mapping[str, Model | Sequence[Model] | Mapping[str, Model]]
"""Groups of models: by name a list of recipes, one recipe, or a mapping from names to recipes."""


@dataclass(frozen=True)
class NamedModel:
    """A model as a study knows it. `model` is unique in the study; the expression may also stand in other studies."""

    group: str
    model: str
    expression: Model


@dataclass(frozen=True)
class Study:
    """What a study declares. Made by `declare_study`, which checks it.

    Attributes
    ----------
    name : str
    reference : Reference
    shifts : tuple of (str, Distribution)
    models : tuple of NamedModel
    baseline : str or None
        The group that fixes the line.
    reader : str
        Who reads training images, where that was said.
    metrics : tuple of Metric
        What is scored besides accuracy and the data sets' official metrics.
    families : tuple of classes
        Data sets that the study's own file defines.
    """

    name: str
    reference: Reference
    shifts: tuple[tuple[str, Distribution], ...]
    models: tuple[NamedModel, ...]
    baseline: str | None
    metrics: tuple[Metric, ...] = ()
    reader: str = "auto"
    families: tuple[type, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(named.group for named in self.models))

    def evaluated(self) -> Iterator[tuple[str, Distribution]]:
        """Yield the distributions on which every model is scored, by name: reference, reference val if there is one, the shifts."""
        yield "reference", self.reference.test
        if self.reference.val is not None:
            yield "reference val", self.reference.val
        yield from self.shifts


RESERVED = ("reference", "reference val", "average")


def declare_study(name: Any, reference: Any, shifts: Any, models: Any, baseline: Any, metrics: Any = ()) -> Study:
    """Check what a study declares and return it as a value.

    Raises
    ------
    DeclarationError
        Something is missing or contradicts itself.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise DeclarationError(f'a study needs a name (text without a slash), got {name!r}: write name = "my-study".')
    if not isinstance(reference, Reference):
        raise DeclarationError(
            f"the study {name!r} has no reference distribution: expected reference = Reference(train=..., val=..., "
            f"test=...), got {reference!r}."
        )
    if not isinstance(shifts, Mapping):
        raise DeclarationError(f"the shifts of {name!r} are a {type(shifts).__name__}: expected {{name: distribution}}.")
    for shift, distribution in shifts.items():
        if not isinstance(distribution, Distribution):
            raise DeclarationError(
                f"the shift {shift!r} of {name!r} is a {type(distribution).__name__}: expected a distribution, for "
                "example reference.test.shifted(Blur(2))."
            )
        if shift in RESERVED:
            raise DeclarationError(f"a shift cannot be named {shift!r}: the results use the names {', '.join(RESERVED)}.")
    if not isinstance(models, Mapping) or not any(models.values()):
        raise DeclarationError(
            f"the study {name!r} declares no models: expected models() to return {{group: [recipe, ...]}} with at least "
            f"one recipe, got {models!r}."
        )
    named = tuple(_named(models))
    if baseline is not None and baseline not in models:
        raise DeclarationError(
            f"the baseline group of {name!r} is {baseline!r}, which does not exist: the groups are {', '.join(map(repr, models))}."
        )
    if isinstance(metrics, (str, Metric)):
        raise DeclarationError(
            f'the metrics of {name!r} are {metrics!r}: expected a list of names or metrics, metrics = ("macro-f1",).'
        )
    requested = (requested_metric(metric, where=f"the study {name!r}") for metric in metrics)
    return Study(name, reference, tuple(shifts.items()), named, baseline, tuple(dict.fromkeys(requested)))


def _named(models: Mapping[str, Any]) -> Iterator[NamedModel]:
    taken: dict[str, str] = {}
    for group, members in models.items():
        members = {group: members} if isinstance(members, Model) else members
        if isinstance(members, Mapping):
            pairs = list(members.items())
        else:
            members = list(members)
            for member in members:
                if not isinstance(member, Model):
                    raise DeclarationError(
                        f"the group {group!r} holds a {type(member).__name__}: expected model expressions such as "
                        "FromScratch(...), ZeroShot(...) or Interpolate(...)."
                    )
            pairs = list(zip(_labels(group, members), members, strict=True))
        for label, member in pairs:
            if not isinstance(member, Model):
                raise DeclarationError(
                    f"{label!r} of the group {group!r} is a {type(member).__name__}: expected a model expression."
                )
            if label in taken:
                raise DeclarationError(
                    f"two models are named {label!r} (groups {taken[label]!r} and {group!r}): names are unique in a study."
                )
            taken[label] = group
            yield NamedModel(group, label, member)


def _labels(group: str, members: list[Model]) -> list[str]:
    """Name the members of a group by what tells them apart: alpha, epoch, seed, or their number."""
    if len(members) == 1:
        return [group]
    for attribute, form in (("alpha", "{:g}"), ("epoch", "{}"), ("step", "{}"), ("seed", "{}")):
        values = [member.attributes().get(attribute) for member in members]
        if None not in values and len(set(values)) == len(values):
            return [f"{group} {attribute}={form.format(value)}" for value in values]
    return [f"{group} {number}" for number in range(1, len(members) + 1)]
