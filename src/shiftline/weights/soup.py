"""The greedy soup: an average that grows while held-out accuracy does not fall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from shiftline.errors import WeightsError
from shiftline.weights.average import check_member, check_tensor

State = Mapping[str, Tensor]


@torch.no_grad()
def greedy_soup(
    member: Callable[[int], AbstractContextManager[State]], scores: Sequence[float], evaluate: Callable[[State], float]
) -> tuple[dict[str, Tensor], list[int]]:
    """Build a greedy soup (Wortsman et al. 2022, algorithm 1).

    Members are tried by falling score, the first one first where scores tie; one is kept when the average with it scores at
    least as high as the average without it.

    Parameters
    ----------
    member : callable
        Opens the weights of a member by its position; one is open at a time.
    scores : sequence of float
        Held-out scores of the members alone.
    evaluate : callable
        Returns the held-out score of weights.

    Returns
    -------
    weights : dict of str to Tensor
    kept : list of int
        Positions of the members in it, in the order in which they were added.

    Raises
    ------
    WeightsError
        There are fewer than two members, or they do not fit.
    """
    if len(scores) < 2:
        raise WeightsError(f"a soup of {len(scores)}: give two members or more.")
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    with member(order[0]) as first:
        dtypes = {name: first[name].dtype for name in first}
        mean = {name: _wide(first[name]) for name in first}
    kept, highest = order[:1], scores[order[0]]
    for row in order[1:]:
        with member(row) as other:
            check_member(dtypes, other, row)
            for name, tensor in mean.items():
                check_tensor(name, tensor, other[name], row, dtypes[name])
            _move(mean, other, 1 / (len(kept) + 1))
        score = evaluate({name: tensor.to(dtypes[name]) for name, tensor in mean.items()})
        if score >= highest:
            kept.append(row)
            highest = score
        else:
            _rebuild(mean, member, kept)
    return {name: tensor.to(dtypes[name]) for name, tensor in mean.items()}, kept


def _wide(tensor: Tensor) -> Tensor:
    wide = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(wide, copy=True)


def _move(mean: dict[str, Tensor], other: State, share: float) -> None:
    """Move a running mean towards a member by its share, in place: no second sum is needed."""
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            tensor.lerp_(other[name].to(tensor), share)


def _rebuild(mean: dict[str, Tensor], member: Callable[[int], AbstractContextManager[State]], kept: Sequence[int]) -> None:
    """Compute the mean of the kept members again: undoing a step would leave its rounding errors behind."""
    with member(kept[0]) as first:
        for name, tensor in mean.items():
            tensor.copy_(first[name])
    for count, row in enumerate(kept[1:], start=2):
        with member(row) as other:
            _move(mean, other, 1 / count)
