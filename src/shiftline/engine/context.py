"""What a job is given: where to read, where to write, how fast to work, and whether to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shiftline.data.sidecar import DataFolder
from shiftline.engine.ranks import ALONE, Ranks
from shiftline.engine.weight_cache import WeightCache
from shiftline.errors import ShiftlineError
from shiftline.plan.facts import Records
from shiftline.plan.jobs import Job, Plan
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

MEMORY = 512 << 20
"""Bytes of images that wait for models."""


class Interrupted(ShiftlineError):
    """The job was asked to stop; its state is saved and it goes on where it was."""


class Progress(Protocol):
    """Where a job reports how far it is."""

    def hold(self, jobs: Sequence[Job]) -> None: ...

    def begin(self, label: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...


class NoProgress:
    """Reports nothing."""

    def hold(self, jobs: Sequence[Job]) -> None:
        pass

    def begin(self, label: str, total: int) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass


@dataclass
class Context:
    """Everything that a job may touch.

    Attributes
    ----------
    plan : Plan
    store, attempts, data : Store, Attempts, DataFolder
    weights : WeightCache
        Weights of finished jobs, kept in memory between jobs.
    device : str
        "cpu", "cuda" or "cuda:N".
    decode_threads : int
        Threads that read and decode.
    memory : int
        Bytes of images that predictions may hold, prepared for models.
    stop_requested : callable
        True when the job should save its state and end.
    save_seconds : float
        How often a training saves its state.
    ranks : Ranks
        Who this process is among those that work together.
    reader : str
        Who reads training images: "auto", "ffcv" or "plain".
    compiled : bool
        Compile networks with torch.compile before they are trained.
    tensorboard : bool
        Write training logs for TensorBoard too.
    """

    plan: Plan
    store: Store
    attempts: Attempts
    data: DataFolder
    weights: WeightCache
    device: str = "cpu"
    decode_threads: int = 2
    memory: int = MEMORY
    progress: Progress = field(default_factory=NoProgress)
    stop_requested: Callable[[], bool] = lambda: False
    save_seconds: float = 30.0
    ranks: Ranks = ALONE
    reader: str = "auto"
    compiled: bool = False
    tensorboard: bool = False

    @property
    def backbones(self) -> Records:
        """What is known of architectures and weights."""
        return self.plan.facts.backbones

    def use(self, plan: Plan) -> None:
        """Work on another plan of the study from now: a selection has been made."""
        self.plan = plan
        self.weights.artifacts = plan.artifacts
