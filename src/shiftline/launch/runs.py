"""Running a study: signals, devices and processes around the jobs of its plan."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shiftline.contracts.models import Model, describe
from shiftline.contracts.study import Study
from shiftline.errors import PlanError, TrainingError
from shiftline.launch.cores import decode_threads
from shiftline.launch.devices import AUTO, chosen_device
from shiftline.launch.frozen import Line, jobs_of
from shiftline.launch.in_process import Outcome, StopFlag, follow, run_jobs, run_plan
from shiftline.launch.planning import data_folder, keys_now, plan_study, record_plan
from shiftline.plan.checks import expressions
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

if TYPE_CHECKING:
    from shiftline.engine.context import Context, Progress
    from shiftline.engine.ranks import Ranks
    from shiftline.launch.progress import RunProgress

Wanted = Callable[[Plan], AbstractSet[str]]
"""From a plan to the keys of the jobs that are to be run."""


@dataclass(frozen=True)
class Settings:
    """How a study is run.

    Attributes
    ----------
    threads : int
        CPU threads of a job.
    reader : str
        Who reads training images: "auto", "ffcv" or "plain".
    compiled : bool
        Compile networks before they are trained.
    tensorboard : bool
        Write training logs for TensorBoard too.
    quiet : bool
        No progress bars.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    memory : int
        MiB of images that predictions may hold, prepared for models.
    """

    threads: int = 2
    reader: str = "auto"
    compiled: bool = False
    tensorboard: bool = False
    quiet: bool = False
    device: str = AUTO
    memory: int = 512


def run(
    study: Study,
    store: Store,
    settings: Settings,
    *,
    groups: Sequence[str] = (),
    kinds: Sequence[str] = (),
    fail_fast: bool = False,
) -> Outcome:
    """Run every job that is not complete, in this process: see `ExperimentManager.run`."""
    return _run_here(study, store, settings, lambda plan: plan.needed_by(groups, kinds), fail_fast=fail_fast)


def make(study: Study, store: Store, settings: Settings, model: Model) -> str:
    """Make what one expression of a study stands for, with what it needs and nothing else; return its key.

    Raises
    ------
    PlanError
        The study has no such expression, or it has nothing of its own to make.
    TrainingError
        It, or something that it needs, failed.
    """

    def wanted(plan: Plan) -> set[str]:
        if model not in plan.artifacts:
            raise PlanError(f"{study.name!r} makes no {describe(model)}: name an expression that the study declares.")
        return plan.ancestors([plan.artifacts[model]])

    outcome = _run_here(study, store, settings, wanted, fail_fast=True)
    wanted(outcome.plan)
    key = outcome.plan.artifacts[model]
    if not store.has(key):
        errors = list(outcome.failed.values())
        raise TrainingError(f"{describe(model)} was not made: {errors[0] if errors else 'the run was stopped.'}")
    return key


def work(study: Study, store: Store, settings: Settings, *, since: float, parent: int, fail_fast: bool = False) -> Outcome:
    """Run jobs as one of several processes that share a store, until nothing is left for this one.

    Parameters
    ----------
    since : float
        When they were started, in seconds since 1970: what has failed since in one of them is tried by no other.
    parent : int
        The process that looks after them: without it, this one saves and ends.
    """
    from shiftline.launch.progress import RunProgress

    stop = StopFlag()
    with stop.listening():
        session = Session(study, store, settings, lambda: stop() or os.getppid() != parent, RunProgress(study.name, quiet=True))
        return session.run(lambda plan: plan.jobs.keys(), fail_fast=fail_fast, since=since)


def run_line(study: Study, store: Store, settings: Settings, line: Line) -> Outcome:
    """Run one line of a frozen submission.

    Raises
    ------
    PlanError
        The study has changed since it was frozen, or what the line needs is not complete.
    """
    from shiftline.launch.progress import RunProgress

    stop, plan = StopFlag(), plan_study(study, store, write=False)
    jobs = jobs_of(
        line, plan, lambda: plan_study(study, store, write=False, selections=False), lambda job: keys_now(job, study, store)
    )
    with stop.listening():
        session = Session(study, store, settings, stop, RunProgress(study.name, quiet=True))
        return session.together(lambda context: run_jobs(jobs, lambda: context(plan), plan, store, stop=stop))


def device_count(study: Study) -> int:
    """Return the largest number of processes that an expression of a study asks for."""
    return max((model.device_count for model in expressions(study)), default=1)


def _run_here(study: Study, store: Store, settings: Settings, wanted: Wanted, *, fail_fast: bool) -> Outcome:
    """Run what is wanted of the plan, listening to signals."""
    from shiftline.launch.progress import RunProgress

    stop = StopFlag()
    with stop.listening():
        progress = RunProgress(study.name, quiet=settings.quiet or _follows())
        return Session(study, store, settings, stop, progress).run(wanted, fail_fast=fail_fast)


@dataclass(frozen=True)
class Session:
    """A run of a study in this process, alone or with others that share its trainings and predictions."""

    study: Study
    store: Store
    settings: Settings
    stop: Callable[[], bool]
    progress: RunProgress

    def run(self, wanted: Wanted, *, fail_fast: bool, since: float = math.inf) -> Outcome:
        """Run all that is wanted, not complete, and can be run."""

        def plan() -> Plan:
            return record_plan(plan_study(self.study, self.store), self.store)

        return self.together(
            lambda context: run_plan(
                plan,
                context,
                self.store,
                stop=self.stop,
                announce=self.progress.announce,
                since=since,
                wanted=wanted,
                fail_fast=fail_fast,
            )
        )

    def together(self, task: Callable[[Callable[[Plan], Context]], Outcome]) -> Outcome:
        """Do a task, given what makes a context for it; or, where another process leads, this one's share of that."""
        from shiftline.engine.ranks import started_ranks
        from shiftline.launch.activity import Activity

        self.store.check_writable()
        ranks = started_ranks(self.settings.device) if started_with_others() else None
        activity = Activity(self.store, self.progress)
        threads_before: list[int] = []

        def context(plan: Plan) -> Context:
            import torch

            from shiftline.engine.allocator import keep_pages

            threads_before.append(torch.get_num_threads())
            torch.set_num_threads(self.settings.threads)
            keep_pages()
            return self._context(plan, activity, ranks)

        try:
            with self.progress.showing():
                if ranks is None:
                    return task(context)
                ranks.connect(chosen_device(self.settings.device, ranks.local_rank))
                try:
                    if not ranks.first:
                        follow(lambda: plan_study(self.study, self.store, write=False), context, ranks)
                        return Outcome(plan_study(self.study, self.store, write=False), followed=True)
                    outcome = task(context)
                    ranks.broadcast(None)
                    return outcome
                finally:
                    ranks.leave()
        finally:
            activity.end()
            if threads_before:
                import torch

                torch.set_num_threads(threads_before[0])

    def _context(self, plan: Plan, progress: Progress, ranks: Ranks | None) -> Context:
        from shiftline.data.readers import check_reader
        from shiftline.engine.batches import check_memory
        from shiftline.engine.context import Context
        from shiftline.engine.precision import check_precision
        from shiftline.engine.ranks import ALONE
        from shiftline.engine.rehearsal import rehearse
        from shiftline.engine.sizes import check_views
        from shiftline.engine.weight_cache import WeightCache

        store, settings = self.store, self.settings
        device = chosen_device(settings.device, None if ranks is None else ranks.local_rank)
        check_precision(plan.study.precision, device)
        check_reader(settings.reader)
        check_views(plan, data_folder(store))
        rehearse(plan)
        context = Context(
            plan=plan,
            store=store,
            attempts=Attempts(store),
            data=data_folder(store),
            weights=WeightCache(store, plan.artifacts, device=device),
            device=device,
            memory=settings.memory << 20,
            decode_threads=decode_threads(1 if ranks is None else ranks.local_world),
            progress=progress,
            stop_requested=self.stop,
            ranks=ALONE if ranks is None else ranks,
            reader=settings.reader,
            compiled=settings.compiled,
            tensorboard=settings.tensorboard,
        )
        check_memory(plan, store, context.memory, device)
        return context


def started_with_others() -> bool:
    """Return whether variables of torchrun or srun speak of several processes; torch is requested the details."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _follows() -> bool:
    """This process only does its share of what another one runs, and has nothing to show."""
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else os.environ.get("SLURM_PROCID")
    return started_with_others() and rank not in (None, "0")
