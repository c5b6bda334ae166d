"""Image sets of the WILDS benchmark (Koh et al. 2021), read through the wilds package and scored by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.published_names import class_names
from shiftline.datasets.wilds_package import evaluation, open_wilds
from shiftline.errors import DataError

ID_SPLITS = ("train", "id_val", "id_test")
NON_EMPTY = "-non-empty"
DETECTED_FROM = 0.95
"""Confidence of the animal detector from which an image of iWildCam counts as not empty (Wortsman et al. 2022)."""


class WildsFamily(DatasetFamily):
    """A set of WILDS.

    Attributes
    ----------
    metrics : tuple of str
        What the package's own evaluation reports, the official metric first.
    grouped_by : tuple of str
        Fields of its metadata.
    class_field : str
        The field whose values are the class names.
    """

    training = ("train", f"train{NON_EMPTY}")
    metrics: ClassVar[tuple[str, ...]] = ("acc_avg",)
    grouped_by: ClassVar[tuple[str, ...]] = ()
    class_field: ClassVar[str] = "y"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.title = f"{cls.title} (WILDS, Koh et al. 2021)"
        cls.folders = ("wilds", ".")
        cls.layout = f"{cls.set_name()}_v*/ as the wilds package downloads it"
        cls.source = f"wilds.get_dataset({cls.set_name()!r}, download=True)"
        cls.groups = " x ".join(cls.grouped_by)

    @classmethod
    def set_name(cls) -> str:
        """Return the package's own name of the set."""
        return cls.name.removeprefix("wilds-")

    def has(self, folder: Path, split: str) -> bool:
        return any(folder.glob(f"{self.set_name()}_v*"))

    def metrics_of(self, split: str) -> tuple[str, ...]:
        """Return the official metrics of a split."""
        return self.metrics

    def names(self, dataset: Any) -> Sequence[str]:
        """Return the class names that the package, or we, know; empty where nobody does."""
        names: Sequence[str] = (dataset.metadata_map or {}).get(self.class_field, ())
        return names

    def list_split(self, folder: Path, split: str) -> Listing:
        name = self.set_name()
        dataset = open_wilds(name, folder)
        official = split.removesuffix(NON_EMPTY)
        rows = np.flatnonzero(np.asarray(dataset.split_array) == dataset.split_dict[official])
        if split != official:
            rows = rows[_not_empty(dataset)[rows]]
        labels, metadata, fields = dataset.y_array, dataset.metadata_array, list(dataset.metadata_fields)
        examples = [
            Example(
                partial(dataset.get_input, int(row)),
                int(labels[row]),
                group=self._group(dataset, metadata[row]),
                path=str(row),
                metadata=dict(zip(fields, metadata[row].tolist(), strict=True)),
            )
            for row in rows
        ]
        names, count = self.names(dataset), int(dataset.n_classes)
        classes = tuple(str(n).strip() for n in names) if len(names) == count else tuple(map(str, range(count)))
        ids = tuple(f"{name}:{label}" for label in range(count))
        metrics = tuple(f"wilds:{metric}" for metric in self.metrics_of(official))
        return Listing(examples, classes, Description(ids, None, metrics, (official,), evaluation(dataset, name)))

    def _group(self, dataset: Any, values: Any) -> str:
        """Write what the official evaluation groups by as text: "background=land, y=waterbird"."""
        words = []
        for field in self.grouped_by:
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


class IWildCam(WildsFamily):
    """Animals at camera traps; each split also without images that show no animal."""

    name = "wilds-iwildcam"
    title = "iWildCam, camera traps"
    splits = tuple(f"{split}{end}" for end in ("", NON_EMPTY) for split in ("train", "id_val", "id_test", "val", "test"))
    classes = "182"
    licence = "Community Data License Agreement, permissive"
    short_side = 448
    metrics = ("F1-macro_all", "recall-macro_all", "acc_avg")
    grouped_by = ("location",)

    def names(self, dataset: Any) -> Sequence[str]:
        found: Sequence[str] = class_names("wilds-iwildcam")
        return found


class FMoW(WildsFamily):
    """Land use in satellite images of later years."""

    name = "wilds-fmow"
    title = "FMoW, satellite images"
    splits = ("train", "id_val", "id_test", "val", "test")
    classes = "62"
    licence = "Functional Map of the World challenge public licence"
    metrics = ("acc_worst_region", "acc_avg")
    grouped_by = ("region",)

    def metrics_of(self, split: str) -> tuple[str, ...]:
        return self.metrics[::-1] if split in ID_SPLITS else self.metrics

    def names(self, dataset: Any) -> Sequence[str]:
        from wilds.datasets.fmow_dataset import categories

        found: Sequence[str] = categories
        return found


class Camelyon17(WildsFamily):
    """Tumours in patches from five hospitals."""

    name = "wilds-camelyon17"
    title = "Camelyon17, tumour patches"
    splits = ("train", "id_val", "val", "test")
    classes = "2"
    licence = "CC0"
    grouped_by = ("hospital",)


class RxRx1(WildsFamily):
    """Cells under genetic treatments, in batches."""

    name = "wilds-rxrx1"
    title = "RxRx1, cells"
    splits = ("train", "id_test", "val", "test")
    classes = "1,139"
    licence = "CC BY-NC-SA 4.0"
    grouped_by = ("cell_type",)


class Waterbirds(WildsFamily):
    """Birds on backgrounds."""

    name = "wilds-waterbirds"
    title = "Waterbirds"
    splits = ("train", "val", "test")
    classes = "2"
    licence = "as CUB and Places"
    metrics = ("acc_wg", "adj_acc_avg")
    grouped_by = ("background", "y")


class CelebA(WildsFamily):
    """Blond hair."""

    name = "wilds-celebA"
    title = "CelebA, blond hair"
    splits = ("train", "val", "test")
    classes = "2"
    licence = "non-commercial research"
    metrics = ("acc_wg", "acc_avg")
    grouped_by = ("male", "y")


class DomainNetWilds(WildsFamily):
    """Objects, from real photographs to sketches."""

    name = "wilds-domainnet"
    title = "DomainNet, sketch to real"
    splits = ("train", "id_test", "val", "test")
    classes = "345"
    licence = "fair use, non-commercial"
    grouped_by = ("domain",)
    class_field = "category"
