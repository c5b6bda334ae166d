"""Counter-based random numbers: a pure function of (stream, seed, epoch, example id, draw).

There is no generator and no state, so that the numbers of an example do not depend on the batch it comes in, on the
order, or on the number of threads. Every use names its own stream: two uses with one seed must not see the same numbers
(a subset drawn with a tint's numbers would keep exactly the examples that were tinted by class).

The hash is SplitMix64's finaliser (Steele, Lea & Flood 2014), applied once per key in 64-bit integer arithmetic that CPU
and GPU do alike.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor


def _signed(value: int) -> int:
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own shift of int64 copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def bits(stream: str, seed: int, ids: Tensor, *, epoch: int = 0, draws: int = 1) -> Tensor:
    """Return 64 random bits per example and draw.

    Parameters
    ----------
    stream : str
        What the numbers are for.
    seed, epoch : int
    ids : int64 tensor, shape (B,)
    draws : int
        How many numbers per example.

    Returns
    -------
    int64 tensor, shape (B, draws), on the device of `ids`
    """
    name = zlib.crc32(stream.encode())
    state = torch.tensor([name, _signed(seed), _signed(epoch)], dtype=torch.int64, device=ids.device)
    keyed = _mix(_mix(_mix(state[0] + _GOLDEN) + state[1] + _GOLDEN) + state[2] + _GOLDEN)
    rows = _mix(keyed + ids.to(torch.int64) * _GOLDEN + _GOLDEN)
    counter = torch.arange(1, draws + 1, device=ids.device)
    return _mix(rows[:, None] + counter * _GOLDEN)


def uniform(stream: str, seed: int, ids: Tensor, *, epoch: int = 0, draws: int = 1) -> Tensor:
    """Return numbers in [0, 1), float64, shape (B, draws)."""
    return _shift_right(bits(stream, seed, ids, epoch=epoch, draws=draws), 11).double() / (1 << 53)


def normal(stream: str, seed: int, ids: Tensor, *, epoch: int = 0, draws: int = 1) -> Tensor:
    """Return standard normal numbers, float32, shape (B, draws) (Box & Muller 1958)."""
    u = uniform(stream, seed, ids, epoch=epoch, draws=2 * ((draws + 1) // 2))
    radius, angle = (-2 * torch.log1p(-u[:, 0::2])).sqrt(), 2 * math.pi * u[:, 1::2]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :draws].float()


def permutation(seed: int, epoch: int, ids: np.ndarray, *, stream: str = "order") -> np.ndarray:
    """Return the ids in the random order of an epoch, the same on every machine."""
    keys = bits(stream, seed, torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64)), epoch=epoch)[:, 0].numpy()
    return ids[np.argsort(keys, kind="stable")]
