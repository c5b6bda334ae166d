"""The contract as checks on what a user wrote: `check_study` and `check_transform`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftline.declare.codec import decode, encode
from shiftline.declare.distributions import Distribution, Fraction, Reference, Shifted, Split
from shiftline.declare.expressions import Model, children, map_children
from shiftline.declare.study import Study
from shiftline.declare.sweeps import Best
from shiftline.declare.training import Checkpoint, Part, Trained
from shiftline.declare.transforms import Transform
from shiftline.declare.weight_space import FisherAverage, GreedySoup
from shiftline.errors import ShiftlineError
from shiftline.identity import Declaration
from shiftline.manager import ExperimentManager
from shiftline.plan.checks import count, stored
from shiftline.plan.records import SplitRecord
from shiftline.store.artifacts import Store

EXAMPLES = 40
"""Examples that are kept of every distribution."""


class ContractError(ShiftlineError, AssertionError):
    """Something that a user wrote breaks the contract."""


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
        _require(not untouched.exists(), "constructing or declaring the study wrote files: only verbs may.")
        first, second = study(**parameters), study(**parameters)
        declared = first.declaration()
        _require(
            declared == second.declaration(),
            "two studies made with the same parameters differ: models() must be a pure function of the parameters.",
        )
        for value in (declared.reference, *(d for _, d in declared.shifts), *(m.expression for m in declared.models)):
            _check_codec(value)
        tiny = _shrunken(first, declared, Path(folder))
        plan = tiny.plan()
        _require(list(plan.jobs) == list(tiny.plan().jobs), "planning twice gave different keys.")
        outcome = tiny.run()
        for key, error in outcome.failed.items():
            raise ContractError(f"{outcome.plan.jobs[key].label}: {error}")
        _require(not outcome.blocked, "some jobs were never run.")
        values = tiny.results()["value"]
        _require(bool(values.between(0, 1).all()), "an accuracy is missing or no fraction.")
        kinds = tuple(dict.fromkeys(job.kind for job in outcome.plan.jobs.values()))
        return StudyReport(len(outcome.plan.jobs), kinds, time.monotonic() - started)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _check_codec(value: Declaration) -> None:
    types = set(_own_types(value))
    _require(
        decode(encode(value), types=types) == value,
        f"{value!r} does not survive being written as JSON and read again: its fields must be plain values.",
    )


def _own_types(value: Any) -> list[type[Declaration]]:
    if isinstance(value, tuple):
        return [t for item in value for t in _own_types(item)]
    if not isinstance(value, Declaration):
        return []
    return [type(value), *(t for part in vars(value).values() for t in _own_types(part))]


def _shrunken(study: ExperimentManager, declared: Study, folder: Path) -> ExperimentManager:
    own_data = study.store.root / "data"
    if own_data.is_dir():
        (folder / "data").symlink_to(own_data.resolve())
    _link_stored(declared, study.store, folder)
    records = _records(declared, folder)

    reference = declared.reference

    def smaller(distribution: Distribution) -> Distribution:
        size = count(distribution, records)
        return Fraction(distribution, min(1.0, EXAMPLES / max(size, 1)))

    parts = {part: smaller(part) for part in (reference.train, reference.val) if part is not None}
    small = Reference(
        None if reference.train is None else parts[reference.train],
        None if reference.val is None else parts[reference.val],
        smaller(reference.test),
    )
    cuts = parts | {reference.test: small.test}

    def cut(distribution: Distribution) -> Distribution:
        """A part of a reference split becomes the smaller split: what lay within it still does."""
        for part in _chain(distribution):
            if part in cuts:
                return cuts[part]
            if isinstance(part, Shifted):
                break
        return smaller(distribution)

    def shrink(model: Model) -> Model:
        if isinstance(model, Checkpoint):
            return Checkpoint(shrink(model.run), 1)  # type: ignore[arg-type]
        model = map_children(model, shrink)
        fields = {field.name for field in dataclasses.fields(model)}  # type: ignore[arg-type]
        changes: dict[str, Any] = {}
        if "train_on" in fields:
            own = model.train_on if getattr(model, "other_data", False) else None  # type: ignore[attr-defined]
            changes["train_on"] = cut(own) if own else None
        if isinstance(model, Best):
            # One epoch can make two candidates equal.
            changes["candidates"] = tuple(dict.fromkeys(model.candidates))
            changes["on"] = tuple(held.replace(distribution=cut(held.distribution)) for held in model.on)
        if isinstance(model, GreedySoup) and model.on is not None:
            changes["on"] = cut(model.on)
        if isinstance(model, FisherAverage):
            changes["examples"] = min(model.examples, 8)
        if isinstance(model, Trained):
            changes |= {
                "epochs": 1, "steps": None, "batch_size": min(model.batch_size, 8), "accumulate": min(model.accumulate, 2),
                "save": (1,) if model.save else (),
            }  # fmt: skip
            if parts := getattr(model, "parts", ()):
                changes["parts"] = tuple(Part(cut(part.train_on), part.head) for part in parts)
        return model.replace(**changes)  # type: ignore[no-any-return]

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
        name = declared.name
        shifts = {name: smaller(distribution) for name, distribution in declared.shifts}
        baseline = declared.baseline if declared.baseline in kept else None
        threads = study.threads

        def models(self) -> dict[str, dict[str, Model]]:
            return kept

    Tiny.reference = small
    return Tiny(store=folder, quiet=True)


def _chain(distribution: Distribution) -> Iterator[Distribution]:
    """Yield a distribution and what it is made of."""
    step: Distribution | None = distribution
    while step is not None:
        yield step
        step = getattr(step, "of", None)


def _link_stored(declared: Study, own: Store, folder: Path) -> None:
    """Make the artifacts that a study names by key, and what they came from, visible in the temporary store."""
    pending = [model.key for model in stored(declared)]
    while pending:
        key = pending.pop()
        target = Store(folder).path(key)
        if own.has(key) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(own.path(key).resolve())
            pending += own.manifest(key).document["parents"]


def _records(declared: Study, folder: Path) -> dict[Split, SplitRecord]:
    from shiftline.data.prepare import split_records
    from shiftline.data.sidecar import DataFolder
    from shiftline.plan.checks import sources

    return split_records(DataFolder(folder / "data"), sources(declared))


def _shape(model: Model) -> Any:
    """The operations of an expression, without their settings."""
    return (type(model).__name__, tuple(_shape(child) for child in children(model))[:2])


def check_transform(transform: Transform, *, size: int = 16) -> None:
    """Check a transform on random images: same shape and type, deterministic, independent of the batch.

    Raises
    ------
    ContractError
        It breaks the contract.
    """
    import torch

    from shiftline.data.pixels import apply_transforms

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=generator)
    labels, ids = torch.arange(6) % 3, torch.arange(100, 106)
    before = images.clone()
    apply: Callable[..., torch.Tensor] = lambda *batch: apply_transforms([transform], *batch)  # noqa: E731
    whole = apply(images, labels, ids)
    name = f"the transform {type(transform).tag!r}"
    _require(torch.equal(images, before), f"{name} changed the images that it was given: work on a copy.")
    _require(
        torch.equal(whole, apply(images, labels, ids)),
        f"{name} gives other pixels the second time: use ids and a seed.",
    )
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    _require(
        torch.equal(apply(images[order], labels[order], ids[order]), whole[order]),
        f"{name} depends on the order of the batch: an example's pixels must be a function of its image, label and id.",
    )
    alone = torch.cat([apply(images[i : i + 1], labels[i : i + 1], ids[i : i + 1]) for i in range(6)])
    _require(torch.equal(alone, whole), f"{name} depends on the rest of the batch: compute per image.")
    _check_codec(transform)
