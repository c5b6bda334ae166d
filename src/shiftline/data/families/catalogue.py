"""Every family by name, and where each one's files are on this machine."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shiftline.data.families import array_tasks, cifar, imagenet, objectnet, tasks, typographic, video, wilds_sets
from shiftline.data.families.family import Family
from shiftline.errors import DataError

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (imagenet, objectnet, video, cifar, wilds_sets, tasks, array_tasks, typographic)
    for family in module.FAMILIES
}
SETTINGS = "shiftline.toml"
VARIABLE = "SHIFTLINE_DATA"


def family_named(name: str) -> Family:
    """Return a family.

    Raises
    ------
    DataError
        There is none; the nearest name is given.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    near = difflib.get_close_matches(name, FAMILIES, n=1)
    raise DataError(
        f"there is no data set {name!r}{f': did you mean {near[0]}?' if near else '.'} `shiftline data list` shows those that are "
        "known; for your own images say --images FOLDER or --domains FOLDER."
    )


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

    def find(self, family: Family, splits: Iterable[str] | None = None) -> Path | None:
        """Return the folder of a data set in which one of its splits seems to be; None where it is not found."""
        wanted = tuple(family.splits if splits is None else splits)
        for folder in self.candidates(family):
            if folder.is_dir() and any(family.has(folder, split) for split in wanted):
                return folder
        return None

    def candidates(self, family: Family) -> list[Path]:
        """Return every folder in which a data set is looked for."""
        if family.name in self.own:
            return [self.own[family.name]]
        return [root / folder for root in self.roots for folder in family.folders]


def data_roots(root: Path | None = None) -> DataRoots:
    """Return where data sets are looked for: `root`, else the variable SHIFTLINE_DATA, else the table [data] of shiftline.toml.

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
            raise DataError(
                f'{path.resolve()}: data is {table!r}, expected a table: [data] and below it root = "/folder".'
            )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.resolve()} is no valid TOML file: {error}.") from error
    for name, value in table.items():
        if not isinstance(value, str):
            raise DataError(
                f'{path.resolve()}: data.{name} is {value!r}, expected the path of a folder, {name} = "/data".'
            )
        if name != "root" and name not in FAMILIES:
            family_named(name)
    own = {name: Path(value).expanduser() for name, value in table.items() if name != "root"}
    roots = (Path(table["root"]).expanduser(),) if "root" in table else ()
    return DataRoots(roots, own, str(path))


def folder_of(family: Family, splits: Iterable[str], root: Path | None) -> Path:
    """Return the folder to read splits of a data set from.

    With `root`, the data set is in it or in one of its usual folders below. Where nothing seems to be there the likeliest
    folder is returned, so that listing it says what is missing.

    Raises
    ------
    DataError
        Nobody says where the data are.
    """
    roots = data_roots(root)
    splits = tuple(splits)
    if root is not None:
        places = [root, *roots.candidates(family)]
        found = next((place for place in places if any(family.has(place, split) for split in splits)), None)
        return found or next((place for place in places[1:] if place != root and place.is_dir()), root)
    if found := roots.find(family, splits):
        return found
    places = roots.candidates(family)
    if not places:
        raise DataError(
            f"where is {family.name}? Say --root FOLDER, or set {VARIABLE}, or write it to {SETTINGS}:\n"
            f'  [data]\n  root = "/folder/of/data/sets"\nIts layout: {family.layout}. Get it from {family.source}.'
        )
    existing = next((place for place in places if place.is_dir()), None)
    if existing is None:
        looked = ", ".join(map(str, places[:4]))
        raise DataError(
            f"{family.name} was not found (looked in {looked}; {roots.origin}). Get it from {family.source}, or say --root FOLDER. "
            f"Its layout: {family.layout}."
        )
    return existing
