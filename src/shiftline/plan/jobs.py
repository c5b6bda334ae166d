"""Jobs, and a plan as a directed graph of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from shiftline.declare.distributions import Distribution
from shiftline.declare.expressions import Model
from shiftline.declare.study import NamedModel, Study
from shiftline.errors import DeclarationError, PlanError
from shiftline.plan.spaces import Projection

REVISIONS = {
    "train": 1, "zero-shot": 1, "published": 1, "probe": 1, "dfr": 1, "features": 2, "keep": 1, "greedy-soup": 2, "fisher": 2,
    "fisher-average": 1, "batch-norm": 1, "own": 1, "domain-features": 1, "domain-tuning": 2, "domain-fold": 2,
    "support": 1, "support-part": 1, "predict": 2, "ensemble": 1, "score": 3, "select": 2, "replicate": 1,
}  # fmt: skip
"""Kinds of jobs. A number is raised when the results of a kind change their meaning: its keys change with it.

"replicate" stands for trainings that are known once a selection is made; nothing is ever stored under its key.
"""


@dataclass(frozen=True)
class Job:
    """A unit of work with one output.

    Attributes
    ----------
    key : str
        sha256 of `document`; the address of the output in the store.
    kind : str
        A key of `REVISIONS`.
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

    def fingerprint(self, distribution: Distribution) -> str | None:
        """Return the fingerprint that the data of a distribution had when the job was planned."""
        found: str | None = self.document.get("data", {}).get(str(distribution.source))
        return found


@dataclass(frozen=True)
class PlannedScore:
    """One number that a study reports of a model.

    Attributes
    ----------
    distribution : str
        "reference", "reference val" or a shift.
    metric : str
    space : str
        The label space; the reference is scored in that of every shift.
    primary : bool
        It is the metric that stands for the distribution on an axis.
    key : str
    """

    distribution: str
    metric: str
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
    predictions : mapping
        Keys by name of the distribution ("reference", "reference val", and the shifts).
    scores : tuple of PlannedScore
    other_data : bool
        It is trained or selected on other data than the reference's train and val splits.
    """

    named: NamedModel
    expression: Model
    key: str
    predictions: Mapping[str, str]
    scores: tuple[PlannedScore, ...]
    deferred: bool
    other_data: bool


@dataclass(frozen=True)
class Plan:
    """Every job of a study, parents first.

    Attributes
    ----------
    jobs : mapping
        By key, in topological order.
    models : tuple of PlannedModel
        In the order of the study's declaration.
    artifacts : mapping
        Key of the artifact that holds the weights, by model expression.
    """

    study: Study
    jobs: Mapping[str, Job]
    models: tuple[PlannedModel, ...]
    artifacts: Mapping[Model, str]

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
                    f"{self.study.name!r} has no group {pattern!r}: its groups are {', '.join(map(repr, self.study.groups))}."
                )
            names += found
        whole = set(self.jobs) if not names else self.ancestors(
            score.key for model in self.models if model.named.group in names for score in model.scores
        )  # fmt: skip
        if not (wanted := set(kinds)):
            return whole
        if unknown := sorted(wanted - REVISIONS.keys()):
            raise DeclarationError(f"there is no kind of job {unknown[0]!r}: the kinds are {', '.join(REVISIONS)}.")
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


LARGEST_GROUP = 256
"""Predictions that are executed together at most: each holds a claim, which is an open file."""


def execution_groups(jobs: Iterable[Job]) -> list[list[Job]]:
    """Put predictions that share a distribution together, so that each image is decoded once; others stay alone."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.distribution if job.kind == "predict" else job.key, []).append(job)
    return [
        group[start : start + LARGEST_GROUP]
        for group in groups.values()
        for start in range(0, len(group), LARGEST_GROUP)
    ]
