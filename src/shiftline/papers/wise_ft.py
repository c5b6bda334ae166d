"""Robust fine-tuning by weight interpolation, as the program of the WiSE-FT paper does it (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.contracts.distributions import Distribution, Split
from shiftline.contracts.models import Model
from shiftline.contracts.reference import Reference
from shiftline.errors import AnalysisError, DeclarationError
from shiftline.operations.fine_tune import FineTune
from shiftline.operations.fisher import FisherAverage, fisher_average
from shiftline.operations.from_store import FromStore
from shiftline.operations.interpolate import Interpolate
from shiftline.operations.zero_shot import ZeroShot
from shiftline.papers.call import PaperModel, Training, after_epoch, at_alpha, by_group, comma_separated
from shiftline.papers.names import NamedData, Scored, classes_from, clip_named, data_named, templates_named
from shiftline.papers.rows import named_numbers
from shiftline.study import ExperimentManager

if TYPE_CHECKING:
    import pandas as pd


class WiseFT(ExperimentManager):
    """Fine-tune a zero-shot model, and evaluate every mixture of the two on the reference and its shifts.

    Parameters
    ----------
    train : str
        What is trained on, by the original's name; empty where both models are loaded.
    evaluate : str
        What is evaluated, names with commas between them.
    model, template, classnames : str
        As on the command line: see `shiftline wise-ft --help`. A file of class names has one line per class, synonyms with commas.
    alpha : tuple of float
        Mixing coefficients.
    epochs, lr, wd, ls, warmup_length, batch_size, seed
        Of the fine-tuning: see `shiftline.papers.call.Training`.
    freeze_encoder : bool
        Train the head only.
    load : str
        Keys of models in the store: "START,END" to interpolate, one to start from.
    fisher : str
        Keys of their Fisher information.
    fisher_floor : float
        The smallest Fisher information that counts.
    rows : str
        Which models are evaluated: "alpha", "epoch" (after each of the fine-tuning), "start", or several; "fisher" declares the
        Fisher information of the start, on so many `examples`.
    selection : bool
        Hold a share of the training data out, and evaluate on it too.
    exp_name : str
        The name of the study.
    """

    name = "wise-ft"

    def __init__(
        self,
        *,
        train: str = "",
        evaluate: str = "",
        model: str = "",
        template: str = "",
        classnames: str = "openai",
        alpha: tuple[float, ...] = (0.5,),
        epochs: int = 10,
        lr: float = 0.001,
        wd: float = 0.1,
        ls: float = 0.0,
        warmup_length: int = 500,
        batch_size: int = 128,
        freeze_encoder: bool = False,
        load: str = "",
        fisher: str = "",
        fisher_floor: float = 1e-8,
        rows: str = "epoch,alpha",
        examples: int = 256,
        selection: bool = True,
        seed: int = 0,
        exp_name: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if exp_name:
            self.name = exp_name  # type: ignore[misc]
        self.rows = comma_separated(rows)
        self.evaluated = [data_named(name) for name in comma_separated(evaluate)]
        self.trained = data_named(train) if train else None
        self.model, self.template, self.classnames = model, template, classnames
        if isinstance(alpha, str):
            raise DeclarationError(f"WiseFT(alpha={alpha!r}): expected numbers, alpha=(0, 0.5, 1).")
        self.alphas = tuple(dict.fromkeys(alpha))
        self.loaded, self.fishers, self.fisher_floor = comma_separated(load), comma_separated(fisher), fisher_floor
        self.examples, self.selection, self.freeze_encoder = examples, selection, freeze_encoder
        self.training_of = Training(
            epochs=epochs, lr=lr, wd=wd, ls=ls, warmup_length=warmup_length, batch_size=batch_size, seed=seed
        )
        self.reference = self._reference()
        self.shifts = {name: where for name, where in self._distributions.values() if name != "reference"}

    def _reference(self) -> Reference:
        if self.trained is not None and self.trains:
            return self.trained.reference(selection=self.selection)
        if self.trained is not None:
            return Reference(None, None, self.trained.test)
        if not self.evaluated:
            raise DeclarationError("nothing is trained and nothing is evaluated: name data sets, evaluate=ImageNet,ImageNetV2.")
        return Reference(None, None, classes_from(self.evaluated).test)

    @property
    def trains(self) -> bool:
        """Something is trained, or estimated on training data."""
        return len(self.loaded) < 2 and self.rows != ["start"]

    @cached_property
    def _distributions(self) -> dict[tuple[str, str], tuple[str, Distribution]]:
        """Where each number of a row comes from: name of the data set and suffix -> name and expression of the distribution."""
        assert self.reference is not None
        found: dict[tuple[str, str], tuple[str, Distribution]] = {}
        for one in self.evaluated:
            for suffix, scored in one.scores.items():
                label = f"{one.name} {suffix}" if scored.split != one.test else one.name
                found[one.name, suffix] = self._distribution(label, scored, self.reference)
        return found

    def _distribution(self, label: str, scored: Scored, reference: Reference) -> tuple[str, Distribution]:
        if scored.classes_of is not None:
            return label, scored.split.in_label_space(scored.classes_of)
        if scored.split == reference.test:
            return "reference", reference.test
        return label, scored.split

    @property
    def start(self) -> Model:
        """The model before fine-tuning."""
        if self.loaded:
            return FromStore(self.loaded[0])
        if not self.model or not self.template:
            raise DeclarationError(
                "a zero-shot model needs --model and --template, for instance ViT-B/32 and openai_imagenet_template; or --load a "
                "file."
            )
        return ZeroShot(clip_named(self.model), templates=templates_named(self.template), classes=class_names(self.classnames))

    @property
    def end(self) -> Model:
        """The model after fine-tuning."""
        return FromStore(self.loaded[1]) if len(self.loaded) == 2 else self.training

    @property
    def training(self) -> FineTune:
        """The fine-tuning. Features of a frozen encoder are computed once, without augmentation."""
        frozen = {"trainable": "head", "augment": ()} if self.freeze_encoder else {}
        return FineTune(self.start, **self.training_of.settings() | frozen)

    @property
    def average(self) -> FisherAverage:
        """An average whose members' Fisher information is that of the start."""
        return fisher_average([self.start, self.start], examples=self.examples)

    def mixture(self, alpha: float) -> Model:
        """Return the mixture at a coefficient; with Fisher information, the ends are the models themselves."""
        if not self.fishers:
            return Interpolate(self.start, self.end, alpha)
        if alpha in (0, 1):
            return self.end if alpha else self.start
        return FisherAverage((self.start, self.end), (1 - alpha, alpha), floor=self.fisher_floor, estimates=tuple(self.fishers))

    @cached_property
    def paper_models(self) -> list[PaperModel]:
        """The models that the original evaluates, with their coefficients and epochs."""
        found: list[PaperModel] = []
        if "start" in self.rows:
            found.append(PaperModel("start", "start", self.start))
        if "fisher" in self.rows:
            found.append(PaperModel("fisher", "fisher", self.average))
        if "epoch" in self.rows and len(self.loaded) < 2:
            run = self.training
            found += [after_epoch(e, model) for e, model in zip(run.save, run.checkpoints(run.save), strict=True)]
        if "alpha" in self.rows:
            found += [at_alpha(alpha, self.mixture(alpha)) for alpha in self.alphas]
        return found

    def models(self) -> dict[str, dict[str, Model]]:
        return by_group(self.paper_models)

    def named_numbers(self) -> dict[str, dict[str, float]]:
        """Return what was measured as the original names it: model -> ``ImageNetV2:top1`` -> fraction."""
        return named_numbers(self.results(), {key: name for key, (name, _) in self._distributions.items()}, self.evaluated)

    def curve(self) -> pd.DataFrame:
        """Return accuracy by mixing coefficient: see `shiftline.analysis.interpolation.interpolation_table`.

        Raises
        ------
        AnalysisError
            The study has not been run.
        """
        from shiftline.analysis.interpolation import interpolation_table

        numbers = self.named_numbers()
        names = [f"{one.name}:top1" for one in self.evaluated]
        rows = [
            {"alpha": model.alpha, "freeze_encoder": self.freeze_encoder, **values}
            for model in self.paper_models
            if model.alpha is not None and set(names) <= set(values := numbers[model.name])
        ]
        if not rows:
            raise AnalysisError(f"{self.name!r} has no results in {self.store.root} yet: run the study first.")
        assert self.reference is not None
        reported = self.reference.test
        reference = next((one.name for one in self.evaluated if one.test == reported), self.evaluated[0].name)
        first = f"{reference}:top1"
        return interpolation_table(rows, reference=first, shifts=[name for name in names if name != first])


def class_names(classnames: str) -> tuple[str | tuple[str, ...], ...] | None:
    """Return names of classes for `ZeroShot`: None for those that the data were written with, ImageNet's being OpenAI's."""
    if classnames == "openai":
        return None
    path = Path(classnames).expanduser()
    if not path.is_file():
        raise DeclarationError(
            f"there are no class names {classnames!r}: expected openai (the names that the data set brings), or a file with one "
            "class a line, synonyms with commas between them."
        )
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return tuple(tuple(name.strip() for name in line.split(",")) for line in lines)


def splits_of(evaluated: Iterable[NamedData], trained: Sequence[NamedData], *, selection: bool) -> list[Split]:
    """Return every split that some data sets need, each once."""
    found = [split for one in evaluated for split in one.splits(selection=selection, trained=False)]
    found += [split for one in trained for split in one.splits(selection=selection, trained=True)]
    return list(dict.fromkeys(found))
