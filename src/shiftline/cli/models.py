"""The commands that exchange models with timm and open_clip."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shiftline.terminal.options import DEFAULT_STORE, StoreFolder


class Sets(StrEnum):
    """Which weights of a checkpoint."""

    ema = "ema"
    raw = "raw"


def export_model(
    key: Annotated[str, typer.Argument(help="Key of a model, or of a score or prediction of it; or its first digits.")],
    path: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    store: StoreFolder = DEFAULT_STORE,
    after: Annotated[
        int | None, typer.Option("--after", help="A saved epoch (or step) of a training; its last weights if left out.")
    ] = None,
) -> None:
    """Write a model as weights that timm or open_clip load without shiftline."""
    from shiftline.launch.interchange import export_artifact
    from shiftline.store.artifacts import Store

    print(export_artifact(Store(store), key, path, after=after, say=_say))


def import_model(
    path: Annotated[
        Path, typer.Argument(help="A .safetensors file, an index of several, a hub snapshot's folder, or a checkpoint.")
    ],
    store: StoreFolder = DEFAULT_STORE,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="timm:NAME or open_clip:NAME:TAG, for a file that does not say it itself.")
    ] = None,
    weights: Annotated[
        Sets, typer.Option("--weights", help="Of a checkpoint with two sets: averaged over training, or of the last step.")
    ] = Sets.ema,
    resample: Annotated[
        bool, typer.Option("--resample-positions", help="Resize position embeddings to the network's number of patches.")
    ] = False,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", metavar="FILE", help="Classes of its head, by their identifiers: one a line, in the order of its outputs."
        ),
    ] = None,
) -> None:
    """Take a model file into the store, and print its key: FromStore("KEY") is the model in a study."""
    from shiftline.datasets.class_names import read_classes
    from shiftline.store.artifacts import Store

    class_ids = () if classes is None else read_classes(classes)
    from shiftline.papers.imports import import_file

    key = import_file(
        Store(store), path, architecture=architecture, weights=weights.value, class_ids=class_ids, resample=resample, say=_say
    )
    print(key)


def _say(note: str) -> None:
    print(f"note: {note}", file=sys.stderr)
