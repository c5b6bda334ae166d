"""Everything about a study that can be found wrong before time is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import ClassRates, Distribution, Fraction, Indices, Shifted, Split
from shiftline.declare.recipes import (
    Best,
    FineTune,
    FromScratch,
    Interpolate,
    LinearProbe,
    Model,
    ZeroShot,
    children,
    describe,
    leaf,
)
from shiftline.declare.study import Study
from shiftline.errors import DeclarationError, PlanError
from shiftline.plan.records import LeafRecord, SplitRecord


def sources(study: Study) -> list[Split]:
    """Return every split that a study reads, each once."""
    found = [distribution.source for _, distribution in study.evaluated()]
    found.append(study.reference.train.source)
    trained_on = (getattr(model, "train_on", None) for model in expressions(study))
    found += [distribution.source for distribution in trained_on if distribution is not None]
    return list(dict.fromkeys(found))


def leaves(study: Study) -> list[Leaf]:
    """Return every architecture and set of weights that a study uses, each once."""
    found: list[Leaf] = []
    for model in expressions(study):
        found += [value for value in vars(model).values() if isinstance(value, Leaf)]
    return list(dict.fromkeys(found))


def expressions(study: Study) -> Iterator[Model]:
    """Yield every model expression of a study and everything below it, each once."""
    seen: set[Model] = set()
    pending = [named.expression for named in study.models]
    while pending:
        model = pending.pop()
        if model not in seen:
            seen.add(model)
            yield model
            pending += children(model)


def count(distribution: Distribution, splits: Mapping[Split, SplitRecord]) -> int:
    """Number of examples of a distribution, as far as the records tell (an upper bound below class rates)."""
    if isinstance(distribution, Split):
        return splits[distribution].count
    below: int = count(distribution.of, splits)  # type: ignore[attr-defined]
    if isinstance(distribution, Fraction):
        return round(distribution.share * below)
    if isinstance(distribution, Indices):
        kept = _kept_ids(distribution) or frozenset()
        return min(below, len(kept))
    if isinstance(distribution, ClassRates) and isinstance(_pixels_aside(distribution.of), Split):
        # Labels decide; over a whole split they are known. Over a part they are counted before the first job.
        pairs = zip(distribution.rates, splits[distribution.source].class_counts, strict=False)
        scale = min((n / rate for rate, n in pairs if rate > 0), default=0.0)
        return sum(int(scale * rate + 1e-9) for rate in distribution.rates)
    return below


def _pixels_aside(distribution: Distribution) -> Distribution:
    """Return the expression below shifts, which change pixels and keep examples."""
    while isinstance(distribution, Shifted):
        distribution = distribution.of
    return distribution


def check_study(study: Study, *, splits: Mapping[Split, SplitRecord], leaves: Mapping[Leaf, LeafRecord]) -> None:
    """Check a study against the records of its data and weights.

    Raises
    ------
    DeclarationError, PlanError
        With one message that says what is wrong and what to do.
    """
    classes = splits[study.reference.train.source].classes
    for name, distribution in (("reference train", study.reference.train), *study.evaluated()):
        _check_distribution(name, distribution, splits)
        _check_label_space(name, distribution, classes, study, splits)
    for name, distribution in study.evaluated():
        _check_disjoint(name, distribution, study.reference.train, splits)
    for name, distribution in (("reference", study.reference.test), *study.shifts):
        _check_disjoint(name, distribution, study.reference.val, splits)
    for model in expressions(study):
        _check_model(model, study, splits, leaves, len(classes))
    for named in study.models:
        if named.group == study.baseline and any(getattr(m, "other_data", False) for m in _below(named.expression)):
            raise DeclarationError(
                f"the baseline group {study.baseline!r} holds {named.model!r}, which reads other data than the "
                "reference: the line says what reference accuracy alone predicts. Move it to another group."
            )


def _below(model: Model) -> Iterator[Model]:
    yield model
    for child in children(model):
        yield from _below(child)


def _check_distribution(name: str, distribution: Distribution, splits: Mapping[Split, SplitRecord]) -> None:
    record = splits[distribution.source]
    if count(distribution, splits) < 1:
        raise PlanError(
            f"{name} ({distribution}) is empty: {distribution.source} has {record.count} examples. Keep more of them."
        )
    step: Distribution = distribution
    while not isinstance(step, Split):
        if isinstance(step, ClassRates) and len(step.rates) != len(record.classes):
            raise DeclarationError(
                f"{name}: class_rates has {len(step.rates)} rates, {distribution.source} has {len(record.classes)} "
                f"classes ({', '.join(record.classes[:12])}): give one rate per class."
            )
        if isinstance(step, ClassRates):
            gone = [
                c for c, r, n in zip(record.classes, step.rates, record.class_counts, strict=True) if r > 0 and n == 0
            ]
            if gone:
                raise PlanError(
                    f"{name}: class_rates asks for {gone[0]!r}, of which {distribution.source} has no example."
                )
        if isinstance(step, Indices) and max(step.ids) >= record.count:
            raise DeclarationError(
                f"{name}: indices() asks for id {max(step.ids)}, {distribution.source} has ids 0 to {record.count - 1}."
            )
        step = step.of  # type: ignore[attr-defined]


def _check_label_space(
    name: str, distribution: Distribution, classes: tuple[str, ...], study: Study, splits: Mapping[Split, SplitRecord]
) -> None:
    found = splits[distribution.source].classes
    if found != classes:
        raise DeclarationError(
            f"{name} ({distribution.source}) has {len(found)} classes ({', '.join(found[:5])}, ...), the reference "
            f"({study.reference.train.source}) has {len(classes)} ({', '.join(classes[:5])}, ...): both axes of a panel "
            "need one label space. Write the data with the reference's classes in the reference's order."
        )


def _kept_ids(distribution: Distribution) -> frozenset[int] | None:
    """The ids that an expression can contain, where indices() says so; None for any."""
    if isinstance(distribution, Split):
        return None
    below = _kept_ids(distribution.of)  # type: ignore[attr-defined]
    if isinstance(distribution, Indices):
        ids = frozenset(distribution.ids)
        return ids if below is None else ids & below
    return below


def _check_disjoint(
    name: str, evaluated: Distribution, used: Distribution, splits: Mapping[Split, SplitRecord]
) -> None:
    """Refuse an evaluation on examples that training or selection may have seen."""
    first, second = evaluated.source, used.source
    if first != second and splits[first].fingerprint != splits[second].fingerprint:
        return
    ids, seen = _kept_ids(evaluated), _kept_ids(used)
    if ids is None or seen is None or ids & seen:
        raise DeclarationError(
            f"{name} ({evaluated}) and {used} share examples of {second}: a model would be scored on what it was "
            "trained or selected on. Use another split, or two disjoint indices() of this one."
        )


def _check_model(
    model: Model,
    study: Study,
    splits: Mapping[Split, SplitRecord],
    leaves: Mapping[Leaf, LeafRecord],
    classes: int,
) -> None:
    if isinstance(model, (FromScratch, FineTune, LinearProbe)):
        _check_training_data(model, study, splits)
    if isinstance(model, (FromScratch, FineTune)):
        train_on = model.train_on or study.reference.train
        available = count(train_on, splits)
        if available < model.batch_size:
            raise PlanError(
                f"{describe(model)}: {train_on} has {available} examples, fewer than one batch of {model.batch_size}. "
                f"Set batch_size to {available} or less, or keep more examples."
            )
    if isinstance(model, (FineTune, LinearProbe)) and isinstance(model.init, Leaf):
        _check_has_weights(model, model.init, leaves)
    if isinstance(model, ZeroShot):
        record = leaves[model.model]
        if not record.text:
            raise DeclarationError(
                f"{describe(model)}: {model.model} has no text tower to write a head with. Use open_clip(...) or "
                'glyph_clip(), or start a FineTune from it with head="random".'
            )
        _check_has_weights(model, model.model, leaves)
        if model.classes is not None and len(model.classes) != classes:
            raise DeclarationError(
                f"{describe(model)} names {len(model.classes)} classes, the data has {classes}: give one entry per class."
            )
    if isinstance(model, Interpolate):
        _check_ends(model, leaves)
    if isinstance(model, Best) and len(set(model.candidates)) < len(model.candidates):
        raise DeclarationError(f"{describe(model)}: a candidate is listed twice.")


def _check_training_data(
    model: FromScratch | FineTune | LinearProbe, study: Study, splits: Mapping[Split, SplitRecord]
) -> None:
    train_on = model.train_on
    if train_on is None:
        return
    _check_distribution(f"train_on of {describe(model)}", train_on, splits)
    _check_label_space(
        f"train_on of {describe(model)}", train_on, splits[study.reference.train.source].classes, study, splits
    )
    if not model.other_data and not _within(train_on, study.reference.train):
        raise DeclarationError(
            f"{describe(model)} trains on {train_on}, which is not (a subset of) the reference's train split "
            f"({study.reference.train}): training and selection read reference data only. If this is meant, say "
            "other_data=True: it is marked in every table and refused as baseline."
        )
    for name, evaluated in study.evaluated():
        _check_disjoint(name, evaluated, train_on, splits)


def _within(distribution: Distribution, reference: Distribution) -> bool:
    """The distribution is the reference's train split, or a subset of it with the same pixels."""
    step = distribution
    while step != reference:
        if not isinstance(step, (Fraction, Indices, ClassRates)):
            return False
        step = step.of
    return True


def _check_has_weights(model: Model, start: Leaf, leaves: Mapping[Leaf, LeafRecord]) -> None:
    if leaves[start].sha256 is None:
        raise DeclarationError(
            f"{describe(model)}: {start} has no pre-trained weights to start from. Train it with FromScratch({start!r}), "
            "or give a file: LocalWeights(architecture, path)."
        )


def _check_ends(model: Interpolate, leaves: Mapping[Leaf, LeafRecord]) -> None:
    start, end = leaves[leaf(model.start)], leaves[leaf(model.end)]
    for what, a, b in (
        ("architecture", _architecture(start), _architecture(end)),
        ("features", _features(model.start, start), _features(model.end, end)),
        ("preprocessing", dict(start.preprocessing), dict(end.preprocessing)),
        ("classes", _head(model.start, "classes"), _head(model.end, "classes")),
        ("templates", _head(model.start, "templates"), _head(model.end, "templates")),
    ):
        if a != b and not (what == "templates" and None in (a, b)):
            raise DeclarationError(
                f"the two ends of an interpolation differ in {what}: {describe(model.start)} has {a}, "
                f"{describe(model.end)} has {b}. Weights can be mixed only between models of one {what}."
            )


def _architecture(record: LeafRecord) -> tuple[object, ...]:
    return (record.library, record.architecture, dict(record.arguments))


def _features(model: Model, record: LeafRecord) -> str:
    """Whether the head of a model sees normalised features, as CLIP's do, or plain ones."""
    origin: Model | Leaf = model
    while not isinstance(origin, (Leaf, FromScratch, ZeroShot)):
        origin = getattr(origin, "init", None) or next(children(origin))
    return "normalised" if record.text and not isinstance(origin, FromScratch) else "plain"


def _head(model: Model, what: str) -> object:
    """The classes or templates that a model's head was written with; None for a head that was trained anew."""
    if isinstance(model, ZeroShot):
        return getattr(model, what)
    if isinstance(model, LinearProbe) or (isinstance(model, FineTune) and model.head == "random"):
        return None
    found = [_head(child, what) for child in children(model)]
    return next((value for value in found if value is not None), None)
