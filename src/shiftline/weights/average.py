"""Linear combinations and averages of many models' weights, one member in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from shiftline.errors import WeightsError
from shiftline.weights.interpolate import has_finite_values

State = Mapping[str, Tensor]


def check_member(reference: Mapping[str, object], member: State, row: int) -> None:
    """Raise `WeightsError` unless a member has the names of the first one."""
    for names, where in ((set(reference) - set(member), "is missing in"), (set(member) - set(reference), "is only in")):
        if names:
            raise WeightsError(
                f"{sorted(names)[0]!r} {where} member {row}: weights can be combined only between models of one architecture."
            )


def check_tensor(name: str, first: Tensor, tensor: Tensor, row: int, dtype: torch.dtype | None = None) -> None:
    """Raise `WeightsError` unless a tensor has the shape of the first member's, its type, and finite values."""
    dtype = dtype or first.dtype
    if first.shape != tensor.shape or dtype != tensor.dtype:
        raise WeightsError(
            f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)} in member {row} and {dtype} of shape "
            f"{tuple(first.shape)} in the first: weights can be combined only between models of one architecture and one "
            "number of classes."
        )
    if not has_finite_values(tensor):
        raise WeightsError(f"{name!r} holds NaN or infinite values in member {row}: that training went wrong.")


@torch.no_grad()
def combine(members: Iterable[State], weights: Sequence[float], *, out: State | None = None) -> dict[str, Tensor]:
    """Add weights up: ``sum_i weights[i] * members[i]``, tensor by tensor.

    Floating-point tensors are added in float32 (float64 in its own) and cast back; integer buffers are the first
    member's; tensors tied in the first member stay tied. Members are taken one after the other, so that an iterator that
    reads them from files needs the memory of one member and of the sum.

    Parameters
    ----------
    members : iterable of mappings of str to Tensor
        State dicts of equal names and shapes; none is changed.
    weights : sequence of float
        One per member, of any sum: an average's sum to one.
    out : mapping of str to Tensor, optional
        Tensors to write into, for instance a module's `state_dict()`.

    Returns
    -------
    dict of str to Tensor
        `out` where it is given.

    Raises
    ------
    WeightsError
        There is no member, another number of weights, names or shapes differ, or values are not finite.
    """
    if not weights or not all(math.isfinite(weight) for weight in weights):
        raise WeightsError(f"the weights of a combination are {list(weights)}: expected finite numbers, one per member.")
    total: _Sum | None = None
    count = 0
    for member in members:
        if count == len(weights):
            raise WeightsError(f"there are more members than the {count} weights: give one weight per member.")
        if total is None:
            total = _Sum(member, weights[0], out)
        else:
            total.add(member, weights[count], count)
        count += 1
    if total is None or count < len(weights):
        raise WeightsError(f"there are {count} members and {len(weights)} weights: give one weight per member.")
    return total.finish()


def average(members: Iterable[State], weights: Sequence[float], *, out: State | None = None) -> dict[str, Tensor]:
    """Return the weighted mean of weights: `combine` with weights that are divided by their sum.

    Raises
    ------
    WeightsError
        As `combine`; or the weights sum to 0.
    """
    total = math.fsum(weights)
    if not abs(total) > 1e-9:
        raise WeightsError(f"the weights {list(weights)} sum to {total:g}: no average has them.")
    return combine(members, [weight / total for weight in weights], out=out)


def tied_names(state: State) -> dict[str, str]:
    """Return the names that share the tensor of an earlier name, with that name.

    All tensors are held meanwhile: the address of one that was let go may be given to the next.
    """
    held = {name: state[name] for name in state}
    tied: dict[str, str] = {}
    first: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    for name, tensor in held.items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(memory, name) != name:
            tied[name] = first[memory]
    return tied


class _Sum:
    """The sum of the members so far, in float32 or wider; in the tensors of `out` where they are as wide."""

    def __init__(self, first: State, weight: float, out: State | None) -> None:
        self.out = out
        self.dtypes: dict[str, torch.dtype] = {}
        self.sums: dict[str, Tensor] = {}
        # A module's own tensors are tied already.
        self.tied = tied_names(first) if out is None else {}
        if out is not None:
            check_member(first, out, 0)
        for name in first:
            tensor = first[name].detach()
            check_tensor(name, tensor, tensor, 0)
            self.dtypes[name] = tensor.dtype
            if name not in self.tied:
                self.sums[name] = self._begin(name, tensor, weight)

    def _begin(self, name: str, tensor: Tensor, weight: float) -> Tensor:
        target = None if self.out is None else self.out[name]
        if target is not None and target.shape != tensor.shape:
            raise WeightsError(f"out has {name!r} in the shape {tuple(target.shape)}, the weights {tuple(tensor.shape)}.")
        if not tensor.is_floating_point():
            return tensor.clone()
        wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        if target is not None and target.dtype == wide.dtype and target.device == wide.device:
            return torch.mul(wide, weight, out=target)
        return torch.mul(wide, weight)

    def add(self, member: State, weight: float, row: int) -> None:
        check_member(self.dtypes, member, row)
        for name in member:
            tensor = member[name].detach()
            total = self.sums[self.tied.get(name, name)]
            check_tensor(name, total, tensor, row, self.dtypes[name])
            if tensor.is_floating_point() and weight and name not in self.tied:
                total.add_(tensor.to(total), alpha=weight)

    def finish(self) -> dict[str, Tensor]:
        if self.out is not None:
            for name, total in self.sums.items():
                if self.out[name] is not total:
                    self.out[name].copy_(total)
            return dict(self.out)
        narrow = {name: total.to(self.dtypes[name]) for name, total in self.sums.items()}
        return {name: narrow[self.tied.get(name, name)] for name in self.dtypes}


@torch.no_grad()
def fisher_average(
    members: Iterable[State], fishers: Iterable[State], weights: Sequence[float], *, floor: float = 1e-6
) -> dict[str, Tensor]:
    """Average weights by their Fisher information: ``sum_i w_i F_i theta_i / sum_i w_i F_i`` (Matena & Raffel 2022).

    F is at least `floor`; tensors without a Fisher (buffers) are averaged plainly. Two sums, one member and one Fisher are in
    memory at a time.

    Parameters
    ----------
    members, fishers : iterables of mappings of str to Tensor
        In the same order; a Fisher holds a tensor of values of 0 or more for each parameter.
    weights : sequence of float
        Positive, one per member.

    Raises
    ------
    WeightsError
        As `combine`; or a Fisher has other names or shapes than its member, or negative values.
    """
    dtypes: dict[str, torch.dtype] = {}
    totals: dict[str, Tensor] = {}
    shares: dict[str, Tensor] = {}
    tied: dict[str, str] = {}  # Name -> the earlier name of the same tensor.
    for row, (member, fisher, weight) in enumerate(zip(members, fishers, weights, strict=True)):
        if not (math.isfinite(weight) and weight > 0):
            raise WeightsError(f"the weight of member {row} is {weight}: expected a positive number.")
        if unknown := set(fisher) - set(member):
            raise WeightsError(
                f"the Fisher of member {row} is of another model: it has {sorted(unknown)[0]!r}, the member has not. Estimate it "
                "for the member itself."
            )
        if row:
            check_member(dtypes, member, row)
        else:
            tied = tied_names(member)
        for name in member:
            tensor = member[name].detach()
            dtypes.setdefault(name, tensor.dtype)
            if name in tied:
                continue
            check_tensor(name, totals.get(name, tensor), tensor, row, dtypes[name])
            if not tensor.is_floating_point():
                totals.setdefault(name, tensor.clone())
                continue
            share = weight * _information(name, tensor, fisher, floor, row)
            product = share * tensor.to(share.dtype)
            if row:
                totals[name].add_(product)
                shares[name].add_(share)
            else:
                totals[name], shares[name] = product, share.clone()
    means = {name: (total / shares[name]).to(dtypes[name]) if name in shares else total for name, total in totals.items()}
    return {name: means[tied.get(name, name)] for name in dtypes}


def _information(name: str, tensor: Tensor, fisher: State, floor: float, row: int) -> Tensor:
    """Return what a tensor counts: its Fisher, at least the floor; one where it has none."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    if name not in fisher:
        return torch.ones((), dtype=wide, device=tensor.device).expand(tensor.shape)
    information = fisher[name]
    if information.shape != tensor.shape or not bool((information >= 0).all()):
        raise WeightsError(
            f"the Fisher of member {row} has {name!r} in the shape {tuple(information.shape)}, negative or NaN: expected values "
            f"of 0 or more in the shape {tuple(tensor.shape)}."
        )
    return information.to(tensor.device, wide).clamp_min(floor)
