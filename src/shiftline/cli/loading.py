"""Finding the study that a command names: built-in, ``module:Class``, or ``path/to/file.py:Class``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import typing
from pathlib import Path
from types import ModuleType

from shiftline.contracts.plugins import classes_in, installed
from shiftline.contracts.require import counted, near
from shiftline.errors import StudyNotFoundError
from shiftline.studies import BUILT_IN
from shiftline.study import ExperimentManager

_NOT_PARAMETERS = ("self", "store", "quiet")


def known_studies() -> dict[str, str | type[ExperimentManager]]:
    """Return the studies that have a name of their own: built in, or brought by installed plug-ins."""
    brought = {cls.name: cls for cls in classes_in(installed(), ExperimentManager) if cls.name}
    return {**brought, **BUILT_IN}


def load_study(name: str) -> type[ExperimentManager]:
    """Return the class of a study.

    Parameters
    ----------
    name : str
        "digits" or another known name, "package.module:Class" or "path/to/file.py:Class"; the class may be left out of a file
        that has one.

    Raises
    ------
    StudyNotFoundError
        The file does not exist or raises on import, or has no study, or several and none is named.
    """
    known = BUILT_IN.get(name) or known_studies().get(name, name)
    if not isinstance(known, str):
        return known
    source, colon, chosen = known.partition(":")
    if source.endswith(".py"):
        module = module_of_file(Path(source))
    elif colon:
        module = _from_module(source)
    else:
        names = known_studies()
        raise StudyNotFoundError(
            f"there is no study {name!r}{near(name, names)} Expected a known name "
            f"({', '.join(names)}), module:Class, or path/to/file.py:Class."
        )
    own = (cls for cls in classes_in([module], ExperimentManager) if cls.__module__ == module.__name__)
    studies = {cls.__name__: cls for cls in own}
    if chosen:
        found = getattr(module, chosen, None)
        if not (inspect.isclass(found) and issubclass(found, ExperimentManager)):
            raise StudyNotFoundError(
                f"{source} has no study {chosen!r}: it has {', '.join(studies) or 'none'} (classes that subclass "
                "shiftline.ExperimentManager)."
            )
        return found
    if len(studies) != 1:
        found = ", ".join(studies) or "no class subclasses shiftline.ExperimentManager"
        raise StudyNotFoundError(
            f"{source} has {counted(len(studies), 'study', 'studies')} ({found}): expected one, or its name after a colon, "
            f"{source}:Class."
        )
    return next(iter(studies.values()))


def module_of_file(path: Path) -> ModuleType:
    """Import a file, under a name of its own."""
    if not path.is_file():
        raise StudyNotFoundError(f"the study file {path} does not exist (looked in {Path.cwd()}).")
    if path.suffix != ".py":
        raise StudyNotFoundError(f"{path} is no Python file: expected a name that ends in .py.")
    # A name of its own: a file called timm.py must not take the library's place.
    name = f"shiftline_study_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # inspect.getsource looks a class up through its module.
    sys.modules[name] = module
    # Files beside it can be imported, as by `python FILE`; at the end, so that none takes a library's place.
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise StudyNotFoundError(
            f"the study file {path} raises on import: {_in_words(error)}. Run `python {path}` to see where."
        ) from error
    return module


def _in_words(error: Exception) -> str:
    """Return what an exception is and says, without a full stop."""
    return f"{type(error).__name__}: {error}".rstrip(".")


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise StudyNotFoundError(f"the module {name!r} cannot be imported: {_in_words(error)}.") from error


def make_study(name: str, parameters: list[str] | None, store: Path, *, quiet: bool = False) -> ExperimentManager:
    """Return the study that a command names, with its parameters, on a store.

    Raises
    ------
    StudyNotFoundError
        It cannot be found, or its constructor does not take what it is given.
    """
    study = load_study(name)
    arguments = parse_parameters(study, parameters or [])
    accepted = inspect.signature(study.__init__).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()) and not {"store", "quiet"} <= set(accepted):
        raise StudyNotFoundError(
            f"the constructor of {study.__name__} does not take store and quiet: write def __init__(self, *, ..., **options) and "
            "pass **options to super().__init__."
        )
    return study(store=store, quiet=quiet, **arguments)


def study_parameters(study: type[ExperimentManager]) -> dict[str, inspect.Parameter]:
    """Return the parameters that a study's constructor takes besides store and quiet."""
    parameters = inspect.signature(study.__init__).parameters
    return {
        name: p for name, p in parameters.items() if name not in _NOT_PARAMETERS and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def parse_parameters(study: type[ExperimentManager], texts: list[str]) -> dict[str, object]:
    """Turn ``name=value`` texts into arguments of a study's constructor, typed by its annotations.

    Raises
    ------
    StudyNotFoundError
        An unknown name (the valid ones are listed), or a value of another type.
    """
    valid = study_parameters(study)
    hints = typing.get_type_hints(study.__init__)
    parsed: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in valid:
            if not valid:
                raise StudyNotFoundError(f"{text!r} is no parameter of {study.__name__}: its constructor takes none. Leave it out.")
            listed = ", ".join(f"{n}={p.default!r}" for n, p in valid.items())
            raise StudyNotFoundError(
                f"{text!r} is no parameter of {study.__name__}: expected name=value; its parameters are {listed}."
            )
        default = valid[name].default
        kind = hints.get(name, str if default in (None, inspect.Parameter.empty) else type(default))
        parsed[name] = _typed(name, value, kind)
    required = [n for n, p in valid.items() if p.default is inspect.Parameter.empty and n not in parsed]
    if required:
        raise StudyNotFoundError(f"{study.__name__} needs the parameter {required[0]}: give {required[0]}=VALUE.")
    return parsed


def _typed(name: str, value: str, kind: object) -> object:
    booleans = {"true": True, "false": False, "1": True, "0": False}
    try:
        if kind is bool:
            return booleans[value.lower()]
        if typing.get_origin(kind) is tuple:
            (inner, *_) = typing.get_args(kind)
            return tuple(_typed(name, word, inner) for word in value.split(",") if word)
        return kind(value) if kind in (int, float, str) else value
    except (ValueError, KeyError) as error:
        wanted = getattr(kind, "__name__", str(kind))
        raise StudyNotFoundError(f"{name}={value!r}: expected a value of type {wanted}.") from error
