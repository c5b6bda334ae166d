"""The commands of the WiSE-FT paper's program, with its options: fine-tune, interpolate, evaluate, and its steps alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from shiftline.cli_data import Quiet, write_missing
from shiftline.cli_run import report
from shiftline.errors import DeclarationError
from shiftline.identity import digest

if TYPE_CHECKING:
    from shiftline.experiments.wise_ft import WiseFT
    from shiftline.manager import ExperimentManager


class ManyAlphas(TyperCommand):
    """A command whose --alpha takes several values, ``--alpha 0 0.5 1``, as the originals' does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread, words, after = [], iter(args), False
        for word in words:
            if word == "--alpha":
                after = True
            elif after and _is_number(word):
                spread += ["--alpha", word]
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


TrainDataset = Annotated[
    str, option("--train-dataset", help="What is trained on: ImageNet, ImageNet16 (few-shot), CIFAR10, ...")
]
EvalDatasets = Annotated[
    str, option("--eval-datasets", help="What is evaluated, with commas: ImageNet,ImageNetV2,ImageNetR")
]
DataLocation = Annotated[
    Path,
    path_option("--data-location", help="Folder of the data sets; what is not in the store is written from there."),
]
Model = Annotated[
    str, option("--model", help="ViT-B/32, ...; open_clip's NAME:TAG; glyph-clip; random-clip; =FILE for weights.")
]
Template = Annotated[str, option("--template", help="openai_imagenet_template, simple_template, ..., or a file.")]
Classnames = Annotated[
    str, option("--classnames", help="openai (those of the data set), or a file with one class a line.")
]
Load = Annotated[
    str, option("--load", help="Files: zero-shot and fine-tuned with a comma; pickles of the original are read too.")
]
Save = Annotated[
    Path | None,
    path_option("--save", help="Folder for the models (safetensors); of zero-shot also a file. None unless given."),
]
ResultsDb = Annotated[Path | None, path_option("--results-db", help="File to which one JSON row per model is added.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1)]
LearningRate = Annotated[float, typer.Option("--lr")]
WeightDecay = Annotated[float, typer.Option("--wd")]
Smoothing = Annotated[float, option("--ls", help="Label smoothing.")]
Warmup = Annotated[int, option("--warmup_length", "--warmup-length", help="Steps of linear warm-up.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1)]
Freeze = Annotated[bool, option("--freeze-encoder", help="Train the head only, on features that are computed once.")]
CacheDir = Annotated[
    Path, path_option("--store", "--cache-dir", help="Folder of everything that is computed, features included.")
]
ExpName = Annotated[str, option("--exp_name", "--exp-name", help="Stands in the rows, and names the study.")]
ReferenceVal = Annotated[
    str, option("--reference-val", help="held-out: a part of the training data is held out; none: all is trained on.")
]
Seed = Annotated[int, typer.Option("--seed")]
Fishers = Annotated[str, option("--fisher", help="Files of Fisher information of both models, with a comma.")]
FisherFloor = Annotated[
    float, option("--fisher_floor", "--fisher-floor", help="Smallest Fisher information that counts.")
]
DATA = Path("~/data")
STORE = Path("results")


def wise_ft(
    train_dataset: TrainDataset = "", eval_datasets: EvalDatasets = "", data_location: DataLocation = DATA, model: Model = "",
    template: Template = "", classnames: Classnames = "openai",
    alpha: Annotated[list[float] | None, option("--alpha", help="Mixing coefficients, one or more: --alpha 0 0.5 1")] = None,
    exp_name: ExpName = "", results_db: ResultsDb = None, batch_size: BatchSize = 128, lr: LearningRate = 0.001,
    wd: WeightDecay = 0.1, ls: Smoothing = 0.0, warmup_length: Warmup = 500, epochs: Epochs = 10, load: Load = "",
    save: Save = None, freeze_encoder: Freeze = False, cache_dir: CacheDir = STORE, fisher: Fishers = "",
    fisher_floor: FisherFloor = 1e-8, reference_val: ReferenceVal = "held-out", seed: Seed = 0, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fine-tune a zero-shot model (or load both), and evaluate their mixtures: one row per epoch, one per alpha."""
    arguments = dict(locals())
    arguments["alpha"] = alpha or [0.5]
    files = named_files(load, (0, 2), "the zero-shot model and the fine-tuned one")
    fishers = named_files(fisher, (0, 2), "the Fisher information of the zero-shot model and of the fine-tuned one")
    if not files and not train_dataset:
        raise DeclarationError(
            "nothing to interpolate: give --train-dataset to fine-tune, or --load ZEROSHOT,FINETUNED."
        )
    if freeze_encoder and fishers:
        raise DeclarationError(
            "--freeze-encoder with --fisher: with a frozen encoder the models differ in their heads only, and the Fisher "
            "information is of whole models. Leave one of the two out."
        )
    run_original(arguments, files, fishers=fishers, rows="alpha" if files else "epoch,alpha")


def zero_shot(
    eval_datasets: EvalDatasets = "", train_dataset: TrainDataset = "", data_location: DataLocation = DATA, model: Model = "",
    template: Template = "", classnames: Classnames = "openai", exp_name: ExpName = "", results_db: ResultsDb = None,
    load: Load = "", save: Save = None, cache_dir: CacheDir = STORE, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Evaluate a zero-shot model, or a classifier that is loaded."""
    arguments = dict(locals()) | {"reference_val": "held-out", "alpha": [0.0]}
    run_original(arguments, named_files(load, (0, 1), "one classifier"), rows="start")


def fine_tune(
    train_dataset: TrainDataset = "", eval_datasets: EvalDatasets = "", data_location: DataLocation = DATA, model: Model = "",
    template: Template = "", classnames: Classnames = "openai", exp_name: ExpName = "", results_db: ResultsDb = None,
    batch_size: BatchSize = 128, lr: LearningRate = 0.001, wd: WeightDecay = 0.1, ls: Smoothing = 0.0,
    warmup_length: Warmup = 500, epochs: Epochs = 10, load: Load = "", save: Save = None, freeze_encoder: Freeze = False,
    cache_dir: CacheDir = STORE, reference_val: ReferenceVal = "held-out", seed: Seed = 0, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fine-tune a zero-shot model, or a classifier that is loaded, and evaluate it after every epoch."""
    arguments = dict(locals()) | {"alpha": [0.5]}
    if not train_dataset:
        raise DeclarationError("what is fine-tuned on? Give --train-dataset, ImageNet for instance.")
    run_original(arguments, named_files(load, (0, 1), "the classifier to start from"), rows="epoch")


def fisher(
    train_dataset: TrainDataset = "", data_location: DataLocation = DATA, model: Model = "", template: Template = "",
    classnames: Classnames = "openai", load: Load = "",
    fisher: Annotated[Path, path_option("--fisher", help="File to write.")] = Path("fisher.safetensors"),
    examples: Annotated[int, typer.Option("--examples", min=1, help="Training images that it is estimated on.")] = 256,
    cache_dir: CacheDir = STORE, reference_val: ReferenceVal = "held-out", quiet: Quiet = False,
) -> None:  # fmt: skip
    """Estimate the Fisher information of a zero-shot model or a loaded one, on training data, for `wise-ft --fisher`."""
    arguments = dict(locals()) | {"eval_datasets": ""}
    import shutil

    from shiftline.declare.weight_space import FisherAverage
    from shiftline.jobs.fisher import FISHER

    if not train_dataset:
        raise DeclarationError("which images is the Fisher information estimated on? Give --train-dataset.")
    study = _study(arguments, named_files(load, (0, 1), "one classifier"), rows="fisher")
    (average,) = study.models()["fisher"].values()
    assert isinstance(average, FisherAverage)
    assert study.reference is not None
    key = study.make(average.fishers(study.reference)[0])
    fisher.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(study.store.file(key, FISHER), fisher)
    print(f"{fisher}: Fisher information on {examples} images of {study.reference.training}, key {key[:12]}")


def named_files(text: str, counts: Sequence[int], meaning: str) -> list[Path]:
    """Read the files of an option.

    Raises
    ------
    DeclarationError
        There are more or fewer than it takes, or one does not exist.
    """
    files = [Path(word).expanduser() for word in text.split(",") if word]
    if len(files) not in counts:
        raise DeclarationError(f"{text!r} names {len(files)} files: expected {max(counts)}, {meaning}.")
    for path in files:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise DeclarationError(f"{path} {what}: expected {meaning}.")
    return files


def _study(arguments: dict[str, Any], files: Sequence[Path], *, rows: str, fishers: Sequence[Path] = ()) -> WiseFT:
    """Make the study of a call: data are written, and files taken into the store."""
    from shiftline.experiments.originals import classes_from, clip_named, data_named
    from shiftline.experiments.wise_ft import WiseFT, comma_separated, splits_of
    from shiftline.launch.interchange import import_classifier, import_fisher
    from shiftline.models.leaves import architecture_of
    from shiftline.store.artifacts import Store

    if arguments["reference_val"] not in ("held-out", "none"):
        raise DeclarationError(f"--reference-val {arguments['reference_val']}: choose held-out or none.")
    store, selection = Path(arguments["cache_dir"]), arguments["reference_val"] == "held-out"
    trained = comma_separated(arguments["train_dataset"])
    if len(trained) > 1:
        raise DeclarationError(
            f"--train-dataset names {len(trained)} data sets: one is trained on; `shiftline patch` takes several."
        )
    evaluated = [data_named(name) for name in comma_separated(arguments["eval_datasets"])]
    named = [data_named(name) for name in trained]
    # Where nothing is trained, a data set says what the classes are.
    needed = splits_of([*evaluated, *named], [] if rows == "start" or len(files) > 1 else named, selection=selection)
    if not named and evaluated:
        needed = [*needed, classes_from(evaluated).test]
    write_missing(store, dict.fromkeys(needed), arguments["data_location"], quiet=arguments["quiet"])
    architecture = architecture_of(clip_named(arguments["model"])) if arguments["model"] else None
    keys = [import_classifier(Store(store), path, architecture) for path in files]
    information = [import_fisher(Store(store), path) for path in fishers]
    names = (
        "epochs",
        "lr",
        "wd",
        "ls",
        "warmup_length",
        "batch_size",
        "freeze_encoder",
        "fisher_floor",
        "seed",
        "exp_name",
        "examples",
    )
    return WiseFT(
        train="".join(trained), evaluate=arguments["eval_datasets"], model=arguments["model"], template=arguments["template"],
        classnames=arguments["classnames"], alpha=" ".join(map(str, arguments.get("alpha", [0.5]))), load=",".join(keys),
        fisher=",".join(information), rows=rows, selection=selection, store=store,
        quiet=arguments["quiet"], **{name: arguments[name] for name in names if name in arguments},
    )  # fmt: skip


def run_original(arguments: dict[str, Any], files: Sequence[Path], *, rows: str, fishers: Sequence[Path] = ()) -> None:
    """Run the study of a call, print and add its rows, and write its models."""
    from shiftline.experiments.rows import append_rows, read_rows

    results = arguments["results_db"]
    if not arguments["eval_datasets"]:
        raise DeclarationError("nothing is evaluated: give --eval-datasets, ImageNet,ImageNetV2 for instance.")
    if results is not None and results.exists():
        read_rows(results)  # Another kind of file is found before any time is spent.
    study = _study(arguments, files, rows=rows, fishers=fishers)
    if not run_to_its_end(study, quiet=arguments["quiet"]):
        raise typer.Exit(1)
    made = list(_rows(study, arguments))
    print_rows(made)
    if results is not None:
        print(f"{append_rows(results, made)} rows added to {results}.")
    if arguments["save"] is not None:
        for path in _save(study, arguments["save"]):
            print(path)


def run_to_its_end(study: ExperimentManager, *, quiet: bool) -> bool:
    """Run a study to its end; failures are reported as `shiftline run` does."""
    outcome = study.run()
    if outcome.exit_status:
        report(outcome, study.name, study.name, quiet=quiet)
    return not outcome.exit_status


def device_name() -> str:
    """Return the name of the device that models run on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def options_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a call as a row holds them."""
    lists = {
        name: [w for w in arguments[name].split(",") if w] or None
        for name in ("eval_datasets", "load", "fisher")
        if name in arguments
    }
    plain = {
        name: str(value) if isinstance(value, Path) else value or (None if value == "" else value)
        for name, value in arguments.items()
    }
    return plain | lists | {"device": device_name()}


def row_key(scores: Sequence[str], exp_name: str, *words: Any) -> str:
    """Return what a row is known by: the scores behind it, and what it says about the model."""
    return digest([sorted(scores), *words, exp_name])


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the numbers of every row on a line."""
    for row in rows:
        where = f"epoch {row['current_epoch'] + 1}" if "current_epoch" in row else f"alpha {row['alpha']}"
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if ":" in name)
        print(f"{where}: {numbers}{'  <- chosen on held-out data' if row.get('selected') else ''}")


def _rows(study: WiseFT, arguments: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield what the original writes: the options, and the numbers of each model."""
    options, numbers = options_of(arguments), study.named_numbers()
    for planned in study.plan().models:
        name, values = planned.named.model, numbers[planned.named.model]
        kind, _, value = name.partition("=")
        own: dict[str, Any] = {"alpha": float(value)} if kind == "alpha" else {}
        if kind == "epoch":
            own = {"current_epoch": int(value) - 1}  # The original counts from 0.
        yield (
            options
            | own
            | values
            | {"key": row_key([score.key for score in planned.scores], arguments["exp_name"], name)}
        )


def _save(study: WiseFT, folder: Path) -> Iterable[Path]:
    """Write every model as safetensors that --load and `shiftline import` take."""

    def place(model: str) -> Path:
        kind, _, value = model.partition("=")
        if kind == "start":
            return folder.with_suffix(".safetensors") if folder.suffix else folder / "zeroshot.safetensors"
        name = f"finetuned/checkpoint_{value}" if kind == "epoch" else f"wise_ft_alpha={float(value):.3f}"
        return folder / f"{name}.safetensors"

    return save_models(study, place)


def save_models(study: ExperimentManager, place: Callable[[str], Path | None]) -> Iterable[Path]:
    """Write models of a study, by their names, to where they belong; those that have no place are left out."""
    from shiftline.models.bank import ModelBank
    from shiftline.models.spec import save_model

    plan, bank = study.plan(), ModelBank(study.store)
    for planned in plan.models:
        if (path := place(planned.named.model)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_model(path, *bank.state(planned.expression, plan.artifacts))
            yield path
