"""The canonical form of a declaration, and its digest.

A declaration is a frozen dataclass with a fixed `tag`. Its canonical form is JSON made of the fields that differ from their
defaults; fields marked with `speed_only` are left out. So a new option that has a default changes no key, and a default that
changes demands a new revision of its class: `shiftline.testing.check_defaults` compares both with what was recorded. Two
processes, machines or checkouts give the same form for equal values: types go by their tag, never by a module path; floats by
their shortest exact representation.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

from shiftline.errors import DeclarationError, IdentityError

SCHEMA = 3
"""Raised when the form itself changes: every key changes with it."""


def speed_only(*, default: Any) -> Any:
    """Declare a field that changes how fast a result comes, never the result: it stays out of identity."""
    return dataclasses.field(default=default, metadata={"speed_only": True}, compare=False)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, speed_only))
class _FrozenMeta(type):
    """Makes every subclass of `Declaration` a frozen dataclass, so that no subclass can forget to be one."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        bare: Any = super().__new__(cls, name, bases, namespace, **options)
        made = dataclasses.dataclass(frozen=True)(bare)
        if taken := {"type", "revision"} & {field.name for field in dataclasses.fields(made)}:
            raise IdentityError(f"{name} has a field {taken.pop()!r}: the canonical form uses that word itself. Rename it.")
        setattr(made, "__hash__", _remembering(made.__hash__))  # noqa: B010
        return made


def _remembering(compute: Callable[..., int]) -> Callable[[Any], int]:
    """Compute a hash once per object: expressions share members, and a plan looks each of them up many times."""

    def remembered(self: Any) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = compute(self)
            object.__setattr__(self, "_hash", found)
        return found

    return remembered


class Declaration(metaclass=_FrozenMeta):
    """Base of everything that is declared: distributions, transforms, recipes, optimisers.

    A subclass sets `tag`, and raises `revision` when its meaning changes under the same fields. Lists become tuples and
    integers become floats where a float is declared, so that equal meanings are equal values.
    """

    tag: ClassVar[str] = ""
    revision: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            object.__setattr__(self, field.name, _settled(type(self), field, getattr(self, field.name)))
        self.validate()

    def __getstate__(self) -> dict[str, Any]:
        # What was remembered stays here: hashes of text differ between processes.
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def validate(self) -> None:
        """Raise `DeclarationError` where the fields make no sense. Called once, when the declaration is made."""

    def replace(self, **changes: Any) -> Any:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def fields_of(cls: type[Declaration]) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a class of declarations, in their order."""
    return dataclasses.fields(cls)


def _settled(cls: type[Declaration], field: dataclasses.Field[Any], value: Any) -> Any:
    """Return a value as a field keeps it: lists as tuples, whole numbers as floats where floats are declared."""
    annotation = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    return _typed(_normalise(value), annotation, f"{cls.__name__}.{field.name}")


_MISSING = object()


@functools.cache
def defaults_of(cls: type[Declaration]) -> dict[str, Any]:
    """Return the defaults of the fields that identity looks at, by name; fields without a default are not in it."""
    found = {}
    for field in fields_of(cls):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is not dataclasses.MISSING and not field.metadata.get("speed_only"):
            found[field.name] = _settled(cls, field, default)
    return found


def changed_fields(value: Declaration) -> dict[str, Any]:
    """Return the fields of a declaration that its canonical form names: those that differ from their defaults."""
    defaults = defaults_of(type(value))
    found = {}
    for field in fields_of(type(value)):
        if field.metadata.get("speed_only"):
            continue
        own, default = getattr(value, field.name), defaults.get(field.name, _MISSING)
        # True equals 1 in Python, and is another value in JSON.
        if type(own) is not type(default) or own != default:
            found[field.name] = own
    return found


_PLAIN: dict[str, tuple[type, ...]] = {"float": (float,), "int": (int,), "str": (str,), "bool": (bool,)}


def _typed(value: Any, annotation: str, where: str) -> Any:
    """Turn integers into floats where floats are declared, and refuse what is of another plain type, or unhashable."""
    if annotation.startswith("tuple[float") and isinstance(value, tuple):
        return tuple(_typed(item, "float", f"{where}[{i}]") for i, item in enumerate(value))
    wanted = annotation.removesuffix(" | None")
    if value is None and wanted != annotation:
        return None
    if wanted == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted == "str" and isinstance(value, os.PathLike):
        return os.fspath(value)
    if wanted in _PLAIN and (not isinstance(value, _PLAIN[wanted]) or (wanted == "int" and isinstance(value, bool))):
        what = "a function, which has no canonical form" if callable(value) else f"{value!r} ({type(value).__name__})"
        raise DeclarationError(f"{where} is {what}: expected a plain {wanted}.")
    try:
        hash(value)
    except TypeError:
        raise IdentityError(
            f"{where} is a {type(value).__name__}: expected a declaration, text, a number, a truth value, None, or a list of "
            "these. Declare plain values and build the object where it is used."
        ) from None
    return value


def _normalise(value: Any) -> Any:
    if isinstance(value, (list, range)):
        return tuple(_normalise(item) for item in value)
    if isinstance(value, tuple):
        return tuple(_normalise(item) for item in value)
    # NumPy scalars, known by their method rather than by an import of numpy.
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


Substitute = Callable[[Declaration], Any]


def canonical(value: Any, *, substitute: Substitute | None = None, path: str = "") -> Any:
    """Return the JSON form of a declared value.

    Parameters
    ----------
    value
        A declaration, or a str, int, float, bool, None, tuple or mapping with str keys made of these.
    substitute : callable, optional
        Called with every declaration below `value`; what it returns (JSON) stands in its place, unless it is None.
    path : str
        Where `value` stands, for messages.

    Raises
    ------
    IdentityError
        Something below `value` has no canonical form: a function, NaN, an array, an open file.
    """
    where = path or "the declaration"
    form: Any
    if isinstance(value, Declaration):
        if substitute is not None and (form := substitute(value)) is not None:
            return form
        if not type(value).tag:
            raise IdentityError(
                f"{where}: the class {type(value).__name__} has no tag. Give it one that will never change, for "
                f'example tag = "my-lab/{type(value).__name__.lower()}", and a revision.'
            )
        form = {"type": type(value).tag}
        if type(value).revision != 1:
            form["revision"] = type(value).revision
        for name, field_value in changed_fields(value).items():
            below = f"{path}.{name}" if path else f"{type(value).__name__}.{name}"
            form[name] = canonical(field_value, substitute=substitute, path=below)
        return form
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise IdentityError(f"{where} is {value}: expected a finite number, because a key must equal itself.")
        return value
    if isinstance(value, (tuple, list)):
        return [canonical(item, substitute=substitute, path=f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise IdentityError(f"{where} has the key {bad[0]!r}: expected text keys only.")
        return {k: canonical(v, substitute=substitute, path=f"{path}.{k}") for k, v in value.items()}
    if callable(value):
        raise IdentityError(
            f"{where} is the function {getattr(value, '__name__', value)!r}: a function has no canonical form, so that "
            "results could not be told apart when it changes. Write it as a class with a tag, a revision and fields "
            "(a subclass of shiftline.Transform, for instance)."
        )
    raise IdentityError(
        f"{where} is a {type(value).__name__}: expected a declaration, text, a number, a truth value, None, or a list "
        "of these. Declare plain values and let the job build the object."
    )


def canonical_json(form: Any) -> str:
    """Return the one text of a JSON form: sorted keys, no spaces, UTF-8."""
    return json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(form: Any) -> str:
    """Return the sha256 of a JSON form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(form).encode()).hexdigest()
