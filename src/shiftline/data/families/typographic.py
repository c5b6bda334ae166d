"""Typographic attacks: images on which a wrong class name is written (Goh et al. 2021; Ilharco et al. 2022).

A file's name says both: ``label=dog_text=cat.png`` shows a dog, and the word "cat". Attacks that are made here have an index beside
the images, ``attacks.json``, with the classes of the data set that they were made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from shiftline.data.families.family import Family, Listing
from shiftline.data.families.layout import images_below, require
from shiftline.data.loader import shifted_runs
from shiftline.data.pixels import apply_transforms, chosen_words
from shiftline.data.readers import PlainReader
from shiftline.data.views import View
from shiftline.data.writer import Description, Example
from shiftline.declare.transforms import TextOverlay
from shiftline.errors import DataError
from shiftline.store.files import write_json

INDEX = "attacks.json"
_NAME = re.compile(r"label=(?P<label>.+?)_text=(?P<text>.+?)(?:_\d+)?$")


def _typographic(root: Path, split: str) -> Listing:
    what = f"typographic/{split}"
    require(root, (), what=what, source=TYPOGRAPHIC.source)
    if (root / INDEX).is_file():
        return _indexed(root, split)
    found = [(path, _NAME.match(path.stem)) for path in images_below(root)]
    if not found:
        raise DataError(f"{what}: {root} holds no images. Get them from {TYPOGRAPHIC.source}.")
    if strange := [path.name for path, match in found if match is None]:
        raise DataError(
            f"{what}: {len(strange)} of {len(found)} files of {root} are not named label=CLASS_text=WORD, such as {strange[0]}."
        )
    pairs = [(path, match["label"], match["text"]) for path, match in found if match is not None]
    classes = tuple(sorted({word for _, label, text in pairs for word in (label, text)}))
    rows = [(path, classes.index(label), classes.index(text)) for path, label, text in pairs]
    return Listing(_attacked(root, rows, classes), classes, Description(parts=(split,)))


def _indexed(root: Path, split: str) -> Listing:
    document = json.loads((root / INDEX).read_text(encoding="utf-8"))
    classes = tuple(document["classes"])
    rows = [(root / name, label, word) for name, label, word in document["images"]]
    if missing := [path.name for path, _, _ in rows if not path.is_file()]:
        raise DataError(
            f"typographic/{split}: {len(missing)} of {len(rows)} images are missing below {root}, such as {missing[0]}."
        )
    return Listing(_attacked(root, rows, classes), classes, Description(tuple(document["class_ids"]), parts=(split,)))


def _attacked(root: Path, rows: Sequence[tuple[Path, int, int]], classes: Sequence[str]) -> list[Example]:
    return [
        Example(path, label, group=f"text={classes[word]}", path=str(path.relative_to(root)), metadata={"text": word})
        for path, label, word in rows
    ]


TYPOGRAPHIC = Family(
    "typographic", "Typographic attacks in the real world (Ilharco et al. 2022), or made here", ("test", "DATASET-SPLIT"),
    "those of the file names, or of the data set that was attacked",
    ("typographic", "typographic_attack_data"), "label=CLASS_text=WORD.png; attacks.json where they were made here", "MIT", "https://github.com/mlfoundations/patching",
    _typographic, lambda root, _: (root / INDEX).is_file() or any(root.glob("*label=*_text=*")), groups="the word that is written",
)  # fmt: skip
FAMILIES = (TYPOGRAPHIC,)


def write_attacks(
    view: View,
    class_ids: Sequence[str],
    out: Path,
    *,
    seed: int = 0,
    height: float = 0.2,
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Write every image of a view as PNG with the name of another class on it, drawn by (seed, example id).

    Parameters
    ----------
    class_ids : sequence of str
        What relates the classes to those of other data sets; they stand in the index.
    out : Path
        A folder that does not exist or is empty. Files are named ``label=CLASS_text=WORD_ID.png``, what cannot stand in a file
        name replaced by a dash.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    DataError
        The folder holds files.
    """
    from PIL import Image

    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: expected a new folder for the images.")
    attack = TextOverlay(view.classes, choose="wrong", seed=seed, height=height)
    reader, rows = PlainReader(view.index), []
    out.mkdir(parents=True, exist_ok=True)
    for example in view.ids:
        one = np.array([example])
        labels, ids = torch.from_numpy(view.index.labels[one]), torch.from_numpy(one)
        (image,) = shifted_runs(view, reader.images(one), one)
        changed = apply_transforms([attack], image, labels, ids)
        label, word = int(labels), int(chosen_words(attack, labels, ids))
        safe = [re.sub(r"[^\w .,()'-]", "-", view.classes[place]) for place in (label, word)]
        name = f"label={safe[0]}_text={safe[1]}_{example}.png"
        Image.fromarray(changed[0].movedim(0, -1).numpy()).save(out / name)
        rows.append([name, label, word])
        advance()
    write_json(out / INDEX, {"classes": list(view.classes), "class_ids": list(class_ids), "images": rows})
    return len(rows)
