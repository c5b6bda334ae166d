"""Jobs, and a plan as a directed graph of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.identity import canonical
from shiftline.contracts.metrics import Metric
from shiftline.contracts.models import Model
from shiftline.contracts.plugins import tagged
from shiftline.contracts.require import near
from shiftline.contracts.study import NamedModel, Study
from shiftline.errors import DeclarationError, PlanError
from shiftline.plan.facts import Facts
from shiftline.plan.spaces import Projection

PREDICT, SCORE, REPLICATE = "predict", "score", "replicate"
"""Kinds of jobs that plans are made of besides those of models: a network's predictions, a number, and what stands for trainings
that are known once a selection is made."""


@dataclass(frozen=True)
class Job:
    """A unit of work with one output.

    Attributes
    ----------
    key : str
        sha256 of `document`; the address of the output in the store.
    kind : str
        A model's, or one of `PREDICT`, `SCORE`, `REPLICATE`.
    document : mapping
        The JSON that identity is made of.
    parents : tuple of str
        Keys of the jobs whose outputs this one reads.
    label : str
        For people.
    model : Model or None
        What is trained, fitted, predicted or selected.
    distribution : Distribution or None
        What is trained or predicted on.
    deferred : bool
        It depends on a selection that has not been made: its key is provisional, and changes when the winner is known.
    projection : Projection or None
        Of a score: how predictions are brought into its label space.
    metric : Metric or None
        Of a score.
    is_evaluation : bool
        A prediction of a model on a distribution, or a score of one.
    shared : bool
        Several processes can work on it together.
    light : bool
        It takes a moment: many are put in one task of a cluster.
    """

    key: str
    kind: str
    document: Mapping[str, Any] = field(repr=False)
    parents: tuple[str, ...]
    label: str
    model: Model | None = None
    distribution: Distribution | None = None
    deferred: bool = False
    projection: Projection | None = None
    metric: Metric | None = None
    is_evaluation: bool = False
    shared: bool = False
    light: bool = False

    def fingerprint(self, distribution: Distribution) -> str | None:
        """Return the fingerprint that the data of a distribution had when the job was planned."""
        form = canonical(distribution)
        read = (data["fingerprint"] for data in self.document.get("data", {}).values() if data["of"] == form)
        return next(read, None)


@dataclass(frozen=True)
class PlannedScore:
    """One number that a study reports of a model.

    Attributes
    ----------
    distribution : str
        "reference", "reference val", a further reference or a shift.
    metric : Metric
    space : str
        The label space; the reference is scored in that of every shift.
    primary : bool
        It is the metric that stands for the distribution on an axis.
    key : str
    """

    distribution: str
    metric: Metric
    space: str
    primary: bool
    key: str


@dataclass(frozen=True)
class PlannedModel:
    """A named model with the keys of what is known about it.

    Attributes
    ----------
    expression : Model
        With every selection that has been made put in.
    key : str
        The artifact's key, or for an interpolation the digest of its form.
    artifact : str
        Key of what holds its weights; empty for a mixture that is stored nowhere.
    predictions : mapping
        Keys by name of the distribution ("reference", "reference val", and the shifts).
    scores : tuple of PlannedScore
    other_data : bool
        It is trained or selected on other data than the reference's train and val splits.
    order_unverified : bool
        Nobody knows which class each output of its head is of; their number agrees.
    """

    named: NamedModel
    expression: Model
    key: str
    artifact: str
    predictions: Mapping[str, str]
    scores: tuple[PlannedScore, ...]
    deferred: bool
    other_data: bool
    order_unverified: bool


@dataclass(frozen=True)
class Plan:
    """Every job of a study, parents first.

    Attributes
    ----------
    facts : Facts
        What it was planned from.
    jobs : mapping
        By key, in topological order.
    models : tuple of PlannedModel
        In the order of the study's declaration.
    artifacts : mapping
        Key of the artifact that holds the weights, by model expression.
    """

    facts: Facts
    jobs: Mapping[str, Job]
    models: tuple[PlannedModel, ...]
    artifacts: Mapping[Model, str]

    @property
    def study(self) -> Study:
        """The study that was planned."""
        return self.facts.study

    @property
    def deferred(self) -> bool:
        """Some jobs wait for a selection."""
        return any(job.deferred for job in self.jobs.values())

    def waves(self) -> list[list[Job]]:
        """Return the topological levels: every job of a wave depends on earlier waves only."""
        level: dict[str, int] = {}
        waves: list[list[Job]] = []
        for job in self.jobs.values():
            level[job.key] = 1 + max((level.get(parent, -1) for parent in job.parents), default=-1)
            if level[job.key] == len(waves):
                waves.append([])
            waves[level[job.key]].append(job)
        return waves

    def needed_by(self, groups: Iterable[str] = (), kinds: Iterable[str] = ()) -> set[str]:
        """Return the keys of what the models of some groups need, or of jobs of some kinds, with all that those are made from.

        Parameters
        ----------
        groups : iterable of str
            Names, or patterns such as ``CLIP*``; every group where it is empty.
        kinds : iterable of str
            Every kind where it is empty.

        Raises
        ------
        DeclarationError
            There is no group, or no kind of job, of that name: those that exist are listed.
        """
        names: list[str] = []
        for pattern in groups:
            found = [group for group in self.study.groups if group == pattern or fnmatchcase(group, pattern)]
            if not found:
                raise DeclarationError(
                    f"{self.study.name!r} has no group {pattern!r}{near(pattern, self.study.groups)} "
                    f"Its groups are {', '.join(map(repr, self.study.groups))}."
                )
            names += found
        chosen = (score.key for model in self.models if model.named.group in names for score in model.scores)
        whole = self.ancestors(chosen) if names else set(self.jobs)
        if not (wanted := set(kinds)):
            return whole
        # A kind that the study has no job of (any more) is no mistake.
        known = {job.kind for job in self.jobs.values()} | job_kinds()
        if unknown := sorted(wanted - known):
            raise DeclarationError(f"there is no kind of job {unknown[0]!r}: the kinds are {', '.join(sorted(known))}.")
        return self.ancestors(key for key in whole if self.jobs[key].kind in wanted)

    def ancestors(self, keys: Iterable[str]) -> set[str]:
        """Return some keys, and those of every job that they are made from."""
        pending, found = list(keys), set[str]()
        while pending:
            key = pending.pop()
            if key in self.jobs and key not in found:
                found.add(key)
                pending += self.jobs[key].parents
        return found

    def find(self, prefix: str) -> Job:
        """Return the job whose key starts with `prefix`.

        Raises
        ------
        PlanError
            None or several do.
        """
        found = [job for key, job in self.jobs.items() if key.startswith(prefix)]
        if len(found) != 1:
            what = "no job" if not found else f"{len(found)} jobs"
            raise PlanError(
                f"{what} of {self.study.name!r} has a key that starts with {prefix!r}: expected exactly one. "
                "`shiftline plan STUDY --jobs` lists the keys."
            )
        return found[0]


def job_kinds() -> set[str]:
    """Return the kinds of jobs that shiftline and installed plug-ins have."""
    models = tagged(Model).values()
    own = {cls.kind for cls in models if cls.kind is not None}
    return {SCORE, REPLICATE} | own | {cls.prediction_kind for cls in models}


LARGEST_GROUP = 256
"""Predictions that are executed together at most: each holds a claim, which is an open file."""


def execution_groups(jobs: Iterable[Job]) -> list[list[Job]]:
    """Put predictions that share a distribution together, so that each image is decoded once; others stay alone."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.distribution if job.kind == PREDICT else job.key, []).append(job)
    return [group[start : start + LARGEST_GROUP] for group in groups.values() for start in range(0, len(group), LARGEST_GROUP)]
