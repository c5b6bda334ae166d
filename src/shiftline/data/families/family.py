"""What is known of a data set before it is looked at, and what listing one of its splits gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shiftline.data.writer import Description, Encoding, Example
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
    """

    examples: Sequence[Example]
    classes: tuple[str, ...]
    description: Description = Description()


@dataclass(frozen=True)
class Family:
    """A data set.

    Attributes
    ----------
    name : str
        As in ``Split(name, split)``.
    title : str
        With its publication.
    splits : tuple of str
        Those that can be written; patterns such as ``CORRUPTION-SEVERITY`` where there are many.
    classes : str
        Number of classes and label space, for people.
    folders : tuple of str
        Where it is looked for below a data root, most usual name first.
    layout : str
        What is expected in the folder.
    licence, source : str
        For people.
    list_split : callable
        From the folder and a split to its `Listing`.
    has : callable
        From the folder and a split to whether the split's files seem to be there; reads no image.
    training : tuple of str
        Splits that are resized when they are written unless told otherwise; others keep their bytes.
    short_side : int or None
        To which training splits are resized: None for small images, which are stored as they are.
    counts : mapping of str to int
        Published numbers of examples, where they are known.
    origin : str
        The split, "DATASET/SPLIT", whose images these are, changed and in the same order: empty for images of its own.
    groups : str
        What the examples are grouped by; empty where they are not.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    classes: str
    folders: tuple[str, ...]
    layout: str
    licence: str
    source: str
    list_split: Callable[[Path, str], Listing]
    has: Callable[[Path, str], bool]
    training: tuple[str, ...] = ()
    short_side: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    groups: str = ""
    origin: str = ""

    def listing(self, folder: Path, split: str) -> Listing:
        """List a split of the data set in a folder.

        Raises
        ------
        DataError
            The folder is not as published: what is missing, or which file cannot be read, and where to get it.
        """
        try:
            return self.list_split(folder, split)
        except DataError:
            raise
        except Exception as error:
            # Index files that are cut, or name what is not there, fail in as many ways as there are formats.
            raise DataError(
                f"{self.name}/{split}: the files in {folder} are not as published ({type(error).__name__}: {error}). Expected "
                f"{self.layout}. Get them again from {self.source}."
            ) from error

    def encoding(self, split: str) -> Encoding:
        """How a split is stored unless told otherwise: training images resized, all others with their own bytes."""
        if split in self.training and self.short_side is not None:
            return Encoding("jpeg", self.short_side)
        return Encoding("original")

    @property
    def usual_splits(self) -> tuple[str, ...]:
        """Those that are written where none is named: neither wholes of other splits, nor variants, nor one of a pattern."""
        return tuple(s for s in self.splits if not s.isupper() and s != "train-whole" and not s.endswith("-non-empty"))

    def describes(self, split: str) -> bool:
        """A split is one of those that the family has, or fits a pattern of them."""
        return any(split == known or ("-" in known and known.isupper() and "-" in split) for known in self.splits)
