"""Everything about a study that can be found wrong before time is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shiftline.declare.architectures import Leaf
from shiftline.declare.distributions import (
    ClassRates,
    ClassShares,
    Cropped,
    Distribution,
    FewShot,
    Fraction,
    GroupRates,
    Indices,
    InLabelSpace,
    LabelNoise,
    Reference,
    Shifted,
    Split,
)
from shiftline.declare.expressions import Model, describe, distinct, leaves_of
from shiftline.declare.metrics import FRAMES, GROUPED
from shiftline.declare.output_space import Ensemble
from shiftline.declare.recipes import DFR, LinearProbe, Published, Stored, ZeroShot
from shiftline.declare.study import Study
from shiftline.declare.support import SupportModel
from shiftline.declare.sweeps import Best, Unresolved
from shiftline.declare.training import FineTune, Trained
from shiftline.declare.weight_space import Combine, FisherAverage, GreedySoup, Interpolate, WithHead
from shiftline.errors import DeclarationError, PlanError
from shiftline.plan.kinds import Records, check_members, features_of, head_of, record_of
from shiftline.plan.records import SplitRecord
from shiftline.plan.spaces import scorings


def sources(study: Study) -> list[Split]:
    """Return every split that a study reads, each once."""
    found = [distribution.source for _, distribution in study.evaluated()]
    found += [where.classes_of for _, where in study.evaluated() if where.classes_of is not None]
    found += [where.support.split.reference.source for _, where in study.shifts if where.support is not None]
    found.append(study.reference.labelled)
    for model in expressions(study):
        found += [distribution.source for distribution in model.data(study.reference).values()]
    return list(dict.fromkeys(found))


def leaves(study: Study) -> list[Leaf]:
    """Return every architecture and set of weights that a study uses, each once."""
    return list(dict.fromkeys(leaf for model in expressions(study) for leaf in leaves_of(model)))


def stored(study: Study) -> list[Stored]:
    """Return every model that a study knows by its key alone, each once."""
    return [model for model in expressions(study) if isinstance(model, Stored)]


def named_keys(study: Study) -> list[str]:
    """Return the keys of every artifact that a study names: models, and Fisher information."""
    estimates = [key for model in expressions(study) if isinstance(model, FisherAverage) for key in model.estimates]
    return [*(model.key for model in stored(study)), *estimates]


def expressions(study: Study) -> Iterator[Model]:
    """Yield every model expression of a study and everything below it, each once."""
    parts = [where.support for _, where in study.shifts if where.support is not None]
    return distinct(*(named.expression for named in study.models), *parts)


def count(distribution: Distribution, splits: Mapping[Split, SplitRecord]) -> int:
    """Number of examples of a distribution, as far as the records tell (an upper bound below class rates)."""
    if isinstance(distribution, Split):
        return splits[distribution].count
    whole: int = count(distribution.of, splits)  # type: ignore[attr-defined]
    if isinstance(distribution, Fraction):
        return round(distribution.share * whole)
    if isinstance(distribution, FewShot):
        return min(whole, distribution.per_class * len(splits[distribution.source].classes))
    if isinstance(distribution, Indices):
        kept = _kept_ids(distribution) or frozenset()
        return min(whole, len(kept))
    if isinstance(distribution, ClassShares) and isinstance(_pixels_aside(distribution.of), Split):
        of_class = zip(distribution.shares, splits[distribution.source].class_counts, strict=False)
        return sum(int(share * n + 1e-9) for share, n in of_class)
    if isinstance(distribution, ClassRates) and isinstance(_pixels_aside(distribution.of), Split):
        # Labels decide; over a whole split they are known. Over a part they are counted before the first job.
        pairs = zip(distribution.rates, splits[distribution.source].class_counts, strict=False)
        scale = min((n / rate for rate, n in pairs if rate > 0), default=0.0)
        return sum(int(scale * rate + 1e-9) for rate in distribution.rates)
    return whole


def _pixels_aside(distribution: Distribution) -> Distribution:
    """Return the expression below shifts and label noise, which keep all examples."""
    while isinstance(distribution, (Shifted, Cropped, LabelNoise, InLabelSpace)):
        distribution = distribution.of
    return distribution


def reads_other_data(model: Model, reference: Reference, leaves: Records) -> bool:
    """Something in an expression is trained on data that are not the reference's train split, or selected on other than val.

    Of a model that is known by its key, this is looked up in the store; of a file that was taken in nobody knows, and it counts.
    """
    for part in distinct(model):
        if isinstance(part, Stored):
            data = leaves[part].data
            if data is None or not all(_within(d, reference.train) or _within(d, reference.val) for d in data):
                return True
        elif isinstance(part, (Best, GreedySoup)):
            if not all(_within(where, reference.val) for where in part.data(reference).values()):
                return True
        elif getattr(part, "other_data", False):
            return True
    return False


def check_study(study: Study, *, splits: Mapping[Split, SplitRecord], leaves: Records) -> None:
    """Check a study against the records of its data and weights.

    Raises
    ------
    DeclarationError, PlanError
        With one message that says what is wrong and what to do.
    """
    classes = splits[study.reference.labelled].classes
    for name, distribution in (*_trained_on(study), *study.evaluated()):
        _check_distribution(name, distribution, splits)
    scorings(study, splits)
    _check_metrics(study, splits)
    for name, distribution in study.evaluated():
        if distribution.is_fresh:
            raise DeclarationError(
                f"{name} ({distribution}) is drawn anew in every epoch: only a training can do that. Leave fresh=True out."
            )
        if study.reference.train is not None:
            _check_disjoint(name, distribution, study.reference.train, splits)
    for name, distribution in (("reference", study.reference.test), *study.shifts):
        if study.reference.val is not None:
            _check_disjoint(name, distribution, study.reference.val, splits)
    _check_support(study, splits, leaves)
    for model in expressions(study):
        _check_data(model, study, splits, leaves)
        _check_model(model, study, splits, leaves, len(classes))
    for named in study.models:
        if named.group == study.baseline and reads_other_data(named.expression, study.reference, leaves):
            raise DeclarationError(
                f"the baseline group {study.baseline!r} holds {named.model!r}, which reads other data than the "
                "reference: the line says what reference accuracy alone predicts. Move it to another group."
            )


def _trained_on(study: Study) -> list[tuple[str, Distribution]]:
    return [] if study.reference.train is None else [("reference train", study.reference.train)]


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
        if isinstance(step, ClassShares) and len(step.shares) != len(record.classes):
            raise DeclarationError(
                f"{name}: class_shares has {len(step.shares)} shares, {distribution.source} has {len(record.classes)} classes: "
                "give one share per class."
            )
        if isinstance(step, ClassRates):
            gone = [
                c for c, r, n in zip(record.classes, step.rates, record.class_counts, strict=True) if r > 0 and n == 0
            ]
            if gone:
                raise PlanError(
                    f"{name}: class_rates asks for {gone[0]!r}, of which {distribution.source} has no example."
                )
        if isinstance(step, FewShot) and isinstance(_pixels_aside(step.of), Split):
            scarce, n = min(zip(record.classes, record.class_counts, strict=True), key=lambda pair: pair[1])
            if n < step.per_class:
                raise PlanError(
                    f"{name}: few_shot({step.per_class}) needs {step.per_class} examples of each class, {distribution.source} has "
                    f"{n} of {scarce!r}: keep fewer."
                )
        if isinstance(step, LabelNoise) and len(record.classes) < 2:
            raise DeclarationError(f"{name}: label_noise needs two classes or more, {distribution.source} has one.")
        if isinstance(step, Indices) and max(step.ids) >= record.count:
            raise DeclarationError(
                f"{name}: indices() asks for id {max(step.ids)}, {distribution.source} has ids 0 to {record.count - 1}."
            )
        step = step.of  # type: ignore[attr-defined]


def _check_support(study: Study, splits: Mapping[Split, SplitRecord], leaves: Records) -> None:
    """Check what parts of a shift's support are told by."""
    for name, where in study.evaluated():
        if where.support is not None and name in ("reference", "reference val"):
            raise DeclarationError(
                f"{name} is a part of a support: only shifts are split. Put in_support(...) on a shift."
            )
    for name, where in study.shifts:
        if (part := where.support) is None:
            continue
        init = part.split.classifier.init
        if isinstance(init, Model) and any(isinstance(below, (Best, Unresolved)) for below in distinct(init)):
            raise DeclarationError(
                f"{name}: the classifier of the support starts from a selection ({describe(init)}): name one model, so that every "
                "fold is known before anything is selected."
            )
        if part.split.reference.is_fresh:
            raise DeclarationError(
                f"{name}: {part.split.reference} is drawn anew in every epoch: leave fresh=True out."
            )
        if isinstance(init, Leaf):
            _check_has_weights(part, init, leaves)
        if not _within(part.split.reference, study.reference.train):
            raise DeclarationError(
                f"{name}: the support is told by {part.split.reference}, which is not (a subset of) the reference's train split "
                f"({study.reference.train}): the question is what that could have produced. Say SupportSplit(reference.train, ...)."
            )
        available = count(part.split.reference, splits)
        if part.split.size is not None and part.split.size > available:
            raise PlanError(
                f"{name}: SupportSplit.size asks for {part.split.size} reference examples, {part.split.reference} has {available}: "
                "ask for fewer."
            )
        if part.split.groups:
            for where in (part.split.reference, part.shifted):
                if not splits[where.source].grouped:
                    raise PlanError(
                        f"{name}: SupportSplit(groups=True), but {where.source} was written without groups: leave it out, or write "
                        "the data with a group per example."
                    )
        smaller = min(available, count(part.shifted, splits))
        if part.split.folds > smaller:
            raise PlanError(
                f"{name}: {part.split.folds} folds of {smaller} examples: every fold needs one of the reference and one of the "
                "shift. Take fewer folds."
            )


def metrics_of(record: SplitRecord, asked: tuple[str, ...], *, classes: int | None = None) -> tuple[str, ...]:
    """Return the metrics of a distribution: the data set's official ones first, accuracy, and those of the study that apply.

    Groups need data that were written with them, the top five more than five classes (of the label space).
    """
    many = (len(record.classes) if classes is None else classes) > 5
    usable = [m for m in asked if (m not in GROUPED or record.grouped) and (m != "top-5-accuracy" or many)]
    frames = any(metric in FRAMES for metric in record.metrics)
    return tuple(dict.fromkeys((*record.metrics, *(() if frames else ("accuracy",)), *usable)))


def _check_metrics(study: Study, splits: Mapping[Split, SplitRecord]) -> None:
    records = {name: splits[where.source] for name, where in study.evaluated()}
    for metric in study.metrics:
        if not any(metric in metrics_of(record, (metric,)) for record in records.values()):
            why = "has more than five classes" if metric == "top-5-accuracy" else "was written with groups"
            raise DeclarationError(
                f"{study.name!r} asks for {metric}, but none of its distributions {why} ({', '.join(records)})."
            )


def _check_label_space(
    name: str, distribution: Distribution, classes: tuple[str, ...], study: Study, splits: Mapping[Split, SplitRecord]
) -> None:
    found = splits[distribution.source].ids
    if found != classes:
        raise DeclarationError(
            f"{name} ({distribution.source}) has {len(found)} classes ({', '.join(found[:5])}, ...), the reference "
            f"({study.reference.labelled}) has {len(classes)} ({', '.join(classes[:5])}, ...): a model is trained and selected "
            "on the reference's classes. Write the data with these classes in this order."
        )


def _kept_ids(distribution: Distribution) -> frozenset[int] | None:
    """The ids that an expression can contain, where indices() says so; None for any."""
    if isinstance(distribution, Split):
        return None
    kept = _kept_ids(distribution.of)  # type: ignore[attr-defined]
    if isinstance(distribution, Indices):
        ids = frozenset(distribution.ids)
        return ids if kept is None else ids & kept
    return kept


def _check_disjoint(
    name: str, evaluated: Distribution, used: Distribution, splits: Mapping[Split, SplitRecord]
) -> None:
    """Refuse an evaluation on examples that training or selection may have seen."""
    first, second = evaluated.source, used.source
    if first != second and splits[first].fingerprint != splits[second].fingerprint:
        cut = (splits[first].listing, splits[second].listing)
        if first.dataset == second.dataset and all(cut) and cut[0] != cut[1]:
            raise DeclarationError(
                f"{first} and {second} were cut from different files: write both again, from one folder."
            )
        common = set(splits[first].parts) & set(splits[second].parts)
        if common:
            raise DeclarationError(
                f"{name} ({evaluated}) and {used} share the part {sorted(common)[0]!r}: a model would be scored "
                "on what it was trained or selected on. Use splits that do not overlap."
            )
        return
    ids, seen = _kept_ids(evaluated), _kept_ids(used)
    if ids is None or seen is None or ids & seen:
        raise DeclarationError(
            f"{name} ({evaluated}) and {used} share examples of {second}: a model would be scored on what it was "
            "trained or selected on. Use another split, or two disjoint indices() of this one."
        )


def check_predicted(
    model: Model, distribution: Distribution, study: Study, splits: Mapping[Split, SplitRecord], leaves: Records
) -> None:
    """Refuse to predict with a head of another number of classes than the data have."""
    if isinstance(model, Ensemble):
        return  # Its members are looked at.
    reference = splits[study.reference.labelled].classes
    # What is evaluated is scored in a label space made of the reference's classes.
    evaluated = any(where.predicted == distribution for _, where in study.evaluated())
    there = len(reference if evaluated else splits[distribution.source].classes)
    head = head_of(model, leaves, reference)
    if head.count != there:
        whose = "the reference" if evaluated else str(distribution)
        raise DeclarationError(
            f"{describe(model)} has a head of {head.count} classes, {whose} has {there}: put another head on it "
            '(WithHead, or a training with head="random"), or name one class per label.'
        )


def _check_data(model: Model, study: Study, splits: Mapping[Split, SplitRecord], leaves: Records) -> None:
    """Check the data that a model is trained or selected on."""
    if isinstance(model, SupportModel):
        return  # It tells distributions apart, and reads the shift for that: see `_check_support`.
    reference_classes = splits[study.reference.labelled].classes
    reference_ids = splits[study.reference.labelled].ids
    if isinstance(model, Stored):
        for distribution in leaves[model].data or ():
            if distribution.source in splits:
                for other, evaluated in study.evaluated():
                    if other != "reference val":
                        _check_disjoint(other, evaluated, distribution, splits)
        return
    selects = isinstance(model, (Best, GreedySoup))
    allowed = study.reference.val if selects else study.reference.train  # None where there is none.
    heads = _heads_of_data(model)
    for row, distribution in enumerate(model.data(study.reference).values()):
        if distribution == allowed and heads[row] is None:
            continue
        name = f"{'held-out data' if selects else 'train_on'} of {describe(model)}"
        _check_distribution(name, distribution, splits)
        if (head := heads[row]) is None:
            _check_label_space(name, distribution, reference_ids, study, splits)
        elif (count := head_of(head, leaves, reference_classes).count) != len(splits[distribution.source].classes):
            raise DeclarationError(
                f"{name} ({distribution}) has {len(splits[distribution.source].classes)} classes, its head {describe(head)} has "
                f"{count}: a task's head has one output per class of the task's data."
            )
        if distribution.is_fresh and not isinstance(model, Trained):
            raise DeclarationError(
                f"{name} ({distribution}) is drawn anew in every epoch, and this has no epochs. Leave fresh=True out."
            )
        within = _within(distribution, allowed)
        if not (within or selects or getattr(model, "other_data", False)):
            raise DeclarationError(
                f"{describe(model)} trains on {distribution}, which is not (a subset of) the reference's train split "
                f"({study.reference.train}): training and selection read reference data only. If this is meant, say "
                "other_data=True: it is marked in every table and refused as baseline."
            )
        for other, evaluated in study.evaluated():
            if not (within and selects and other == "reference val"):
                _check_disjoint(other, evaluated, distribution, splits)


def _heads_of_data(model: Model) -> list[Model | None]:
    """Return the heads through which a model's data are seen, where they are not those of the reference's classes."""
    if isinstance(model, Best):
        return [held.head for held in model.on] or [None]
    if isinstance(model, FineTune) and model.parts:
        return [part.head for part in model.parts]
    if isinstance(model, FineTune) and model.head == "keep" and isinstance(model.init, Model):
        return [model.init]
    return [None]


def _check_model(
    model: Model, study: Study, splits: Mapping[Split, SplitRecord], leaves: Records, classes: int
) -> None:
    if isinstance(model, Trained):
        for train_on in model.data(study.reference).values():
            available = count(train_on, splits)
            if available < model.batch_size:
                raise PlanError(
                    f"{describe(model)}: {train_on} has {available} examples, fewer than one batch of {model.batch_size}. "
                    f"Set batch_size to {available} or less, or keep more examples."
                )
    if isinstance(model, (FineTune, LinearProbe)):
        if isinstance(model.init, Leaf):
            _check_has_weights(model, model.init, leaves)
        if model.features == "backbone" and not record_of(model, leaves).backbone:
            raise DeclarationError(
                f"{describe(model)}: {record_of(model, leaves).architecture} gives its features only after the projection. Say "
                'features="embedding".'
            )
        if (
            model.features == "embedding"
            and isinstance(model.init, Model)
            and features_of(model.init, leaves) == "backbone"
        ):
            raise DeclarationError(
                f'{describe(model)} asks for features="embedding", but {describe(model.init)} has lost its projection: start from '
                "the leaf or a zero-shot model."
            )
    if isinstance(model, DFR) and model.groups == "metadata":
        (trained_on,) = model.data(study.reference).values()
        _check_grouped(describe(model), trained_on, splits)
    if isinstance(model, Best) and model.metric == "top-5-accuracy" and classes <= 5:
        raise DeclarationError(
            f"{describe(model)}: the top five of {classes} classes are all of them. Choose another metric."
        )
    if isinstance(model, Best) and model.metric in GROUPED:
        for distribution in model.data(study.reference).values():
            _check_grouped(describe(model), distribution, splits)
    if isinstance(model, DFR) and model.groups == "class" and classes < 2:
        raise DeclarationError(f"{describe(model)}: re-weighting groups needs two classes or more.")
    if isinstance(model, ZeroShot):
        record = leaves[model.model]
        if not record.text:
            raise DeclarationError(
                f"{describe(model)}: {model.model} has no text tower to write a head with. Use open_clip(...) or "
                'glyph_clip(), or start a FineTune from it with head="random".'
            )
        _check_has_weights(model, model.model, leaves)
    if isinstance(model, Published):
        _check_has_weights(model, model.model, leaves)
        if (found := leaves[model.model].num_classes) not in (None, classes):
            raise DeclarationError(
                f"{describe(model)} has a head of {found} classes, the reference has {classes}: only a classifier of its own "
                "classes is evaluated as it is. Fine-tune it under a new head, or name other weights."
            )
    names = splits[study.reference.labelled].classes
    if isinstance(model, Interpolate):
        check_members([model.start, model.end], leaves, names if model.part != "encoder" else None)
    if isinstance(model, (Combine, GreedySoup, FisherAverage)):
        check_members(list(model.members), leaves, names)
    if isinstance(model, WithHead):
        check_members([model.encoder, model.head], leaves, None)
    if isinstance(model, FineTune) and isinstance(model.init, Model):
        check_members([model.init, *(part.head for part in model.parts)], leaves, None)
    if isinstance(model, Best):
        for held in model.on:
            if held.head is not None:
                check_members([*model.candidates, held.head], leaves, None)
    if isinstance(model, Best) and len(set(model.candidates)) < len(model.candidates):
        raise DeclarationError(f"{describe(model)}: a candidate is listed twice.")


def _check_grouped(name: str, distribution: Distribution, splits: Mapping[Split, SplitRecord]) -> None:
    if not splits[distribution.source].grouped:
        raise DeclarationError(
            f"{name} reads the groups of {distribution.source}, which was written without: `shiftline data list` shows which have "
            "them."
        )


def _within(distribution: Distribution, reference: Distribution | None) -> bool:
    """The distribution is a reference split, or a subset of it with the same pixels."""
    step = distribution
    while step != reference:
        if not isinstance(step, (Fraction, Indices, ClassRates, ClassShares, GroupRates, FewShot, LabelNoise)):
            return False
        step = step.of
    return True


def _check_has_weights(model: Model, start: Leaf, leaves: Records) -> None:
    if leaves[start].sha256 is None:
        raise DeclarationError(
            f"{describe(model)}: {start} has no pre-trained weights to start from. Train it with FromScratch({start!r}), "
            "or give a file: LocalWeights(architecture, path)."
        )
