"""JSON <-> declaration, so that ``decode(encode(x)) == x``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shiftline.contracts.identity import Declaration, canonical, changed_fields, fields_of
from shiftline.contracts.plugins import declared_types
from shiftline.errors import DeclarationError


def encode(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration as JSON, with the fields that identity leaves out because they only change speed."""

    def whole(value: Any, path: str) -> Any:
        if isinstance(value, Declaration):
            form = {"type": type(value).tag, "revision": type(value).revision}
            for name, below in (changed_fields(value) | _speed_fields(value)).items():
                form[name] = whole(below, f"{path}.{name}")
            return form
        if isinstance(value, tuple):
            return [whole(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return canonical(value, path=path)

    encoded: dict[str, Any] = whole(declaration, type(declaration).__name__)
    return encoded


def _speed_fields(value: Declaration) -> dict[str, Any]:
    found = {f.name: getattr(value, f.name) for f in fields_of(type(value)) if f.metadata.get("speed_only")}
    defaults = {f.name: f.default for f in fields_of(type(value))}
    return {name: own for name, own in found.items() if own != defaults[name]}


def decode(document: Any, *, types: Iterable[type[Declaration]] = ()) -> Any:
    """Rebuild what `encode` wrote, or what `canonical` gives.

    Parameters
    ----------
    document
        JSON.
    types : iterable of Declaration subclasses
        A user's own classes that the document may hold, besides those of shiftline and of installed plug-ins.

    Raises
    ------
    DeclarationError
        The document names an unknown type, another revision of one, or fields that it does not have.
    """
    known = declared_types() | {cls.tag: cls for cls in types}

    def build(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(build(item) for item in value)
        if not isinstance(value, dict):
            return value
        tag = value.get("type")
        if tag not in known:
            raise DeclarationError(
                f"the document holds the type {tag!r}, which is unknown here. Known: {', '.join(sorted(known))}. A class "
                "of your own is passed as decode(document, types=[MyClass])."
            )
        cls = known[tag]
        if value.get("revision", 1) != cls.revision:
            raise DeclarationError(
                f"the document holds {tag!r} in revision {value.get('revision', 1)}, this version has {cls.revision}: "
                "their meanings differ. Use the version of shiftline that wrote it."
            )
        fields = {k: build(v) for k, v in value.items() if k not in ("type", "revision")}
        expected = {field.name for field in fields_of(cls)}
        if extra := sorted(set(fields) - expected):
            raise DeclarationError(f"{tag!r} has no field {extra[0]!r}: it has {', '.join(sorted(expected))}.")
        return cls(**fields)

    return build(document)
