"""The contract of families of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftline.data.family import DatasetFamily, Listing
from shiftline.data.writer import check_readable
from shiftline.testing.contract import ContractError, as_contract_errors, require_contract

READ = 3
"""Images of each split that are decoded."""


def check_family(family: type[DatasetFamily], folder: str | Path, *, splits: Sequence[str] | None = None) -> None:
    """Check a data set on a folder that holds it, or a miniature of it: listings, classes, labels, and that splits do not overlap.

    Parameters
    ----------
    family : class
        A subclass of DatasetFamily.
    folder : path
        What its `list_split` is given.
    splits : sequence of str, optional
        Those to look at; all of the family's that are in the folder unless given.

    Raises
    ------
    ContractError
        It breaks the contract.
    """
    made, folder = family(), Path(folder)
    require_contract(bool(made.name) and "/" not in made.name, f"{family.__name__}.name is {made.name!r}: expected text without /.")
    require_contract(bool(made.splits), f'{family.__name__} has no splits: write splits = ("train", "val", "test").')
    wanted = list(made.usual_splits) if splits is None else list(splits)
    with as_contract_errors():
        present = [split for split in wanted if splits is not None or made.has(folder, split)]
    require_contract(
        bool(present),
        f"{made.name} has none of its splits ({', '.join(wanted)}) in {folder}: expected {made.layout or 'its files'}.",
    )
    listed = {split: _listed(made, folder, split) for split in present}
    first = listed[present[0]]
    for split, listing in listed.items():
        ids = listing.description.class_ids or listing.classes
        require_contract(
            ids == (first.description.class_ids or first.classes),
            f"{made.name}/{split} has the classes {', '.join(ids[:4])}, ... ({len(ids)}), {made.name}/{present[0]} has others or "
            "another order: all splits of a data set have the same classes in the same order.",
        )
    _check_disjoint(made, listed)


def _listed(family: DatasetFamily, folder: Path, split: str) -> Listing:
    name = f"{family.name}/{split}"
    with as_contract_errors():
        listing, again = family.listing(folder, split), family.listing(folder, split)
    require_contract(len(listing.examples) > 0, f"{name} has no examples in {folder}: expected {family.layout or 'its files'}.")
    paths = [example.path for example in listing.examples]
    require_contract(
        paths == [example.path for example in again.examples],
        f"{name} is listed in another order the second time: sort what the file system gives, ids are positions.",
    )
    wrong = next((example for example in listing.examples if not 0 <= example.label < len(listing.classes)), None)
    require_contract(
        wrong is None,
        f"{name}: {wrong.path if wrong else ''} has the label {wrong.label if wrong else ''}, expected 0 to "
        f"{len(listing.classes) - 1}.",
    )
    with as_contract_errors():
        for example in listing.examples[:READ]:
            check_readable(example)
    return listing


def _check_disjoint(family: DatasetFamily, listed: dict[str, Listing]) -> None:
    """Refuse splits that hold the same files without naming a common subset."""
    splits = list(listed)
    for row, one in enumerate(splits):
        for other in splits[row + 1 :]:
            subsets = [set(listed[split].description.subsets or (split,)) for split in (one, other)]
            if subsets[0] & subsets[1]:
                continue
            files = [
                {example.source for example in listed[split].examples if isinstance(example.source, Path)} for split in (one, other)
            ]
            if common := sorted(files[0] & files[1]):
                raise ContractError(
                    f"{family.name}/{one} and {family.name}/{other} share {len(common)} files, {common[0]} for instance: a model "
                    "would be scored on what it was trained on. List each file in one split, or name the common subset in "
                    "Description(subsets=...)."
                )


def _files(listing: Listing) -> set[Path]:
    return {example.source for example in listing.examples if isinstance(example.source, Path)}
