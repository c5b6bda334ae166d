"""The one writer of .beton files: temporary file, checked structure, fingerprint, sidecar, one rename.

The file is written by one thread in id order, so that its bytes do not depend on the number of threads; reading,
decoding and encoding happen in `threads` threads ahead of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from shiftline.contracts.distributions import Split
from shiftline.contracts.require import counted
from shiftline.data import beton
from shiftline.data.decoding import BLENDED, decode_file, to_rgb
from shiftline.data.examples import Description, Encoding, Example
from shiftline.data.provenance import state_of_files
from shiftline.data.sidecar import SCHEMA, DataFolder, Sidecar
from shiftline.errors import DataError
from shiftline.store.files import disk_errors, sha256_of, sync, temporary_beside, write_record


@dataclass(frozen=True)
class _Encoded:
    data: bytes
    mode: int
    height: int
    width: int
    source_sha256: bytes
    chosen: tuple[str, ...]


def write_split(
    folder: DataFolder,
    split: Split,
    examples: Sequence[Example],
    *,
    classes: Sequence[str],
    encoding: Encoding = Encoding(),
    description: Description = Description(),
    threads: int = 2,
    page: int = beton.PAGE,
    skip_damaged: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Sidecar:
    """Write a split: the .beton file, its sidecar and its metadata.

    Parameters
    ----------
    examples : sequence of Example
        In the source's canonical order: the position is the example id.
    classes : sequence of str
        Names in the order of the labels.
    page : int
        Page size in bytes, a power of two, at least as large as the largest image's data.
    skip_damaged : bool
        Leave out images that cannot be read. The sidecar lists them; ids are positions among the others.
    advance : callable
        Called after every example (progress).

    Raises
    ------
    DataError
        No examples, a label outside the classes, or images that cannot be read (listed together).
    """
    examples = list(examples)
    _check(split, examples, classes, description, page)
    final = folder.beton(split)
    with disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary, metadata = temporary_beside(final), temporary_beside(folder.metadata(split))
        try:
            hashes, skipped, chosen = _write_beton(
                temporary, split, examples, encoding, threads, page, skip_damaged=skip_damaged, advance=advance
            )
            examples = [example for row, example in enumerate(examples) if row not in skipped]
            index = beton.read_index(temporary)
            if len(index) != len(examples):
                raise DataError(f"{split}: {len(examples)} examples were written, {len(index)} can be read.")
            document = _describe(split, examples, classes, encoding, index, hashes, description)
            document["skipped"] = list(skipped.values())
            document["chosen"] = chosen
            document["files"] = state_of_files(examples)
            document["shares"] = _shared(folder, split, hashes, document["parts"])
            # The time is set before the rename: the sidecar then describes the file that readers will see.
            os.utime(temporary, ns=(0, 0))
            document["file"] = {"sha256": sha256_of(temporary), "size": temporary.stat().st_size, "mtime_ns": 0}
            _write_metadata(metadata, examples, hashes)
            document["metadata_file"] = {"sha256": sha256_of(metadata), "size": metadata.stat().st_size}
            # Without a description the split is not there: an interruption leaves no old description beside a new file.
            folder.sidecar(split).unlink(missing_ok=True)
            metadata.replace(folder.metadata(split))
            temporary.replace(final)
            write_record(folder.sidecar(split), document)
        finally:
            temporary.unlink(missing_ok=True)
            metadata.unlink(missing_ok=True)
    return folder.open(split)


def _check(split: Split, examples: Sequence[Example], classes: Sequence[str], description: Description, page: int) -> None:
    if not examples:
        raise DataError(f"{split} has no examples to write: check the folder that was given.")
    if page < 1 << 21 or page >= 1 << 32 or page & (page - 1):
        raise DataError(f"the page size is {page}: expected a power of two from {1 << 21} to {1 << 31}.")
    if not description.class_ids and len(set(classes)) < len(classes):
        raise DataError(f"{split}: a class name appears twice in {list(classes)}.")
    if description.class_ids and len(set(description.class_ids)) != len(classes):
        raise DataError(f"{split}: {len(classes)} classes have {len(set(description.class_ids))} different identifiers.")
    columns = set(examples[0].metadata)
    if taken := columns & {"id", "label", "source_sha256", "group", "path"}:
        raise DataError(f"{split}: the metadata have a column {sorted(taken)[0]!r}, which the writer makes itself.")
    for number, example in enumerate(examples):
        if set(example.metadata) != columns:
            raise DataError(f"{split}: example {number} has the metadata {sorted(example.metadata)}, others {sorted(columns)}.")
        if not 0 <= example.label < len(classes):
            raise DataError(
                f"{split}: example {number} ({example.path}) has the label {example.label}, expected 0 to "
                f"{len(classes) - 1} for {len(classes)} classes."
            )


def _write_beton(
    path: Path,
    split: Split,
    examples: Sequence[Example],
    encoding: Encoding,
    threads: int,
    page: int,
    *,
    skip_damaged: bool,
    advance: Callable[[], None],
) -> tuple[list[bytes], dict[int, str], list[str]]:
    """Write the file; return every example's source digest, what was skipped, by position, and what was chosen for images."""
    rows = np.zeros(len(examples), dtype=beton.ROW)
    table = np.zeros(len(examples), dtype=beton.ALLOCATION)
    hashes: list[bytes] = []
    damaged: dict[int, str] = {}
    chosen: dict[str, list[str]] = {}
    written = 0
    position = beton.data_start(len(examples), page=page)
    with path.open("wb") as stream:
        for number, (example, encoded) in enumerate(_encode_all(examples, encoding, threads)):
            advance()
            if isinstance(encoded, Exception):
                damaged[number] = f"{example.path or number}: {encoded}"
                continue
            if len(encoded.data) > page:
                raise DataError(
                    f"{split}: example {number} has {len(encoded.data)} bytes, a page has {page}. "
                    f"Write with page={1 << (len(encoded.data) - 1).bit_length()}, or resize."
                )
            if position % page + len(encoded.data) > page:
                position = -(-position // page) * page
            stream.seek(position)
            stream.write(encoded.data)
            image = rows[written]["f0"]
            image["mode"], image["height"], image["width"] = encoded.mode, encoded.height, encoded.width
            image["data_ptr"] = position
            rows[written]["f1"] = example.label
            table[written] = (written, position, len(encoded.data))
            written += 1
            position += len(encoded.data)
            hashes.append(encoded.source_sha256)
            for what in encoded.chosen:
                chosen.setdefault(what, []).append(example.path or str(number))
        if damaged and not (skip_damaged and written):
            shown = "\n  ".join([*list(damaged.values())[:20], *(["..."] if len(damaged) > 20 else [])])
            raise DataError(
                f"{split}: {len(damaged)} of {len(examples)} images cannot be read, nothing was written:\n  {shown}\n"
                "Fetch them again, or go on without them: --skip-damaged."
            )
        stream.seek(position)
        stream.write(table[:written].tobytes())
        stream.seek(0)
        stream.write(beton.header_bytes(written, position, page=page) + rows[:written].tobytes())
        stream.flush()
    sync(path)
    return hashes, damaged, [_in_words(what, paths) for what, paths in chosen.items()]


def _in_words(what: str, paths: Sequence[str]) -> str:
    """Return which images something was chosen for: "2 images have several frames ... (a.gif, b.gif)"."""
    one = what.replace("have ", "has ", 1) if len(paths) == 1 else what
    return f"{counted(len(paths), 'image')} {one} ({', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''})"


def _encode_all(examples: Sequence[Example], encoding: Encoding, threads: int) -> Iterator[tuple[Example, _Encoded | Exception]]:
    """Encode in threads, a bounded number ahead, in order."""

    def guarded(example: Example) -> _Encoded | Exception:
        try:
            return _encode(example, encoding)
        except Exception as error:  # An image that is too large, a file that is none, a dataset that raises: all are listed.
            return error

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        step = 64 * max(1, threads)
        for start in range(0, len(examples), step):
            chunk = examples[start : start + step]
            yield from zip(chunk, pool.map(guarded, chunk), strict=True)


def _encode(example: Example, encoding: Encoding) -> _Encoded:
    from PIL import Image

    given = example.source() if callable(example.source) else example.source
    if not isinstance(given, (Path, bytes)):
        chosen: tuple[str, ...] = ()
        if not isinstance(given, np.ndarray):
            upright, chosen = to_rgb(given)
            given = np.asarray(upright)
        pixels = np.ascontiguousarray(given)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"expected uint8 pixels of shape (H, W, 3), got {pixels.dtype} {pixels.shape}")
        source = struct.pack("<3q", *pixels.shape) + pixels.tobytes()
        image = Image.fromarray(pixels)
        stored = ""
    else:
        source = given if isinstance(given, bytes) else given.read_bytes()
        image, stored, chosen = decode_file(source)
        if BLENDED in chosen:
            # Of the same bytes other pixels could be made, and the fingerprint is of what was read.
            source += BLENDED.encode()
    sha = hashlib.sha256(source).digest()
    if encoding.format == "original" and (stored == "JPEG" or (stored and not encoding.for_training)):
        return _Encoded(source, beton.JPEG, image.height, image.width, sha, chosen)
    if encoding.short_side is not None and min(image.size) > encoding.short_side:
        scale = encoding.short_side / min(image.size)
        width, height = (max(encoding.short_side, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if encoding.format == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=encoding.quality, subsampling=0)
        return _Encoded(buffer.getvalue(), beton.JPEG, image.height, image.width, sha, chosen)
    return _Encoded(np.asarray(image).tobytes(), beton.RAW, image.height, image.width, sha, chosen)


def check_readable(example: Example) -> None:
    """Raise `DataError` unless the image of an example can be read and stored."""
    try:
        _encode(example, Encoding("raw"))
    except Exception as error:
        raise DataError(f"{example.path or 'an example'} cannot be read: {type(error).__name__}: {error}") from error


def fingerprint(encoding: Encoding, hashes: Iterable[bytes], labels: Iterable[int]) -> str:
    """Return the sha256 over the fields, the recipe, and every example's source digest and label in id order."""
    total = hashlib.sha256(json.dumps({"fields": ["image", "label"], "recipe": encoding.as_json()}).encode())
    for sha, label in zip(hashes, labels, strict=True):
        total.update(sha + struct.pack("<q", label))
    return total.hexdigest()


def metadata_digest(examples: Iterable[Example], official: Mapping[str, Any]) -> str:
    """Return the sha256 over what official metrics need and every example's group and metadata in id order; without paths."""
    total = hashlib.sha256(json.dumps(official, sort_keys=True).encode())
    for example in examples:
        line = [example.group, sorted(example.metadata.items())]
        total.update(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()


def _describe(
    split: Split,
    examples: Sequence[Example],
    classes: Sequence[str],
    encoding: Encoding,
    index: beton.Index,
    hashes: Sequence[bytes],
    description: Description,
) -> dict[str, Any]:
    space = description.space
    return {
        "schema": SCHEMA,
        "dataset": split.dataset,
        "split": split.split,
        "fingerprint": fingerprint(encoding, hashes, (example.label for example in examples)),
        "count": len(examples),
        "classes": list(classes),
        "class_ids": list(description.class_ids),
        "space": None if space is None else {"name": space.name, "members": [list(group) for group in space.members]},
        "metrics": list(description.metrics),
        "metadata": metadata_digest(examples, description.official),
        "grouped": all(example.group for example in examples),
        "sorted": bool((np.diff(index.labels) >= 0).all()),
        "parts": [name if "/" in name else f"{split.dataset}/{name}" for name in description.subsets or (split.split,)],
        "listing": description.listing,
        "official": dict(description.official),
        "class_counts": np.bincount(index.labels, minlength=len(classes)).tolist(),
        "sizes": {
            "height": [int(index.height.min()), int(index.height.max())],
            "width": [int(index.width.min()), int(index.width.max())],
        },
        "recipe": encoding.as_json(),
        "versions": {"shiftline": version("shiftline"), "pillow": version("pillow"), "numpy": version("numpy")},
    }


def _shared(folder: DataFolder, split: Split, hashes: Sequence[bytes], subsets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how many examples other splits of the data set have too, by content; splits that name a common subset are left out."""
    from pyarrow import parquet

    own, found = {sha.hex() for sha in hashes}, {}
    for other in folder.written():
        if other.dataset != split.dataset or other == split or folder.is_outdated(other):
            continue
        try:
            record = folder.open(other).record
        except DataError:
            continue  # Damaged: nothing is known of it, and writing this one must not wait for it.
        if set(record.subsets) & set(subsets):
            continue
        column = parquet.read_table(folder.metadata(other), columns=["source_sha256"])["source_sha256"]
        if count := len(own.intersection(column.to_pylist())):
            found[str(other)] = {"count": count, "fingerprint": record.fingerprint}
    return found


def _write_metadata(path: Path, examples: Sequence[Example], hashes: Sequence[bytes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "id": pa.array(range(len(examples)), pa.int64()),
            "label": pa.array([e.label for e in examples], pa.int64()),
            "source_sha256": [sha.hex() for sha in hashes],
            "group": [e.group for e in examples],
            "path": [e.path for e in examples],
            **{name: [e.metadata[name] for e in examples] for name in examples[0].metadata},
        }
    )
    parquet.write_table(table, path)
    sync(path)
