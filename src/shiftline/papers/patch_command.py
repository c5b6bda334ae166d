"""The command of the patching paper's program, with its options: fine-tune under a frozen head, interpolate, evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftline.errors import DeclarationError
from shiftline.papers.options import (
    DATA,
    STORE,
    Alphas,
    BatchSize,
    CacheDir,
    DataLocation,
    Epochs,
    ExpName,
    LearningRate,
    ModelName,
    ReferenceVal,
    ResultsDb,
    Save,
    Seed,
    Smoothing,
    Warmup,
    WeightDecay,
    option,
)
from shiftline.terminal.options import Quiet

if TYPE_CHECKING:
    from shiftline.papers.call import Call, PaperModel
    from shiftline.papers.names import NamedData
    from shiftline.papers.patching import PatchedTask, Patching


class Mode(StrEnum):
    """How several tasks are patched."""

    joint = "joint"
    sequential = "sequential"
    parallel = "parallel"


def patch(
    train_dataset: Annotated[str, option("--train-dataset", help="What is patched, with commas: MNIST, or MNIST,SVHN.")] = "",
    eval_datasets: Annotated[str, option("--eval-datasets", help="What is evaluated, and kept where it is not patched")] = "",
    data_location: DataLocation = DATA,
    model: ModelName = "",
    alpha: Alphas = None,
    mode: Annotated[Mode, option("--mode", help="How several data sets are patched.")] = Mode.joint,
    exp_name: ExpName = "",
    results_db: ResultsDb = None,
    batch_size: BatchSize = 128,
    lr: LearningRate = 0.001,
    wd: WeightDecay = 0.1,
    ls: Smoothing = 0.0,
    warmup_length: Warmup = 500,
    epochs: Epochs = 10,
    load: Annotated[str, option("--load", help="A file whose image tower is patched in the place of the model's own.")] = "",
    save: Save = None,
    cache_dir: CacheDir = STORE,
    eval_every_epoch: Annotated[bool, option("--eval-every-epoch", help="A row after each epoch of fine-tuning too.")] = False,
    reference_val: ReferenceVal = "held-out",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Patch a vision-language model on some tasks, and evaluate every mixing coefficient on all: one row per alpha."""
    from shiftline.papers.call import Call, Training, print_rows, save_models
    from shiftline.papers.rows import append_rows, read_rows
    from shiftline.terminal.outcome import print_outcome

    call = Call(
        train_dataset=train_dataset,
        eval_datasets=eval_datasets,
        data_location=data_location,
        model=model,
        alpha=tuple(dict.fromkeys(alpha or [0.5])),
        exp_name=exp_name,
        results_db=results_db,
        load=load,
        save=save,
        cache_dir=cache_dir,
        reference_val=reference_val,
        mode=mode.value,
        eval_every_epoch=eval_every_epoch,
        quiet=quiet,
        training=Training(epochs, lr, wd, ls, warmup_length, batch_size, seed),
    )
    for name, meaning in (("train_dataset", "what is patched"), ("eval_datasets", "what is evaluated"), ("model", "which model")):
        if not getattr(call, name):
            raise DeclarationError(f"{meaning}? Give --{name.replace('_', '-')}.")
    if results_db is not None and results_db.exists():
        read_rows(results_db)
    patching, studies = _studies(call)
    for study in studies:
        outcome = study.run()
        if outcome.exit_status:
            print_outcome(outcome, study.name, study.name, quiet=quiet)
            raise typer.Exit(1)
    made = list(_rows(patching, studies, call))
    print_rows(made)
    if patching.chosen() is None:
        print("no alpha was chosen: that takes held-out data (--reference-val held-out) and a task to keep (--eval-datasets).")
    if results_db is not None:
        print(f"{append_rows(results_db, made)} rows added to {results_db}.")
    if save is not None:
        # Under the head of the data set that is evaluated first.
        folder = save / "+".join(task.data.name for task in patching.tasks).replace("/", "-")
        for path in save_models(studies[0], studies[0].paper_models, lambda model: _path(folder, model)):
            print(path)


def _studies(call: Call) -> tuple[Patching, list[PatchedTask]]:
    """Make a study per evaluated data set; data are written, and a file is taken into the store."""
    from shiftline.papers.call import comma_separated, named_files
    from shiftline.papers.imports import import_encoder
    from shiftline.papers.names import clip_named, data_named
    from shiftline.papers.patching import PatchedTask, Patching, tasks_of
    from shiftline.papers.wise_ft import splits_of
    from shiftline.store.artifacts import Store
    from shiftline.terminal.writing import write_missing

    trained = [data_named(name) for name in comma_separated(call.train_dataset)]
    evaluated = [data_named(name) for name in comma_separated(call.eval_datasets)]
    for one in evaluated:
        if any(scored.split != one.test or scored.classes_of is not None for scored in one.scores.values()):
            raise DeclarationError(
                f"--eval-datasets {one.name}: a patched model is evaluated under the head of each data set, and this one is scored "
                "in the classes of another, or on several splits. `shiftline wise-ft` evaluates it."
            )
    # Several names may stand for the same held-out data: what is patched is not supported, and nothing counts twice.
    patched = {task.val for task in trained}
    supported = list({one.val: one for one in evaluated if one.val is not None and one.val not in patched}.values())
    store, backbone = call.cache_dir, clip_named(call.model)
    needed = splits_of(evaluated, trained, selection=call.selection)
    needed += [one.val for one in supported if call.selection and one.val is not None]
    write_missing(store, dict.fromkeys(needed), call.data_location, quiet=call.quiet)
    classes = {one.name: _classes(store, one) for one in (*trained, *evaluated)}
    files = named_files(call.load, (0, 1), "one model whose image tower is patched")
    patching = Patching(
        backbone,
        tasks_of(trained, classes),
        tasks_of(supported, classes),
        call.alpha,
        call.training,
        call.mode,
        "".join(import_encoder(Store(store), path, backbone.base) for path in files),
        call.selection,
    )
    named: dict[str, Any] = {"exp_name": call.exp_name or "patch", "store": store, "quiet": call.quiet}
    tasks = tasks_of(evaluated, classes)
    return patching, [PatchedTask(patching, task, epochs=call.eval_every_epoch, **named) for task in tasks]


def _classes(store: Path, named: NamedData) -> tuple[str, ...]:
    """Return the class names of a data set, as it was written or makes itself."""
    from shiftline.data.sidecar import DataFolder
    from shiftline.datasets.prepare import split_records

    return split_records(DataFolder(store / "data"), [named.test])[named.test].classes


def _rows(patching: Patching, studies: list[PatchedTask], call: Call) -> Iterator[dict[str, Any]]:
    """Yield what the original writes: the options, and the numbers of a model on every data set."""
    from shiftline.papers.patching import CHOSEN
    from shiftline.papers.rows import device_of

    plans = [{planned.named.model: planned for planned in study.plan().models} for study in studies]
    measured = [study.named_numbers() for study in studies]
    models = studies[0].paper_models
    keys = {model.name: [plan[model.name].key for plan in plans] for model in models}
    # A selection points to one of the models, and has the keys of that one; of parallel patches it may be another.
    chosen = next((name for name in keys if name != CHOSEN and keys[name] == keys.get(CHOSEN)), None)
    for model in models:
        columns = model.columns
        if model.alpha is not None:
            columns |= {"selected": model.name == chosen}
        elif model.name == CHOSEN and chosen is not None:
            continue
        elif model.name == CHOSEN:
            columns |= {"alpha": patching.coefficients(plans[0][CHOSEN].expression), "selected": True}
        numbers = {name: value for one in measured for name, value in one[model.name].items()}
        scores = [score.key for plan in plans for score in plan[model.name].scores]
        device = {"device": device_of(studies[0].store, plans[0][model.name].predictions.values())}
        yield call.options | device | columns | numbers | {"key": call.row_key(scores, model.name, columns, list(call.alpha))}


def _path(folder: Path, model: PaperModel) -> Path | None:
    return None if model.alpha is None else folder / f"patched_alpha={model.alpha:.3f}.safetensors"
