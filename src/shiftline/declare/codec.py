"""JSON <-> declaration, so that ``decode(encode(x)) == x``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from shiftline.declare import (
    architectures,
    distributions,
    label_spaces,
    optimisers,
    output_space,
    recipes,
    support,
    sweeps,
    training,
    transforms,
    weight_space,
)
from shiftline.errors import DeclarationError
from shiftline.identity import Declaration, canonical


def built_in_types() -> dict[str, type[Declaration]]:
    """Return the classes of shiftline by tag."""
    types: dict[str, type[Declaration]] = {}
    for module in (
        architectures, distributions, label_spaces, optimisers, output_space, recipes, support, sweeps, training, transforms,
        weight_space,
    ):  # fmt: skip
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Declaration) and value.tag:
                types[value.tag] = value
    return types


def encode(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration as JSON, with the fields that identity leaves out."""

    def whole(value: Any, path: str) -> Any:
        if isinstance(value, Declaration):
            form = {"type": type(value).tag, "revision": type(value).revision}
            for field in dataclasses.fields(value):  # type: ignore[arg-type]
                form[field.name] = whole(getattr(value, field.name), f"{path}.{field.name}")
            return form
        if isinstance(value, tuple):
            return [whole(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return canonical(value, path=path)

    return whole(declaration, type(declaration).__name__)


def decode(document: Any, *, types: Iterable[type[Declaration]] = ()) -> Any:
    """Rebuild what `encode` wrote.

    Parameters
    ----------
    document
        JSON.
    types : iterable of Declaration subclasses
        A user's own classes that the document may hold.

    Raises
    ------
    DeclarationError
        The document names an unknown type, another revision of one, or fields that it does not have.
    """
    known = built_in_types() | {cls.tag: cls for cls in types}

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
        expected = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if extra := sorted(set(fields) - expected):
            raise DeclarationError(f"{tag!r} has no field {extra[0]!r}: it has {', '.join(sorted(expected))}.")
        return cls(**fields)

    return build(document)
