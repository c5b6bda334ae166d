"""The commands about data: writing image folders, listing what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shiftline.errors import DataError

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of results.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no notes.")]
DEFAULT_STORE = Path("results")

data = typer.Typer(no_args_is_help=True, help="Write image folders as datasets, and list what is written.")


@data.command("list")
def data_list(store: StoreFolder = DEFAULT_STORE) -> None:
    """List the splits that are written in a store, and those that are built in."""
    from shiftline.data.prepare import BUILT_IN as SETS
    from shiftline.data.sidecar import DataFolder
    from shiftline.declare.distributions import Split

    folder = DataFolder(store / "data")
    written = {Split(path.parent.name, path.stem) for path in folder.root.glob("*/*.json")}
    table = Table("split", "examples", "classes", "fingerprint")
    for split in sorted(written | SETS, key=str):
        if split in written:
            record = folder.open(split).record
            table.add_row(str(split), str(record.count), str(len(record.classes)), record.fingerprint[:12])
        else:
            table.add_row(str(split), "built in, written on first use", "", "")
    Console(highlight=False).print(table)


@data.command("write")
def data_write(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    split: Annotated[str, typer.Argument(help="Name of the split.")],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder with one sub-folder of images per class.")
    ] = None,
    wilds: Annotated[
        Path | None,
        typer.Option("--wilds", help="Folder of downloaded WILDS sets; DATASET and SPLIT as wilds names them."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    form: Annotated[str, typer.Option(help="original (keep JPEG bytes), raw or jpeg.")] = "original",
    short_side: Annotated[int | None, typer.Option(help="Resize the shorter side to this many pixels.")] = None,
    quality: Annotated[int, typer.Option(help="JPEG quality of form jpeg.")] = 92,
    workers: Annotated[int, typer.Option(help="Threads that read and encode.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Write an image folder, or a split of a WILDS set, as a split of a dataset."""
    from shiftline.data.prepare import image_folder
    from shiftline.data.sidecar import DataFolder
    from shiftline.data.wilds_sets import wilds_examples
    from shiftline.data.writer import Encoding, write_split
    from shiftline.declare.distributions import Split

    if (images is None) == (wilds is None):
        raise DataError("say where the images are, in one way: --images FOLDER or --wilds FOLDER.")
    encoding = Encoding(form, short_side, quality)
    examples, classes = image_folder(images) if images is not None else wilds_examples(dataset, split, wilds)  # type: ignore[arg-type]
    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bars:
        task = bars.add_task(f"{dataset}/{split}", total=len(examples))
        record = write_split(
            DataFolder(store / "data"), Split(dataset, split), examples, classes=classes, encoding=encoding, workers=workers,
            advance=lambda: bars.advance(task),
        ).record  # fmt: skip
    print(
        f"{dataset}/{split}: {record.count} images, {len(record.classes)} classes, fingerprint {record.fingerprint[:12]}"
    )
