"""Interpolation of two models' weights (WiSE-FT, Wortsman et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from shiftline.errors import WeightsError

State = Mapping[str, Tensor]


def has_finite_values(tensor: Tensor) -> bool:
    """Say whether a tensor holds no NaN and no infinity: they show in its extremes, which take one pass and no copy."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = torch.aminmax(tensor.detach())
    return math.isfinite(low) and math.isfinite(high)


def check_ends(start: State, end: State) -> None:
    """Raise `WeightsError` unless two state dicts have the same names and shapes and finite values."""
    for first, second, names in (("start", "end", set(start) - set(end)), ("end", "start", set(end) - set(start))):
        if names:
            raise WeightsError(
                f"{len(names)} tensors of {first} are missing in {second}, for example {sorted(names)[0]!r}: weights can "
                "be mixed only between models of one architecture."
            )
    for name, tensor in start.items():
        if tensor.shape != end[name].shape:
            raise WeightsError(
                f"{name!r} has the shape {tuple(tensor.shape)} at the start and {tuple(end[name].shape)} at the end: "
                "weights can be mixed only between models of one architecture and one number of classes."
            )
        if tensor.dtype != end[name].dtype:
            raise WeightsError(
                f"{name!r} is {tensor.dtype} at the start and {end[name].dtype} at the end: convert one of them first."
            )
        for side, values in (("start", tensor), ("end", end[name])):
            if not has_finite_values(values):
                raise WeightsError(f"{name!r} holds NaN or infinite values at the {side}: that training went wrong.")


@torch.no_grad()
def interpolate(start: State, end: State, alpha: float, *, out: State | None = None) -> dict[str, Tensor]:
    """Mix two state dicts: ``(1 - alpha) * start + alpha * end``.

    Floating-point tensors are combined in float32 (float64 in its own) and cast back; integer buffers are copied from
    `start`; tensors tied in `start` are combined once and stay tied. ``alpha=0`` and ``alpha=1`` are bit-exact.

    Parameters
    ----------
    start, end : mapping of str to Tensor
        State dicts of equal names and shapes; neither is changed.
    alpha : float
        Mixing coefficient, 0 (start) to 1 (end).
    out : mapping of str to Tensor, optional
        Tensors to write into, for instance a module's `state_dict()`: no second copy of the model is made.

    Returns
    -------
    dict of str to Tensor
        `out` where it is given.

    Raises
    ------
    WeightsError
        `alpha` is outside [0, 1] or NaN, names or shapes differ, or values are not finite.
    """
    if not (isinstance(alpha, (int, float)) and math.isfinite(alpha) and 0 <= alpha <= 1):
        raise WeightsError(f"alpha is {alpha!r}: expected a mixing coefficient from 0 (start) to 1 (end).")
    check_ends(start, end)
    if out is not None and set(out) != set(start):
        odd = sorted(set(out) ^ set(start))[0]
        raise WeightsError(f"out does not have the names of the weights: {odd!r} is on one side only.")
    for name, tensor in (out or {}).items():
        if tensor.shape != start[name].shape:
            raise WeightsError(f"out has {name!r} in the shape {tuple(tensor.shape)}, the weights {tuple(start[name].shape)}.")
    return _write(start, end, float(alpha), out)


@torch.no_grad()
def write_interpolation(start: State, end: State, alpha: float, out: State) -> None:
    """Write a mix of ends that `check_ends` has passed: the inner loop of a sweep over alpha."""
    _write(start, end, alpha, out)


def _write(start: State, end: State, alpha: float, out: State | None) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    done: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor] = {}
    for name, tensor in start.items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if out is None and tensor.numel() and memory in done:
            result[name] = done[memory]
            continue
        target = torch.empty_like(tensor) if out is None else out[name]
        if not tensor.is_floating_point() or alpha == 0:
            target.copy_(tensor)
        elif alpha == 1:
            target.copy_(end[name])
        elif target.dtype == tensor.dtype == end[name].dtype == torch.float32 and target.device == tensor.device:
            # lerp is exact at both ends: it counts from the nearer one.
            torch.lerp(tensor, end[name], alpha, out=target)
        else:
            wide = torch.promote_types(tensor.dtype, torch.float32)
            target.copy_(torch.lerp(tensor.to(wide), end[name].to(wide), alpha))
        done[memory] = result[name] = target
    return result
