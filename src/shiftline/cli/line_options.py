"""How a line is fitted, as options of the commands that fit one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shiftline.analysis.settings import LineOptions


class Scales(StrEnum):
    """The transformation of the axes, or all of them one after the other."""

    probit = "probit"
    logit = "logit"
    linear = "linear"
    all = "all"

    @property
    def chosen(self) -> list[str]:
        """The names of the scales that are meant."""
        return [one.value for one in Scales if one is not Scales.all] if self is Scales.all else [self.value]


class Extremes(StrEnum):
    """What is done with accuracies of exactly 0 or 1."""

    exclude = "exclude"
    clip = "clip"


class Weights(StrEnum):
    """How baseline models are weighted."""

    none = "none"
    binomial = "binomial"


class Errors(StrEnum):
    """Whether the noise of reference accuracies is taken off."""

    none = "none"
    in_x = "in-x"


ScalesOption = Annotated[Scales, typer.Option("--scale", help="Axes on which the line is fitted; all: one after the other.")]
ExtremesOption = Annotated[
    Extremes, typer.Option("--extremes", help="Accuracies of 0 and 1: left out of the fit, or clipped to half an example.")
]
WeightsOption = Annotated[Weights, typer.Option("--weights", help="Of the baseline models; binomial: by numbers of examples.")]
ErrorsOption = Annotated[
    Errors, typer.Option("--errors", help="in-x: take the noise of finite test sets off the reference accuracies.")
]
ClusterOption = Annotated[
    str, typer.Option("--cluster", help="Baseline models that share this column have errors that are alike; auto, or none.")
]
ReferencesOption = Annotated[
    list[str] | None,
    typer.Option("--reference", metavar="NAME", help="References that the line stands on; all of the study unless named."),
]
LevelOption = Annotated[float, typer.Option("--level", help="Of the intervals, between 0 and 1.")]


def line_options(scale: str, extremes: Extremes, weights: Weights, errors: Errors, cluster: str) -> LineOptions:
    """Return the options as the functions of `shiftline.analysis` take them."""
    return {
        "scale": scale,
        "extremes": extremes.value,
        "weights": weights.value,
        "errors": errors.value,
        "cluster": None if cluster == "none" else cluster,
    }
