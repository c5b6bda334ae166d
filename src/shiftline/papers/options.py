"""Options of the originals' commands."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


class ManyAlphas(TyperCommand):
    """A command whose --alpha takes several values, ``--alpha 0 0.5 1``, as the originals' does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        after = False
        for word in args:
            if word == "--alpha":
                # Said once before each value; one that has none is told so.
                after = True
                spread += ["--alpha"]
            elif after and (_is_number(word) or not word.startswith("-")):
                spread += [word] if spread[-1] == "--alpha" else ["--alpha", word]
            else:
                after = False
                spread.append(word)
        return super().parse_args(ctx, spread)


def _is_number(word: str) -> bool:
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False


def option(*names: str, help: str) -> Any:
    """Return an option of a command."""
    return typer.Option(*names, help=help)


def path_option(*names: str, help: str) -> Any:
    """Return an option that takes a path."""
    return typer.Option(*names, help=help, callback=_at_home)


def _at_home(path: Path | None) -> Path | None:
    """Put the user's home in the place of ~, which a shell leaves as it is behind an equals sign."""
    return None if path is None else path.expanduser()


TrainDataset = Annotated[str, option("--train-dataset", help="What is trained on: ImageNet, ImageNet16 (few-shot), CIFAR10, ...")]
EvalDatasets = Annotated[str, option("--eval-datasets", help="What is evaluated, with commas: ImageNet,ImageNetV2,ImageNetR")]
DataLocation = Annotated[
    Path, path_option("--data-location", help="Folder of the data sets; what is not in the store is written from there.")
]
ModelName = Annotated[
    str, option("--model", help="ViT-B/32, ...; open_clip's NAME:TAG; glyph-clip; random-clip; =FILE for weights.")
]
Template = Annotated[str, option("--template", help="openai_imagenet_template, simple_template, ..., or a file.")]
Classnames = Annotated[str, option("--classnames", help="openai (those of the data set), or a file with one class a line.")]
Alphas = Annotated[list[float] | None, option("--alpha", help="Mixing coefficients, one or more: --alpha 0 0.5 1")]
Load = Annotated[str, option("--load", help="Files: zero-shot and fine-tuned with a comma; pickles of the original are read too.")]
Save = Annotated[
    Path | None, path_option("--save", help="Folder for the models (safetensors); of zero-shot also a file. None unless given.")
]
ResultsDb = Annotated[Path | None, path_option("--results-db", help="File to which one JSON row per model is added.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1)]
LearningRate = Annotated[float, typer.Option("--lr")]
WeightDecay = Annotated[float, typer.Option("--wd")]
Smoothing = Annotated[float, option("--ls", help="Label smoothing.")]
Warmup = Annotated[int, option("--warmup_length", "--warmup-length", help="Steps of linear warm-up.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1)]
Freeze = Annotated[bool, option("--freeze-encoder", help="Train the head only, on features that are computed once.")]
CacheDir = Annotated[Path, path_option("--store", "--cache-dir", help="Folder of everything that is computed, features included.")]
ExpName = Annotated[str, option("--exp_name", "--exp-name", help="Stands in the rows, and names the study.")]
ReferenceVal = Annotated[
    str, option("--reference-val", help="held-out: a share of the training data is held out; none: all is trained on.")
]
Seed = Annotated[int, typer.Option("--seed")]
Fishers = Annotated[str, option("--fisher", help="Files of Fisher information of both models, with a comma.")]
FisherFloor = Annotated[float, option("--fisher_floor", "--fisher-floor", help="Smallest Fisher information that counts.")]
DATA = Path("~/data")
STORE = Path("results")
