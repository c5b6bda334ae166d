"""CIFAR-10 and -100, and the shifts of CIFAR-10: 10.1, 10.2, 10-C. Files of arrays, read without running code in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.datasets.held_out import held_out_at_random, listing_digest, subset_of
from shiftline.datasets.imagenet import CORRUPTIONS, corruption_and_severity
from shiftline.errors import DataError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class _PlainUnpickler(pickle.Unpickler):
    """Builds arrays and plain containers only: a pickle can run any code otherwise."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise DataError(f"the file holds a {module}.{name}, which is no array: it is not the published one.")


def unpickled(stream: io.BufferedIOBase, path: Path) -> Any:
    """Read a pickle of arrays.

    Raises
    ------
    DataError
        It holds something else, or is damaged.
    """
    try:
        return _PlainUnpickler(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, ImportError, AttributeError) as error:
        raise DataError(f"{path} is damaged or not the published file ({error}).") from error


def as_examples(images: np.ndarray, labels: Sequence[int] | np.ndarray, *, path: str) -> list[Example]:
    """Return images of an array (N, H, W, 3) as examples."""
    if len(images) != len(labels):
        raise DataError(f"{path} has {len(images)} images and {len(labels)} labels: expected as many.")
    return [
        Example(image, int(label), path=f"{path}[{row}]") for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def _batches(root: Path, files: Sequence[str], label: str) -> list[Example]:
    examples = []
    for name in files:
        with (root / name).open("rb") as stream:
            document = unpickled(stream, root / name)
        images = np.asarray(document["data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        examples += as_examples(images, document[label], path=name)
    return examples


class CarvedFamily(DatasetFamily):
    """A data set without a validation split of its own: a tenth of its training images, at most 5,000, is held out.

    A subclass defines `published` in the place of `list_split`.
    """

    splits = ("train", "val", "test", "train-whole")

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        """Return examples and class names of "train" or "test", as published."""
        raise NotImplementedError

    def list_split(self, folder: Path, split: str) -> Listing:
        examples, classes = self.published(folder, "test" if split == "test" else "train")
        if not examples:
            raise DataError(f"{self.name}/{split}: {folder} lists no images.")
        if split == "test":
            return Listing(examples, classes, Description(subsets=("test",)))
        held_out, listing = held_out_at_random(len(examples)), listing_digest(examples)
        examples, subsets = subset_of(examples, held_out, split, held_out_name="val")
        return Listing(examples, classes, Description(subsets=subsets, listing=listing))


class Cifar10(CarvedFamily):
    """CIFAR-10."""

    name = "cifar10"
    title = "CIFAR-10 (Krizhevsky 2009)"
    classes = "10"
    folders = ("cifar-10-batches-py", "cifar10/cifar-10-batches-py")
    layout = "data_batch_1 to _5, test_batch, batches.meta (the Python version)"
    licence = "none given; the authors ask to be cited"
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    counts: ClassVar = {"train": 45_000, "val": 5_000, "test": 10_000, "train-whole": 50_000}

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        files = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
        self.require(folder, [*files, "batches.meta"], split)
        return _batches(folder, files, "labels"), CIFAR10_CLASSES

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "test_batch").is_file()


class Cifar100(CarvedFamily):
    """CIFAR-100, its fine labels."""

    name = "cifar100"
    title = "CIFAR-100 (Krizhevsky 2009)"
    classes = "100"
    folders = ("cifar-100-python", "cifar100/cifar-100-python")
    layout = "train, test, meta (the Python version)"
    licence, source, counts = Cifar10.licence, Cifar10.source, Cifar10.counts

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        self.require(folder, [split, "meta"], split)
        with (folder / "meta").open("rb") as stream:
            names = unpickled(stream, folder / "meta")["fine_label_names"]
        return _batches(folder, [split], "fine_labels"), tuple(str(name).replace("_", " ") for name in names)

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "meta").is_file()


def _array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged or not the published file ({error}).") from error
    return array


def _images(path: Path) -> np.ndarray:
    images = _array(path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{path} holds {images.dtype} of shape {images.shape}: expected uint8 images (N, 32, 32, 3).")
    return images


class Cifar10Point1(DatasetFamily):
    """CIFAR-10.1, in two versions."""

    name = "cifar10.1"
    title = "CIFAR-10.1 (Recht et al. 2018)"
    splits = ("v4", "v6")
    classes = "CIFAR-10's"
    folders = ("CIFAR-10.1", "CIFAR-10.1/datasets")
    layout = "cifar10.1_v4_data.npy, _labels.npy, likewise v6"
    licence = "MIT"
    source = "https://github.com/modestyachts/CIFAR-10.1"
    counts: ClassVar = {"v4": 2_021, "v6": 2_000}

    def list_split(self, folder: Path, split: str) -> Listing:
        images, labels = (f"cifar10.1_{split}_{kind}.npy" for kind in ("data", "labels"))
        self.require(folder, [images, labels], split)
        examples = as_examples(_images(folder / images), _array(folder / labels), path=images)
        return Listing(examples, CIFAR10_CLASSES, Description(subsets=("images",)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / f"cifar10.1_{split}_data.npy").is_file()


def _object_array(path: Path) -> Any:
    """Read the dictionary that ``np.save`` pickled into a .npy file."""
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            reader(stream)
        except ValueError as error:
            raise DataError(f"{path} is damaged or not the published file ({error}).") from error
        array = unpickled(stream, path)
    return array.item() if isinstance(array, np.ndarray) else array


class Cifar10Point2(DatasetFamily):
    """CIFAR-10.2."""

    name = "cifar10.2"
    title = "CIFAR-10.2 (Lu et al. 2020)"
    splits = ("train", "test")
    classes = "CIFAR-10's"
    folders = ("CIFAR-10.2",)
    layout = "cifar102_train.npy, cifar102_test.npy"
    licence = "MIT"
    source = "https://github.com/modestyachts/cifar-10.2"
    counts: ClassVar = {"train": 10_000, "test": 2_000}

    def list_split(self, folder: Path, split: str) -> Listing:
        name = f"cifar102_{split}.npy"
        self.require(folder, [name], split)
        document = _object_array(folder / name)
        examples = as_examples(np.asarray(document["images"], dtype=np.uint8), document["labels"], path=name)
        return Listing(examples, CIFAR10_CLASSES, Description(subsets=(split,)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / f"cifar102_{split}.npy").is_file()


class Cifar10C(DatasetFamily):
    """CIFAR-10's test images, corrupted."""

    name = "cifar10-c"
    title = "CIFAR-10-C (Hendrycks & Dietterich 2019)"
    splits = ("CORRUPTION-SEVERITY",)
    classes = "CIFAR-10's"
    folders = ("CIFAR-10-C",)
    layout = "CORRUPTION.npy (five severities in a row), labels.npy"
    licence = "Creative Commons Attribution 4.0"
    source = "https://zenodo.org/records/2535967"
    origin = "cifar10/test"

    def list_split(self, folder: Path, split: str) -> Listing:
        corruption, severity = corruption_and_severity(split, what=self.name)
        name = f"{corruption}.npy"
        self.require(folder, [name, "labels.npy"], split)
        images, labels = _images(folder / name), _array(folder / "labels.npy")
        if len(images) % 5 or len(labels) != len(images):
            raise DataError(f"{folder / name} has {len(images)} images, {len(labels)} labels: expected five severities of as many.")
        count = len(images) // 5
        rows = slice((severity - 1) * count, severity * count)
        examples = as_examples(images[rows], labels[rows], path=split)
        return Listing(examples, CIFAR10_CLASSES, Description(subsets=(split,)))

    def has(self, folder: Path, split: str) -> bool:
        return any((folder / f"{c}.npy").is_file() for c in CORRUPTIONS)
