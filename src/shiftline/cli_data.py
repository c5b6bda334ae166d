"""The commands about data: what is known and found, writing, joining, verifying."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from shiftline.errors import DataError

if TYPE_CHECKING:
    from shiftline.data.families.family import Family, Listing
    from shiftline.data.sidecar import DataFolder, Sidecar
    from shiftline.data.writer import Encoding
    from shiftline.declare.distributions import Split

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of results.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no notes.")]
Root = Annotated[Path | None, typer.Option("--root", help="Folder of the data set, or of several data sets.")]
DEFAULT_STORE = Path("results")

data = typer.Typer(no_args_is_help=True, help="Known data sets: find, write, look at, verify.")


def progress_bars(*, quiet: bool) -> Progress:
    """Progress on standard error: with a count and the time left, and none where nobody looks."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)


def split_named(text: str) -> Split:
    """Read ``DATASET/SPLIT``."""
    from shiftline.declare.distributions import Split

    dataset, slash, split = text.partition("/")
    if not slash or not dataset or not split:
        raise DataError(f"{text!r} names no split: expected DATASET/SPLIT, for instance imagenet/val.")
    return Split(dataset, split)


@data.command("list")
def data_list(store: StoreFolder = DEFAULT_STORE, root: Root = None) -> None:
    """List every known data set: where it was found, and which of its splits are written in the store."""
    from shiftline.data.families.catalogue import FAMILIES, data_roots
    from shiftline.data.prepare import BUILT_IN
    from shiftline.data.sidecar import DataFolder

    roots = data_roots(root)
    written: dict[str, list[str]] = {}
    for split in DataFolder(store / "data").written():
        written.setdefault(split.dataset, []).append(split.split)
    # A pipe has no width: rows must not be cut to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 500, highlight=False)
    table = Table("data set", "splits", "classes", "groups", "found in", "written")
    for family in FAMILIES.values():
        found = roots.find(family)
        absent = [split for split in family.usual_splits if found is not None and not family.has(found, split)]
        lacking = f" (without {', '.join(absent)})" if absent else ""
        where = "-" if found is None else f"{found}{lacking}"
        table.add_row(
            family.name, ", ".join(family.splits), family.classes, family.groups, where,
            ", ".join(written.pop(family.name, [])),
        )  # fmt: skip
    for name in sorted({split.dataset for split in BUILT_IN}):
        names = ", ".join(sorted(split.split for split in BUILT_IN if split.dataset == name))
        table.add_row(
            name,
            names,
            "38" if name == "typed-letters" else "10",
            "" if name == "digits" else "font",
            "built in",
            ", ".join(written.pop(name, [])),
        )
    for name, splits in sorted(written.items()):
        table.add_row(name, ", ".join(splits), "", "", "your own", ", ".join(splits))
    console.print(table)
    if roots.roots or roots.own:
        print(f"Looked where {roots.origin} says: {', '.join(map(str, (*roots.roots, *roots.own.values())))}.")
    else:
        print('Nobody says where data sets are: set SHIFTLINE_DATA, or write [data] root = "FOLDER" to shiftline.toml.')


@data.command("write")
def data_write(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A data set of `shiftline data list`, or a name for your own images.")
    ],
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Split to write; may be repeated. All that are found unless given."),
    ] = None,
    root: Root = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Your own images: CLASS/images. Name the --split that they become.")
    ] = None,
    domains: Annotated[
        Path | None,
        typer.Option("--domains", help="Your own images: DOMAIN/CLASS/images. Each domain becomes a split."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    form: Annotated[
        str | None,
        typer.Option(
            help="original (JPEG files keep their bytes, others are stored raw), raw or jpeg. By the split unless given."
        ),
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="Resize the shorter side to this many pixels.")] = None,
    quality: Annotated[int, typer.Option(help="JPEG quality of form jpeg.")] = 92,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and encode.")] = 2,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read; they are listed.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Write splits anew that are written already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write splits of a data set to the store, where studies find them."""
    from shiftline.data.families.catalogue import FAMILIES
    from shiftline.data.sidecar import DataFolder
    from shiftline.data.writer import Encoding
    from shiftline.declare.distributions import Split

    folder = DataFolder(store / "data")
    family = None if images or domains else _family(name, split, root)
    asked = None if form is None and short_side is None else Encoding(form or "jpeg", short_side, quality)
    listings = _own_images(name, split, images, domains, root) if family is None else _found(family, split, root)
    skipped = []
    for wanted in list(listings):
        if folder.has(Split(name, wanted)) and not again:
            print(
                f"{name}/{wanted}: written already, fingerprint {folder.open(Split(name, wanted)).record.fingerprint[:12]}"
            )
            del listings[wanted]
    for wanted, listing in listings.items():
        usual = family.encoding(wanted) if family is not None else Encoding()
        encoding = asked or (usual if usual.form != "jpeg" else Encoding(usual.form, usual.short_side, quality))
        sidecar = _write(
            folder, Split(name, wanted), listing, encoding, workers=workers, skip_damaged=skip_damaged, quiet=quiet
        )
        skipped += [f"{name}/{wanted}: {line}" for line in sidecar.skipped]
        published = FAMILIES[name].counts.get(wanted) if family is not None else None
        if published not in (None, sidecar.record.count) and not quiet:
            print(f"  note: the published split has {published:,} images", file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} images could not be read and were left out:", *skipped, sep="\n  ", file=sys.stderr)


def write_missing(store: Path, splits: Iterable[Split], root: Path | None, *, quiet: bool) -> None:
    """Write what is not in the store yet, from the folder of the data sets; everything is found before anything is written.

    Raises
    ------
    DataError
        Data sets are not there: one message for all of them.
    """
    from shiftline.data.families.catalogue import family_named, folder_of
    from shiftline.data.prepare import BUILT_IN
    from shiftline.data.sidecar import DataFolder

    folder = DataFolder(store / "data")
    missing = [split for split in splits if split not in BUILT_IN and not folder.has(split)]
    found, problems = {}, []
    for split in missing:
        family = family_named(split.dataset)
        try:
            found[split] = family.listing(folder_of(family, [split.split], root), split.split)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    for split, listing in found.items():
        _write(folder, split, listing, family_named(split.dataset).encoding(split.split), quiet=quiet)


def _write(
    folder: DataFolder, split: Split, listing: Listing, encoding: Encoding, *, workers: int = 2, skip_damaged: bool = False,
    quiet: bool,
) -> Sidecar:  # fmt: skip
    """Write a split while a bar is shown, and say what was written."""
    from shiftline.data.prepare import write_listing

    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(str(split), total=len(listing.examples))
        sidecar = write_listing(
            folder, split, listing, encoding=encoding, workers=workers, skip_damaged=skip_damaged,
            advance=lambda: bars.advance(task),
        )  # fmt: skip
    _say_written(folder, split, quiet=quiet)
    return sidecar


def _say_written(folder: DataFolder, split: Split, *, quiet: bool) -> None:
    record = folder.open(split).record
    if not quiet:
        size = folder.beton(split).stat().st_size / 1e6
        about = f"{record.count:,} images, {len(record.classes)} classes, {size:,.1f} MB"
        print(f"{split}: {about}, fingerprint {record.fingerprint[:12]}")


def _family(name: str, split: list[str] | None, root: Path | None) -> Family:
    from shiftline.data.families.catalogue import family_named
    from shiftline.data.prepare import BUILT_IN

    if any(built_in.dataset == name for built_in in BUILT_IN):
        raise DataError(f"{name} is built in: it is written on first use.")
    family = family_named(name)
    for wanted in split or ():
        if not family.describes(wanted):
            raise DataError(f"{name} has no split {wanted!r}: it has {', '.join(family.splits)}.")
    if not split and not family.usual_splits:
        raise DataError(f"{name} has many splits: say which, --split {family.splits[0]}.")
    return family


def _found(family: Family, split: list[str] | None, root: Path | None) -> dict[str, Listing]:
    """List the splits that are wanted; all of them, before one is written."""
    from shiftline.data.families.catalogue import folder_of

    wanted = split or list(family.usual_splits)
    place = folder_of(family, wanted, root)
    there = [one for one in wanted if family.has(place, one)]
    # Where nothing seems to be there, listing the first one says what is missing.
    chosen = split or there or wanted[:1]
    return {one: family.listing(place, one) for one in chosen}


def _own_images(
    name: str, split: list[str] | None, images: Path | None, domains: Path | None, root: Path | None
) -> dict[str, Listing]:
    from shiftline.data.families.catalogue import FAMILIES
    from shiftline.data.families.folders import domain_folders, image_folder

    if images is not None and domains is not None:
        raise DataError("say where the images are, in one way: --images FOLDER or --domains FOLDER.")
    if root is not None:
        raise DataError("--root is for the data sets of `shiftline data list`: say --images or --domains alone.")
    if name in FAMILIES:
        raise DataError(f"{name} is a known data set: give your own images another name, or say --root FOLDER.")
    if images is not None:
        if not split or len(split) != 1:
            raise DataError(
                f"--images FOLDER becomes one split: name it, shiftline data write {name} --split test --images {images}."
            )
        return {split[0]: image_folder(images)}
    assert domains is not None
    found = domain_folders(domains)
    if absent := [one for one in split or () if one not in found]:
        raise DataError(f"{domains} has no domain {absent[0]!r}: it has {', '.join(found)}.")
    return {one: listing for one, listing in found.items() if not split or one in split}


@data.command("make-miniature")
def data_make_miniature(
    name: Annotated[str, typer.Argument(metavar="NAME", help="imagenet (with its shifts), mnist or cifar10.")],
    root: Annotated[Path, typer.Option("--root", help="Folder to write the data set's folders to.")],
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Test images of each class.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Generate a small tree in the layout of a large data set, to try commands on: stripes and colours, no data."""
    from shiftline.data.miniature import MINIATURES, check_miniature, make_miniature

    check_miniature(name, root)
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(f"miniature {name}", total=MINIATURES[name][1])
        folders = make_miniature(name, root, per_class=per_class, advance=lambda: bars.advance(task))
    for folder in folders:
        print(folder)


@data.command("join")
def data_join(
    into: Annotated[str, typer.Argument(help="DATASET/SPLIT to write.")],
    sources: Annotated[
        list[str], typer.Argument(help="DATASET/SPLIT of what is written already; the most classes first.")
    ],
    store: StoreFolder = DEFAULT_STORE,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Write several splits to one file: a reference with its shifts. Groups say where each image comes from."""
    from shiftline.data.prepare import join_splits
    from shiftline.data.sidecar import DataFolder

    folder = DataFolder(store / "data")
    target = split_named(into)
    join_splits(folder, target, [split_named(source) for source in sources], workers=workers)
    _say_written(folder, target, quiet=quiet)


@data.command("verify")
def data_verify(store: StoreFolder = DEFAULT_STORE) -> None:
    """Hash every written split anew and compare with what was recorded."""
    from shiftline.data.prepare import BUILT_IN
    from shiftline.data.sidecar import DataFolder

    folder = DataFolder(store / "data")
    spoilt = folder.damaged()
    for split, problem in spoilt.items():
        anew = f"shiftline data write {split.dataset} --split {split.split} --again"
        advice = (
            f"Delete {folder.sidecar(split)}: the next run writes it" if split in BUILT_IN else f"Write it anew: {anew}"
        )
        print(f"damaged: {split}: {problem}. {advice}.")
    print(f"{len(folder.written())} splits checked, {len(spoilt)} damaged.")
    raise typer.Exit(1 if spoilt else 0)
