"""The contract of merges."""

from __future__ import annotations

from shiftline.operations.merge import Merge
from shiftline.testing.contract import as_contract_errors, require_contract
from shiftline.testing.declarations import check_declaration


def check_merge(merge: Merge) -> None:
    """Check a merge on random weights: every tensor of the same shape, finite, deterministic, members untouched.

    Parameters
    ----------
    merge : Merge
        With its members: their weights are not read.

    Raises
    ------
    ContractError
        It breaks the contract.
    """
    import torch
    from torch import nn

    from shiftline.weights.merge import random_members

    require_contract(isinstance(merge, Merge), f"{merge!r} is no merge: give an object of a subclass of shiftline.Merge.")
    # A convolution, a norm with an integer buffer, an attention of one dimension more, a head.
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 6), nn.Linear(6, 5))
    name = f"the merge {type(merge).tag!r}"
    members = random_members(network.state_dict, len(merge.members))
    before = [{key: tensor.clone() for key, tensor in member.items()} for member in members]
    with as_contract_errors():
        first, second = merge.merged(members), merge.merged(members)
    unchanged = all(
        torch.equal(member[key], tensors[key]) for member, tensors in zip(members, before, strict=True) for key in member
    )
    require_contract(unchanged, f"{name} changed the weights that it was given: work on copies.")
    same = all(torch.equal(first[key], second[key]) for key in first)
    require_contract(same, f"{name} gives other weights the second time: draw with torch's generator, or one with a seed field.")
    check_declaration(merge)
