"""Cutting a held-out split from a published training split, for selection: always the same images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from shiftline.data.examples import Example


def held_out_by_class(examples: Sequence[Example], *, share: float, seed: int = 0) -> np.ndarray:
    """Choose a share of every class, drawn by the examples' paths: a file more or less moves no other.

    Returns
    -------
    ndarray of bool, shape (N,)
        ``round(share * n_c)`` of each class's n_c examples, at least one.
    """
    labels = np.array([example.label for example in examples])
    drawn = [hashlib.sha256(f"held-out {seed} {example.path}".encode()).digest() for example in examples]
    order = np.array(sorted(range(len(examples)), key=drawn.__getitem__))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen[of_class[: max(1, round(share * len(of_class)))]] = True
    return chosen


def listing_digest(examples: Sequence[Example]) -> str:
    """Return the sha256 over paths and labels: splits that were cut from one listing share no example."""
    total = hashlib.sha256()
    for example in examples:
        total.update(f"{example.path} {example.label}\n".encode())
    return total.hexdigest()


def held_out_at_random(count: int, *, share: float = 0.1, most: int = 5000, seed: int = 0) -> np.ndarray:
    """Choose a tenth, at most 5,000, as the patching tasks do: the tail of ``torch.randperm(count)`` of a seeded generator.

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    import torch

    size = min(int(count * share), most)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = np.zeros(count, dtype=bool)
    chosen[order[count - size :]] = True
    return chosen


def subset_of(
    examples: Sequence[Example], held_out: np.ndarray, split: str, *, held_out_name: str
) -> tuple[list[Example], tuple[str, ...]]:
    """Return the examples of "train", the held-out split, or "train-whole", and the subsets that it consists of."""
    if split == "train-whole":
        return list(examples), ("train", held_out_name)
    wanted = held_out if split == held_out_name else ~held_out
    return [example for example, kept in zip(examples, wanted, strict=True) if kept], (split,)
