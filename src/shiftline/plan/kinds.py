"""What a model will be, read from its expression: architecture, features, head; and whether models can be mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shiftline.declare.architectures import Leaf
from shiftline.declare.expressions import Model, children, describe, leaves_of
from shiftline.declare.recipes import LinearProbe, Published, Stored, ZeroShot
from shiftline.declare.sweeps import Best, Unresolved
from shiftline.declare.training import FineTune, FromScratch
from shiftline.declare.weight_space import WithHead
from shiftline.errors import DeclarationError
from shiftline.plan.records import LeafRecord

Records = Mapping[Leaf | Stored, LeafRecord]


def check_members(members: list[Model], leaves: Records, reference_classes: tuple[str, ...] | None) -> None:
    """Refuse to mix the weights of models that are not of one kind; with classes (the reference's), their heads too."""
    first, *others = [variant for member in members for variant in _variants(member)]
    for other in others:
        a, b = record_of(first, leaves), record_of(other, leaves)
        pairs: list[tuple[str, object, object]] = [
            ("architecture", _architecture(a), _architecture(b)),
            ("features", features_of(first, leaves), features_of(other, leaves)),
            ("preprocessing", dict(a.preprocessing), dict(b.preprocessing)),
        ]
        if reference_classes is not None:
            one, two = head_of(first, leaves, reference_classes), head_of(other, leaves, reference_classes)
            pairs.append(("number of classes", one.count, two.count))
            # A head that was trained anew has no names and templates: it may be mixed with a zero-shot one.
            if one.classes and two.classes:
                pairs += [("classes", one.classes, two.classes), ("templates", one.templates, two.templates)]
        for what, left, right in pairs:
            if left != right:
                raise DeclarationError(
                    f"the weights of two models cannot be mixed, they differ in {what}: {describe(first)} has {left}, "
                    f"{describe(other)} has {right}. Weights can be mixed only between models of one {what}."
                )


def _variants(model: Model) -> list[Model]:
    """Return what an expression may turn out to be: for a selection, every candidate."""
    if isinstance(model, Best):
        return [variant for candidate in model.candidates for variant in _variants(candidate)]
    return _variants(model.of) if isinstance(model, Unresolved) else [model]


def record_of(model: Model, leaves: Records) -> LeafRecord:
    """Return what is known of the architecture that an expression ends in (of its first branch)."""
    step = model
    while not isinstance(step, Stored):
        if (leaf := next(leaves_of(step), None)) is not None:
            return leaves[leaf]
        step = next(children(step))
    return leaves[step]


def _architecture(record: LeafRecord) -> tuple[object, ...]:
    return (record.library, record.architecture, dict(record.arguments))


def features_of(model: Model | Leaf, leaves: Records) -> str:
    """What a model's head sees: "embedding" (projected, of length one), "backbone", or "plain" where there is one kind."""
    if isinstance(model, Leaf):
        return "embedding" if leaves[model].text else "plain"
    if isinstance(model, Stored):
        return str(leaves[model].features)
    if isinstance(model, (FromScratch, Published)):
        return "plain"
    if isinstance(model, ZeroShot):
        return "embedding"
    if isinstance(model, (FineTune, LinearProbe)):
        origin = features_of(model.init, leaves)
        return origin if model.features == "keep" or origin == "plain" else str(model.features)
    return features_of(next(children(model)), leaves)


@dataclass(frozen=True)
class Head:
    """The head of a model: its number of classes, and the names and templates of one that a text tower wrote."""

    count: int
    classes: tuple[object, ...] = ()
    templates: object = ()


def head_of(model: Model, leaves: Records, reference_classes: tuple[str, ...]) -> Head:
    """Return what is known of a model's head before it is made."""
    if isinstance(model, ZeroShot):
        names = reference_classes if model.classes is None else model.classes
        return Head(len(names), tuple((n,) if isinstance(n, str) else tuple(n) for n in names), model.templates)
    if isinstance(model, Published) and (classes := leaves[model.model].num_classes) is not None:
        return Head(classes)
    if isinstance(model, Stored):
        record = leaves[model]
        assert record.num_classes is not None
        return Head(record.num_classes, record.classes, record.templates)
    new_head = isinstance(model, FineTune) and (model.head == "random" or isinstance(model.init, Leaf))
    if new_head or isinstance(model, (FromScratch, LinearProbe, Published)):
        return Head(len(reference_classes))
    if isinstance(model, WithHead):
        return head_of(model.head, leaves, reference_classes)
    return head_of(next(children(model)), leaves, reference_classes)
