"""Running a plan in this process: what is ready is run, what failed blocks only what depends on it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shiftline.errors import PlanError
from shiftline.plan.jobs import SCORE, Job, Plan, execution_groups
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts
from shiftline.store.files import DiskFullError, full_disk

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.engine.ranks import Ranks

_WAIT_SECONDS = 0.5


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    plan : Plan
        With every selection that has been made.
    made : int
        Jobs that this run finished.
    failed : dict
        Job -> the error, by key.
    blocked : list of Job
        Jobs that need a failed one.
    interrupted : bool
        It was asked to stop.
    seconds : float
    followed : bool
        This process only did its share of what rank 0 ran, which has the rest of the outcome.
    """

    plan: Plan
    made: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[Job] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    followed: bool = False

    @property
    def exit_status(self) -> int:
        """0 when everything is done, 130 after an interruption, 1 after a failure."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.blocked else 0


class StopFlag:
    """Becomes true at the first Ctrl-C, SIGTERM or SIGUSR1; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        return self._event.is_set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to signals (in the main thread: elsewhere Python allows no handlers) and restore what was there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: object) -> None:
            if self._event.is_set() and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._event.set()

        # USR1 is what srun passes on to its tasks; at TERM it kills them.
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_plan(
    make_plan: Callable[[], Plan],
    make_context: Callable[[Plan], Context],
    store: Store,
    *,
    stop: Callable[[], bool],
    announce: Callable[[int, int], None] = lambda done, total: None,
    since: float = math.inf,
    wanted: Callable[[Plan], AbstractSet[str]] = lambda plan: plan.jobs.keys(),
    fail_fast: bool = False,
) -> Outcome:
    """Run every job that is wanted and not complete.

    Parameters
    ----------
    make_plan : callable
        Returns the plan as the store has it now; called again when a selection has been made.
    make_context : callable
        Called once work is found: only then is torch needed.
    stop : callable
        True when no new job should start.
    announce : callable
        Called with (jobs done, jobs in all).
    since : float
        When the workers were started that this process is one of, in seconds since 1970: what has failed since in one of them
        is tried by no other.
    wanted : callable
        From the plan, as it is when a selection has been made, to the keys of the jobs to run; all of them unless given.
    fail_fast : bool
        Start nothing more once a job has failed.
    """
    started = time.monotonic()
    outcome = Outcome(make_plan())
    attempts = Attempts(store)
    complete = store.complete()
    context: Context | None = None
    while not (stop() or outcome.interrupted):
        plan = outcome.plan
        announce(sum(key in complete for key in plan.jobs), len(plan.jobs))
        if fail_fast and outcome.failed:
            break
        ready = _ready(plan, complete, outcome.failed.keys() | attempts.failed_since(since), wanted(plan))
        if not ready:
            fresh = store.complete()
            # A selection that was made since gives some of what waits for it a key of its own.
            replanned = make_plan() if plan.deferred else plan
            if replanned.jobs.keys() == plan.jobs.keys():
                break
            outcome.plan, complete = replanned, fresh
            continue
        if context is None:
            context = make_context(plan)
        context.use(plan)
        failures = len(outcome.failed)
        finished = _run_batch(ready, context, attempts, outcome, stop, fail_fast=fail_fast, since=since)
        complete |= finished
        if not finished and len(outcome.failed) == failures and not stop():
            time.sleep(_WAIT_SECONDS)  # Everything that is ready is being made by another process.
            complete = store.complete()
    outcome.interrupted = outcome.interrupted or stop()
    if not outcome.interrupted:
        requested = wanted(outcome.plan)
        outcome.blocked = [
            job for key, job in outcome.plan.jobs.items() if key in requested and key not in complete and key not in outcome.failed
        ]
    outcome.seconds = time.monotonic() - started
    return outcome


def run_jobs(
    jobs: Sequence[Job], make_context: Callable[[], Context], plan: Plan, store: Store, *, stop: Callable[[], bool]
) -> Outcome:
    """Run some jobs of a plan, parents first, whose other parents are complete; what another process holds is waited for.

    Raises
    ------
    PlanError
        Some parents are not complete.
    """
    started, outcome, attempts = time.monotonic(), Outcome(plan), Attempts(store)
    todo = [job for job in jobs if not store.has(job.key)]
    here = {job.key for job in todo}
    if lacking := [p for job in todo for p in job.parents if p not in here and not store.has(p)]:
        why = (attempts.failure(lacking[0]) or {}).get("error", "it was not run")
        label = plan.jobs[lacking[0]].label if lacking[0] in plan.jobs else lacking[0][:12]
        raise PlanError(f"blocked: {todo[0].label} needs {label}, which is not complete ({why}).")
    context = make_context() if todo else None
    while todo and context is not None and not (stop() or outcome.interrupted):
        finished = _run_batch(todo, context, attempts, outcome, stop, fail_fast=False)
        todo = [job for job in todo if job.key not in finished and job.key not in outcome.failed]
        if todo and not finished:
            time.sleep(_WAIT_SECONDS)  # Another process holds them: what depends on this line must find them made.
            todo = [job for job in todo if not store.has(job.key)]
    outcome.interrupted = outcome.interrupted or stop()
    outcome.seconds = time.monotonic() - started
    return outcome


def _ready(plan: Plan, complete: set[str], failed: AbstractSet[str], wanted: AbstractSet[str]) -> list[Job]:
    """Return the jobs to run next: models before predictions, so that predictions can share their decoding."""
    ready = [
        job
        for job in plan.jobs.values()
        if job.key in wanted
        and job.key not in complete
        and job.key not in failed
        and not job.deferred
        and all(parent in complete for parent in job.parents)
    ]
    rank = {job.key: _turn(job) for job in ready}
    return [job for job in ready if rank[job.key] == min(rank.values())]


def _turn(job: Job) -> int:
    """Return when a job's turn is: what makes weights first, then predictions, scores, and selections."""
    if not job.is_evaluation:
        return 4 if job.light else 0
    return 3 if job.kind == SCORE else 2 if job.light else 1


def _run_batch(
    ready: Sequence[Job],
    context: Context,
    attempts: Attempts,
    outcome: Outcome,
    stop: Callable[[], bool],
    *,
    fail_fast: bool,
    since: float = math.inf,
) -> set[str]:
    """Run ready jobs group by group; return the keys that are complete afterwards."""
    finished: set[str] = set()
    pending = [jobs for group in execution_groups(ready) for jobs in _without_suspects(group, attempts)]
    while pending and not (stop() or outcome.interrupted or (fail_fast and outcome.failed)):
        group = pending.pop(0)
        with ExitStack() as claims:
            # Another process may hold some of them: those are left to it.
            mine = [job for job in group if claims.enter_context(attempts.claim(job.key, since=since))]
            # Asked with the claims in hand: what fails elsewhere is written down before its claim is free.
            mine = [job for job in mine if not attempts.has_failed_since(job.key, since)]
            there = {job.key for job in mine if context.store.has(job.key)}
            finished |= there
            mine = [job for job in mine if job.key not in there]
            if mine:
                context.progress.hold(mine)
                finished |= _attempt(mine, context, attempts, outcome, pending)
                context.progress.hold([])
    return finished


def _without_suspects(group: list[Job], attempts: Attempts) -> list[list[Job]]:
    """Put jobs that a process died with on their own: one of a group may have killed it, and takes no others along."""
    suspects = [job for job in group if len(group) > 1 and attempts.deaths(job.key)]
    rest = [job for job in group if job not in suspects]
    return [*([rest] if rest else []), *([job] for job in suspects)]


def _attempt(group: list[Job], context: Context, attempts: Attempts, outcome: Outcome, pending: list[list[Job]]) -> set[str]:
    from shiftline.engine.context import Interrupted
    from shiftline.engine.ranks import is_agreed
    from shiftline.engine.run import run_group

    try:
        if group[0].shared:
            context.ranks.broadcast([job.key for job in group])
        with full_disk(context.store.root):
            run_group(group, context)
    except (Interrupted, KeyboardInterrupt):
        outcome.interrupted = True
        return set()
    except DiskFullError:
        raise
    except Exception as error:
        if context.ranks.world > 1 and not is_agreed(error):
            raise  # The other processes do not know of it, and wait in the middle of the job.
        if len(group) > 1:
            # One bad model must not take the others along: they are tried one by one.
            pending[:0] = [[job] for job in group]
            return set()
        attempts.record_failure(group[0].key, group[0].label, error)
        outcome.failed[group[0].key] = f"{type(error).__name__}: {error}"
        return set()
    for job in group:
        attempts.succeed(job.key)
    outcome.made += len(group)
    return {job.key for job in group}


def follow(make_plan: Callable[[], Plan], make_context: Callable[[Plan], Context], ranks: Ranks) -> None:
    """Do this process's share of what rank 0 runs, until rank 0 says that it is over."""
    from shiftline.engine.run import run_group
    from shiftline.errors import ShiftlineError

    context: Context | None = None
    while (keys := ranks.broadcast(None)) is not None:
        # The store may have made selections since: rank 0 plans from what is there now.
        plan = make_plan() if context is None or any(key not in context.plan.jobs for key in keys) else context.plan
        if context is None:
            context = make_context(plan)
        context.use(plan)
        with suppress(ShiftlineError):  # Rank 0 meets it too, and records it.
            run_group([plan.jobs[key] for key in keys], context)
