"""What of a plan is done, and why a key is what it is. Reads the store, never writes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shiftline.launch.activity import Doing, doing
from shiftline.launch.pending import queued_now
from shiftline.plan.jobs import Job, Plan
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

STATES = ("complete", "running", "queued", "failed", "blocked", "waiting", "missing")
"""queued: in SLURM's queue; blocked: needs a failed job; waiting: its key comes with a selection; missing: not made yet."""


@dataclass(frozen=True)
class JobStatus:
    """A job, its state (one of `STATES`), and for a running or failed one who or why."""

    job: Job
    state: str
    detail: str = ""


def status(plan: Plan, store: Store) -> list[JobStatus]:
    """Return the state of every job, in the order of the plan."""
    attempts = Attempts(store)
    complete, started, waiting = store.complete(), attempts.started(), queued_now(plan, store)
    news = {key: entry for entry in doing(store) for key in entry.keys}
    states: dict[str, str] = {}
    rows = []
    for job in plan.jobs.values():
        detail = ""
        if job.key in complete:
            state = "complete"
        elif job.key in started and (holder := attempts.holder(job.key)):
            since = time.strftime("%H:%M:%S", time.localtime(holder["started"]))
            state, detail = (
                "running",
                f"on {holder['host']}, process {holder['pid']}, since {since}{_progress(news.get(job.key))}",
            )
        elif job.key in waiting:
            state, detail = "queued", f"{waiting[job.key].job} {waiting[job.key].state.lower()}"
        elif job.key in started and (failure := attempts.failure(job.key)):
            state, detail = "failed", f"{failure['error']} (on {failure['host']}, {failure['time']})"
        elif any(states.get(parent) in ("failed", "blocked") for parent in job.parents):
            state = "blocked"
        else:
            state = "waiting" if job.deferred else "missing"
        states[job.key] = state
        rows.append(JobStatus(job, state, detail))
    return rows


def _progress(entry: Doing | None) -> str:
    return f", {entry.done} of {entry.total} ({entry.per_second:.0f} per second)" if entry is not None and entry.total else ""


def counts(rows: list[JobStatus]) -> dict[str, dict[str, int]]:
    """Count states by kind of job."""
    table: dict[str, Counter[str]] = {}
    for row in rows:
        table.setdefault(row.job.kind, Counter())[row.state] += 1
    return {kind: {state: counter[state] for state in STATES} for kind, counter in table.items()}


@dataclass(frozen=True)
class Explanation:
    """Why a key is what it is.

    Attributes
    ----------
    job : Job
        With the document that its key is the digest of.
    relative : Job or None
        The job of the same kind whose document differs in the fewest fields.
    differences : tuple of (path, here, there)
        "default" where a document leaves the field out.
    """

    job: Job
    relative: Job | None
    differences: tuple[tuple[str, Any, Any], ...]


DEFAULT = "default"
"""What stands for a field that a document leaves out."""


def explain(plan: Plan, key: str) -> Explanation:
    """Return the document of a key and its field-by-field difference to the nearest relative in the plan.

    Raises
    ------
    PlanError
        No job, or several, have keys that start with `key`.
    """
    job = plan.find(key)
    mine = _flat(job.document)
    best: tuple[int, Job, tuple[tuple[str, Any, Any], ...]] | None = None
    for other in plan.jobs.values():
        if other.kind == job.kind and other.key != job.key:
            theirs = _flat(other.document)
            differing = tuple(
                (path, mine.get(path, DEFAULT), theirs.get(path, DEFAULT))
                for path in sorted(set(mine) | set(theirs))
                if mine.get(path, DEFAULT) != theirs.get(path, DEFAULT)
            )
            if best is None or len(differing) < best[0]:
                best = (len(differing), other, differing)
    return Explanation(job, best[1] if best else None, best[2] if best else ())


def _flat(document: Any, path: str = "") -> dict[str, Any]:
    if isinstance(document, Mapping) and document:
        return {k: v for name, below in document.items() for k, v in _flat(below, f"{path}.{name}".lstrip(".")).items()}
    if isinstance(document, (list, tuple)) and document and not all(isinstance(x, (int, float, str)) for x in document):
        return {k: v for i, below in enumerate(document) for k, v in _flat(below, f"{path}[{i}]").items()}
    return {path: json.dumps(document) if isinstance(document, (list, tuple, Mapping)) else document}
