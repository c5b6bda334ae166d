"""Images in WebDataset's tar files: what belongs to one sample has one name before the first dot (Aizman et al. 2019)."""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shiftline.contracts.require import counted
from shiftline.data.examples import Example, Inside
from shiftline.data.family import Listing
from shiftline.data.listing import is_hidden, is_image
from shiftline.datasets.class_names import alike, labels_in_classes
from shiftline.errors import DataError

LABEL = "cls"


def webdataset(
    pattern: str, *, image: str = "", label: str = LABEL, group: str = "", classes: Sequence[str] | None = None
) -> Listing:
    """List the samples of tar files, in their order.

    Parameters
    ----------
    pattern : str
        A file, or several: ``shards-{000..009}.tar``, ``{a,b}.tar``, ``*.tar``.
    image : str
        Ending of the images' members, "jpg"; any image unless given.
    label, group : str
        Ending of the members that hold the label and the group, as text: "cls". ``json.KEY`` is an entry of a JSON member.
    classes : sequence of str, optional
        Names in the order of the labels: see `labels_in_classes`.

    Raises
    ------
    DataError
        A file is missing, compressed or no tar, a sample has no image, or several, or no label.
    """
    image, notes = image.lstrip(".").lower(), Counter[str]()
    examples, values, without = [], [], 0
    for file in shards(pattern):
        for key, members in _samples(file, notes):
            images = [name for name in members if (name == image if image else is_image(f"x.{name}"))]
            if not images:
                without += 1
                continue
            if len(images) > 1:
                raise DataError(f"{file}: the sample {key} has {', '.join(images)}: say which image, --image-column {images[0]}.")
            at = members[images[0]]
            values.append(_text(file, key, members, label))
            said = _text(file, key, members, group) if group else ""
            examples.append(Example(Inside(file, partial(_read, file, at)), 0, group=said, path=f"{file.name}/{key}.{images[0]}"))
    if not examples:
        raise DataError(f"{pattern} has no images{f' that end in .{image}' if image else ''}: expected KEY.jpg and KEY.{label}.")
    labels, names = labels_in_classes(values, classes, where=f"the label ({label}) in {pattern}")
    labelled = [Example(e.source, number, e.group, e.path) for e, number in zip(examples, labels, strict=True)]
    dropped = (f"{counted(without, 'sample')} without an image left out",) if without else ()
    more = tuple(f"{counted(number, 'member')} {what} left out" for what, number in notes.items() if number)
    return Listing(labelled, names, notes=(*dropped, *more, *alike(names)))


def shards(pattern: str) -> list[Path]:
    """Return the files that a pattern names: braces are spelled out, ``~`` is the home, and ``*`` finds what is there.

    Raises
    ------
    DataError
        One of them is not there.
    """
    found: list[Path] = []
    for one in _expanded(os.path.expanduser(pattern)):  # noqa: PTH111 - a quoted pattern: no shell has done it.
        there = sorted(glob.glob(one)) if glob.has_magic(one) else [one]  # noqa: PTH207 - patterns may be absolute.
        missing = [file for file in there if not Path(file).is_file()] or ([] if there else [one])
        if missing:
            raise DataError(f"there is no file {missing[0]} (looked in {Path.cwd()}): expected tars, 'shards-{{000..009}}.tar'.")
        found += map(Path, there)
    if len(set(found)) < len(found):
        raise DataError(f"{pattern} names {max(found, key=found.count)} several times: its samples would be taken as often.")
    return found


def _expanded(pattern: str) -> list[str]:
    parts: list[list[str]] = []
    for text in re.split(r"(\{[^{}]*\})", pattern):
        if (numbers := re.fullmatch(r"\{(\d+)\.\.(\d+)\}", text)) is not None:
            first, last = numbers.groups()
            parts.append([f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)])
        else:
            parts.append(text[1:-1].split(",") if text.startswith("{") else [text])
    return ["".join(words) for words in itertools.product(*parts)]


class _Member(NamedTuple):
    offset: int
    size: int


def _samples(file: Path, left_out: Counter[str]) -> Iterator[tuple[str, dict[str, _Member]]]:
    """Yield the samples of a file: members with one name before the first dot stand together."""
    try:
        with tarfile.open(file, "r:") as archive:
            every = list(archive)
            end = archive.offset
    except tarfile.TarError as error:
        raise DataError(f"{file} is no tar file, or compressed ({error}): images are read where they lie in it.") from error
    _check_end(file, end)
    left_out["that are links"] += sum(m.issym() or m.islnk() for m in every)
    files = [m for m in every if m.isfile()]
    members = [m for m in files if not any(map(is_hidden, Path(m.name).parts))]
    left_out["hidden or of a system"] += len(files) - len(members)
    seen = set()
    for key, group in itertools.groupby(members, key=lambda m: _key(m.name)):
        fields: dict[str, _Member] = {}
        for m in group:
            field = m.name[len(key) + 1 :].lower()
            if field in fields:
                raise DataError(f"{file}: the sample {key} has the member .{field} twice: names of samples have to differ.")
            fields[field] = _Member(m.offset_data, m.size)
        if key in seen:
            raise DataError(f"{file}: the sample {key} stands in two places: names of samples have to differ.")
        seen.add(key)
        yield key, fields


def _key(name: str) -> str:
    """Return a member's name before the first dot of its last part."""
    start = name.rfind("/") + 1
    return name[:start] + name[start:].partition(".")[0]


def _check_end(file: Path, end: int) -> None:
    """Refuse a file that is cut off, or goes on behind the end of its archive: Python's reader says neither."""
    with file.open("rb") as stream:
        stream.seek(max(end - tarfile.BLOCKSIZE, 0))
        if not any(len(block) == tarfile.BLOCKSIZE and not any(block) for block in (stream.read(512), stream.read(512))):
            raise DataError(f"{file} is cut off: it lacks the blocks of zeros at the end of a tar file. Fetch it again.")
        while block := stream.read(1 << 20):
            if block.strip(b"\0"):
                raise DataError(
                    f"{file} goes on behind the end of its archive: tars that are joined with cat are read to the first end only. "
                    "Name each of them, or pack one again with tar."
                )


def _read(file: Path, member: _Member) -> bytes:
    with file.open("rb") as stream:
        stream.seek(member.offset)
        data = stream.read(member.size)
    if len(data) != member.size:
        raise DataError(f"{file} is cut off: it was longer when it was listed.")
    return data


def _text(file: Path, key: str, members: dict[str, _Member], field: str) -> str:
    name, _, entry = field.partition(".") if field.startswith("json.") else (field, "", "")
    if name not in members:
        raise DataError(
            f"{file}: the sample {key} has no .{name} (it has {', '.join(members)}): say what holds the label, --label-column "
            "ENDING, or json.KEY."
        )
    text = _read(file, members[name]).decode("utf-8-sig", errors="replace").strip()
    if not entry:
        return text
    try:
        document = json.loads(text)
        if entry not in document:
            raise DataError(f"{file}: {key}.json has no {entry!r}: it has {', '.join(document)}.")
        found = document[entry]
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: {key}.json is no JSON object ({error}).") from error
    if isinstance(found, (list, dict)):
        raise DataError(f"{file}: {entry!r} of {key}.json is {found!r}: expected one value.")
    return "" if found is None else str(found)
