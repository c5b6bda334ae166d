"""CIFAR-10 and -100, and the shifts of CIFAR-10: 10.1, 10.2, 10-C. Files of arrays, read without running code in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.held_out import held_out_at_random, listing_digest, part_of
from shiftline.data.families.imagenet import CORRUPTIONS, corruption_and_severity
from shiftline.data.families.layout import require, require_split
from shiftline.data.writer import Description, Example
from shiftline.errors import DataError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLITS = ("train", "val", "test", "train-whole")
_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
_LICENCE = "none given; the authors ask to be cited"


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
        Example(image, int(label), path=f"{path}[{row}]")
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def _batches(root: Path, files: Sequence[str], label: str) -> list[Example]:
    examples = []
    for name in files:
        with (root / name).open("rb") as stream:
            document = unpickled(stream, root / name)
        images = np.asarray(document["data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        examples += as_examples(images, document[label], path=name)
    return examples


def _listed(examples: list[Example], split: str, classes: tuple[str, ...]) -> Listing:
    """Return a split whose validation part is cut from the training images."""
    if split == "test":
        return Listing(examples, classes, Description(parts=("test",)))
    listing = listing_digest(examples)
    examples, parts = part_of(examples, held_out_at_random(len(examples)), split, held_out_name="val")
    return Listing(examples, classes, Description(parts=parts, listing=listing))


def _cifar10(root: Path, split: str) -> Listing:
    what = f"cifar10/{split}"
    require_split(split, SPLITS, what="cifar10")
    files = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    require(root, [*files, "batches.meta"], what=what, source=CIFAR10.source)
    return _listed(_batches(root, files, "labels"), split, CIFAR10_CLASSES)


CIFAR10 = Family(
    "cifar10", "CIFAR-10 (Krizhevsky 2009)", SPLITS, "10", ("cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
    "data_batch_1 to _5, test_batch, batches.meta (the Python version)", _LICENCE, _HOME,
    _cifar10, lambda root, _: (root / "test_batch").is_file(),
    counts={"train": 45_000, "val": 5_000, "test": 10_000, "train-whole": 50_000},
)  # fmt: skip


def _cifar100(root: Path, split: str) -> Listing:
    what = f"cifar100/{split}"
    require_split(split, SPLITS, what="cifar100")
    name = "test" if split == "test" else "train"
    require(root, [name, "meta"], what=what, source=CIFAR100.source)
    with (root / "meta").open("rb") as stream:
        classes = tuple(str(c).replace("_", " ") for c in unpickled(stream, root / "meta")["fine_label_names"])
    return _listed(_batches(root, [name], "fine_labels"), split, classes)


CIFAR100 = Family(
    "cifar100", "CIFAR-100 (Krizhevsky 2009)", SPLITS, "100", ("cifar-100-python", "cifar100/cifar-100-python"),
    "train, test, meta (the Python version)", _LICENCE, _HOME, _cifar100, lambda root, _: (root / "meta").is_file(),
    counts={"train": 45_000, "val": 5_000, "test": 10_000, "train-whole": 50_000},
)  # fmt: skip


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


def _cifar10_1(root: Path, split: str) -> Listing:
    require_split(split, ("v4", "v6"), what="cifar10.1")
    names = [f"cifar10.1_{split}_{kind}.npy" for kind in ("data", "labels")]
    require(root, names, what=f"cifar10.1/{split}", source=CIFAR10_1.source)
    examples = as_examples(_images(root / names[0]), _array(root / names[1]), path=names[0])
    return Listing(examples, CIFAR10_CLASSES, Description(parts=("images",)))


CIFAR10_1 = Family(
    "cifar10.1", "CIFAR-10.1 (Recht et al. 2018)", ("v4", "v6"), "CIFAR-10's", ("CIFAR-10.1", "CIFAR-10.1/datasets"),
    "cifar10.1_v4_data.npy, _labels.npy, likewise v6", "MIT", "https://github.com/modestyachts/CIFAR-10.1",
    _cifar10_1, lambda root, split: (root / f"cifar10.1_{split}_data.npy").is_file(), counts={"v4": 2_021, "v6": 2_000},
)  # fmt: skip


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


def _cifar10_2(root: Path, split: str) -> Listing:
    require_split(split, ("train", "test"), what="cifar10.2")
    name = f"cifar102_{split}.npy"
    require(root, [name], what=f"cifar10.2/{split}", source=CIFAR10_2.source)
    document = _object_array(root / name)
    images = np.asarray(document["images"], dtype=np.uint8)
    return Listing(as_examples(images, document["labels"], path=name), CIFAR10_CLASSES, Description(parts=(split,)))


CIFAR10_2 = Family(
    "cifar10.2", "CIFAR-10.2 (Lu et al. 2020)", ("train", "test"), "CIFAR-10's", ("CIFAR-10.2",),
    "cifar102_train.npy, cifar102_test.npy", "MIT", "https://github.com/modestyachts/cifar-10.2",
    _cifar10_2, lambda root, split: (root / f"cifar102_{split}.npy").is_file(), counts={"train": 10_000, "test": 2_000},
)  # fmt: skip


def _cifar10_c(root: Path, split: str) -> Listing:
    corruption, severity = corruption_and_severity(split, what="cifar10-c")
    name = f"{corruption}.npy"
    require(root, [name, "labels.npy"], what=f"cifar10-c/{split}", source=CIFAR10_C.source)
    images, labels = _images(root / name), _array(root / "labels.npy")
    if len(images) % 5 or len(labels) != len(images):
        raise DataError(
            f"{root / name} has {len(images)} images, {len(labels)} labels: expected five severities of as many."
        )
    count = len(images) // 5
    rows = slice((severity - 1) * count, severity * count)
    return Listing(as_examples(images[rows], labels[rows], path=split), CIFAR10_CLASSES, Description(parts=(split,)))


CIFAR10_C = Family(
    "cifar10-c", "CIFAR-10-C (Hendrycks & Dietterich 2019)", ("CORRUPTION-SEVERITY",), "CIFAR-10's", ("CIFAR-10-C",),
    "CORRUPTION.npy (five severities in a row), labels.npy", "Creative Commons Attribution 4.0",
    "https://zenodo.org/records/2535967", _cifar10_c, lambda root, _: any((root / f"{c}.npy").is_file() for c in CORRUPTIONS),
    origin="cifar10/test",
)  # fmt: skip
FAMILIES = (CIFAR10, CIFAR100, CIFAR10_1, CIFAR10_2, CIFAR10_C)
