"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of results.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no notes.")]
Root = Annotated[Path | None, typer.Option("--root", help="Folder of the data set, or of several data sets.")]
LinearAccuracy = Annotated[
    bool,
    typer.Option(
        "--linear-accuracy",
        help="Draw beside curves of mixing coefficients the accuracies between those of their ends, which choosing at random "
        "between their predictions gives.",
    ),
]
DEFAULT_STORE = Path("results")
