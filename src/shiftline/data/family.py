"""Data sets: what is known of one before it is looked at, and what listing one of its splits gives.

`shiftline.datasets` has those that shiftline knows. A user's own is a subclass like theirs::

    class Birds(DatasetFamily):
        name = "birds"
        splits = ("train", "val", "test")

        def list_split(self, folder, split):
            return image_folder(folder / split)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from shiftline.data import layout
from shiftline.data.examples import Description, Encoding, Example
from shiftline.data.listing import notes_beside
from shiftline.errors import DataError


@dataclass(frozen=True)
class Listing:
    """A split, listed and not read.

    Attributes
    ----------
    examples : sequence of Example
        In the source's canonical order: the position is the example id.
    classes : tuple of str
        Readable names, in the order of the labels.
    description : Description
    notes : tuple of str
        What was left out of the folder, and how classes were ordered where that could surprise: printed when a split is written.
    """

    examples: Sequence[Example]
    classes: tuple[str, ...]
    description: Description = Description()
    notes: tuple[str, ...] = ()


class DatasetFamily:
    """Base of the data sets. A subclass sets `name` and `splits`, and defines `list_split`.

    Attributes
    ----------
    name : str
        As in ``Split(name, split)``: no slash, no space.
    title : str
        With its publication; the name unless given.
    splits : tuple of str
        Those that can be written; patterns such as ``CORRUPTION-SEVERITY`` where there are many.
    classes : str
        Number of classes and label space, for people.
    folders : tuple of str
        Where it is looked for below a data root, most usual name first; the name unless given.
    layout : str
        What is expected in the folder, for people.
    licence, source : str
        For people: the source is where to get it.
    training : tuple of str
        Splits that are resized when they are written unless told otherwise; others keep their bytes.
    short_side : int or None
        To which training splits are resized: None for small images, which are stored as they are.
    counts : mapping of str to int
        Published numbers of examples, where they are known.
    groups : str
        What the examples are grouped by; empty where they are not.
    origin : str
        The split, "DATASET/SPLIT", whose images these are, changed and in the same order: empty for images of its own.
    generated : bool
        Its images are made by `list_split` itself, which is then given no folder to read: splits are written on first use.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[str] = ""
    folders: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    source: ClassVar[str] = ""
    training: ClassVar[tuple[str, ...]] = ()
    short_side: ClassVar[int | None] = None
    counts: ClassVar[Mapping[str, int]] = {}
    groups: ClassVar[str] = ""
    origin: ClassVar[str] = ""
    generated: ClassVar[bool] = False

    def list_split(self, folder: Path, split: str) -> Listing:
        """List a split of the data set in a folder, without reading an image.

        Raises
        ------
        DataError
            The folder is not as expected: `require`, `class_folders` and `labelled` say what is missing.
        """
        raise DataError(
            f"the data set {self.name!r} cannot be listed: {type(self).__name__} has no method list_split(folder, split)."
        )

    def has(self, folder: Path, split: str) -> bool:
        """Return whether the split's files seem to be in a folder; reads no image."""
        return folder.is_dir()

    # ---- what `list_split` is made of --------------------------------------------------------------------------------

    def require(self, folder: Path, entries: Iterable[str], split: str = "") -> None:
        """Raise `DataError` unless files and folders are there: it says what is missing, and where to get it."""
        layout.require(folder, entries, what=self._what(split), source=self.source)

    def class_folders(self, folder: Path, class_ids: Sequence[str], split: str = "") -> list[Path]:
        """Return the folder of every class, in the order of the classes; `DataError` where some are missing, or others there."""
        return layout.class_folders(folder, class_ids, what=self._what(split), source=self.source)

    def labelled(self, root: Path, folders: Sequence[Path], split: str = "", **options: Any) -> list[Example]:
        """Return the images of class folders as examples; the label is the folder's position in `folders`."""
        return layout.labelled(root, folders, what=self._what(split), source=self.source, **options)

    def files(self, root: Path, names: Sequence[str], labels: Sequence[int], split: str = "") -> list[Example]:
        """Return listed files as examples; `DataError` where some are not there."""
        return layout.files_of(root, names, labels, what=self._what(split), source=self.source)

    def _what(self, split: str) -> str:
        return f"{self.name}/{split}" if split else self.name

    # ---- what others ask of it ---------------------------------------------------------------------------------------

    def listing(self, folder: Path, split: str) -> Listing:
        """List a split of the data set in a folder.

        Raises
        ------
        DataError
            There is no such split; or the folder is not as published: what is missing, or which file cannot be read, and where to
            get it.
        """
        if not self.describes(split):
            raise DataError(f"{self.name} has no split {split!r}: it has {', '.join(self.splits)}.")
        try:
            listing = self.list_split(folder, split)
        except DataError:
            raise
        except Exception as error:
            # Index files that are cut, or name what is not there, fail in as many ways as there are formats.
            raise DataError(
                f"{self.name}/{split}: the files in {folder} are not as published ({type(error).__name__}: {error})."
                + (f" Expected {self.layout}." if self.layout else "")
                + layout.from_where(self.source, "them again")
            ) from error
        return replace(listing, notes=(*listing.notes, *notes_beside(example.source for example in listing.examples)))

    def encoding(self, split: str) -> Encoding:
        """How a split is stored unless told otherwise: training images resized, all others with their own bytes."""
        if self.generated:
            return Encoding("raw")
        if split in self.training and self.short_side is not None:
            return Encoding("jpeg", self.short_side)
        return Encoding("original", for_training=split in self.training or split.startswith("train"))

    @property
    def usual_splits(self) -> tuple[str, ...]:
        """Those that are written where none is named: neither wholes of other splits, nor variants, nor one of a pattern."""
        return tuple(s for s in self.splits if not s.isupper() and s != "train-whole" and not s.endswith("-non-empty"))

    def describes(self, split: str) -> bool:
        """A split is one of those that the family has, or fits a pattern of them."""
        return any(split == known or ("-" in known and known.isupper() and "-" in split) for known in self.splits)
