"""The commands that look at images: contact sheets, parity with torchvision, typographic attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftline.cli.data import From, catalogue_with, data, split_named
from shiftline.cli.own_images import Domains, Images, OwnImages
from shiftline.errors import DataError
from shiftline.terminal.options import DEFAULT_STORE, Quiet, Root, StoreFolder
from shiftline.terminal.progress import progress_bars

SplitName = Annotated[str, typer.Argument(metavar="DATASET/SPLIT", help="A split that is written, or built in.")]


@data.command("show")
def data_show(
    name: SplitName,
    out: Annotated[Path | None, typer.Option("--out", help="PNG to write; DATASET-SPLIT.png unless given.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images on the sheet.")] = 24,
    seed: Annotated[int, typer.Option(help="Which images are drawn.")] = 0,
    store: StoreFolder = DEFAULT_STORE,
    file: From = None,
) -> None:
    """Draw a contact sheet: random images with their class names and ids."""
    from shiftline.data.readers import PlainReader
    from shiftline.data.sidecar import DataFolder
    from shiftline.data.views import open_view, select_some
    from shiftline.datasets.prepare import split_records
    from shiftline.report.contact_sheet import contact_sheet

    folder, split = DataFolder(store / "data"), split_named(name)
    split_records(folder, [split], known=catalogue_with(file))
    view = select_some(open_view(split, folder), count, seed=seed)
    images = PlainReader(view.index).images(view.ids)
    captions = [f"{_short(view.classes[label])}\n{example}" for label, example in zip(view.labels, view.ids, strict=True)]
    target = out or Path(f"{split.dataset}-{split.split}.png")
    total = folder.open(split).record.count
    sheet = contact_sheet(images, captions, title=f"{split}: {len(images)} of {total:,} images, class and id")
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(target, dpi=150)
    print(target)


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


@data.command("attack")
def data_attack(
    name: SplitName,
    out: Annotated[Path, typer.Option("--out", help="A new folder for the images.")],
    height: Annotated[float, typer.Option(help="Of the letters, as a share of the image's height.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Which words, and where.")] = 0,
    store: StoreFolder = DEFAULT_STORE,
    quiet: Quiet = False,
) -> None:
    """Make a typographic attack: write the name of a wrong class on every image (label=CLASS_text=WORD_ID.png)."""
    from shiftline.data.sidecar import DataFolder
    from shiftline.data.views import open_view
    from shiftline.datasets.prepare import split_records
    from shiftline.datasets.typographic import write_attacks

    folder, split = DataFolder(store / "data"), split_named(name)
    split_records(folder, [split])
    view = open_view(split, folder)
    with progress_bars(quiet=quiet) as bars:
        task = bars.add_task(str(split), total=len(view))
        written = write_attacks(
            view, folder.open(split).record.ids, out, seed=seed, height=height, advance=lambda: bars.advance(task)
        )
    name = f"{split.dataset}-{split.split}"
    print(f"{out}: {written:,} images. Write them as data: shiftline data write typographic --split {name} --root {out}")


@data.command("parity")
def data_parity(
    name: SplitName,
    model: Annotated[
        str, typer.Option("--model", help="LIBRARY:ARCHITECTURE[:WEIGHTS], for instance timm:resnet18 or open_clip:ViT-B-32.")
    ],
    root: Root = None,
    images: Images = None,
    domains: Domains = None,
    count: Annotated[int, typer.Option(min=1, help="Images to compare.")] = 256,
    store: StoreFolder = DEFAULT_STORE,
    file: From = None,
) -> None:
    """Compare our evaluation with the model library's own transform on the original files: pixels, logits, accuracy."""
    from shiftline.data.sidecar import DataFolder
    from shiftline.datasets.prepare import split_records
    from shiftline.launch.parity_model import parse_model

    split, known, wanted = split_named(name), catalogue_with(file), parse_model(model)
    folder = DataFolder(store / "data")
    own = OwnImages(images=images, domains=domains)
    if own.source:
        listing = own.listings(split.dataset, [split.split])[split.split]
    elif split.dataset not in known.families and folder.has(split):
        raise DataError(
            f"{split} was written from images of your own: say where the files are, --images FOLDER or --domains FOLDER. Of "
            "tables, tars and other sources there are no files to compare with."
        )
    else:
        family = known.named(split.dataset)
        if family.generated:
            split_records(folder, [split], known=known)
        where = folder.root if family.generated else known.folder_of(family, [split.split], root)
        listing = family.listing(where, split.split)
    from shiftline.launch.parity import compare  # Last: it loads torch, and what is wrong above is said at once.

    report = compare(wanted, listing, split, folder, count=count)
    print(f"{split}, {report.images} images, {model}")
    print(f"pixels (0 to 255): mean difference {report.pixel_mean:.3f}, largest {report.pixel_largest}")
    print(f"logits: largest difference {report.logit_largest:.2e} (their range: {report.logit_range:.2e})")
    print(f"accuracy: {report.ours:.4f} ours, {report.theirs:.4f} theirs; {report.differ} predictions differ")
