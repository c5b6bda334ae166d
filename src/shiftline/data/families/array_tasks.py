"""The tasks of the patching paper that come as files of arrays: MNIST, FashionMNIST, SVHN, STL-10."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import numpy as np

from shiftline.data.families.cifar import as_examples
from shiftline.data.families.family import Family
from shiftline.data.families.layout import require
from shiftline.data.families.tasks import CARVED, carved, read_mat
from shiftline.data.writer import Example
from shiftline.errors import DataError

DIGITS = tuple(str(digit) for digit in range(10))
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _idx(root: Path, name: str, *, dimensions: int, what: str, source: str) -> np.ndarray:
    """Read an idx file of bytes (LeCun et al. 1998), compressed or not."""
    for place in (root / "raw", root):
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                shape = (
                    np.frombuffer(data, ">i4", dimensions, 4) if len(data) >= 4 + 4 * dimensions else np.zeros(1, int)
                )
                if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) != 4 + 4 * dimensions + shape.prod():
                    raise DataError(f"{path} is damaged: it is no complete idx file of {dimensions} dimensions.")
                return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    require(root, [f"raw/{name}"], what=what, source=source)
    raise AssertionError("require raises")


def _mnist(
    root: Path, split: str, *, name: str, classes: tuple[str, ...], source: str
) -> tuple[list[Example], tuple[str, ...]]:
    prefix = "train" if split == "train" else "t10k"
    images = _idx(root, f"{prefix}-images-idx3-ubyte", dimensions=3, what=name, source=source)
    labels = _idx(root, f"{prefix}-labels-idx1-ubyte", dimensions=1, what=name, source=source)
    return as_examples(np.repeat(images[..., None], 3, axis=-1), labels, path=f"{prefix}-images-idx3-ubyte"), classes


def _svhn(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    name = f"{split}_32x32.mat"
    require(root, [name], what="svhn", source=SVHN.source)
    document = read_mat(root / name)
    # The digit 0 has the label 10.
    labels = np.atleast_1d(document["y"]).astype(int) % 10
    return as_examples(np.ascontiguousarray(document["X"].transpose(3, 0, 1, 2)), labels, path=name), DIGITS


def _stl10(root: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
    names = [f"{split}_X.bin", f"{split}_y.bin", "class_names.txt"]
    require(root, names, what="stl10", source=STL10.source)
    data = np.fromfile(root / names[0], np.uint8)
    if len(data) % (3 * 96 * 96):
        raise DataError(
            f"{root / names[0]} has {len(data)} bytes: expected a multiple of {3 * 96 * 96}. It is not complete."
        )
    # Columns first: every channel is stored transposed.
    images = data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    labels = np.fromfile(root / names[1], np.uint8).astype(int) - 1
    return as_examples(np.ascontiguousarray(images), labels, path=names[0]), tuple(
        (root / names[2]).read_text().split()
    )


def _idx_family(
    name: str, title: str, classes: tuple[str, ...], folders: tuple[str, ...], licence: str, source: str
) -> Family:
    published = partial(_mnist, name=name, classes=classes, source=source)
    return Family(
        name, title, CARVED, "10", folders, "raw/train-images-idx3-ubyte and the other three files, .gz or not", licence, source,
        partial(carved, name=name, published=published),
        lambda root, _: any(path for place in ("raw", ".") for path in (root / place).glob("train-images-idx3*")),
        counts={"train": 55_000, "val": 5_000, "test": 10_000, "train-whole": 60_000},
    )  # fmt: skip


MNIST = _idx_family(
    "mnist",
    "MNIST (LeCun et al. 1998)",
    DIGITS,
    ("MNIST", "mnist"),
    "CC BY-SA 3.0",
    "https://github.com/cvdfoundation/mnist",
)
FASHION_MNIST = _idx_family(
    "fashion-mnist", "FashionMNIST (Xiao et al. 2017)", FASHION, ("FashionMNIST", "fashion-mnist"), "MIT",
    "https://github.com/zalandoresearch/fashion-mnist",
)  # fmt: skip
SVHN = Family(
    "svhn", "Street View House Numbers (Netzer et al. 2011)", CARVED, "10", ("svhn", "SVHN"), "train_32x32.mat, test_32x32.mat",
    "non-commercial", "http://ufldl.stanford.edu/housenumbers/", partial(carved, name="svhn", published=_svhn),
    lambda root, split: (root / f"{'test' if split == 'test' else 'train'}_32x32.mat").is_file(),
    counts={"train": 68_257, "val": 5_000, "test": 26_032, "train-whole": 73_257},
)  # fmt: skip
STL10 = Family(
    "stl10", "STL-10 (Coates et al. 2011)", CARVED, "10", ("stl10_binary", "stl10/stl10_binary"),
    "train_X.bin, train_y.bin, test_X.bin, test_y.bin, class_names.txt", "as ImageNet",
    "https://cs.stanford.edu/~acoates/stl10/", partial(carved, name="stl10", published=_stl10),
    lambda root, _: (root / "class_names.txt").is_file(),
    counts={"train": 4_500, "val": 500, "test": 8_000, "train-whole": 5_000},
)  # fmt: skip
FAMILIES = (MNIST, FASHION_MNIST, SVHN, STL10)
