"""A user's own classes: changed source under one revision would give old results a new meaning, and is refused."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator

from shiftline.contracts.identity import Declaration, fields_of
from shiftline.contracts.plugins import by_tag, declared_types
from shiftline.contracts.study import Study
from shiftline.errors import DeclarationError
from shiftline.store.artifacts import Store
from shiftline.store.files import read_record, write_record


def check_extensions(study: Study, store: Store, *, write: bool = True) -> None:
    """Compare the source of every class of the user's with the source that its revision was first used with.

    Raises
    ------
    DeclarationError
        The source changed and the revision did not.
    """
    own = _own_classes(study)
    if own:
        by_tag((*declared_types().values(), *own))  # Two classes of one tag are found.
    for cls in sorted(own, key=lambda c: c.tag):
        try:
            source = hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()
        except OSError:
            continue  # Typed into an interpreter: there is no source to compare.
        safe = hashlib.sha256(f"{cls.tag}@{cls.revision}".encode()).hexdigest()[:24]
        path = store.root / "extensions" / f"{safe}.json"
        if path.is_file():
            recorded = read_record(path, what=f"the record of {cls.tag!r}", mend="Delete it: the next run writes it again.")
            if recorded["source_sha256"] != source:
                raise DeclarationError(
                    f"the class {cls.__name__} ({cls.tag!r}, revision {cls.revision}) was changed since results were made "
                    f"with it. If its numbers change, set revision = {cls.revision + 1}: the results are made again. If they "
                    f"do not (a comment, a name), delete {path}."
                )
        elif write:
            write_record(path, {"tag": cls.tag, "revision": cls.revision, "source_sha256": source})


def _own_classes(study: Study) -> set[type[Declaration]]:
    roots: list[object] = [study.reference, *(d for _, d in study.shifts), *(m.expression for m in study.models)]
    roots += study.metrics
    found: set[type[Declaration]] = set()
    seen: set[object] = set()
    pending = roots
    while pending:
        value = pending.pop()
        if isinstance(value, Declaration) and value not in seen:
            seen.add(value)
            if not type(value).__module__.startswith("shiftline."):
                found.add(type(value))
            pending += _below(value)
    return found


def _below(value: Declaration) -> Iterator[object]:
    for field in fields_of(type(value)):
        below = getattr(value, field.name)
        yield from below if isinstance(below, tuple) else (below,)
