"""The commands about data: what is known and found, writing, joining, verifying."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from shiftline.cli import own_images
from shiftline.contracts.require import counted
from shiftline.errors import DataError
from shiftline.terminal.options import DEFAULT_STORE, Quiet, Root, StoreFolder
from shiftline.terminal.progress import progress_bars

if TYPE_CHECKING:
    from shiftline.contracts.distributions import Split
    from shiftline.data.examples import Encoding
    from shiftline.data.family import DatasetFamily, Listing
    from shiftline.data.sidecar import DataFolder
    from shiftline.datasets.catalogue import Catalogue

From = Annotated[
    Path | None, typer.Option("--from", metavar="FILE.py", help="A study file whose own data sets (DatasetFamily) are known too.")
]
data = typer.Typer(no_args_is_help=True, help="Known data sets: find, write, look at, verify.")


def split_named(text: str) -> Split:
    """Read ``DATASET/SPLIT``."""
    from shiftline.contracts.distributions import Split

    dataset, slash, split = text.partition("/")
    if not slash or not dataset or not split:
        raise DataError(f"{text!r} names no split: expected DATASET/SPLIT, for instance imagenet/val.")
    return Split(dataset, split)


def catalogue_with(file: Path | None) -> Catalogue:
    """Return the known data sets, with those of a study file."""
    from shiftline.contracts.plugins import classes_in
    from shiftline.data.family import DatasetFamily
    from shiftline.datasets.catalogue import catalogue

    if file is None:
        return catalogue()
    from shiftline.cli.loading import module_of_file

    module = module_of_file(file)
    own = tuple(cls for cls in classes_in([module], DatasetFamily) if not cls.__module__.startswith("shiftline."))
    if not own:
        raise DataError(f"{file} has no data set: expected a class that subclasses shiftline.DatasetFamily.")
    return catalogue(*own)


@data.command("list")
def data_list(store: StoreFolder = DEFAULT_STORE, root: Root = None, file: From = None) -> None:
    """List every known data set: where it was found, and which of its splits are written in the store."""
    from shiftline.data.sidecar import DataFolder

    known = catalogue_with(file)
    roots = known.roots(root)
    written: dict[str, list[str]] = {}
    for split in DataFolder(store / "data").written():
        written.setdefault(split.dataset, []).append(split.split)
    # A pipe has no width: rows must not be cut to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 500, highlight=False)
    table = Table("data set", "splits", "classes", "groups", "found in", "written")
    for family in known.families.values():
        there = ", ".join(written.pop(family.name, []))
        table.add_row(family.name, ", ".join(family.splits), family.classes, family.groups, _found_in(family, known, root), there)
    for name, splits in sorted(written.items()):
        table.add_row(name, ", ".join(splits), "", "", "your own", ", ".join(splits))
    console.print(table)
    if roots.roots or roots.own:
        print(f"Looked where {roots.origin} says: {', '.join(map(str, (*roots.roots, *roots.own.values())))}.")
    else:
        print('Nobody says where data sets are: set SHIFTLINE_DATA, or write [data] root = "FOLDER" to shiftline.toml.')


def _found_in(family: DatasetFamily, known: Catalogue, root: Path | None) -> str:
    if family.generated:
        return "makes itself"
    if (found := known.roots(root).find(family)) is None:
        return "-"
    absent = [split for split in family.usual_splits if not family.has(found, split)]
    return f"{found} (without {', '.join(absent)})" if absent else str(found)


@data.command("write")
def data_write(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A data set of `shiftline data list`, or a name for your own images.")
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Split to write; may be repeated. All that are found unless given.")
    ] = None,
    root: Root = None,
    images: own_images.Images = None,
    domains: own_images.Domains = None,
    labels: own_images.Labels = None,
    hugging_face: own_images.HuggingFace = None,
    web_dataset: own_images.WebDataset = None,
    path_column: own_images.PathColumn = "",
    image_column: own_images.ImageColumn = "",
    label_column: own_images.LabelColumn = "",
    group_column: own_images.GroupColumn = "",
    split_column: own_images.SplitColumn = "",
    classes: own_images.Classes = None,
    split_off: own_images.SplitOff = "",
    seed: own_images.Seed = 0,
    file: From = None,
    store: StoreFolder = DEFAULT_STORE,
    format: Annotated[
        str | None,
        typer.Option(help="original (JPEG files keep their bytes, others are stored raw), raw or jpeg. By the split unless given."),
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="Resize the shorter side to this many pixels.")] = None,
    quality: Annotated[int | None, typer.Option(help="JPEG quality of the format jpeg.  [default: 92]", show_default=False)] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that read and encode.")] = 2,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read; they are listed.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Write splits again that are written already.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Show what would be taken and left out, and write nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write splits of a data set to the store, where studies find them."""
    from shiftline.contracts.distributions import Split
    from shiftline.data.examples import Encoding
    from shiftline.data.family import DatasetFamily
    from shiftline.data.sidecar import DataFolder
    from shiftline.terminal.writing import write_shown

    folder, known = DataFolder(store / "data"), catalogue_with(file)
    own = own_images.OwnImages(
        images=images,
        domains=domains,
        labels=labels,
        hugging_face=hugging_face,
        web_dataset=web_dataset,
        path_column=path_column,
        image_column=image_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        classes=classes,
        split_off=split_off,
        seed=seed,
    )
    family = None if own.source else _family(known, name, split)
    requested = None if format is None and short_side is None else Encoding(format or "jpeg", short_side, quality or 92)
    if quality is not None and (requested.format if requested is not None else "jpeg" if family else "") != "jpeg":
        raise DataError("--quality is of JPEG images: say --format jpeg too.")
    listings = _own_listings(known, name, split, own, root) if family is None else _found(known, family, split, root)
    if list_only:
        for wanted, listing in listings.items():
            _show_listing(f"{name}/{wanted}", listing)
        return
    skipped, named = [], list(listings)
    for wanted in named:
        if folder.has(Split(name, wanted)) and not again:
            _check_unchanged(folder, Split(name, wanted), listings[wanted], requested)
            before = folder.open(Split(name, wanted))
            without = f", without {counted(len(before.skipped), 'image')} that could not be read" if before.skipped else ""
            print(f"{name}/{wanted}: written already, fingerprint {before.record.fingerprint[:12]}{without}")
            del listings[wanted]
    for wanted, listing in listings.items():
        usual = (family or DatasetFamily()).encoding(wanted)
        encoding = requested or (usual if usual.format != "jpeg" else Encoding(usual.format, usual.short_side, quality or 92))
        target = Split(name, wanted)
        sidecar = write_shown(folder, target, listing, encoding, threads=threads, skip_damaged=skip_damaged, quiet=quiet)
        skipped += [f"{name}/{wanted}: {line}" for line in sidecar.skipped]
        published = family.counts.get(wanted) if family is not None else None
        if published not in (None, sidecar.record.count) and not quiet:
            print(f"  note: the published split has {counted(published, 'image')}", file=sys.stderr)
    if family is None and not quiet:
        names = ", ".join(f'sl.Split("{name}", "{wanted}")' for wanted in named)
        print(f"In a study: {names}")
    if skipped:
        print(f"{counted(len(skipped), 'image')} could not be read, left out:", *skipped, sep="\n  ", file=sys.stderr)


def _check_unchanged(folder: DataFolder, split: Split, listing: Listing, requested: Encoding | None) -> None:
    """Refuse to call a split written already that was written from other files, or in another way than is asked for now."""
    from shiftline.data.provenance import changes_since_written

    changed = changes_since_written(folder, split, listing)
    if not changed and requested is not None and requested.as_json() != dict(folder.open(split).recipe):
        changed = f"another format: {folder.open(split).recipe}, {requested.as_json()} is asked for"
    if changed:
        raise DataError(
            f"{split} was written before, and its source differs now: {changed}. --again writes it again: studies then get new "
            "keys, and what was computed on the old images keeps its own."
        )


def _show_listing(split: str, listing: Listing) -> None:
    """Print what a split would take: its classes with their numbers of images, and what is left out."""
    from shiftline.terminal.writing import say_notes

    counts = Counter(example.label for example in listing.examples)
    print(
        f"{split}: {counted(len(listing.examples), 'image')}, {counted(len(listing.classes), 'class', 'classes')}, nothing written"
    )
    for label, name in enumerate(listing.classes):
        print(f"  {label:>4}  {name}  {counted(counts[label], 'image')}")
    say_notes(listing.notes)


def _family(known: Catalogue, name: str, split: list[str] | None) -> DatasetFamily:
    family = known.named(name)
    if family.generated:
        raise DataError(f"{name} makes its own images: it is written on first use.")
    for wanted in split or ():
        if not family.describes(wanted):
            raise DataError(f"{name} has no split {wanted!r}: it has {', '.join(family.splits)}.")
    if not split and not family.usual_splits:
        raise DataError(f"{name} has many splits: say which, --split {family.splits[0]}.")
    return family


def _found(known: Catalogue, family: DatasetFamily, split: list[str] | None, root: Path | None) -> dict[str, Listing]:
    """List the splits that are wanted; all of them, before one is written."""
    wanted = split or list(family.usual_splits)
    folder = known.folder_of(family, wanted, root)
    there = [one for one in wanted if family.has(folder, one)]
    # Where nothing seems to be there, listing the first one says what is missing.
    chosen = split or there or wanted[:1]
    return {one: family.listing(folder, one) for one in chosen}


def _own_listings(
    known: Catalogue, name: str, split: list[str] | None, own: own_images.OwnImages, root: Path | None
) -> dict[str, Listing]:
    if root is not None:
        raise DataError("--root is for the data sets of `shiftline data list`: say where your own images are alone.")
    if name in known.families:
        raise DataError(f"{name} is a known data set: give your own images another name, or say --root FOLDER.")
    return own.listings(name, split or [])


@data.command("make-miniature")
def data_make_miniature(
    name: Annotated[str, typer.Argument(metavar="NAME", help="imagenet (with its shifts), mnist or cifar10.")],
    root: Annotated[Path, typer.Option("--root", help="Folder to write the data set's folders to.")],
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Test images of each class.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Generate a small tree in the layout of a large data set, to try commands on: stripes and colours, no data."""
    from shiftline.datasets.miniature import MINIATURES, check_miniature, make_miniature

    check_miniature(name, root)
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(f"miniature {name}", total=MINIATURES[name][1])
        folders = make_miniature(name, root, per_class=per_class, advance=lambda: bars.advance(task))
    for folder in folders:
        print(folder)


@data.command("join")
def data_join(
    into: Annotated[str, typer.Argument(help="DATASET/SPLIT to write.")],
    sources: Annotated[list[str], typer.Argument(help="DATASET/SPLIT of what is written already; the most classes first.")],
    store: StoreFolder = DEFAULT_STORE,
    threads: Annotated[int, typer.Option(min=1, help="Threads that read.")] = 2,
    again: Annotated[bool, typer.Option("--again", help="Write it again where it is written already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write several splits to one file: a reference with its shifts. Groups say where each image comes from."""
    from shiftline.data.sidecar import DataFolder
    from shiftline.datasets.prepare import join_splits
    from shiftline.terminal.writing import say_written

    folder = DataFolder(store / "data")
    target = split_named(into)
    if folder.has(target) and not again:
        raise DataError(f"{target} is written already: join into another name, or say --again.")
    if twice := [source for source in sources if sources.count(source) > 1]:
        raise DataError(f"{twice[0]} is named twice: its images would be there as often.")
    join_splits(folder, target, [split_named(source) for source in sources], threads=threads)
    say_written(folder, target, quiet=quiet)


@data.command("verify")
def data_verify(store: StoreFolder = DEFAULT_STORE, file: From = None) -> None:
    """Hash every written split and compare with what was recorded."""
    from shiftline.data.sidecar import DataFolder

    folder, known = DataFolder(store / "data"), catalogue_with(file)
    damaged = folder.damaged()
    for split, problem in damaged.items():
        own = "" if split.dataset in known.families else " with where its images are, --images or another source,"
        again = f"Write it again: shiftline data write {split.dataset} --split {split.split}{own} --again"
        advice = f"Delete {folder.sidecar(split)}: the next run writes it" if known.generates(split.dataset) else again
        print(f"damaged: {split}: {problem}. {advice}.")
    print(f"{counted(len(folder.written()), 'split')} checked, {len(damaged)} damaged.")
    raise typer.Exit(1 if damaged else 0)
