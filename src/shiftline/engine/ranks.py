"""Several processes that work on one job: who this one is, and how they agree.

Rank 0 decides what is run, keeps the claims and writes; the others follow it. What they say to each other about control goes
through gloo on the CPU, whatever the tensors of a training go through.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from shiftline.errors import DeviceError, ShiftlineError

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""How long a process waits for rank 0, which runs alone what is not shared. One that dies is noticed by who started them."""


@dataclass(frozen=True)
class Ranks:
    """One of `world` processes.

    Attributes
    ----------
    rank, world : int
    local_rank, local_world : int
        Among the processes of this machine.
    environment : lightning_fabric ClusterEnvironment, or None for a process alone
        Who started the processes, given to Fabric explicitly: it must not adopt the variables of an allocation that it was not
        started in.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    environment: Any = None
    _group: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """This is the process that decides and writes."""
        return self.rank == 0

    def connect(self, device: str) -> None:
        """Meet the other processes; nothing for a process alone."""
        if self.world == 1 or self._group:
            return
        import torch.distributed as dist

        # Who has met whom is no news.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        fabric = self.fabric(device, precision="32-true")
        fabric.launch()
        self._group.append(dist.new_group(backend="gloo", timeout=PATIENCE))

    def leave(self) -> None:
        """Part from the other processes."""
        if self._group:
            import torch.distributed as dist

            self._group.clear()
            dist.destroy_process_group()

    def fabric(self, device: str, *, precision: str | None = None, plugins: list[Any] | None = None) -> Any:
        """Return a Fabric for this process's device."""
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment
        from lightning_fabric.strategies import DDPStrategy

        accelerator = "cuda" if device.startswith("cuda") else "cpu"
        settings: dict[str, Any] = {"accelerator": accelerator, "precision": precision}
        if self.world == 1:
            return Fabric(devices=1, plugins=[LightningEnvironment(), *(plugins or [])], **settings)
        strategy = DDPStrategy(process_group_backend="nccl" if accelerator == "cuda" else "gloo")
        return Fabric(
            devices=self.local_world,
            num_nodes=self.world // self.local_world,
            strategy=strategy,
            plugins=[self.environment, *(plugins or [])],
            **settings,
        )

    def broadcast(self, message: Any) -> Any:
        """Return rank 0's message on every rank."""
        if self.world == 1:
            return message
        import torch.distributed as dist

        box = [message]
        dist.broadcast_object_list(box, src=0, group=self._group[0])
        return box[0]

    def any(self, flag: bool) -> bool:
        """Return on every rank whether the flag is set on one of them."""
        if self.world == 1:
            return flag
        import torch
        import torch.distributed as dist

        total = torch.tensor([float(flag)])
        dist.all_reduce(total, group=self._group[0])
        return bool(total > 0)

    def gather(self, compute: Callable[[], T]) -> list[T]:
        """Compute something on every rank; rank 0 returns all of it, the others nothing.

        Where one rank fails, all of them raise its error: nobody is left waiting.
        """
        if self.world == 1:
            return [compute()]
        import torch.distributed as dist

        result: Any
        try:
            result = (compute(), None)
        except Exception as error:
            result = (None, error)
        gathered: list[Any] | None = [None] * self.world if self.first else None
        dist.gather_object(result, gathered, dst=0, group=self._group[0])
        failure = self.broadcast(next((failed for _, failed in gathered or [] if failed is not None), None))
        if failure is not None:
            raise failure
        return [value for value, _ in gathered or []]


ALONE = Ranks()


def started_ranks(device: str = "auto") -> Ranks:
    """Return who this process is, from the variables of torchrun or of srun with several tasks.

    Variables of a SLURM allocation are not enough: only a step of several tasks, started by srun, is several processes.

    Parameters
    ----------
    device : str
        What they compute on; GPUs do not limit how many processes there are on "cpu".

    Raises
    ------
    DeviceError
        There are more processes on this machine than GPUs.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from lightning_fabric.plugins.environments import TorchElasticEnvironment

        local = int(os.environ["LOCAL_WORLD_SIZE"])
        environment: Any = TorchElasticEnvironment()
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        from lightning_fabric.plugins.environments import SLURMEnvironment

        # SLURM says how many tasks each node has, "2(x3)" or "2,1" where they differ.
        tasks = os.environ["SLURM_STEP_TASKS_PER_NODE"]
        local = int(tasks.split("(")[0]) if tasks.replace("(x", "").rstrip(")").isdigit() else 0
        if local < 1:
            raise DeviceError(f"srun started {tasks} tasks per node: expected the same number on each (--ntasks-per-node).")
        try:
            environment = SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise DeviceError(f"srun started several tasks in a way that cannot be followed: {error}") from error
    else:
        return ALONE
    check_devices(local, device)
    return Ranks(environment.global_rank(), environment.world_size(), environment.local_rank(), local, environment)


def check_devices(wanted: int, device: str = "auto") -> None:
    """Raise `DeviceError` unless this machine has so many devices: GPUs, or cores where it has none or computes on the CPU."""
    import torch

    gpus = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    there = gpus or os.cpu_count() or 1
    what = "GPUs" if gpus else "CPU cores" if device == "cpu" else "CPU cores (and no GPU)"
    if wanted > there:
        raise DeviceError(f"{wanted} devices were requested, this machine has {there} {what}: ask for {there} or fewer.")


def is_agreed(error: BaseException) -> bool:
    """The error is raised by every rank in the same place, so that all of them can go on with the next job."""
    return isinstance(error, ShiftlineError)
