"""Cutting splits off a listing of one's own images: by class and seed, and groups stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shiftline.contracts.require import counted
from shiftline.data.examples import Example
from shiftline.data.family import Listing
from shiftline.datasets.class_names import without
from shiftline.datasets.held_out import listing_digest
from shiftline.errors import DataError


def split_off(listing: Listing, shares: Mapping[str, float], *, rest: str = "train", seed: int = 0) -> dict[str, Listing]:
    """Cut a listing into splits.

    Images are drawn by their paths: one more file moves no other across splits, up to the rounding of a class's share. Where
    examples have groups, a group lies in one split as a whole, and the shares of classes are met as closely as that allows.

    Parameters
    ----------
    shares : mapping of str to float
        Split -> fraction of the images of every class.
    rest : str
        Name of what remains.

    Returns
    -------
    dict of str to Listing
        The rest first. Examples keep their order.

    Raises
    ------
    DataError
        Shares are not above 0 and below 1 together, a name is used twice, or a split would have no images.
    """
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) >= 1:
        said = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise DataError(f"--split-off {said}: expected fractions above 0 that sum to less than 1, such as val=0.1,test=0.2.")
    if rest in shares:
        raise DataError(f"--split-off {rest}=...: {rest} is what remains. Give one of the two another name (--split NAME).")
    names = [rest, *shares]
    wanted = np.array([1 - sum(shares.values()), *shares.values()])
    examples = listing.examples
    grouped = any(example.group for example in examples)
    part = (_by_group if grouped else _by_class)(examples, wanted, len(listing.classes), seed)
    digest = listing_digest(examples)
    found = {}
    for number, name in enumerate(names):
        chosen = [example for example, of in zip(examples, part, strict=True) if of == number]
        if not chosen:
            units = counted(len({e.group for e in examples}), "group") if grouped else counted(len(examples), "image")
            raise DataError(f"the split {name} would have no images: {units}: too few for these shares.")
        missing = without(chosen, listing.classes)
        description = replace(listing.description, listing=digest)
        found[name] = replace(listing, examples=chosen, description=description, notes=(*listing.notes, *missing))
    return found


def _order(names: Sequence[str], seed: int) -> list[int]:
    """Return positions in an order that is a function of each name and the seed."""
    drawn = [hashlib.sha256(f"split-off {seed} {name}".encode()).digest() for name in names]
    return sorted(range(len(names)), key=drawn.__getitem__)


def _by_class(examples: Sequence[Example], wanted: np.ndarray, classes: int, seed: int) -> np.ndarray:
    order = np.array(_order([example.path for example in examples], seed))
    labels = np.array([example.label for example in examples])
    part = np.zeros(len(examples), dtype=int)
    for label in range(classes):
        of_class = order[labels[order] == label]
        # The rest comes last: what is cut off does not move with its share of others.
        ends = np.floor(np.cumsum(wanted[1:]) * len(of_class) + 0.5).astype(int)
        for number, one in enumerate(np.split(of_class, ends)):
            part[one] = (number + 1) % len(wanted)
    return part


def _by_group(examples: Sequence[Example], wanted: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Give each group, the largest first, to the part that it brings closest to its share of every class."""
    groups = sorted({example.group for example in examples})
    row_of = {group: row for row, group in enumerate(groups)}
    counts = np.zeros((len(groups), classes))
    for example in examples:
        counts[row_of[example.group], example.label] += 1
    target = wanted[:, None] * counts.sum(axis=0)
    filled = np.zeros_like(target)
    chosen = np.zeros(len(groups), dtype=int)
    scale = np.maximum(counts.sum(axis=0), 1.0)
    drawn = _order(groups, seed)
    for row in sorted(drawn, key=lambda one: -counts[one].sum()):
        lacking = (target - filled) / scale
        # How much closer to its target the part comes, over all classes.
        gain = (lacking**2 - (lacking - counts[row] / scale) ** 2).sum(axis=1)
        chosen[row] = int(np.argmax(gain))
        filled[chosen[row]] += counts[row]
    return np.array([chosen[row_of[example.group]] for example in examples])
