"""A study as one value: reference, shifts, groups of models, and the group that fixes the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shiftline.contracts.claims import AVERAGE, ORACLE, REFERENCE, VALIDATED, Claim, Quantity
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.metrics import Metric, requested_metric
from shiftline.contracts.models import Model
from shiftline.contracts.published import PublishedBaseline
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import near, require_choice
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
    published : PublishedBaseline or None
        Where the accuracies of that group stand, where no model of the study is in it.
    reader : str
        Who reads training images, where that was said.
    metrics : tuple of Metric
        What is scored besides accuracy and the data sets' official metrics.
    families : tuple of classes
        Data sets that the study's own file defines.
    claims : tuple of Claim
        What it expects of its results.
    references : tuple of (str, Distribution)
        Further references, in the classes of the first: the line stands on all of them.
    precision : str
        Of predictions: one of `PRECISIONS`.
    """

    name: str
    reference: Reference
    shifts: tuple[tuple[str, Distribution], ...]
    models: tuple[NamedModel, ...]
    baseline: str | None
    metrics: tuple[Metric, ...] = ()
    reader: str = "auto"
    families: tuple[type, ...] = ()
    published: PublishedBaseline | None = None
    claims: tuple[Claim, ...] = ()
    references: tuple[tuple[str, Distribution], ...] = ()
    precision: str = "32"

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(named.group for named in self.models))

    def evaluated(self) -> Iterator[tuple[str, Distribution]]:
        """Yield the distributions on which every model is scored, by name: all references, reference val, the shifts."""
        yield "reference", self.reference.test
        if self.reference.val is not None:
            yield "reference val", self.reference.val
        yield from self.references
        yield from self.shifts


PRECISIONS = ("32", "tf32", "bf16", "fp16")
RESERVED = ("reference", "reference val", "average")


def declare_study(
    name: Any,
    reference: Any,
    shifts: Any,
    models: Any,
    baseline: Any,
    metrics: Any = (),
    claims: Any = (),
    references: Any = None,
    precision: Any = "32",
) -> Study:
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
    require_choice(f"the precision of {name!r}", precision, PRECISIONS)
    references = {} if references is None else references
    _check_distributions(name, "shift", shifts)
    _check_distributions(name, "reference", references)
    if shared := sorted(set(shifts) & set(references)):
        raise DeclarationError(f"{shared[0]!r} is a shift and a reference of {name!r}: it is one of them.")
    if not isinstance(models, Mapping) or not any(models.values()):
        raise DeclarationError(
            f"the study {name!r} declares no models: expected models() to return {{group: [recipe, ...]}} with at least "
            f"one recipe, got {models!r}."
        )
    named = tuple(_named(models))
    published = baseline if isinstance(baseline, PublishedBaseline) else None
    if published is not None:
        baseline = _checked_published(name, published, shifts, models)
    elif baseline is not None and baseline not in models:
        raise DeclarationError(
            f"the baseline group of {name!r} is {baseline!r}, which does not exist: the groups are {', '.join(map(repr, models))}."
        )
    if isinstance(metrics, (str, Metric)):
        raise DeclarationError(
            f'the metrics of {name!r} are {metrics!r}: expected a list of names or metrics, metrics = ("macro-f1",).'
        )
    requested = (requested_metric(metric, where=f"the study {name!r}") for metric in metrics)
    study = Study(name, reference, tuple(shifts.items()), named, baseline, tuple(dict.fromkeys(requested)), published=published)
    return replace(study, claims=_checked_claims(study, claims), references=tuple(references.items()), precision=str(precision))


def _check_distributions(study: str, kind: str, found: Any) -> None:
    if not isinstance(found, Mapping):
        raise DeclarationError(f"the {kind}s of {study!r} are a {type(found).__name__}: expected {{name: distribution}}.")
    for name, distribution in found.items():
        if not isinstance(distribution, Distribution):
            raise DeclarationError(
                f"the {kind} {name!r} of {study!r} is a {type(distribution).__name__}: expected a distribution, for "
                "example reference.test.shifted(Blur(2))."
            )
        if name in RESERVED:
            raise DeclarationError(f"a {kind} cannot be named {name!r}: the results use the names {', '.join(RESERVED)}.")


def _checked_claims(study: Study, claims: Any) -> tuple[Claim, ...]:
    """Return the claims of a study, whose names exist and which its declaration can answer."""
    claims = list(claims)
    for claim in claims:
        if not isinstance(claim, Claim):
            raise DeclarationError(f"the claims of {study.name!r} hold {claim!r}: expected sl.Claim(text, condition).")
        for quantity in claim.quantities():
            if reason := _unanswerable(study, quantity):
                raise DeclarationError(f"the claim {claim.text!r} of {study.name!r} {reason}")
    texts = [claim.text for claim in claims]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise DeclarationError(f"two claims of {study.name!r} say {twice!r}: each is said once.")
    return tuple(claims)


def _unanswerable(study: Study, quantity: Quantity) -> str:
    """Return why a study cannot have a number; nothing if it can."""
    shifts = [name for name, _ in study.shifts]
    places = [*shifts, *([AVERAGE] if shifts and quantity.kind != "r2" else [])]
    places += [REFERENCE] if quantity.kind == "accuracy" else []
    if quantity.kind != "accuracy" and study.baseline is None:
        return "needs a line, and the study has none: declare a baseline."
    if quantity.on not in places:
        return f"is about {quantity.on!r}: expected one of {', '.join(map(repr, places)) or 'the shifts, of which there are none'}."
    group, at, choice = quantity.of.rpartition("@")
    models = {named.model for named in study.models} | {*study.groups}
    if quantity.kind == "r2" or quantity.of in models:
        return ""
    if at and choice in (VALIDATED, ORACLE) and group in study.groups:
        if any("alpha" not in named.expression.attributes() for named in study.models if named.group == group):
            return f"is about {quantity.of!r}, and the group {group!r} has no mixing coefficients."
        if choice == VALIDATED and study.reference.val is None:
            return f"is about {quantity.of!r}, and the reference has no val split to choose on."
        return ""
    known = ", ".join(map(repr, study.groups))
    return (
        f"is about {quantity.of!r}, which is no model or group{near(quantity.of, models)} "
        f"Groups are {known}; of a curve GROUP@{VALIDATED} or GROUP@{ORACLE}."
    )


def _checked_published(name: str, published: PublishedBaseline, shifts: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """Return the group of a published baseline."""
    if published.group in models:
        raise DeclarationError(
            f"the study {name!r} has a group {published.group!r}, and so has its baseline table: give one of them another name, "
            'baseline_table(group="testbed").'
        )
    columns = [published.shifts, () if isinstance(published.reference, str) else published.reference]
    for shift, column in (pair for pairs in columns for pair in pairs):
        if shift not in shifts:
            raise DeclarationError(
                f"the baseline table of {name!r} names the column {column!r} for {shift!r}, which is no shift of the study: the "
                f"shifts are {', '.join(map(repr, shifts)) or 'none'}."
            )
    return published.group


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
