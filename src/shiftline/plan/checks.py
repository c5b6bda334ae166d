"""Everything about a study that can be found wrong before time is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.metrics import Metric, accuracy
from shiftline.contracts.models import Model, backbones_of, describe, distinct
from shiftline.contracts.records import SplitRecord
from shiftline.contracts.require import counted
from shiftline.contracts.study import Study
from shiftline.errors import DeclarationError, PlanError
from shiftline.plan.facts import Facts
from shiftline.plan.spaces import scorings


def sources(study: Study) -> list[Split]:
    """Return every split that a study reads, each once."""
    found = [distribution.source for _, distribution in study.evaluated()]
    found += [where.classes_of for _, where in study.evaluated() if where.classes_of is not None]
    found.append(study.reference.labelled)
    for model in expressions(study):
        found += [distribution.source for distribution in model.data(study.reference).values()]
    return list(dict.fromkeys(found))


def backbones(study: Study) -> list[Backbone]:
    """Return every architecture and set of weights that a study uses, each once."""
    return list(dict.fromkeys(below for model in expressions(study) for below in backbones_of(model)))


def named_keys(study: Study) -> list[str]:
    """Return the keys of every artifact that a study names: models, and Fisher information."""
    return [key for model in expressions(study) for key in model.named_keys()]


def expressions(study: Study) -> Iterator[Model]:
    """Yield every model expression of a study and everything below it, each once."""
    subsets = [where.support for _, where in study.shifts if where.support is not None]
    return distinct(*(named.expression for named in study.models), *subsets)


def metrics_of(record: SplitRecord, requested: tuple[Metric, ...], *, classes: int | None = None) -> tuple[Metric, ...]:
    """Return the metrics of a distribution: the data set's official ones first, accuracy, and those of the study that apply.

    Parameters
    ----------
    classes : int, optional
        Of the label space; the record's own unless given.
    """
    official = record.official_metrics()
    count = len(record.classes) if classes is None else classes
    usable = [metric for metric in requested if not metric.lacks(classes=count, grouped=record.grouped)]
    plain = () if any(metric.replaces_accuracy for metric in official) else (accuracy(),)
    return tuple(dict.fromkeys((*official, *plain, *usable)))


def check_study(facts: Facts) -> None:
    """Check a study against the records of its data and weights.

    Raises
    ------
    DeclarationError, PlanError
        With one message that says what is wrong and what to do.
    """
    study, reference = facts.study, facts.study.reference
    trained_on = [] if reference.train is None else [("reference train", reference.train)]
    for name, distribution in (*trained_on, *study.evaluated()):
        check_distribution(name, distribution, facts.splits)
    scorings(study, facts.splits)
    _check_metrics(study, facts.splits)
    for name, distribution in study.evaluated():
        if distribution.is_fresh:
            raise DeclarationError(
                f"{name} ({distribution}) is drawn again in every epoch: only a training can do that. Leave fresh=True out."
            )
        if distribution.support is not None and name not in dict(study.shifts):
            raise DeclarationError(f"{name} is a subset by support: only shifts are split. Put in_support(...) on a shift.")
        if reference.train is not None:
            _check_disjoint(name, distribution, reference.train, facts.splits)
    for name, distribution in (("reference", reference.test), *study.references, *study.shifts):
        if reference.val is not None:
            _check_disjoint(name, distribution, reference.val, facts.splits)
    for model in expressions(study):
        _check_data(model, facts)
        model.check(facts)
    for named in study.models:
        if named.group == study.baseline and facts.reads_other_data(named.expression):
            raise DeclarationError(
                f"the baseline group {study.baseline!r} holds {named.model!r}, which reads other data than the "
                "reference: the line says what reference accuracy alone predicts. Move it to another group."
            )


def check_distribution(name: str, distribution: Distribution, splits: Mapping[Split, SplitRecord]) -> None:
    """Raise `DeclarationError` or `PlanError` where a distribution cannot be had of its source; `name` says whose it is."""
    record = splits[distribution.source]
    if distribution.count(splits) < 1:
        raise PlanError(f"{name} ({distribution}) is empty: {distribution.source} has {record.count} examples. Keep more of them.")
    for step in distribution.chain():
        step.check(name, record)


def _check_metrics(study: Study, splits: Mapping[Split, SplitRecord]) -> None:
    records = {name: splits[where.source] for name, where in study.evaluated()}
    for metric in study.metrics:
        reasons = [metric.lacks(classes=len(record.classes), grouped=record.grouped) for record in records.values()]
        if all(reasons):
            raise DeclarationError(
                f"{study.name!r} asks for {metric.name}, which needs data that {reasons[0]}: none of its distributions is such "
                f"({', '.join(records)})."
            )


def _check_label_space(name: str, distribution: Distribution, facts: Facts) -> None:
    found, classes = facts.source(distribution).ids, facts.labelled.ids
    if found != classes:
        raise DeclarationError(
            f"{name} ({distribution.source}) has {len(found)} classes ({', '.join(found[:5])}, ...), the reference "
            f"({facts.reference.labelled}) has {len(classes)} ({', '.join(classes[:5])}, ...): a model is trained and selected "
            "on the reference's classes. Write the data with these classes in this order."
        )


def _check_disjoint(name: str, evaluated: Distribution, used: Distribution, splits: Mapping[Split, SplitRecord]) -> None:
    """Refuse an evaluation on examples that training or selection may have seen."""
    first, second = evaluated.source, used.source
    if first != second and splits[first].fingerprint != splits[second].fingerprint:
        cut = (splits[first].listing, splits[second].listing)
        if first.dataset == second.dataset and all(cut) and cut[0] != cut[1]:
            raise DeclarationError(f"{first} and {second} were cut from different files: write both again, from one folder.")
        if common := set(splits[first].subsets) & set(splits[second].subsets):
            raise DeclarationError(
                f"{name} ({evaluated}) and {used} share the subset {sorted(common)[0]!r}: a model would be scored "
                "on what it was trained or selected on. Use splits that do not overlap."
            )
        _check_contents(name, first, second, splits)
        return
    if not evaluated.is_apart_from(used):
        raise DeclarationError(
            f"{name} ({evaluated}) and {used} share examples of {second}: a model would be scored on what it was "
            "trained or selected on. Use another split, or two of the parts() of this one."
        )


SHARED_SHARE = 0.01
"""Published data sets have some examples twice; a larger share of an evaluated split is a mistake in its listing."""


def _check_contents(name: str, evaluated: Split, used: Split, splits: Mapping[Split, SplitRecord]) -> None:
    """Refuse splits that were said to be disjoint and hold the same examples."""
    one, other = splits[evaluated], splits[used]
    shared = max(one.shares.get((str(used), other.fingerprint), 0), other.shares.get((str(evaluated), one.fingerprint), 0))
    if shared > SHARED_SHARE * one.count:
        raise DeclarationError(
            f"{name} ({evaluated}) and {used} share {counted(shared, 'example')} of {one.count:,}, byte for byte: a model would be "
            "scored on what it was trained or selected on. Correct the listing of the data set and write it again "
            f"(shiftline data write {evaluated.dataset} --again), or name other splits."
        )


def _check_data(model: Model, facts: Facts) -> None:
    """Check the data that a model is trained or selected on."""
    study = facts.study
    for distribution in model.trained_on(facts) or ():
        if distribution.source in facts.splits:
            for other, evaluated in study.evaluated():
                if other != "reference val":
                    _check_disjoint(other, evaluated, distribution, facts.splits)
    if model.tells_distributions_apart:
        return  # It reads the shift for that.
    allowed = study.reference.val if model.selects else study.reference.train  # None where there is none.
    for distribution, head in zip_longest(model.data(study.reference).values(), model.data_heads()):
        if distribution == allowed and head is None:
            continue
        name = f"{'held-out data' if model.selects else 'train_on'} of {describe(model)}"
        check_distribution(name, distribution, facts.splits)
        if head is None:
            _check_label_space(name, distribution, facts)
        elif (count := facts.head(head).count) != len(facts.source(distribution).classes):
            raise DeclarationError(
                f"{name} ({distribution}) has {len(facts.source(distribution).classes)} classes, its head {describe(head)} has "
                f"{count}: a task's head has one output per class of the task's data."
            )
        if distribution.is_fresh and not model.has_epochs:
            raise DeclarationError(
                f"{name} ({distribution}) is drawn again in every epoch, and this has no epochs. Leave fresh=True out."
            )
        within = distribution.within(allowed)
        if not (within or model.selects or model.reads_other_data):
            raise DeclarationError(
                f"{describe(model)} trains on {distribution}, which is not (a subset of) the reference's train split "
                f"({study.reference.train}): training and selection read reference data only. If this is meant, say "
                "other_data=True: it is marked in every table and refused as baseline."
            )
        for other, evaluated in study.evaluated():
            if not (within and model.selects and other == "reference val"):
                _check_disjoint(other, evaluated, distribution, facts.splits)
