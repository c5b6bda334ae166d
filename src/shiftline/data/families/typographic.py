"""Typographic attacks: images on which a wrong class name is written (Goh et al. 2021; Ilharco et al. 2022).

A file's name says both: ``label=dog_text=cat.png`` shows a dog, and the word "cat".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.layout import images_below, require, require_split
from shiftline.data.loader import shifted_runs
from shiftline.data.pixels import apply_transforms, chosen_words
from shiftline.data.readers import PlainReader
from shiftline.data.views import View
from shiftline.data.writer import Description, Example
from shiftline.declare.transforms import TextOverlay
from shiftline.errors import DataError

_NAME = re.compile(r"label=(?P<label>.+?)_text=(?P<text>.+?)(?:_\d+)?$")


def _typographic(root: Path, split: str) -> Listing:
    require_split(split, ("test",), what="typographic")
    require(root, (), what="typographic/test", source=TYPOGRAPHIC.source)
    found = [(path, _NAME.match(path.stem)) for path in images_below(root)]
    if not found:
        raise DataError(f"typographic/test: {root} holds no images. Get them from {TYPOGRAPHIC.source}.")
    if strange := [path.name for path, match in found if match is None]:
        raise DataError(
            f"typographic/test: {len(strange)} of {len(found)} files of {root} are not named label=CLASS_text=WORD, for instance "
            f"{strange[0]}."
        )
    pairs = [(path, match["label"], match["text"]) for path, match in found if match is not None]
    classes = tuple(sorted({word for _, label, text in pairs for word in (label, text)}))
    examples = [
        Example(
            path, classes.index(label), group=f"text={text}", path=str(path.relative_to(root)),
            metadata={"text": classes.index(text)},
        )
        for path, label, text in pairs
    ]  # fmt: skip
    return Listing(examples, classes, Description(parts=("test",)))


TYPOGRAPHIC = Family(
    "typographic", "Typographic attacks in the real world (Ilharco et al. 2022)", ("test",), "those that the file names give",
    ("typographic", "typographic_attack_data"), "label=CLASS_text=WORD.png", "MIT", "https://github.com/mlfoundations/patching",
    _typographic, lambda root, _: any(root.glob("*label=*_text=*")), groups="the word that is written",
)  # fmt: skip
FAMILIES = (TYPOGRAPHIC,)


def write_attacks(
    view: View, out: Path, *, seed: int = 0, height: float = 0.2, advance: Callable[[], None] = lambda: None
) -> int:
    """Write every image of a view as PNG with the name of another class on it, drawn by (seed, example id).

    Parameters
    ----------
    out : Path
        A folder that does not exist or is empty. Files are named ``label=CLASS_text=WORD_ID.png``.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    DataError
        The folder holds files, or a class name cannot be part of a file name.
    """
    from PIL import Image

    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: expected a new folder for the images.")
    if bad := [name for name in view.classes if "/" in name or "_text=" in name or name != name.strip()]:
        raise DataError(
            f"the class name {bad[0]!r} cannot stand in a file name. Write the data with other class names."
        )
    attack = TextOverlay(view.classes, choose="wrong", seed=seed, height=height)
    reader = PlainReader(view.index)
    out.mkdir(parents=True, exist_ok=True)
    for example in view.ids:
        one = np.array([example])
        labels, ids = torch.from_numpy(view.index.labels[one]), torch.from_numpy(one)
        (image,) = shifted_runs(view, reader.images(one), one)
        changed = apply_transforms([attack], image, labels, ids)
        word = int(chosen_words(attack, labels, ids))
        name = f"label={view.classes[int(labels)]}_text={view.classes[word]}_{example}.png"
        Image.fromarray(changed[0].movedim(0, -1).numpy()).save(out / name)
        advance()
    return len(view.ids)
