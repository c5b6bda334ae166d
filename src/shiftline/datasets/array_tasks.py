"""The tasks of the patching paper that come as files of arrays: MNIST, FashionMNIST, SVHN, STL-10."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import ClassVar

import numpy as np

from shiftline.data.examples import Example
from shiftline.datasets.cifar import CarvedFamily, as_examples
from shiftline.datasets.tasks import read_mat
from shiftline.errors import DataError

DIGITS = tuple(str(digit) for digit in range(10))
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class MNIST(CarvedFamily):
    """Handwritten digits."""

    name = "mnist"
    title = "MNIST (LeCun et al. 1998)"
    classes = "10"
    folders = ("MNIST", "mnist")
    layout = "raw/train-images-idx3-ubyte and the other three files, .gz or not"
    licence = "CC BY-SA 3.0"
    source = "https://github.com/cvdfoundation/mnist"
    counts: ClassVar = {"train": 55_000, "val": 5_000, "test": 10_000, "train-whole": 60_000}
    class_names: ClassVar[tuple[str, ...]] = DIGITS

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        prefix = "train" if split == "train" else "t10k"
        images = self._idx(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels = self._idx(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1)
        pixels = np.repeat(images[..., None], 3, axis=-1)
        return as_examples(pixels, labels, path=f"{prefix}-images-idx3-ubyte"), self.class_names

    def has(self, folder: Path, split: str) -> bool:
        return any(path for where in ("raw", ".") for path in (folder / where).glob("train-images-idx3*"))

    def _idx(self, folder: Path, name: str, *, dimensions: int) -> np.ndarray:
        """Read an idx file of bytes (LeCun et al. 1998), compressed or not."""
        paths = [where / f"{name}{end}" for where in (folder / "raw", folder) for end in ("", ".gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            self.require(folder, [f"raw/{name}"])
            raise AssertionError("require raises")
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        start = 4 + 4 * dimensions
        shape = np.frombuffer(data, ">i4", dimensions, 4) if len(data) >= start else np.zeros(1, int)
        if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) != start + shape.prod():
            raise DataError(f"{path} is damaged: it is no complete idx file of {dimensions} dimensions.")
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


class FashionMNIST(MNIST):
    """Pieces of clothing."""

    name = "fashion-mnist"
    title = "FashionMNIST (Xiao et al. 2017)"
    folders = ("FashionMNIST", "fashion-mnist")
    licence = "MIT"
    source = "https://github.com/zalandoresearch/fashion-mnist"
    class_names = FASHION


class SVHN(CarvedFamily):
    """House numbers."""

    name = "svhn"
    title = "Street View House Numbers (Netzer et al. 2011)"
    classes = "10"
    folders = ("svhn", "SVHN")
    layout = "train_32x32.mat, test_32x32.mat"
    licence = "non-commercial"
    source = "http://ufldl.stanford.edu/housenumbers/"
    counts: ClassVar = {"train": 68_257, "val": 5_000, "test": 26_032, "train-whole": 73_257}

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        name = f"{split}_32x32.mat"
        self.require(folder, [name])
        document = read_mat(folder / name)
        # The digit 0 has the label 10.
        labels = np.atleast_1d(document["y"]).astype(int) % 10
        return as_examples(np.ascontiguousarray(document["X"].transpose(3, 0, 1, 2)), labels, path=name), DIGITS

    def has(self, folder: Path, split: str) -> bool:
        return (folder / f"{'test' if split == 'test' else 'train'}_32x32.mat").is_file()


class STL10(CarvedFamily):
    """Ten classes at 96 pixels."""

    name = "stl10"
    title = "STL-10 (Coates et al. 2011)"
    classes = "10"
    folders = ("stl10_binary", "stl10/stl10_binary")
    layout = "train_X.bin, train_y.bin, test_X.bin, test_y.bin, class_names.txt"
    licence = "as ImageNet"
    source = "https://cs.stanford.edu/~acoates/stl10/"
    counts: ClassVar = {"train": 4_500, "val": 500, "test": 8_000, "train-whole": 5_000}

    def published(self, folder: Path, split: str) -> tuple[list[Example], tuple[str, ...]]:
        names = [f"{split}_X.bin", f"{split}_y.bin", "class_names.txt"]
        self.require(folder, names)
        data = np.fromfile(folder / names[0], np.uint8)
        if len(data) % (3 * 96 * 96):
            raise DataError(f"{folder / names[0]} has {len(data)} bytes: expected a multiple of {3 * 96 * 96}. It is not complete.")
        # Columns first: every channel is stored transposed.
        images = np.ascontiguousarray(data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1))
        labels = np.fromfile(folder / names[1], np.uint8).astype(int) - 1
        return as_examples(images, labels, path=names[0]), tuple((folder / names[2]).read_text().split())

    def has(self, folder: Path, split: str) -> bool:
        return (folder / "class_names.txt").is_file()
