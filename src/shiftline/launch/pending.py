"""What of a plan has still to be run elsewhere: what is queued already, and freezing the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftline.launch.frozen import Submission, freeze
from shiftline.launch.planning import keys_now, plan_study, record_plan
from shiftline.launch.slurm import Queued, queued
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store


def queued_now(plan: Plan, store: Store) -> dict[str, Queued]:
    """Return what is in SLURM's queue, under the keys that the plan has now: below a selection they were frozen provisionally."""
    waiting = queued(store)
    if not any(key not in plan.jobs for key in waiting):
        return waiting
    before = plan_study(plan.study, store, write=False, selections=False)
    for key in [key for key in waiting if key not in plan.jobs and key in before.jobs]:
        waiting.update(dict.fromkeys(keys_now(before.jobs[key], plan.study, store), waiting[key]))
    return waiting


def freeze_pending(
    plan: Plan,
    store: Store,
    folder: Path,
    *,
    study: str,
    parameters: Sequence[str] = (),
    groups: Sequence[str] = (),
    kinds: Sequence[str] = (),
    devices: int | None = None,
) -> Submission:
    """Write the pending jobs of a plan to a folder, one execution group a line; jobs that are complete or queued are left out.

    Parameters
    ----------
    study, parameters : str, sequence of str
        How the command line names the study.
    groups, kinds : sequence of str
        Only the jobs that the models of these groups need, and those of these kinds with what they need; all where empty.
    devices : int, optional
        Processes that share each training and prediction; unless given, trainings have what their recipes ask for.

    Raises
    ------
    DeclarationError
        There is no such group.
    """
    wanted = plan.needed_by(groups, kinds)
    record_plan(plan, store)
    pending = wanted - store.complete() - queued_now(plan, store).keys()
    return freeze(
        plan, folder.resolve(), study=study, parameters=parameters, store=store.root.resolve(), pending=pending, devices=devices
    )
