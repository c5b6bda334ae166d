"""Finding classes: those of shiftline's own packages, and those that installed packages bring as plug-ins.

An installed package brings its classes with an entry point whose value is a module (or a package) that defines them::

    [project.entry-points."shiftline.plugins"]
    my-lab = "my_lab.shiftline_classes"

A plug-in that cannot be imported is named on standard error, and the rest works without it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from shiftline.contracts.identity import Declaration
from shiftline.errors import DeclarationError

T = TypeVar("T")
GROUP = "shiftline.plugins"
DECLARING = ("contracts", "operations", "backbones", "shifts", "metrics")
"""Packages of shiftline that declare: their modules load neither torch nor pandas when they are imported."""


@functools.cache
def modules_of(package: str) -> tuple[ModuleType, ...]:
    """Return the modules of one of shiftline's packages, imported."""
    room = importlib.import_module(f"shiftline.{package}")
    names = [info.name for info in pkgutil.iter_modules(room.__path__, prefix=f"{room.__name__}.")]
    return tuple(importlib.import_module(name) for name in names)


@functools.cache
def installed() -> tuple[ModuleType, ...]:
    """Return the modules of installed plug-ins, imported; one that fails is named and left out."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found.append(importlib.import_module(entry.value.partition(":")[0]))
        except Exception as error:
            print(
                f"shiftline: the plug-in {entry.name!r} ({entry.value}) cannot be imported and is left out: "
                f"{type(error).__name__}: {error}",
                file=sys.stderr,
            )
    return tuple(found)


def classes_in(modules: Iterable[ModuleType], base: type[T]) -> Iterator[type[T]]:
    """Yield the subclasses of a base class that some modules hold, each once, the base itself left out."""
    seen: set[type] = set()
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value is not base and value not in seen:
                seen.add(value)
                yield value


def by_tag(classes: Iterable[type[Declaration]]) -> dict[str, type[Declaration]]:
    """Return classes by their tags.

    Raises
    ------
    DeclarationError
        Two classes have one tag: results of the one would be served for the other.
    """
    found: dict[str, type[Declaration]] = {}
    for cls in classes:
        if cls.tag and found.setdefault(cls.tag, cls) is not cls:
            other = found[cls.tag]
            raise DeclarationError(
                f"two classes have the tag {cls.tag!r}: {other.__module__}.{other.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}: results of the one would be served for the other. Rename one of them, for "
                f'example tag = "my-lab/{cls.tag.rpartition("/")[2]}".'
            )
    return found


@functools.cache
def declared_types() -> dict[str, type[Declaration]]:
    """Return every class of declarations that shiftline and installed plug-ins have, by tag."""
    own = [module for package in DECLARING for module in modules_of(package)]
    return by_tag(classes_in((*own, *installed()), Declaration))


def tagged(base: type[T]) -> dict[str, type[T]]:
    """Return the subclasses of a base class among all declared types, by tag."""
    return {tag: cls for tag, cls in declared_types().items() if issubclass(cls, base)}
