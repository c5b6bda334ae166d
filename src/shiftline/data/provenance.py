"""Whether a written split is still what its source holds: names first, then sizes and times, and bytes where times differ."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftline.contracts.distributions import Split
from shiftline.contracts.require import counted
from shiftline.data.decoding import BLENDED, decode_file
from shiftline.data.examples import Example, Inside
from shiftline.data.family import Listing
from shiftline.data.sidecar import DataFolder


def state_of_files(examples: Sequence[Example]) -> dict[str, Any]:
    """Return what is recorded of the files that a split is made of: digests of their sizes, and of their times of change."""
    sizes, times = hashlib.sha256(), hashlib.sha256()
    stat_of = functools.cache(Path.stat)
    for example in examples:
        if (file := _file_of(example)) is not None:
            stat = stat_of(file)
            sizes.update(f"{example.path}\0{stat.st_size}\n".encode())
            times.update(f"{example.path}\0{stat.st_mtime_ns}\n".encode())
    return {"sizes": sizes.hexdigest(), "times": times.hexdigest()}


def changes_since_written(folder: DataFolder, split: Split, listing: Listing) -> str:
    """Return in words how the examples differ from those that a split was written from; nothing where they are the same.

    Files are read only where their sizes are the same and their times are not. A file with other bytes, and the size and time of
    the old one, is not seen.
    """
    from pyarrow import parquet

    sidecar = folder.open(split)
    left_out = [e for e in listing.examples if any(line.startswith(f"{e.path}: ") for line in sidecar.skipped)]
    if mended := [e.path for e in left_out if is_readable(e)]:
        return f"{counted(len(mended), 'image')} that could not be read can be read now ({', '.join(mended[:3])})"
    absent = {e.path for e in left_out}
    examples = [e for e in listing.examples if e.path not in absent]
    table = parquet.read_table(folder.metadata(split), columns=["path", "label", "group", "source_sha256"]).to_pydict()
    before, now = set(table["path"]), {example.path for example in examples}
    said = [
        f"{counted(len(paths), 'image')} {what} ({', '.join(sorted(paths)[:3])}{', ...' if len(paths) > 3 else ''})"
        for what, paths in (("more", now - before), ("less", before - now))
        if paths
    ]
    if said:
        return ", ".join(said)
    if sidecar.record.classes != tuple(listing.classes):
        return f"other names of classes, or another order of them ({', '.join(listing.classes[:5])})"
    written = list(zip(table["path"], table["label"], table["group"], strict=True))
    if written != [(example.path, example.label, example.group) for example in examples]:
        return "other labels, groups or another order of the same images"
    recorded, found = sidecar.files, state_of_files(examples)
    if not recorded or recorded == found:
        return ""
    inside = any(isinstance(example.source, Inside) for example in examples)
    if recorded["sizes"] != found["sizes"] and not inside:
        return "images of other sizes in bytes"
    changed = [
        example.path
        for example, sha in zip(examples, table["source_sha256"], strict=True)
        if _file_of(example) is not None and sha not in _digests(_bytes_of(example))
    ]
    if not changed:
        return ""
    return f"{counted(len(changed), 'image')} with other bytes ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''})"


def is_readable(example: Example) -> bool:
    """The file of an example can be decoded."""
    try:
        decode_file(_bytes_of(example))
    except Exception:  # What is raised for a damaged file depends on its format.
        return False
    return True


def _file_of(example: Example) -> Path | None:
    """Return the file that an image is, or lies in."""
    if isinstance(example.source, Inside):
        return example.source.file
    return example.source if isinstance(example.source, Path) else None


def _bytes_of(example: Example) -> bytes:
    if isinstance(example.source, Inside):
        return example.source.read()
    assert isinstance(example.source, Path)
    return example.source.read_bytes()


def _digests(source: bytes) -> tuple[str, str]:
    """Return the digests under which a file may be written: with what was chosen for its pixels, or without."""
    return hashlib.sha256(source).hexdigest(), hashlib.sha256(source + BLENDED.encode()).hexdigest()
