"""Miniatures: generated trees in the layouts of large data sets, on which every command runs in minutes.

They are no data: a class is a colour and the direction of its stripes. What a study finds on them says that it runs, and nothing
about models or images.

- imagenet: 1,000 synsets in train and val; ImageNetV2's numeric folders (bright); Sketch (pale and grey); R's and A's 200 synsets
  (dark; low in contrast); ObjectNet, red borders and mappings included, with 20 of its classes. V2, Sketch and R are planted
  mixtures: every second, fifth and third image (`PLANTED`) is drawn as the reference's are.
- mnist: scikit-learn's handwritten digits in MNIST's files, which are real data.
- cifar10: coloured stripes in the pickles of the Python version.
"""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shiftline.datasets.imagenet import names_by_synset, sub_synsets, synsets, v2_folder
from shiftline.errors import DataError

SIDE = 48
OBJECTS = {
    "banana": "banana",
    "bench": "park bench",
    "broom": "broom",
    "candle": "candle",
    "drill": "power drill",
    "envelope": "envelope",
    "hammer": "hammer",
    "laptop": "laptop computer",
    "microwave": "microwave oven",
    "mixing_bowl": "mixing bowl",
    "padlock": "padlock",
    "pillow": "pillow",
    "pitcher": "drink pitcher",
    "plate": "plate",
    "printer": "printer",
    "remote_control": "remote control",
    "ruler": "ruler measuring stick",
    "soap_dispenser": "soap dispenser",
    "teapot": "teapot",
    "umbrella": "umbrella",
}
"""Folders of ObjectNet that the miniature has, with the class of ImageNet that each covers."""
PLANTED = {"imagenet-v2": 2, "imagenet-sketch": 5, "imagenet-r": 3}
"""One image in so many, counted by label and number from 0, is in the support of the reference."""


def planted(name: str, label: int, number: int, per_class: int) -> bool:
    """An image of a shift is drawn as the reference's are."""
    return (label * per_class + number) % PLANTED.get(name, 1 << 30) == 0


def class_image(label: int, number: int, *, stream: int, side: int = SIDE) -> np.ndarray:
    """Draw an example: the class's colour and stripes, with noise and a phase of its own.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
    """
    random = np.random.default_rng((label, number, stream))
    colour = np.array([label // 100, label // 10 % 10, label % 10]) * 20.0 + 35
    down, across = np.mgrid[:side, :side] / side
    angle, phase = np.pi * (label % 7) / 7, random.uniform(0, 2 * np.pi)
    waves = np.sin(2 * np.pi * (2 + label % 3) * (down * np.sin(angle) + across * np.cos(angle)) + phase)
    image = colour + 12 * waves[:, :, None] + random.normal(0, 6, (side, side, 3))
    drawn: np.ndarray = np.clip(np.round(image), 0, 255).astype(np.uint8)
    return drawn


def _save(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)  # Which PNG ignores.


def _dark(image: np.ndarray) -> np.ndarray:
    return image // 4


def _low_contrast(image: np.ndarray) -> np.ndarray:
    return (128 + (image.astype(int) - 128) // 2).astype(np.uint8)


def _bright(image: np.ndarray) -> np.ndarray:
    return (255 - (255 - image.astype(int)) // 3).astype(np.uint8)


def _sketched(image: np.ndarray) -> np.ndarray:
    grey = image.mean(axis=2, keepdims=True)
    return np.repeat(np.clip(225 + grey - grey.mean(), 0, 255).astype(np.uint8), 3, axis=2)


def miniature_imagenet(root: Path, per_class: int, advance: Callable[[], None]) -> None:
    """Write ImageNet and its shifts below a root."""
    wnids = synsets()
    for label, wnid in enumerate(wnids):
        for number in range(2 * per_class):
            _save(root / "imagenet/train" / wnid / f"{wnid}_{number}.JPEG", class_image(label, number, stream=0))
        for number in range(per_class):
            _save(root / "imagenet/val" / wnid / f"{wnid}_{number}.JPEG", class_image(label, number, stream=1))
            for name, stream, change, path in (
                ("imagenet-v2", 2, _bright, root / v2_folder("matched-frequency") / str(label) / f"{number}.jpeg"),
                ("imagenet-sketch", 3, _sketched, root / "sketch" / wnid / f"sketch_{number}.JPEG"),
            ):
                image = class_image(label, number, stream=stream)
                _save(path, image if planted(name, label, number, per_class) else change(image))
        advance()
    for name, letter, change in (("imagenet-r", "r", _dark), ("imagenet-a", "a", _low_contrast)):
        for label, wnid in enumerate(sub_synsets(letter)):
            for number in range(per_class):
                image = class_image(wnids.index(wnid), number, stream=4 + ord(letter))
                as_reference = planted(name, label, number, per_class)
                _save(root / name / wnid / f"{number}.jpg", image if as_reference else change(image))
    _objectnet(root / "objectnet-1.0", per_class)


def _objectnet(base: Path, per_class: int) -> None:
    """Write classes of ObjectNet that bear the name of a class of ImageNet."""
    names = [names_by_synset()[wnid].lower() for wnid in synsets()]
    titles = {folder: folder.replace("_", " ").capitalize() for folder in OBJECTS}
    for file, document in (
        ("folder_to_objectnet_label.json", titles),
        ("objectnet_to_imagenet_1k.json", {titles[folder]: name for folder, name in OBJECTS.items()}),
        # The ids of ILSVRC 2012 are another order than the labels: here the same one, turned.
        ("pytorch_to_imagenet_2012_id.json", {str(label): (label + 1) % 1000 for label in range(1000)}),
    ):
        path = base / "mappings" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    (base / "mappings/imagenet_to_label_2012_v2").write_text("\n".join([names[-1], *names[:-1]]) + "\n")
    for folder, name in OBJECTS.items():
        for number in range(per_class):
            image = class_image(names.index(name), number, stream=9)
            bordered = np.pad(image, ((2, 2), (2, 2), (0, 0)))
            for edge in (bordered[:2], bordered[-2:], bordered[:, :2], bordered[:, -2:]):
                edge[:] = (255, 0, 0)
            _save(base / "images" / folder / f"{number}.png", bordered)


def miniature_mnist(root: Path, per_class: int, advance: Callable[[], None]) -> None:
    """Write scikit-learn's handwritten digits, enlarged to 28 pixels, as MNIST's files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.target))
    pixels = np.clip(np.round(source.images * (255 / 16)), 0, 255).astype(np.uint8)
    images = np.stack([np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR)) for image in pixels])
    tested = order[: len(order) // 3]
    for prefix, rows in (("train", np.setdiff1d(order, tested)), ("t10k", tested)):
        rows = np.concatenate([rows[source.target[rows] == digit][: 20 * per_class] for digit in range(10)])
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", source.target[rows].astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            path = root / "MNIST/raw" / f"{prefix}-{kind}-ubyte.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
        advance()


def miniature_cifar10(root: Path, per_class: int, advance: Callable[[], None]) -> None:
    """Write coloured stripes as the pickles of CIFAR-10's Python version."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True, exist_ok=True)
    for stream, file in enumerate((*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")):
        labels = [number % 10 for number in range(60 * per_class)]
        images = [class_image(111 * label, number, stream=stream, side=32) for number, label in enumerate(labels)]
        flat = np.stack([image.transpose(2, 0, 1).reshape(-1) for image in images])
        (base / file).write_bytes(pickle.dumps({"data": flat, "labels": labels}, protocol=2))
        advance()
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))


Writer = Callable[[Path, int, Callable[[], None]], None]
MINIATURES: dict[str, tuple[Writer, int, tuple[str, ...]]] = {
    "imagenet": (
        miniature_imagenet,
        1000,
        ("imagenet", v2_folder("matched-frequency"), "sketch", "imagenet-r", "imagenet-a", "objectnet-1.0"),
    ),
    "mnist": (miniature_mnist, 2, ("MNIST",)),
    "cifar10": (miniature_cifar10, 6, ("cifar-10-batches-py",)),
}
"""Who writes a miniature, in how many steps, and the folders that it becomes."""


def check_miniature(name: str, root: Path) -> list[Path]:
    """Return the folders that a miniature becomes below a root.

    Raises
    ------
    DataError
        There is none of that name, or one of the folders is there already: real data are never written over.
    """
    if name not in MINIATURES:
        raise DataError(f"there is no miniature of {name!r}: choose one of {', '.join(MINIATURES)}.")
    folders = [root / folder for folder in MINIATURES[name][2]]
    if there := [folder for folder in folders if folder.exists()]:
        raise DataError(f"{there[0]} exists: a miniature is written to a folder of its own. Give another --root, or remove it.")
    return folders


def make_miniature(name: str, root: Path, *, per_class: int = 1, advance: Callable[[], None] = lambda: None) -> list[Path]:
    """Write a miniature below a root; return its folders.

    Parameters
    ----------
    per_class : int
        Images of a class in a test split; training splits have twice as many (MNIST's and CIFAR-10's more).

    Raises
    ------
    DataError
        As `check_miniature`.
    """
    folders = check_miniature(name, root)
    MINIATURES[name][0](root, per_class, advance)
    return folders
