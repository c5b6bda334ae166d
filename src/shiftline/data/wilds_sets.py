"""Image sets of the WILDS benchmark (Koh et al. 2021), read through the wilds package and written like any other split."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from shiftline.data.writer import Example
from shiftline.errors import DataError


def wilds_examples(name: str, split: str, root: Path) -> tuple[list[Example], list[str]]:
    """List the examples of a split, in the order of the wilds package, with their metadata as the group.

    Parameters
    ----------
    name : str
        As wilds names it: "iwildcam", "fmow", "camelyon17", "waterbirds", ...
    split : str
        As wilds names it: "train", "val", "test", "id_val", "id_test".
    root : Path
        The folder that wilds was told to download to; nothing is downloaded here.

    Returns
    -------
    examples, classes

    Raises
    ------
    DataError
        The wilds package is not installed, the set is unknown or not in the folder, or it has no such split.
    """
    try:
        import wilds
    except ImportError as error:
        raise DataError("the wilds package is not installed: uv pip install 'shiftline[wilds]'.") from error
    if name not in wilds.supported_datasets:
        raise DataError(f"wilds has no set {name!r}: it has {', '.join(sorted(wilds.supported_datasets))}.")
    try:
        with warnings.catch_warnings():
            # wilds hands read-only arrays of pandas to torch, and never writes to them.
            warnings.simplefilter("ignore", UserWarning)
            dataset = wilds.get_dataset(dataset=name, root_dir=str(root), download=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the WILDS set {name!r} cannot be read from {root} ({error}). Download it there with the wilds package first: "
            f"wilds.get_dataset({name!r}, root_dir={str(root)!r}, download=True)."
        ) from error
    if split not in dataset.split_dict:
        raise DataError(f"the WILDS set {name!r} has no split {split!r}: it has {', '.join(dataset.split_dict)}.")
    rows = (dataset.split_array == dataset.split_dict[split]).nonzero()[0]
    labels, metadata = dataset.y_array, dataset.metadata_array
    examples = [
        Example(
            partial(dataset.get_input, int(row)), int(labels[row]), group=_group(dataset, metadata[row]), path=str(row)
        )
        for row in rows
    ]
    names = (dataset.metadata_map or {}).get("y", [])
    classes = (
        [str(n).strip() for n in names] if len(names) == dataset.n_classes else list(map(str, range(dataset.n_classes)))
    )
    return examples, classes


def _group(dataset: Any, values: Any) -> str:
    """Write the metadata of an example as text, the label left out: "background=1"."""
    pairs = zip(dataset.metadata_fields, values.tolist(), strict=True)
    return ",".join(f"{field}={value}" for field, value in pairs if field != "y")
