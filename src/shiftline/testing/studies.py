"""The contract of studies: a small version of each kind of job, run in seconds."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftline.contracts.distributions import Distribution, Fraction, Shifted, Split
from shiftline.contracts.models import Model, children
from shiftline.contracts.records import SplitRecord
from shiftline.contracts.reference import Reference
from shiftline.contracts.study import Study
from shiftline.data.sidecar import DataFolder
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.prepare import split_records
from shiftline.plan.checks import named_keys, sources
from shiftline.store.artifacts import Store
from shiftline.study import ExperimentManager
from shiftline.testing.contract import ContractError, require_contract
from shiftline.testing.declarations import check_declaration

EXAMPLES = 40
"""Examples that are kept of every distribution."""


@dataclass(frozen=True)
class StudyReport:
    """What `check_study` ran.

    Attributes
    ----------
    jobs : int
        Jobs of the shrunken study, all of which were run.
    kinds : tuple of str
    seconds : float
    """

    jobs: int
    kinds: tuple[str, ...]
    seconds: float


def check_study(study: type[ExperimentManager], **parameters: Any) -> StudyReport:
    """Check a study in seconds: declaration, identity, plan, and one tiny job of each kind.

    Every distribution is cut to some forty examples, every training to one epoch, and one model of each shape of
    recipe is kept (three of the baseline). It runs in a temporary store; data that the study's own store holds are read.

    Parameters
    ----------
    study : class
        A subclass of ExperimentManager.
    parameters
        For its constructor, `store` included where its data are not built in.

    Raises
    ------
    ContractError
        The study breaks the contract.
    ShiftlineError
        The study cannot be carried out: the message says why.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shiftline-check-") as folder:
        untouched = Path(folder) / "untouched"
        study(**parameters | {"store": untouched}).declaration()
        require_contract(not untouched.exists(), "constructing or declaring the study wrote files: only verbs may.")
        first, second = study(**parameters), study(**parameters)
        declared = first.declaration()
        require_contract(
            declared == second.declaration(),
            "two studies made with the same parameters differ: models() must be a pure function of the parameters.",
        )
        for value in (declared.reference, *(d for _, d in declared.shifts), *(m.expression for m in declared.models)):
            check_declaration(value)
        tiny = _shrunken(first, declared, Path(folder))
        plan = tiny.plan()
        require_contract(list(plan.jobs) == list(tiny.plan().jobs), "planning twice gave different keys.")
        outcome = tiny.run()
        for key, error in outcome.failed.items():
            raise ContractError(f"{outcome.plan.jobs[key].label}: {error}")
        require_contract(not outcome.blocked, "some jobs were never run.")
        table = tiny.results()
        shares = table["metric"].map(table.attrs["units"]) == "%"
        require_contract(bool(table["value"].notna().all()), "a score is missing.")
        require_contract(bool(table.loc[shares, "value"].between(0, 1).all()), "a metric that is shown as percent is no fraction.")
        kinds = tuple(dict.fromkeys(job.kind for job in outcome.plan.jobs.values()))
        return StudyReport(len(outcome.plan.jobs), kinds, time.monotonic() - started)


def _shrunken(study: ExperimentManager, declared: Study, folder: Path) -> ExperimentManager:
    own_data = study.store.root / "data"
    if own_data.is_dir():
        (folder / "data").symlink_to(own_data.resolve())
    _link_stored(declared, study.store, folder)
    records = _records(declared, folder)

    reference = declared.reference

    def smaller(distribution: Distribution) -> Distribution:
        return Fraction(distribution, min(1.0, EXAMPLES / max(distribution.count(records), 1)))

    cuts = {split: smaller(split) for split in (reference.train, reference.val) if split is not None}
    small = Reference(
        None if reference.train is None else cuts[reference.train],
        None if reference.val is None else cuts[reference.val],
        smaller(reference.test),
    )
    cuts |= {reference.test: small.test}

    def cut(distribution: Distribution) -> Distribution:
        """A subset of a reference split becomes the smaller split: what lay within it still does."""
        for step in distribution.chain():
            if step in cuts:
                return cuts[step]
            if isinstance(step, Shifted):
                break
        return smaller(distribution)

    def shrink(model: Model) -> Model:
        return model.shrunken(shrink, cut)

    kept: dict[str, dict[str, Model]] = {}
    shapes: dict[Any, int] = {}
    seen: set[Model] = set()
    for named in declared.models:
        shape = (named.group == declared.baseline, _shape(named.expression))
        shapes[shape] = shapes.get(shape, 0) + 1
        small_model = shrink(named.expression)
        limit = 3 if named.group == declared.baseline else 1
        if shapes[shape] <= limit and small_model not in seen:
            seen.add(small_model)
            kept.setdefault(named.group, {})[named.model] = small_model

    class Tiny(ExperimentManager):
        __module__ = type(study).__module__  # Whose data sets it knows too.
        name = declared.name
        metrics = declared.metrics
        shifts = {name: smaller(distribution) for name, distribution in declared.shifts}
        baseline = declared.baseline if declared.baseline in kept else None
        threads = study.threads

        def models(self) -> dict[str, dict[str, Model]]:
            return kept

    Tiny.reference = small
    return Tiny(store=folder, quiet=True)


def _link_stored(declared: Study, own: Store, folder: Path) -> None:
    """Make the artifacts that a study names by key, and what they came from, visible in the temporary store."""
    pending = named_keys(declared)
    while pending:
        key = pending.pop()
        target = Store(folder).path(key)
        if own.has(key) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(own.path(key).resolve())
            pending += own.manifest(key).document["parents"]


def _records(declared: Study, folder: Path) -> dict[Split, SplitRecord]:
    known = catalogue(*declared.families) if declared.families else None
    return split_records(DataFolder(folder / "data"), sources(declared), known=known)


def _shape(model: Model) -> Any:
    """The operations of an expression, without their settings."""
    return (type(model).__name__, tuple(_shape(child) for child in children(model))[:2])
