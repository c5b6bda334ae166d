"""Applying somebody's formula to weights: what it is given, and what is asked of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from shiftline.errors import WeightsError
from shiftline.weights.average import check_member, check_tensor, tied_names
from shiftline.weights.interpolate import State, has_finite_values


class FloatTensors(Mapping[str, Tensor]):
    """The floating-point tensors of a state dict as float32 (float64 in its own), those that are tied once."""

    def __init__(self, state: State, names: Sequence[str]) -> None:
        self._state, self._names = state, tuple(names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor = self._state[name].detach()
        return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


LARGEST = 1_000_000
"""Numbers in each of some random members: beyond, their tensors are cut to a few rows and columns."""


def random_members(state: Callable[[], State], count: int) -> list[dict[str, Tensor]]:
    """Return random weights under the names of a model, for trying a formula; tied tensors stay tied.

    Parameters
    ----------
    state : callable
        Builds the model with random weights, from torch's generator, which is left as it was.
    """
    found: list[dict[str, Tensor]] = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(count):
            torch.manual_seed(seed)
            if not found:
                names = state()
                cut = sum(tensor.numel() for tensor in names.values()) > LARGEST
                tied = tied_names(names)
                shapes = {name: [min(size, 4) if cut else size for size in tensor.shape] for name, tensor in names.items()}
            made: dict[str, Tensor] = {}
            for name, tensor in names.items():
                is_float = tensor.is_floating_point()
                new = torch.randn(shapes[name]).to(tensor.dtype) if is_float else torch.zeros(shapes[name], dtype=tensor.dtype)
                made[name] = made.get(tied.get(name, ""), new)
            found.append(made)
    return found


@torch.no_grad()
def merged(
    members: Sequence[State], formula: Callable[[Sequence[State]], Mapping[str, Tensor]], *, owner: str
) -> dict[str, Tensor]:
    """Merge state dicts by a formula on their floating-point tensors.

    Parameters
    ----------
    members : sequence of mappings of str to Tensor
        Of equal names, shapes and types.
    formula : callable
        From the members' `FloatTensors` to a tensor for each name.
    owner : str
        Whose formula it is, for messages.

    Returns
    -------
    dict of str to Tensor
        Cast back to the types of the first member; integer buffers are its own, tied tensors stay tied.

    Raises
    ------
    WeightsError
        The members do not fit, or the formula drops, adds or reshapes tensors, or returns NaN.
    """
    first = members[0]
    tied = tied_names(first)
    for row, member in enumerate(members):
        check_member(first, member, row)
        for name in first:
            check_tensor(name, first[name], member[name], row)
    names = [name for name in first if first[name].is_floating_point() and name not in tied]
    made = formula([FloatTensors(member, names) for member in members])
    if not isinstance(made, Mapping):
        raise WeightsError(f"{owner}.merge returned a {type(made).__name__}: expected a tensor for each name.")
    for what, odd in (("lacks", set(names) - set(made)), ("adds", set(made) - set(names))):
        if odd:
            raise WeightsError(
                f"what {owner}.merge returned {what} {sorted(odd)[0]!r}{f' and {len(odd) - 1} more' if len(odd) > 1 else ''}: "
                "expected a tensor for each name of states[0], and no other."
            )
    result: dict[str, Tensor] = {}
    for name in first:
        source, new = first[name], made.get(tied.get(name, name))
        if name in tied and tied[name] in result:
            result[name] = result[tied[name]]
            continue
        if not source.is_floating_point():
            result[name] = source.clone()
            continue
        if not isinstance(new, Tensor) or new.shape != source.shape:
            got = f"a tensor of shape {tuple(new.shape)}" if isinstance(new, Tensor) else f"a {type(new).__name__}"
            raise WeightsError(f"{owner}.merge returned {got} for {name!r}: expected the shape {tuple(source.shape)}.")
        if not has_finite_values(new):
            raise WeightsError(
                f"{owner}.merge returned NaN or infinite values for {name!r}: look for a division by zero, or for the root or "
                "logarithm of a negative number."
            )
        result[name] = new.to(source.dtype)
    return result
