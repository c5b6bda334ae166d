"""Every data set by name, and where each one's files are on this machine."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shiftline.contracts.plugins import classes_in, installed, modules_of
from shiftline.contracts.require import near
from shiftline.data.family import DatasetFamily
from shiftline.data.layout import from_where
from shiftline.errors import DataError

SETTINGS = "shiftline.toml"
VARIABLE = "SHIFTLINE_DATA"


@dataclass(frozen=True)
class DataRoots:
    """Where data sets lie.

    Attributes
    ----------
    roots : tuple of Path
        Folders that hold data sets.
    own : mapping of str to Path
        The folder of single data sets, by name.
    origin : str
        Where this was said, for messages.
    """

    roots: tuple[Path, ...]
    own: Mapping[str, Path]
    origin: str

    def find(self, family: DatasetFamily, splits: Iterable[str] | None = None) -> Path | None:
        """Return the folder of a data set in which one of its splits seems to be; None where it is not found."""
        wanted = tuple(family.splits if splits is None else splits)
        for folder in self.candidates(family):
            if folder.is_dir() and any(family.has(folder, split) for split in wanted):
                return folder
        return None

    def candidates(self, family: DatasetFamily) -> list[Path]:
        """Return every folder in which a data set is looked for."""
        if family.name in self.own:
            return [self.own[family.name]]
        return [root / folder for root in self.roots for folder in family.folders or (family.name,)]


@dataclass(frozen=True)
class Catalogue:
    """Data sets by name."""

    families: Mapping[str, DatasetFamily]

    def named(self, name: str) -> DatasetFamily:
        """Return a data set.

        Raises
        ------
        DataError
            There is none; the nearest name is given.
        """
        if name in self.families:
            return self.families[name]
        raise DataError(
            f"there is no data set {name!r}{near(name, self.families)} `shiftline data list` shows those that "
            "are known; --from FILE adds those of a study file; for images of your own say --images FOLDER or --domains FOLDER."
        )

    def generates(self, dataset: str) -> bool:
        """Return whether a data set's images are made by its class."""
        return dataset in self.families and self.families[dataset].generated

    def roots(self, root: Path | None = None) -> DataRoots:
        """Return where data sets are looked for: `root`, else the variable SHIFTLINE_DATA, else [data] of shiftline.toml.

        The table holds ``root = "..."`` and, for single data sets, ``NAME = "..."``. The variable may hold several folders, with
        colons between them.

        Raises
        ------
        DataError
            The file cannot be read, or names a data set that does not exist.
        """
        if root is not None:
            return DataRoots((root,), {}, "--root")
        if said := os.environ.get(VARIABLE):
            return DataRoots(tuple(Path(part).expanduser() for part in said.split(os.pathsep) if part), {}, VARIABLE)
        path = Path(SETTINGS)
        if not path.is_file():
            return DataRoots((), {}, f"neither {VARIABLE} nor [data] in {SETTINGS} says where data sets are")
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("data", {})
            if not isinstance(table, dict):
                raise DataError(f'{path.resolve()}: data is {table!r}, expected a table: [data] and below it root = "/folder".')
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path.resolve()} is no valid TOML file: {error}.") from error
        for name, value in table.items():
            if not isinstance(value, str):
                raise DataError(f'{path.resolve()}: data.{name} is {value!r}, expected the path of a folder, {name} = "/data".')
            if name != "root":
                self.named(name)
        own = {name: Path(value).expanduser() for name, value in table.items() if name != "root"}
        roots = (Path(table["root"]).expanduser(),) if "root" in table else ()
        return DataRoots(roots, own, str(path))

    def folder_of(self, family: DatasetFamily, splits: Iterable[str], root: Path | None) -> Path:
        """Return the folder to read splits of a data set from.

        With `root`, the data set is in it or in one of its usual folders below. Where nothing seems to be there the likeliest
        folder is returned, so that listing it says what is missing.

        Raises
        ------
        DataError
            Nobody says where the data are.
        """
        roots, splits = self.roots(root), tuple(splits)
        candidates = roots.candidates(family)
        if root is not None:
            found = next((path for path in (root, *candidates) if any(family.has(path, one) for one in splits)), None)
            return found or next((path for path in candidates if path != root and path.is_dir()), root)
        if found := roots.find(family, splits):
            return found
        if not candidates:
            raise DataError(
                f"where is {family.name}? Say --root FOLDER, or set {VARIABLE}, or write it to {SETTINGS}:\n"
                f'  [data]\n  root = "/folder/of/data/sets"\n{_whereabouts(family)}'
            )
        existing = next((path for path in candidates if path.is_dir()), None)
        if existing is None:
            looked = ", ".join(map(str, candidates[:4]))
            raise DataError(
                f"{family.name} was not found (looked in {looked}; {roots.origin}). Say --root FOLDER. " + _whereabouts(family)
            )
        return existing


def _whereabouts(family: DatasetFamily) -> str:
    """Return what is known of where a data set comes from and lies."""
    said = f"Its layout: {family.layout}." if family.layout else ""
    return (said + from_where(family.source, "it")).strip()


def families_of(study: type) -> tuple[type[DatasetFamily], ...]:
    """Return the data sets in the modules that a study class and its bases are defined in, shiftline's own left out."""
    modules = [sys.modules[cls.__module__] for cls in study.__mro__ if cls.__module__ in sys.modules]
    found = classes_in(modules, DatasetFamily)
    return tuple(family for family in found if not family.__module__.startswith("shiftline."))


def catalogue(*more: type[DatasetFamily]) -> Catalogue:
    """Return the data sets of shiftline, of installed plug-ins, and some more.

    Parameters
    ----------
    more : classes
        Those of a study file.

    Raises
    ------
    DataError
        Two have one name, or one has no splits.
    """
    found: dict[str, DatasetFamily] = {}
    for cls in (*classes_in((*modules_of("datasets"), *installed()), DatasetFamily), *more):
        if not cls.name:
            continue  # A base of others.
        if cls.name in found and type(found[cls.name]) is not cls:
            other = type(found[cls.name])
            raise DataError(
                f"two data sets have the name {cls.name!r}: {other.__module__}.{other.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}. Rename one of them."
            )
        if not cls.splits:
            raise DataError(
                f'the data set {cls.name!r} ({cls.__qualname__}) has no splits: write splits = ("train", "val", "test").'
            )
        found[cls.name] = cls()
    return Catalogue(found)
