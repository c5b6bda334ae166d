"""The command of the patching paper's program, with its options: fine-tune under a frozen head, interpolate, evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftline.cli_data import Quiet, write_missing
from shiftline.cli_wise_ft import (
    DATA,
    STORE,
    BatchSize,
    CacheDir,
    DataLocation,
    Epochs,
    ExpName,
    LearningRate,
    Model,
    ReferenceVal,
    ResultsDb,
    Save,
    Seed,
    Smoothing,
    Warmup,
    WeightDecay,
    named_files,
    option,
    options_of,
    print_rows,
    row_key,
    run_to_its_end,
    save_models,
)
from shiftline.errors import DeclarationError

if TYPE_CHECKING:
    from shiftline.experiments.originals import NamedData
    from shiftline.experiments.patching import PatchedTask, Patching


class Mode(StrEnum):
    """How several tasks are patched."""

    joint = "joint"
    sequential = "sequential"
    parallel = "parallel"


def patch(
    train_dataset: Annotated[str, option("--train-dataset", help="What is patched, with commas: MNIST, or MNIST,SVHN.")] = "",
    eval_datasets: Annotated[str, option("--eval-datasets", help="What is evaluated, and kept where it is not patched")] = "",
    data_location: DataLocation = DATA, model: Model = "",
    alpha: Annotated[list[float] | None, option("--alpha", help="Mixing coefficients, one or more: --alpha 0 0.5 1")] = None,
    mode: Annotated[Mode, option("--mode", help="How several data sets are patched.")] = Mode.joint,
    exp_name: ExpName = "", results_db: ResultsDb = None, batch_size: BatchSize = 128, lr: LearningRate = 0.001,
    wd: WeightDecay = 0.1, ls: Smoothing = 0.0, warmup_length: Warmup = 500, epochs: Epochs = 10,
    load: Annotated[str, option("--load", help="A file whose image tower is patched in the place of the model's own.")] = "",
    save: Save = None, cache_dir: CacheDir = STORE,
    eval_every_epoch: Annotated[bool, option("--eval-every-epoch", help="A row after each epoch of fine-tuning too.")] = False,
    reference_val: ReferenceVal = "held-out", seed: Seed = 0, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Patch a vision-language model on some tasks, and evaluate every mixing coefficient on all: one row per alpha."""
    arguments = dict(locals()) | {"alpha": list(dict.fromkeys(alpha or [0.5])), "mode": mode.value}
    from shiftline.experiments.rows import append_rows, read_rows

    for name, meaning in (
        ("train_dataset", "what is patched"),
        ("eval_datasets", "what is evaluated"),
        ("model", "which model"),
    ):
        if not arguments[name]:
            raise DeclarationError(f"{meaning}? Give --{name.replace('_', '-')}.")
    if reference_val not in ("held-out", "none"):
        raise DeclarationError(f"--reference-val {reference_val}: choose held-out or none.")
    if results_db is not None and results_db.exists():
        read_rows(results_db)
    patching, studies = _studies(arguments)
    for study in studies.values():
        if not run_to_its_end(study, quiet=quiet):
            raise typer.Exit(1)
    made = list(_rows(studies, arguments))
    print_rows(made)
    if patching.chosen() is None:
        print(
            "no alpha was chosen: that takes held-out data (--reference-val held-out) and a task to keep (--eval-datasets)."
        )
    if results_db is not None:
        print(f"{append_rows(results_db, made)} rows added to {results_db}.")
    if save is not None:
        for path in _save(patching, next(iter(studies.values())), save):
            print(path)


def _studies(arguments: dict[str, Any]) -> tuple[Patching, dict[str, PatchedTask]]:
    """Make a study per evaluated data set; data are written, and a file is taken into the store."""
    from shiftline.experiments.originals import clip_named, data_named
    from shiftline.experiments.patching import PatchedTask, Patching, tasks_of
    from shiftline.experiments.wise_ft import comma_separated, splits_of
    from shiftline.launch.interchange import import_encoder
    from shiftline.models.leaves import architecture_of
    from shiftline.store.artifacts import Store

    selection = arguments["reference_val"] == "held-out"
    trained = [data_named(name) for name in comma_separated(arguments["train_dataset"])]
    evaluated = [data_named(name) for name in comma_separated(arguments["eval_datasets"])]
    for one in evaluated:
        if any(scored.split != one.test or scored.classes_of is not None for scored in one.scores.values()):
            raise DeclarationError(
                f"--eval-datasets {one.name}: a patched model is evaluated under the head of each data set, and this one is scored "
                "in the classes of another, or on several splits. `shiftline wise-ft` evaluates it."
            )
    # Several names may stand for the same held-out data: what is patched is not supported, and nothing counts twice.
    patched = {task.val for task in trained}
    supported = list({one.val: one for one in evaluated if one.val is not None and one.val not in patched}.values())
    store, leaf = Path(arguments["cache_dir"]), clip_named(arguments["model"])
    needed = splits_of(evaluated, trained, selection=selection)
    needed += [one.val for one in supported if selection and one.val is not None]
    write_missing(store, dict.fromkeys(needed), arguments["data_location"], quiet=arguments["quiet"])
    classes = {one.name: _classes(store, one) for one in (*trained, *evaluated)}
    files = named_files(arguments["load"], (0, 1), "one model whose image tower is patched")
    architecture = architecture_of(leaf)
    settings = ("epochs", "lr", "wd", "ls", "warmup_length", "batch_size", "seed")
    patching = Patching(
        leaf, tasks_of(trained, classes), tasks_of(supported, classes), tuple(arguments["alpha"]),
        {name: arguments[name] for name in settings}, arguments["mode"],
        "".join(import_encoder(Store(store), path, architecture) for path in files), selection,
    )  # fmt: skip
    return patching, {
        task.data.name: PatchedTask(
            patching, task, epochs=arguments["eval_every_epoch"], exp_name=arguments["exp_name"] or "patch", store=store,
            quiet=arguments["quiet"],
        )
        for task in tasks_of(evaluated, classes)
    }  # fmt: skip


def _classes(store: Path, named: NamedData) -> tuple[str, ...]:
    """Return the class names of a data set, as it was written or is built in."""
    from shiftline.data.prepare import split_records
    from shiftline.data.sidecar import DataFolder

    return split_records(DataFolder(store / "data"), [named.test])[named.test].classes


def _rows(studies: dict[str, PatchedTask], arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the original writes: the options, and the numbers of a model on every data set."""
    from shiftline.experiments.originals import data_named
    from shiftline.experiments.wise_ft import named_numbers

    options = options_of(arguments)
    numbers: dict[str, dict[str, float]] = {}
    keys: dict[str, list[str]] = {}
    scores: dict[str, list[str]] = {}
    for name, study in studies.items():
        data = data_named(name)
        found = named_numbers(
            study.results(), dict.fromkeys([(name, suffix) for suffix in data.scores], "reference"), [data]
        )
        for planned in study.plan().models:
            numbers.setdefault(planned.named.model, {}).update(found[planned.named.model])
            keys.setdefault(planned.named.model, []).append(planned.key)
            scores.setdefault(planned.named.model, []).extend(score.key for score in planned.scores)
    # A selection points to one of the models above: it has the keys of that one.
    chosen = next((model for model in numbers if model != "chosen" and keys[model] == keys.get("chosen")), None)
    for model, values in numbers.items():
        # The epochs of parallel patches are named by their task: "MNIST epoch=1".
        task, _, word = model.rpartition(" ")
        kind, _, value = word.partition("=")
        own: dict[str, Any] = {"train_dataset": task} if task else {}
        if kind == "alpha":
            own |= {"alpha": float(value), "selected": model == chosen}
        elif kind == "epoch":
            own |= {"current_epoch": int(value) - 1}
        elif chosen is not None:
            continue  # It is one of the rows above.
        else:
            own |= {"alpha": _chosen_alphas(studies), "selected": True}
        yield (
            options
            | own
            | values
            | {"key": row_key(scores[model], arguments["exp_name"], model, own, arguments["alpha"])}
        )


def _chosen_alphas(studies: dict[str, PatchedTask]) -> list[float]:
    """Return the coefficients of parallel patches that were chosen together."""
    from shiftline.declare.weight_space import Combine, WithHead

    (planned,) = (m for m in next(iter(studies.values())).plan().models if m.named.model == "chosen")
    assert isinstance(planned.expression, WithHead)
    assert isinstance(planned.expression.encoder, Combine)
    return list(planned.expression.encoder.weights[1:])


def _save(patching: Patching, study: PatchedTask, folder: Path) -> Iterable[Path]:
    """Write the model of every alpha, under the head of the data set that is evaluated first."""
    name = "+".join(task.data.name for task in patching.tasks).replace("/", "-")

    def place(model: str) -> Path | None:
        kind, _, value = model.partition("=")
        return folder / name / f"patched_alpha={float(value):.3f}.safetensors" if kind == "alpha" else None

    return save_models(study, place)
