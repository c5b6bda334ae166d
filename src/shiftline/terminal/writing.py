"""Writing splits to a store while a bar is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from shiftline.contracts.distributions import Split
from shiftline.contracts.require import counted
from shiftline.errors import DataError
from shiftline.terminal.progress import progress_bars

if TYPE_CHECKING:
    from shiftline.data.examples import Encoding
    from shiftline.data.family import Listing
    from shiftline.data.sidecar import DataFolder, Sidecar


def write_missing(store: Path, splits: Iterable[Split], root: Path | None, *, quiet: bool) -> None:
    """Write what is not in the store yet, from the folder of the data sets; everything is found before anything is written.

    Raises
    ------
    DataError
        Data sets are not there: one message for all of them.
    """
    from shiftline.data.sidecar import DataFolder
    from shiftline.datasets.catalogue import catalogue

    folder, known = DataFolder(store / "data"), catalogue()
    missing = [split for split in splits if not known.generates(split.dataset) and not folder.has(split)]
    found, problems = {}, []
    for split in missing:
        try:
            family = known.named(split.dataset)
            found[split] = family.listing(known.folder_of(family, [split.split], root), split.split), family.encoding(split.split)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    for split, (listing, encoding) in found.items():
        write_shown(folder, split, listing, encoding, quiet=quiet)


def write_shown(
    folder: DataFolder,
    split: Split,
    listing: Listing,
    encoding: Encoding,
    *,
    threads: int = 2,
    skip_damaged: bool = False,
    quiet: bool,
) -> Sidecar:
    """Write a split while a bar is shown, and say what was written."""
    from shiftline.datasets.prepare import write_listing

    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(str(split), total=len(listing.examples))
        sidecar = write_listing(
            folder,
            split,
            listing,
            encoding=encoding,
            threads=threads,
            skip_damaged=skip_damaged,
            advance=lambda: bars.advance(task),
        )
    say_written(folder, split, quiet=quiet)
    say_notes((*listing.notes, *sidecar.chosen))
    return sidecar


def say_notes(notes: Iterable[str]) -> None:
    """Print what was left out or chosen: not held back by --quiet, which is about progress."""
    for note in notes:
        print(f"  note: {note}", file=sys.stderr)


def say_written(folder: DataFolder, split: Split, *, quiet: bool) -> None:
    """Print what a written split holds."""
    record = folder.open(split).record
    if not quiet:
        size = folder.beton(split).stat().st_size / 1e6
        about = f"{counted(record.count, 'image')}, {counted(len(record.classes), 'class', 'classes')}, {size:,.1f} MB"
        print(f"{split}: {about}, fingerprint {record.fingerprint[:12]}")
        say_notes(f"{counted(count, 'image')} are in {other} too, byte for byte" for (other, _), count in record.shares.items())
