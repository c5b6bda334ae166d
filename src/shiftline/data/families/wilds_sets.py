"""Image sets of the WILDS benchmark (Koh et al. 2021), read through the wilds package and scored by it.

The package is imported when it is needed and not before: it looks for updates of another package on the network.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import sys
import unittest.mock
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.layout import require_split
from shiftline.data.families.names import class_names
from shiftline.data.writer import Description, Example
from shiftline.errors import DataError

METRICS: dict[str, tuple[str, ...]] = {
    "iwildcam": ("F1-macro_all", "recall-macro_all", "acc_avg"),
    "fmow": ("acc_worst_region", "acc_avg"),
    "camelyon17": ("acc_avg",),
    "rxrx1": ("acc_avg",),
    "waterbirds": ("acc_wg", "adj_acc_avg"),
    "celebA": ("acc_wg", "acc_avg"),
    "domainnet": ("acc_avg",),
}
"""What the package's own evaluation reports, the official metric first."""
GROUPS = {
    "iwildcam": ("location",),
    "fmow": ("region",),
    "camelyon17": ("hospital",),
    "rxrx1": ("cell_type",),
    "waterbirds": ("background", "y"),
    "celebA": ("male", "y"),
    "domainnet": ("domain",),
}
ID_SPLITS = ("train", "id_val", "id_test")
NON_EMPTY = "-non-empty"
DETECTED_FROM = 0.95
"""Confidence of the animal detector from which an image of iWildCam counts as not empty (Wortsman et al. 2022)."""


def _wilds() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wilds
    except ImportError as error:
        raise DataError("the wilds package is not installed: uv pip install 'shiftline[wilds]'.") from error
    return wilds  # type: ignore[no-any-return]


def open_wilds(name: str, root: Path) -> Any:
    """Open a set with the package; nothing is downloaded.

    Raises
    ------
    DataError
        The package is not installed, or the set is not in the folder.
    """
    wilds = _wilds()
    try:
        with warnings.catch_warnings(), _writable_columns():
            # wilds hands read-only arrays of pandas to torch, and never writes to them.
            warnings.simplefilter("ignore", UserWarning)
            return wilds.get_dataset(dataset=name, root_dir=str(root), download=False)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise DataError(
            f"wilds-{name} cannot be read from {root} ({type(error).__name__}: {error}). Download it there with the wilds package: "
            f"wilds.get_dataset({name!r}, root_dir={str(root)!r}, download=True)."
        ) from error


@contextlib.contextmanager
def _writable_columns() -> Iterator[None]:
    """Let the package write to the columns that it reads: since pandas 3 they are read-only, and RxRx1 cannot be opened."""
    import pandas as pd

    columns = pd.Series.values

    def writable(column: Any) -> Any:
        plain = isinstance(column.dtype, np.dtype)
        return column.to_numpy(copy=True) if plain else columns.fget(column)  # type: ignore[attr-defined]

    pd.Series.values = property(writable)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        pd.Series.values = columns  # type: ignore[method-assign]


def _wilds_set(root: Path, split: str, *, name: str) -> Listing:
    require_split(split, _splits(name), what=f"wilds-{name}")
    dataset = open_wilds(name, root)
    official = split.removesuffix(NON_EMPTY)
    rows = np.flatnonzero(np.asarray(dataset.split_array) == dataset.split_dict[official])
    if split != official:
        rows = rows[_not_empty(dataset)[rows]]
    labels, metadata, fields = dataset.y_array, dataset.metadata_array, list(dataset.metadata_fields)
    examples = [
        Example(
            partial(dataset.get_input, int(row)), int(labels[row]), group=_group(dataset, name, metadata[row]), path=str(row),
            metadata=dict(zip(fields, metadata[row].tolist(), strict=True)),
        )
        for row in rows
    ]  # fmt: skip
    classes = _classes(dataset, name)
    metrics = METRICS[name] if name != "fmow" or official not in ID_SPLITS else METRICS[name][::-1]
    description = Description(
        tuple(f"{name}:{label}" for label in range(len(classes))), None, tuple(f"wilds:{metric}" for metric in metrics),
        (official,), evaluation(dataset, name),
    )  # fmt: skip
    return Listing(examples, classes, description)


def _classes(dataset: Any, name: str) -> tuple[str, ...]:
    names: Sequence[str]
    if name == "iwildcam":
        names = class_names("wilds-iwildcam")
    elif name == "fmow":
        from wilds.datasets.fmow_dataset import categories

        names = categories
    else:
        names = (dataset.metadata_map or {}).get("category" if name == "domainnet" else "y", ())
    count = int(dataset.n_classes)
    return tuple(str(n).strip() for n in names) if len(names) == count else tuple(map(str, range(count)))


def _group(dataset: Any, name: str, values: Any) -> str:
    """Write what the official evaluation groups by as text: "background=land, y=waterbird"."""
    words = []
    for field in GROUPS[name]:
        value = int(values[dataset.metadata_fields.index(field)])
        known = (dataset.metadata_map or {}).get(field, ())
        words.append(f"{field}={str(known[value]).strip() if value < len(known) else value}")
    return ", ".join(words)


def _not_empty(dataset: Any) -> np.ndarray:
    import pandas as pd

    folder = Path(dataset._data_dir)
    path = folder / "iwildcam2020_megadetector_results.json"
    if not path.is_file():
        raise DataError(
            f"wilds-iwildcam: {path} is missing, which says what images show no animal. It is part of the iWildCam 2020 "
            "competition's data (kaggle.com/c/iwildcam-2020-fgvc7)."
        )
    found = {row["id"]: row["max_detection_conf"] for row in json.loads(path.read_text())["images"]}
    images = pd.read_csv(folder / "metadata.csv")["image_id"]
    return np.array([found[image] >= DETECTED_FROM for image in images])


def evaluation(dataset: Any, name: str) -> dict[str, Any]:
    """Return what the package's ``eval`` needs of a data set besides predictions, labels and metadata, as JSON."""
    groupers = {"_eval_grouper": getattr(dataset, "_eval_grouper", None)} | {
        f"_eval_groupers.{key}": grouper for key, grouper in getattr(dataset, "_eval_groupers", {}).items()
    }
    largest = dataset.metadata_array.max(dim=0).values.tolist()
    return {
        "name": name, "fields": list(dataset.metadata_fields), "largest": [int(value) for value in largest],
        "map": {field: [str(v) for v in values] for field, values in (dataset.metadata_map or {}).items()},
        "groupers": {key: list(grouper.groupby_fields) for key, grouper in groupers.items() if grouper is not None},
    }  # fmt: skip


def official_results(
    official: dict[str, Any], predicted: np.ndarray, labels: np.ndarray, metadata: np.ndarray
) -> dict[str, float]:
    """Evaluate predictions with the package's own code.

    Parameters
    ----------
    official : mapping
        From `evaluation`, as the sidecar holds it.
    predicted, labels : ndarray of int64, shape (N,)
    metadata : ndarray of int64, shape (N, F)

    Returns
    -------
    dict of str to float
        As ``dataset.eval`` names them.
    """
    import torch

    _wilds()
    from wilds.common.grouper import CombinatorialGrouper
    from wilds.datasets.wilds_dataset import WILDSDataset

    kind = _class_named(official["name"], WILDSDataset)
    dataset = kind.__new__(kind)
    dataset._metadata_fields, dataset._metadata_map = official["fields"], official["map"]
    # Groupers count the values of a field by its largest one.
    dataset._metadata_array = torch.tensor([[0] * len(official["largest"]), official["largest"]])
    dataset._eval_groupers = {}
    for key, fields in official["groupers"].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            grouper = CombinatorialGrouper(dataset=dataset, groupby_fields=fields)
        attribute, _, entry = key.partition(".")
        if entry:
            dataset._eval_groupers[entry] = grouper
        else:
            setattr(dataset, attribute, grouper)
    with _group_means():
        results, _ = dataset.eval(torch.from_numpy(predicted), torch.from_numpy(labels), torch.from_numpy(metadata))
    return {key: float(value) for key, value in results.items()}


@contextlib.contextmanager
def _group_means() -> Iterator[None]:
    """Give the package the one function of torch_scatter that it calls: that is a compiled extension, and often not there."""
    import torch

    if importlib.util.find_spec("torch_scatter") is not None:
        yield
        return

    def scatter(src: torch.Tensor, index: torch.Tensor, dim_size: int, reduce: str) -> torch.Tensor:
        return torch.zeros(dim_size, dtype=src.dtype).scatter_reduce(0, index, src, reduce, include_self=False)

    stand_in = ModuleType("torch_scatter")
    stand_in.scatter = scatter  # type: ignore[attr-defined]
    with unittest.mock.patch.dict(sys.modules, torch_scatter=stand_in):
        yield


def _class_named(name: str, base: Any) -> Any:
    module = importlib.import_module(f"wilds.datasets.{name}_dataset")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and getattr(value, "_dataset_name", None) == name
    )


def _splits(name: str) -> tuple[str, ...]:
    official = {
        "iwildcam": ("train", "id_val", "id_test", "val", "test"),
        "fmow": ("train", "id_val", "id_test", "val", "test"),
        "camelyon17": ("train", "id_val", "val", "test"),
        "rxrx1": ("train", "id_test", "val", "test"),
        "waterbirds": ("train", "val", "test"),
        "celebA": ("train", "val", "test"),
        "domainnet": ("train", "id_test", "val", "test"),
    }[name]
    return (*official, *(f"{split}{NON_EMPTY}" for split in official)) if name == "iwildcam" else official


def _family(name: str, title: str, classes: str, licence: str, short_side: int | None = None) -> Family:
    return Family(
        f"wilds-{name}", f"{title} (WILDS, Koh et al. 2021)", _splits(name), classes, ("wilds", "."),
        f"{name}_v*/ as the wilds package downloads it", licence, f"wilds.get_dataset({name!r}, download=True)",
        partial(_wilds_set, name=name), lambda root, _: any(root.glob(f"{name}_v*")), training=("train", f"train{NON_EMPTY}"),
        short_side=short_side, groups=" x ".join(GROUPS[name]),
    )  # fmt: skip


FAMILIES = (
    _family("iwildcam", "iWildCam, camera traps", "182", "Community Data License Agreement, permissive", 448),
    _family("fmow", "FMoW, satellite images", "62", "Functional Map of the World challenge public licence"),
    _family("camelyon17", "Camelyon17, tumour patches", "2", "CC0"),
    _family("rxrx1", "RxRx1, cells", "1,139", "CC BY-NC-SA 4.0"),
    _family("waterbirds", "Waterbirds", "2", "as CUB and Places"),
    _family("celebA", "CelebA, blond hair", "2", "non-commercial research"),
    _family("domainnet", "DomainNet, sketch to real", "345", "fair use, non-commercial"),
)
