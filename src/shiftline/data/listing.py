"""One listing of a tree of images: every file below a folder is taken, left out by a rule, or named.

The rules are few. Names that begin with a dot, and those in `SYSTEM`, are what programs leave behind, at every depth. What ends as
an image does is one. Links are followed. Everything else is counted by its ending, and said.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shiftline.contracts.require import counted
from shiftline.errors import DataError

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .jif .png .apng .bmp .dib .gif .webp .avif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .tga".split()
)
SYSTEM = frozenset({"@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found", "thumbs.db", "desktop.ini", "ehthumbs.db"})
"""Names, in lower case, that operating systems and network storages leave in folders."""


def is_hidden(name: str) -> bool:
    """A file or folder is left out by rule: its name begins with a dot, or is one of `SYSTEM`."""
    return name.startswith(".") or name.lower() in SYSTEM


def suffix_of(name: str) -> str:
    """Return the ending of a file's name in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path per file takes ten times as long.


def is_image(name: str) -> bool:
    """A file's name ends as an image's does."""
    return suffix_of(name) in IMAGE_SUFFIXES


@dataclass
class Tree:
    """What was found below folders, and what of it was not taken.

    Attributes
    ----------
    hidden : Counter of str
        Files and folders left out by rule, by name.
    others : Counter of str
        Files that do not end as an image does, by their ending.
    loops : list of Path
        Links to a folder that they lie in: not followed again.
    """

    hidden: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    loops: list[Path] = field(default_factory=list)

    def images_below(self, folder: Path) -> list[Path]:
        """Return the images of a folder and of the folders below it, in the order of their paths; count everything else.

        Raises
        ------
        DataError
            A folder cannot be read.
        """
        return sorted(self._walk(str(folder), (os.path.realpath(folder),)))

    def folders_of(self, folder: Path) -> list[Path]:
        """Return the folders in a folder by name, as text; count everything else in it, images too."""
        found = []
        for entry in _entries(folder):
            if is_hidden(entry.name):
                self.hidden[_as_counted(entry.name)] += 1
            elif entry.is_dir():
                found.append(Path(entry.path))
            else:
                self.others[suffix_of(entry.name)] += 1
        return sorted(found)

    def notes(self) -> tuple[str, ...]:
        """Return a line for each kind of what was left out."""
        notes = []
        if self.others:
            notes.append(f"{counted(self.others.total(), 'file')} left out: {_listed(self.others, 'without an ending')}")
        if self.hidden:
            total = counted(self.hidden.total(), "hidden or system entry", "hidden or system entries")
            notes.append(f"{total} left out: {_listed(self.hidden)}")
        if self.loops:
            notes.append(f"{counted(len(self.loops), 'link')} to a folder above left out: {', '.join(map(str, self.loops[:5]))}")
        return tuple(notes)

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[Path]:
        for entry in _entries(folder):
            if is_hidden(entry.name):
                self.hidden[_as_counted(entry.name)] += 1
            elif not entry.is_dir():
                if is_image(entry.name):
                    yield Path(entry.path)
                else:
                    self.others[suffix_of(entry.name)] += 1
            elif not entry.is_symlink():
                yield from self._walk(entry.path, above)
            # Only a link can lead back: the real path of every other folder is new.
            elif (real := os.path.realpath(entry.path)) in above or any(inside.startswith(real + os.sep) for inside in above):
                self.loops.append(Path(entry.path))
            else:
                yield from self._walk(entry.path, (*above, real))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror or error}. Nothing was listed without it.") from error


def _as_counted(name: str) -> str:
    """Return under which name something hidden is counted: its own where programs use it again and again, else a pattern."""
    return "._*" if name.startswith("._") else name


def _listed(counts: Counter[str], nothing: str = "") -> str:
    shown = [f"{name or nothing} ({count})" for name, count in counts.most_common(6)]
    return ", ".join(shown + ([f"and {len(counts) - 6} more kinds"] if len(counts) > 6 else []))


def images_below(folder: Path) -> list[Path]:
    """Return the images of a folder and of the folders below it, in the order of their paths."""
    return Tree().images_below(folder)


def folders_of(root: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, by name."""
    return Tree().folders_of(root)


def in_class_order(names: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of class folders in the order of the labels, and what is to be said of it.

    Whole numbers are in the order of the numbers, everything else in that of text.
    """
    text = sorted(names)
    if not text or not all(name.isascii() and name.isdigit() for name in text):
        return text, ()
    numbers = sorted(text, key=lambda name: (int(name), name))
    if numbers == text:
        return text, ()
    return numbers, (
        f"the {len(numbers)} class folders are numbers: labels follow the numbers ({', '.join(numbers[:3])}, ...), "
        f"not the text ({', '.join(text[:3])}, ...) as torchvision's ImageFolder does",
    )


def notes_beside(sources: Iterable[object]) -> tuple[str, ...]:
    """Return what lies in the folders of image files and is no image: no reader of published lists looks at it."""
    tree = Tree()
    folders = {os.path.dirname(source) for source in sources if isinstance(source, Path)}  # noqa: PTH120
    for folder in sorted(folders):
        for entry in _entries(folder):
            if not is_hidden(entry.name) and not is_image(entry.name) and not entry.is_dir():
                tree.others[suffix_of(entry.name)] += 1
    return tree.notes()
