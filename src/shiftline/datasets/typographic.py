"""Typographic attacks: images on which a wrong class name is written (Goh et al. 2021; Ilharco et al. 2022).

A file's name says both: ``label=dog_text=cat.png`` shows a dog, and the word "cat". Attacks that are made here have an index beside
the images, ``attacks.json``, with the classes of the data set that they were made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftline.data.examples import Description, Example
from shiftline.data.family import DatasetFamily, Listing
from shiftline.data.listing import images_below
from shiftline.errors import DataError
from shiftline.shifts.text import TextOverlay
from shiftline.store.files import write_json

if TYPE_CHECKING:
    from shiftline.data.views import View

INDEX = "attacks.json"
_NAME = re.compile(r"label=(?P<label>.+?)_text=(?P<text>.+?)(?:_\d+)?$")


class Typographic(DatasetFamily):
    """Photographs of objects with a word on them; or another data set's images, attacked here."""

    name = "typographic"
    title = "Typographic attacks in the real world (Ilharco et al. 2022), or made here"
    splits = ("test", "DATASET-SPLIT")
    classes = "those of the file names, or of the data set that was attacked"
    folders = ("typographic", "typographic_attack_data")
    layout = "label=CLASS_text=WORD.png; attacks.json where they were made here"
    licence = "MIT"
    source = "https://github.com/mlfoundations/patching"
    groups = "the word that is written"

    def list_split(self, folder: Path, split: str) -> Listing:
        self.require(folder, (), split)
        ids: tuple[str, ...] = ()
        if (folder / INDEX).is_file():
            document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            classes, ids = tuple(document["classes"]), tuple(document["class_ids"])
            rows = [(folder / name, label, word) for name, label, word in document["images"]]
            if missing := [path.name for path, _, _ in rows if not path.is_file()]:
                raise DataError(
                    f"typographic/{split}: {len(missing)} of {len(rows)} images are missing below {folder}, such as {missing[0]}."
                )
        else:
            classes, rows = self._named(folder, split)
        examples = [
            Example(path, label, group=f"text={classes[word]}", path=str(path.relative_to(folder)), metadata={"text": word})
            for path, label, word in rows
        ]
        return Listing(examples, classes, Description(ids, subsets=(split,)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / INDEX).is_file() or any(folder.glob("*label=*_text=*"))

    def _named(self, folder: Path, split: str) -> tuple[tuple[str, ...], list[tuple[Path, int, int]]]:
        """Return classes, and (path, label, word) of each file, from the files' names."""
        found = [(path, _NAME.match(path.stem)) for path in images_below(folder)]
        if not found:
            raise DataError(f"typographic/{split}: {folder} holds no images. Get them from {self.source}.")
        if strange := [path.name for path, match in found if match is None]:
            raise DataError(
                f"typographic/{split}: {len(strange)} of {len(found)} files of {folder} are not named label=CLASS_text=WORD, such "
                f"as {strange[0]}."
            )
        pairs = [(path, match["label"], match["text"]) for path, match in found if match is not None]
        classes = tuple(sorted({word for _, label, text in pairs for word in (label, text)}))
        return classes, [(path, classes.index(label), classes.index(text)) for path, label, text in pairs]


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
    import torch
    from PIL import Image

    from shiftline.data.loader import shifted_runs
    from shiftline.data.pixels import apply_transforms
    from shiftline.data.readers import PlainReader

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
        label, word = int(labels), int(attack.chosen(labels, ids))
        safe = [re.sub(r"[^\w .,()'-]", "-", view.classes[index]) for index in (label, word)]
        name = f"label={safe[0]}_text={safe[1]}_{example}.png"
        Image.fromarray(changed[0].movedim(0, -1).numpy()).save(out / name)
        rows.append([name, label, word])
        advance()
    write_json(out / INDEX, {"classes": list(view.classes), "class_ids": list(class_ids), "images": rows})
    return len(rows)
