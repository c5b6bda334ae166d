"""Options of the commands on studies."""

from __future__ import annotations

from typing import Annotated

import typer

from shiftline.studies import BUILT_IN

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help=f"{', '.join(BUILT_IN)}, module:Class, or path/to/file.py:Class.")]
Parameters = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Parameters of the study's constructor.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", help="Only what the models of this group need (* stands for any text); may be repeated."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only jobs of this kind, with what they need: as `shiftline plan` names them; may be repeated."),
]
Devices = Annotated[
    int | None,
    typer.Option("--devices", min=1, help="Processes that share each training and prediction; what recipes say unless given."),
]
