"""The commands that exchange models with timm and open_clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftline.terminal.options import DEFAULT_STORE, StoreFolder


def export_model(
    key: Annotated[str, typer.Argument(help="Key of a model's artifact, or its first digits.")],
    path: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    store: StoreFolder = DEFAULT_STORE,
    after: Annotated[
        int | None, typer.Option("--after", help="A saved epoch (or step) of a training; its last weights if left out.")
    ] = None,
) -> None:
    """Write a model as weights that timm or open_clip load without shiftline."""
    from shiftline.launch.interchange import export_artifact
    from shiftline.store.artifacts import Store

    print(export_artifact(Store(store), key, path, after=after))


def import_model(
    path: Annotated[Path, typer.Argument(help="A .safetensors file, or a state dict that torch loads with weights_only.")],
    store: StoreFolder = DEFAULT_STORE,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="timm:NAME or open_clip:NAME:TAG, for a file that does not say it itself.")
    ] = None,
) -> None:
    """Take a model file into the store, and print its key: FromStore("KEY") is the model in a study."""
    from shiftline.papers.imports import import_file
    from shiftline.store.artifacts import Store

    print(import_file(Store(store), path, architecture=architecture))
