"""Patching (Ilharco et al. 2022): weight interpolation under frozen zero-shot heads, for tasks that a model lacks.

A patch raises accuracy on patched tasks while it keeps that on supported tasks. Each task has a head of its own, written
by the text tower from the task's class names; only the encoder is trained and mixed. The mixing coefficients are chosen
on held-out data of patched and supported tasks, every one counting the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.formulas import Formula
from shiftline.contracts.models import Model, require_weights
from shiftline.contracts.require import require
from shiftline.operations.combine import Combine
from shiftline.operations.fine_tune import FineTune, TrainingTask
from shiftline.operations.interpolate import Interpolate, interpolations
from shiftline.operations.selection import Best, HeldOut, best
from shiftline.operations.weight_space import ALPHAS
from shiftline.operations.with_head import WithHead

MOST_CANDIDATES = 2000
"""Combinations of per-task coefficients that are tried at most."""


@dataclass(frozen=True)
class Task:
    """A task that a model is patched on.

    Parameters
    ----------
    train, val : Distribution
        Data to train on, and to select on.
    head : Model, optional
        Whose head it has; the patched model's unless given.
    """

    train: Distribution
    val: Distribution
    head: Model | None = None

    def __post_init__(self) -> None:
        for name in ("train", "val"):
            value = getattr(self, name)
            require(isinstance(value, Distribution), f"Task.{name} is a {type(value).__name__}: expected a distribution.")
        if self.head is not None:
            require_weights("Task.head", self.head)

    def headed(self, model: Model) -> Model:
        """Return a model with this task's head."""
        return model if self.head is None else WithHead(model, self.head)

    def held_out(self) -> HeldOut:
        return HeldOut(self.val, self.head)


Judged = Distribution | HeldOut


@Formula("interpolate θ₀ with a fine-tuning on all tasks", "Ilharco et al. 2022", "both ends", "heads frozen, one per task")
def patch_joint(
    start: Model,
    tasks: Sequence[Task] | Task,
    *,
    supported: Sequence[Judged] | Judged,
    alphas: Iterable[float] = ALPHAS,
    **training: object,
) -> Best:
    """Fine-tune on the union of the tasks, then mix with the start.

    Parameters
    ----------
    start : Model
        The model to patch, zero-shot as a rule.
    tasks : sequence of Task
        What it should learn.
    supported : sequence of distributions
        Held-out data of what it should not forget; the reference's val split, as a rule.
    training
        Fields of `FineTune`: epochs, optimizer, ...
    """
    tasks, supported = _listed("patch_joint", start, tasks, supported)
    joint = tuple(TrainingTask(task.train, start if task.head is None else task.head) for task in tasks)
    tuned = FineTune(start, trainable="encoder", tasks=joint, other_data=True, **training)  # type: ignore[arg-type]
    return best(interpolations(start, tuned, alphas), on=[*supported, *(task.held_out() for task in tasks)])


@Formula("patch, then patch the patched model", "Ilharco et al. 2022", "both ends")
def patch_sequential(
    start: Model,
    tasks: Sequence[Task] | Task,
    *,
    supported: Sequence[Judged] | Judged,
    alphas: Iterable[float] = ALPHAS,
    **training: object,
) -> Best:
    """Patch on one task after the other, each time starting from the patched model."""
    tasks, supported = _listed("patch_sequential", start, tasks, supported)
    alphas, patched = list(alphas), start
    judged: list[Judged] = list(supported)
    for task in tasks:
        tuned = _tuned(patched, task, training)
        judged.append(task.held_out())
        patched = best([_mixed(patched, tuned, alpha) for alpha in alphas], on=judged)
    assert isinstance(patched, Best)
    return patched


@Formula("θ₀ + Σ αᵢ (θᵢ − θ₀)", "Ilharco et al. 2022", "one", "every combination of αᵢ is tried, at most 2,000")
def patch_parallel(
    start: Model,
    tasks: Sequence[Task] | Task,
    *,
    supported: Sequence[Judged] | Judged,
    alphas: Iterable[float] = ALPHAS,
    **training: object,
) -> Best:
    """Fine-tune on each task from the start: ``start + sum_i alpha_i * (tuned_i - start)``.

    Every combination of the tasks' own coefficients is tried.
    """
    tasks, supported = _listed("patch_parallel", start, tasks, supported)
    alphas = list(alphas)
    tries = len(alphas) ** len(tasks)
    require(
        tries <= MOST_CANDIDATES,
        f"patch_parallel of {len(tasks)} tasks with {len(alphas)} mixing coefficients tries {tries} combinations, more than "
        f"{MOST_CANDIDATES}: give fewer alphas.",
    )
    tuned = [WithHead(_tuned(start, task, training), start) for task in tasks]
    candidates = [Combine((start, *tuned), (1.0 - sum(chosen), *chosen)) for chosen in itertools.product(alphas, repeat=len(tasks))]
    return best(candidates, on=[*supported, *(task.held_out() for task in tasks)])


def _tuned(start: Model, task: Task, training: dict[str, object]) -> FineTune:
    settings: dict[str, Any] = {"trainable": "encoder", "train_on": task.train, "other_data": True, **training}
    return FineTune(task.headed(start), **settings)


def _mixed(start: Model, tuned: Model, alpha: float) -> Model:
    """Mix the encoders and keep the head of the start."""
    return Interpolate(start, tuned, alpha, "encoder")


def _listed(
    owner: str, start: Model, tasks: Sequence[Task] | Task, supported: Sequence[Judged] | Judged
) -> tuple[list[Task], list[Judged]]:
    """Return tasks and supported data as lists, checked; one alone need not be in a list."""
    require_weights(f"{owner}(start)", start)
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    require(bool(tasks) and all(isinstance(t, Task) for t in tasks), f"{owner}: give a list of Task(train, val, head).")
    judged = [supported] if isinstance(supported, (Distribution, HeldOut)) else list(supported)
    require(bool(judged), f"{owner}(supported=[]): give held-out data of what the model should keep, for example [reference.val].")
    return tasks, judged
