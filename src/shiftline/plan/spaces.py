"""In which classes each distribution of a study is scored, and the reference with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.identity import canonical, digest
from shiftline.contracts.label_spaces import LabelSpace, sub_list
from shiftline.contracts.records import SplitRecord
from shiftline.contracts.study import Study
from shiftline.errors import DeclarationError


@dataclass(frozen=True)
class Projection:
    """How predictions are brought into a label space.

    Attributes
    ----------
    name : str
        Of the space.
    count : int
        Number of its classes.
    outputs : tuple of int
        The class of the space for each of the reference's classes, -1 for none.
    labels : tuple of int
        The class of the space for each class of the scored data, -1 for none.
    """

    name: str
    count: int
    outputs: tuple[int, ...]
    labels: tuple[int, ...]

    def identity(self) -> str:
        """The digest of what it does; its name is left out."""
        return digest({"outputs": list(self.outputs), "labels": list(self.labels)})


@dataclass(frozen=True)
class Scoring:
    """The label space of an evaluated distribution.

    Attributes
    ----------
    space : str
        Its name: the reference's data set where the classes are the reference's own.
    own : Projection or None
        Of predictions on the distribution; None where its classes are the reference's.
    reference : Projection or None
        Of predictions on the reference.
    """

    space: str
    own: Projection | None = None
    reference: Projection | None = None


def scorings(study: Study, splits: Mapping[Split, SplitRecord]) -> dict[str, Scoring]:
    """Return how each evaluated distribution is scored, by its name in the study.

    Raises
    ------
    DeclarationError
        The classes of a shift cannot be related to the reference's.
    """
    whole = study.reference.labelled.dataset
    found: dict[str, Scoring] = {}
    names: dict[str, LabelSpace] = {}
    for name, distribution in study.evaluated():
        space = _space_of(name, distribution, study, splits)
        if space is None:
            found[name] = Scoring(whole)
            continue
        # Two spaces of one name are told apart by the shift that brought them, or by their content.
        choices = (space.name, name, f"{space.name} {digest(canonical(space))[:8]}")
        label = next(word for word in choices if word != whole and names.get(word, space).members == space.members)
        names[label] = space
        reference = splits[study.reference.labelled].ids
        outputs = space.indices(reference)
        own = Projection(label, len(space), outputs, space.indices(splits[distribution.source].ids))
        found[name] = Scoring(label, own, Projection(label, len(space), outputs, outputs))
    return found


def _space_of(name: str, distribution: Distribution, study: Study, splits: Mapping[Split, SplitRecord]) -> LabelSpace | None:
    reference, record = splits[study.reference.labelled], splits[distribution.source]
    space = distribution.label_space
    if (other := distribution.classes_of) is not None:
        space = splits[other].space or sub_list(other.dataset, splits[other].ids)
    if space is None:
        if record.ids == reference.ids:
            return None
        if name in ("reference", "reference val", *dict(study.references)):
            raise DeclarationError(
                f"{name} ({distribution.source}) has {_classes(record)}, {study.reference.labelled} has "
                f"{_classes(reference)}: all splits of a reference, and all references, have the same classes in the same order."
            )
        space = record.space if record.space is not None else sub_list(distribution.source.dataset, record.ids)
    where = f"{name} ({distribution.source}) is scored in the {len(space)} classes of {space.name!r}"
    absent = _absent(space, reference)
    if absent:
        advice = (
            "Say which classes mean the same: distribution.in_label_space(LabelSpace(name, ((id, ...), ...)))."
            if distribution.label_space is None
            else "Take the identifiers from the reference's classes."
        )
        raise DeclarationError(
            f"{where}, but the reference ({study.reference.labelled}, {_classes(reference)}) lacks {len(absent)} of them: "
            f"{', '.join(map(repr, absent[:5]))}. Both axes of a panel need one label space. {advice}"
        )
    if gone := _absent(space, record):
        raise DeclarationError(
            f"{where}, but {distribution.source} has no class {gone[0]!r}: it has {_classes(record)}. Take the identifiers from "
            "its classes, or leave that class out of the space."
        )
    return space


def _absent(space: LabelSpace, record: SplitRecord) -> list[str]:
    """Return the classes of a space, by their first member, of which a data set has no class."""
    there = set(record.ids)
    return [group[0] for group in space.members if not there.intersection(group)]


def _classes(record: SplitRecord) -> str:
    return f"{len(record.ids)} classes ({', '.join(record.ids[:3])}, ...)"
