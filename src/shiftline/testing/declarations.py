"""Identity of declarations: they survive being written, and a changed default demands a new revision."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shiftline.contracts.codec import decode, encode
from shiftline.contracts.identity import Declaration, canonical, defaults_of, digest
from shiftline.contracts.plugins import by_tag
from shiftline.testing.contract import ContractError, as_contract_errors, require_contract

Defaults = Mapping[str, Mapping[str, Any]]
"""By tag: the class's revision, and the canonical form of its defaults by field."""


def check_declaration(value: Declaration, *, record: str | Path | None = None) -> None:
    """Check a declaration of your own class, and with `record` that no default of the class changed unnoticed.

    A field at its default is left out of identity: a default that changes would give old results a new meaning, unless the class
    raises its `revision`.

    Parameters
    ----------
    value : Declaration
    record : path, optional
        A JSON file of defaults, kept with the tests: new classes, fields and revisions are added to it.

    Raises
    ------
    ContractError
        Its fields are no plain values, or a default changed.
    """
    types = _own_types(value)
    back = decode(encode(value), types=set(types))
    require_contract(
        back == value, f"{value!r} does not survive being written as JSON and read again: its fields must be plain values."
    )
    require_contract(
        digest(canonical(back)) == digest(canonical(value)),
        f"{value!r} has another key after being written as JSON and read again.",
    )
    if record is not None:
        own = [cls for cls in types if not cls.__module__.startswith("shiftline.")]
        record_defaults(record, own)


def _own_types(value: Any) -> list[type[Declaration]]:
    if isinstance(value, tuple):
        return [t for item in value for t in _own_types(item)]
    if not isinstance(value, Declaration):
        return []
    return [type(value), *(t for below in vars(value).values() for t in _own_types(below))]


def defaults_table(classes: Iterable[type[Declaration]]) -> dict[str, dict[str, Any]]:
    """Return the revision and the defaults of some classes, by tag."""
    return {
        tag: {
            "revision": cls.revision,
            "defaults": {name: json.loads(json.dumps(canonical(value))) for name, value in defaults_of(cls).items()},
        }
        for tag, cls in sorted(by_tag(classes).items())
    }


def check_defaults(classes: Iterable[type[Declaration]], recorded: Defaults) -> None:
    """Compare the defaults of some classes with those that were recorded.

    Raises
    ------
    ContractError
        A default changed, or a field with a default went, and the revision did not; or a revision was lowered. Every such class is
        named, with the revision that it needs. Classes and fields that are not recorded are no error.
    """
    problems = []
    for tag, now in defaults_table(classes).items():
        if (before := recorded.get(tag)) is None or now["revision"] > before["revision"]:
            continue
        if now["revision"] < before["revision"]:
            problems.append(f"{tag!r} has the revision {now['revision']}, {before['revision']} was recorded: revisions only rise.")
            continue
        for name, value in before["defaults"].items():
            if name not in now["defaults"]:
                change = f"had the default {name}={value!r}, and has none now"
            elif now["defaults"][name] != value:
                change = f"had the default {name}={value!r}, now {now['defaults'][name]!r}"
            else:
                continue
            problems.append(
                f"{tag!r} {change}: results that were made with the old one would be served for the new one. Set "
                f"revision = {before['revision'] + 1} in the class."
            )
    if problems:
        raise ContractError("\n".join(problems))


def record_defaults(path: str | Path, classes: Iterable[type[Declaration]]) -> None:
    """Check some classes against a file of defaults, and add what is new to it.

    Raises
    ------
    ContractError
        As `check_defaults`; the file is then left as it was.
    """
    path, classes = Path(path), list(classes)
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    with as_contract_errors():
        check_defaults(classes, recorded)
        new = recorded | defaults_table(classes)
    if new != recorded:
        path.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n", encoding="utf-8")
