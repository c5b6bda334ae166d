"""The number format in which predictions pass through networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shiftline.errors import DeviceError

FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(name: str, device: str) -> None:
    """Raise `DeviceError` where a device does not compute in a format."""
    gpu = device.startswith("cuda")
    if name == "tf32":
        there = gpu and torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        there = name != "bf16" or not gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if not there:
        raise DeviceError(
            f"the study's precision {name!r} is a format of NVIDIA GPUs since Ampere (2020), and it runs on {device!r}: choose "
            "precision = '32' or 'fp16'."
        )


@contextmanager
def predicting_in(name: str, device: str) -> Iterator[None]:
    """Run networks in a format, and leave torch's settings as they were.

    Parameters
    ----------
    name : str
        "32": float32 in every product, where torch's own default rounds the factors of convolutions on a GPU to TF32. "tf32": that,
        in matrix products too. "bf16", "fp16": products in this format, and in float32 what needs its range or its digits
        (torch.autocast).
    device : str
    """
    kind = device.partition(":")[0]
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        # Weights are replaced between models: a copy of them in the format must not outlive its model.
        with torch.autocast(kind, dtype=FORMATS.get(name), enabled=name in FORMATS, cache_enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
