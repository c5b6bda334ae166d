"""The wilds package: opening its data sets, and its own evaluation (Koh et al. 2021).

It is imported when it is needed and not before: it looks for updates of another package on the network. Two things that it needs
of other libraries are put into its own modules for the length of a call: the one function of torch_scatter that it calls, and
columns that it may write to.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftline.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def _wilds() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wilds
    except ImportError as error:
        raise DataError("the wilds package is not installed: uv pip install 'shiftline[wilds]'.") from error
    return wilds  # type: ignore[no-any-return]


@contextlib.contextmanager
def _standing_in(module: str, **names: Any) -> Iterator[None]:
    """Put other objects under names of one of the package's modules, and back."""
    found = importlib.import_module(module)
    before = {name: getattr(found, name) for name in names}
    vars(found).update(names)
    try:
        yield
    finally:
        vars(found).update(before)


def open_wilds(name: str, root: Path) -> Any:
    """Open a set with the package; nothing is downloaded.

    Raises
    ------
    DataError
        The package is not installed, or the set is not in the folder.
    """
    wilds = _wilds()
    try:
        with warnings.catch_warnings():
            # wilds hands read-only arrays of pandas to torch, and never writes to them.
            warnings.simplefilter("ignore", UserWarning)
            with _standing_in("wilds.datasets.rxrx1_dataset", pd=_pandas_with_writable_columns()):
                return wilds.get_dataset(dataset=name, root_dir=str(root), download=False)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise DataError(
            f"wilds-{name} cannot be read from {root} ({type(error).__name__}: {error}). Download it there with the wilds package: "
            f"wilds.get_dataset({name!r}, root_dir={str(root)!r}, download=True)."
        ) from error


def _pandas_with_writable_columns() -> Any:
    """Return what RxRx1 reads its table with: since pandas 3 columns are read-only, and it writes to them."""
    import pandas as pd

    class Column(pd.Series):  # type: ignore[misc]
        _metadata = pd.Series._metadata

        @property
        def _constructor(self) -> Any:
            return Column

        @property
        def values(self) -> Any:
            return self.to_numpy(copy=True)

    class Table(pd.DataFrame):  # type: ignore[misc]
        @property
        def _constructor_sliced(self) -> Any:
            return Column

    return SimpleNamespace(read_csv=lambda path: Table(pd.read_csv(path)))


def evaluation(dataset: Any, name: str) -> dict[str, Any]:
    """Return what the package's ``eval`` needs of a data set besides predictions, labels and metadata, as JSON."""
    groupers = {"_eval_grouper": getattr(dataset, "_eval_grouper", None)} | {
        f"_eval_groupers.{key}": grouper for key, grouper in getattr(dataset, "_eval_groupers", {}).items()
    }
    largest = dataset.metadata_array.max(dim=0).values.tolist()
    return {
        "name": name,
        "fields": list(dataset.metadata_fields),
        "largest": [int(value) for value in largest],
        "map": {field: [str(v) for v in values] for field, values in (dataset.metadata_map or {}).items()},
        "groupers": {key: list(grouper.groupby_fields) for key, grouper in groupers.items() if grouper is not None},
    }


def official_results(official: dict[str, Any], predicted: np.ndarray, labels: np.ndarray, metadata: np.ndarray) -> dict[str, float]:
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
        results, _ = dataset.eval(torch.tensor(predicted), torch.tensor(labels), torch.tensor(metadata))
    return {key: float(value) for key, value in results.items()}


def _group_means() -> contextlib.AbstractContextManager[None]:
    """Give the package means over groups: its own need torch_scatter, a compiled extension that is often not there."""
    import torch
    from wilds.common.utils import get_counts

    if importlib.util.find_spec("torch_scatter") is not None:
        return contextlib.nullcontext()

    def means(values: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(count, dtype=values.dtype).scatter_reduce(0, groups, values, "mean", include_self=False)
        return sums, get_counts(groups, count)

    return _standing_in("wilds.common.metrics.metric", avg_over_groups=means)


def _class_named(name: str, base: Any) -> Any:
    module = importlib.import_module(f"wilds.datasets.{name}_dataset")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and getattr(value, "_dataset_name", None) == name
    )
