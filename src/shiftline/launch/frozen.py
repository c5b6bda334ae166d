"""A frozen submission: the pending jobs of a study, one execution group a line, by wave.

<folder>/submission.json    the study, its parameters, the store, the waves
<folder>/groups.jsonl       one execution group per line: its keys, kind and label

A worker reads one line, plans the study again, and refuses a line whose keys the study does not give any more. Below a selection
keys are provisional when a submission is frozen; the worker puts the winner in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftline.contracts.models import distinct
from shiftline.contracts.require import counted
from shiftline.errors import PlanError
from shiftline.plan.jobs import PREDICT, REPLICATE, Job, Plan, execution_groups
from shiftline.store.files import read_record, write_record, write_whole

SCHEMA = 1
MOST_PREDICTIONS, MOST_LIGHT = 32, 256
"""Jobs in one line at most: predictions that share a decode, and light ones. Others stand alone."""


@dataclass(frozen=True)
class Wave:
    """Some neighbouring lines of a submission that can run at once: `first` to ``first + count - 1``."""

    number: int
    first: int
    count: int


@dataclass(frozen=True)
class Submission:
    """What was frozen.

    Attributes
    ----------
    folder : Path
    study : str
        As it was named: built-in, ``module:Class`` or the absolute path of a file.
    parameters : tuple of str
        ``name=value``.
    store : Path
    waves : tuple of Wave
    """

    folder: Path
    study: str
    parameters: tuple[str, ...]
    store: Path
    waves: tuple[Wave, ...]

    @property
    def count(self) -> int:
        """Number of lines."""
        return sum(wave.count for wave in self.waves)


@dataclass(frozen=True)
class Line:
    """One execution group.

    Attributes
    ----------
    tasks : int
        Processes that share its jobs.
    """

    wave: int
    keys: tuple[str, ...]
    kind: str
    label: str
    tasks: int


def freeze(
    plan: Plan,
    folder: Path,
    *,
    study: str,
    parameters: Sequence[str],
    store: Path,
    pending: AbstractSet[str],
    devices: int | None = None,
) -> Submission:
    """Write the pending jobs of a plan, one execution group a line.

    Parameters
    ----------
    pending : set of str
        Keys of the jobs that have to be run.
    devices : int, optional
        Processes that share each training and prediction; unless given, trainings have what their recipes ask for.

    Raises
    ------
    PlanError
        The folder holds a submission already: its tasks may be in a queue.
    """
    if (folder / "submission.json").exists():
        raise PlanError(f"{folder} holds a frozen submission already, whose tasks may be in a queue: name another folder.")
    lines: list[Line] = []
    waves: list[Wave] = []
    for number, wave in enumerate(plan.waves(), start=1):
        groups = _lines(job for job in wave if job.key in pending)
        if groups:
            waves.append(Wave(number, len(lines), len(groups)))
            lines += [
                Line(number, tuple(j.key for j in group), group[0].kind, _label(group), _tasks(group[0], devices))
                for group in groups
            ]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "groups.jsonl", "".join(json.dumps(vars(line)) + "\n" for line in lines).encode())
    write_record(
        folder / "submission.json",
        {
            "schema": SCHEMA,
            "study": study,
            "parameters": list(parameters),
            "store": str(store),
            "name": plan.study.name,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "waves": [vars(wave) for wave in waves],
        },
    )
    return Submission(folder, study, tuple(parameters), store, tuple(waves))


def _lines(jobs: Iterable[Job]) -> list[list[Job]]:
    """Put the jobs of a wave into lines: what shares a decode, and small ones of a kind, together."""
    together: dict[Any, list[Job]] = {}
    for group in execution_groups(jobs):
        first = group[0]
        together.setdefault(first.kind if first.light else (first.kind, first.key), []).extend(group)
    return [
        group[start : start + most]
        for group in together.values()
        for most in [MOST_LIGHT if group[0].light else MOST_PREDICTIONS]
        for start in range(0, len(group), most)
    ]


def _tasks(job: Job, devices: int | None) -> int:
    # A replicate's line runs the trainings of a winner: of any candidate.
    trains = job.model is not None and not job.is_evaluation and (job.shared or job.kind == REPLICATE)
    if devices is not None:
        return devices if trains or job.shared else 1
    if not trains:
        return 1
    assert job.model is not None
    return max(model.device_count for model in distinct(job.model))


def _label(group: list[Job]) -> str:
    if len(group) == 1:
        return group[0].label
    return f"{counted(len(group), 'model')} on {group[0].distribution}" if group[0].kind == PREDICT else counted(len(group), "job")


def read_submission(folder: Path) -> Submission:
    """Read what was frozen.

    Raises
    ------
    PlanError
        There is nothing in the folder.
    """
    path = folder / "submission.json"
    if not path.is_file():
        raise PlanError(
            f"{folder} holds no frozen submission: expected {path}. Where this is a node of a cluster, the folder has to lie on a "
            "file system that the node sees."
        )
    document = read_record(path, what=f"the submission {folder.name}", mend="Submit the study again.")
    waves = tuple(Wave(**wave) for wave in document["waves"])
    return Submission(folder, document["study"], tuple(document["parameters"]), Path(document["store"]), waves)


def read_lines(folder: Path) -> list[Line]:
    """Read every execution group of a submission."""
    rows = (json.loads(line) for line in (folder / "groups.jsonl").read_text(encoding="utf-8").splitlines())
    return [Line(row["wave"], tuple(row["keys"]), row["kind"], row["label"], row["tasks"]) for row in rows]


def jobs_of(line: Line, plan: Plan, provisional: Callable[[], Plan], final: Callable[[Job], list[str]]) -> list[Job]:
    """Return the jobs of a line, as the study plans them now.

    Parameters
    ----------
    plan : Plan
        As the store has it now.
    provisional : callable
        Returns the plan without any selection: where a submission's provisional keys come from.
    final : callable
        From a job of that plan to the keys that it has now, in the order in which they are made.

    Raises
    ------
    PlanError
        The study does not give these keys any more.
    """
    if all(key in plan.jobs for key in line.keys):
        return [plan.jobs[key] for key in line.keys]
    before = provisional()
    found: dict[str, Job] = {}
    for key in line.keys:
        if key in plan.jobs:
            found[key] = plan.jobs[key]
        elif key in before.jobs:
            found.update((now, plan.jobs[now]) for now in final(before.jobs[key]) if now in plan.jobs)
        else:
            near = sorted({job.label for job in plan.jobs.values() if job.kind == line.kind})
            raise PlanError(
                f"the study has changed since it was frozen: it has no {line.kind} {key[:12]} ({line.label}) any more. It has "
                f"now: {', '.join(near[:4])}{' ...' if len(near) > 4 else ''}. Undo the change, or cancel and launch again."
            )
    return list(found.values())
