"""The commands of the WiSE-FT paper's program, with its options: fine-tune, interpolate, evaluate, and its steps alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    Classnames,
    DataLocation,
    Epochs,
    EvalDatasets,
    ExpName,
    FisherFloor,
    Fishers,
    Freeze,
    LearningRate,
    Load,
    ModelName,
    ReferenceVal,
    ResultsDb,
    Save,
    Seed,
    Smoothing,
    Template,
    TrainDataset,
    Warmup,
    WeightDecay,
    path_option,
)
from shiftline.terminal.options import Quiet

if TYPE_CHECKING:
    from shiftline.papers.call import Call, PaperModel
    from shiftline.papers.wise_ft import WiseFT


def wise_ft(
    train_dataset: TrainDataset = "",
    eval_datasets: EvalDatasets = "",
    data_location: DataLocation = DATA,
    model: ModelName = "",
    template: Template = "",
    classnames: Classnames = "openai",
    alpha: Alphas = None,
    exp_name: ExpName = "",
    results_db: ResultsDb = None,
    batch_size: BatchSize = 128,
    lr: LearningRate = 0.001,
    wd: WeightDecay = 0.1,
    ls: Smoothing = 0.0,
    warmup_length: Warmup = 500,
    epochs: Epochs = 10,
    load: Load = "",
    save: Save = None,
    freeze_encoder: Freeze = False,
    cache_dir: CacheDir = STORE,
    fisher: Fishers = "",
    fisher_floor: FisherFloor = 1e-8,
    reference_val: ReferenceVal = "held-out",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a zero-shot model (or load both), and evaluate their mixtures: one row per epoch, one per alpha."""
    from shiftline.papers.call import Call, Training, named_files

    call = Call(
        train_dataset=train_dataset,
        eval_datasets=eval_datasets,
        data_location=data_location,
        model=model,
        template=template,
        classnames=classnames,
        alpha=tuple(alpha or [0.5]),
        exp_name=exp_name,
        results_db=results_db,
        load=load,
        save=save,
        freeze_encoder=freeze_encoder,
        cache_dir=cache_dir,
        fisher=fisher,
        fisher_floor=fisher_floor,
        reference_val=reference_val,
        quiet=quiet,
        training=Training(epochs, lr, wd, ls, warmup_length, batch_size, seed),
    )
    files = named_files(load, (0, 2), "the zero-shot model and the fine-tuned one")
    fishers = named_files(fisher, (0, 2), "the Fisher information of the zero-shot model and of the fine-tuned one")
    if not files and not train_dataset:
        raise DeclarationError("nothing to interpolate: give --train-dataset to fine-tune, or --load ZEROSHOT,FINETUNED.")
    if freeze_encoder and fishers:
        raise DeclarationError(
            "--freeze-encoder with --fisher: with a frozen encoder the models differ in their heads only, and the Fisher "
            "information is of whole models. Leave one of the two out."
        )
    _run(call, files, fishers=fishers, rows="alpha" if files else "epoch,alpha")


def zero_shot(
    eval_datasets: EvalDatasets = "",
    train_dataset: TrainDataset = "",
    data_location: DataLocation = DATA,
    model: ModelName = "",
    template: Template = "",
    classnames: Classnames = "openai",
    exp_name: ExpName = "",
    results_db: ResultsDb = None,
    load: Load = "",
    save: Save = None,
    cache_dir: CacheDir = STORE,
    quiet: Quiet = False,
) -> None:
    """Evaluate a zero-shot model, or a classifier that is loaded."""
    from shiftline.papers.call import Call, named_files

    call = Call(
        train_dataset=train_dataset,
        eval_datasets=eval_datasets,
        data_location=data_location,
        model=model,
        template=template,
        classnames=classnames,
        alpha=(0.0,),
        exp_name=exp_name,
        results_db=results_db,
        load=load,
        save=save,
        cache_dir=cache_dir,
        quiet=quiet,
    )
    _run(call, named_files(load, (0, 1), "one classifier"), rows="start")


def fine_tune(
    train_dataset: TrainDataset = "",
    eval_datasets: EvalDatasets = "",
    data_location: DataLocation = DATA,
    model: ModelName = "",
    template: Template = "",
    classnames: Classnames = "openai",
    exp_name: ExpName = "",
    results_db: ResultsDb = None,
    batch_size: BatchSize = 128,
    lr: LearningRate = 0.001,
    wd: WeightDecay = 0.1,
    ls: Smoothing = 0.0,
    warmup_length: Warmup = 500,
    epochs: Epochs = 10,
    load: Load = "",
    save: Save = None,
    freeze_encoder: Freeze = False,
    cache_dir: CacheDir = STORE,
    reference_val: ReferenceVal = "held-out",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a zero-shot model, or a classifier that is loaded, and evaluate it after every epoch."""
    from shiftline.papers.call import Call, Training, named_files

    if not train_dataset:
        raise DeclarationError("what is fine-tuned on? Give --train-dataset, ImageNet for instance.")
    call = Call(
        train_dataset=train_dataset,
        eval_datasets=eval_datasets,
        data_location=data_location,
        model=model,
        template=template,
        classnames=classnames,
        exp_name=exp_name,
        results_db=results_db,
        load=load,
        save=save,
        freeze_encoder=freeze_encoder,
        cache_dir=cache_dir,
        reference_val=reference_val,
        quiet=quiet,
        training=Training(epochs, lr, wd, ls, warmup_length, batch_size, seed),
    )
    _run(call, named_files(load, (0, 1), "the classifier to start from"), rows="epoch")


def fisher(
    train_dataset: TrainDataset = "",
    data_location: DataLocation = DATA,
    model: ModelName = "",
    template: Template = "",
    classnames: Classnames = "openai",
    load: Load = "",
    fisher: Annotated[Path, path_option("--fisher", help="File to write.")] = Path("fisher.safetensors"),
    examples: Annotated[int, typer.Option("--examples", min=1, help="Training images that it is estimated on.")] = 256,
    cache_dir: CacheDir = STORE,
    reference_val: ReferenceVal = "held-out",
    quiet: Quiet = False,
) -> None:
    """Estimate the Fisher information of a zero-shot model or a loaded one, on training data, for `wise-ft --fisher`."""
    import shutil

    from shiftline.contracts.files import FISHER
    from shiftline.papers.call import Call, named_files

    if not train_dataset:
        raise DeclarationError("which images is the Fisher information estimated on? Give --train-dataset.")
    call = Call(
        train_dataset=train_dataset,
        data_location=data_location,
        model=model,
        template=template,
        classnames=classnames,
        load=load,
        cache_dir=cache_dir,
        reference_val=reference_val,
        quiet=quiet,
    )
    study = _study(call, named_files(load, (0, 1), "one classifier"), rows="fisher", examples=examples)
    assert study.reference is not None
    key = study.make(study.average.fishers(study.reference)[0])
    fisher.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(study.store.file(key, FISHER), fisher)
    print(f"{fisher}: Fisher information on {examples} images of {study.reference.training}, key {key[:12]}")


def _study(call: Call, files: Sequence[Path], *, rows: str, fishers: Sequence[Path] = (), examples: int = 256) -> WiseFT:
    """Make the study of a call: data are written, and files taken into the store."""
    from shiftline.papers.call import comma_separated
    from shiftline.papers.imports import import_classifier, import_fisher
    from shiftline.papers.names import classes_from, clip_named, data_named
    from shiftline.papers.wise_ft import WiseFT, splits_of
    from shiftline.store.artifacts import Store
    from shiftline.terminal.writing import write_missing

    trained = comma_separated(call.train_dataset)
    if len(trained) > 1:
        raise DeclarationError(
            f"--train-dataset names {len(trained)} data sets: one is trained on; `shiftline patch` takes several."
        )
    evaluated = [data_named(name) for name in comma_separated(call.eval_datasets)]
    named = [data_named(name) for name in trained]
    # Where nothing is trained, a data set says what the classes are.
    reads_training = [] if rows == "start" or len(files) > 1 else named
    needed = splits_of([*evaluated, *named], reads_training, selection=call.selection)
    if not named and evaluated:
        needed = [*needed, classes_from(evaluated).test]
    write_missing(call.cache_dir, dict.fromkeys(needed), call.data_location, quiet=call.quiet)
    backbone = clip_named(call.model).base if call.model else None
    store = Store(call.cache_dir)
    return WiseFT(
        train="".join(trained),
        evaluate=call.eval_datasets,
        model=call.model,
        template=call.template,
        classnames=call.classnames,
        alpha=call.alpha,
        load=",".join(import_classifier(store, path, backbone) for path in files),
        fisher=",".join(import_fisher(store, path) for path in fishers),
        fisher_floor=call.fisher_floor,
        freeze_encoder=call.freeze_encoder,
        rows=rows,
        examples=examples,
        selection=call.selection,
        exp_name=call.exp_name,
        store=call.cache_dir,
        quiet=call.quiet,
        **vars(call.training),
    )


def _run(call: Call, files: Sequence[Path], *, rows: str, fishers: Sequence[Path] = ()) -> None:
    """Run the study of a call, print and add its rows, and write its models."""
    from shiftline.papers.call import print_rows, save_models
    from shiftline.papers.rows import append_rows, read_rows
    from shiftline.terminal.outcome import print_outcome

    if not call.eval_datasets:
        raise DeclarationError("nothing is evaluated: give --eval-datasets, ImageNet,ImageNetV2 for instance.")
    if call.results_db is not None and call.results_db.exists():
        read_rows(call.results_db)  # Another kind of file is found before any time is spent.
    study = _study(call, files, rows=rows, fishers=fishers)
    outcome = study.run()
    if outcome.exit_status:
        print_outcome(outcome, study.name, study.name, quiet=call.quiet)
        raise typer.Exit(1)
    made = list(_rows(study, call))
    print_rows(made)
    if call.results_db is not None:
        print(f"{append_rows(call.results_db, made)} rows added to {call.results_db}.")
    if call.save is not None:
        folder = call.save
        for path in save_models(study, study.paper_models, lambda model: _path(folder, model)):
            print(path)


def _rows(study: WiseFT, call: Call) -> Iterator[dict[str, Any]]:
    """Yield what the original writes: the options, and the numbers of each model."""
    from shiftline.papers.rows import device_of

    options, numbers = call.options, study.named_numbers()
    plan = {planned.named.model: planned for planned in study.plan().models}
    for model in study.paper_models:
        planned = plan[model.name]
        key = call.row_key([score.key for score in planned.scores], model.name)
        device = {"device": device_of(study.store, planned.predictions.values())}
        yield options | device | model.columns | numbers[model.name] | {"key": key}


def _path(folder: Path, model: PaperModel) -> Path:
    """Return where a model is written: safetensors that --load and `shiftline import` take."""
    if model.epoch is not None:
        return folder / "finetuned" / f"checkpoint_{model.epoch}.safetensors"
    if model.alpha is not None:
        return folder / f"wise_ft_alpha={model.alpha:.3f}.safetensors"
    return folder.with_suffix(".safetensors") if folder.suffix else folder / "zeroshot.safetensors"
