"""The device that a study runs on."""

from __future__ import annotations

from shiftline.errors import DeviceError

AUTO = "auto"


def chosen_device(wanted: str = AUTO, local_rank: int | None = None) -> str:
    """Return the device of this process: "cpu", "cuda", "cuda:N" or "mps".

    Parameters
    ----------
    wanted : str
        "auto" (a GPU where there is one), "cpu", "cuda", "cuda:N" or "mps".
    local_rank : int, optional
        Of several processes that work together on this machine, the number of this one: each has the GPU of its number.

    Raises
    ------
    DeviceError
        There is no such device here, or one GPU was named for several processes.
    """
    there = devices_here()
    if wanted == AUTO:
        wanted = "cuda" if "cuda" in there else "cpu"
    if wanted not in there:
        raise DeviceError(f"there is no device {wanted!r} here: choose {', '.join(map(repr, [AUTO, *there]))}.{_why()}")
    if local_rank is None or not wanted.startswith("cuda"):
        return wanted
    if wanted != "cuda":
        raise DeviceError(f"{wanted!r} is one GPU, and several processes work together: say 'cuda', and each takes its own.")
    return f"cuda:{local_rank}"


def devices_here() -> list[str]:
    """Return the names of the devices that this machine has."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{number}" for number in range(gpus)), *apple]


def _why() -> str:
    """Say what keeps a GPU from being seen, where it is this installation of torch."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return " This installation of torch is for the CPU: https://pytorch.org/get-started says how to install one for a GPU."
    return ""
