"""A call of an original program: its options as numbers and paths, and what is printed and kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.contracts.identity import digest
from shiftline.contracts.models import Model
from shiftline.contracts.require import counted
from shiftline.errors import DeclarationError
from shiftline.operations.optimisers import AdamW, Cosine
from shiftline.shifts.augmentations import RandomResizedCrop

if TYPE_CHECKING:
    from shiftline.study import ExperimentManager

CROP = RandomResizedCrop(scale=(0.9, 1.0))
"""How both programs augment: CLIP's own training transform."""


def comma_separated(text: str) -> list[str]:
    """Return the words of a list as the originals write it."""
    return [word for word in text.split(",") if word]


@dataclass(frozen=True)
class Training:
    """How both programs train: AdamW on every parameter, cosine, clipped gradients, CLIP's crop.

    Attributes
    ----------
    epochs, batch_size, seed : int
    lr, wd, ls : float
        Learning rate, weight decay, label smoothing.
    warmup_length : int
        Steps of linear warm-up.
    """

    epochs: int = 10
    lr: float = 0.001
    wd: float = 0.1
    ls: float = 0.0
    warmup_length: int = 500
    batch_size: int = 128
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `FineTune`."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "label_smoothing": self.ls,
            "clip_norm": 1.0,
            "seed": self.seed,
            "augment": (CROP,),
            "optimizer": AdamW(lr=self.lr, weight_decay=self.wd, decay_all=True),
            "schedule": Cosine(warmup_steps=self.warmup_length),
            "save": tuple(range(1, self.epochs + 1)),
        }


@dataclass(frozen=True)
class Call:
    """The options of a call, under the originals' names.

    Attributes
    ----------
    train_dataset, eval_datasets : str
        Names with commas.
    alpha : tuple of float
        Mixing coefficients, each once.
    load, fisher : str
        Files with commas.
    training : Training
    """

    train_dataset: str = ""
    eval_datasets: str = ""
    data_location: Path = Path()
    model: str = ""
    template: str = ""
    classnames: str = "openai"
    alpha: tuple[float, ...] = (0.5,)
    exp_name: str = ""
    results_db: Path | None = None
    load: str = ""
    save: Path | None = None
    freeze_encoder: bool = False
    cache_dir: Path = Path("results")
    fisher: str = ""
    fisher_floor: float = 1e-8
    reference_val: str = "held-out"
    mode: str = ""
    eval_every_epoch: bool = False
    quiet: bool = False
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if self.reference_val not in ("held-out", "none"):
            raise DeclarationError(f"--reference-val {self.reference_val}: choose held-out or none.")

    @property
    def selection(self) -> bool:
        """A share of the training data is held out, to select on."""
        return self.reference_val == "held-out"

    @property
    def options(self) -> dict[str, Any]:
        """The options as a row of the originals holds them: lists as lists, None for what was not given."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "training"} | vars(self.training)
        lists = {name: comma_separated(own[name]) or None for name in ("eval_datasets", "load", "fisher")}
        plain = {name: str(value) if isinstance(value, Path) else None if value == "" else value for name, value in own.items()}
        return plain | lists | {"alpha": list(self.alpha)}

    def row_key(self, scores: Iterable[str], *words: Any) -> str:
        """Return what a row is known by: the scores behind it, and what it says about the model."""
        return digest([sorted(scores), *words, self.exp_name])


@dataclass(frozen=True)
class PaperModel:
    """A model of a call.

    Attributes
    ----------
    group, name : str
        As the study knows it.
    alpha : float or None
        Its mixing coefficient.
    epoch : int or None
        After how many epochs of fine-tuning it was saved, from 1.
    task : str
        Of several fine-tunings, the data set of this one.
    """

    group: str
    name: str
    expression: Model
    alpha: float | None = None
    epoch: int | None = None
    task: str = ""

    @property
    def columns(self) -> dict[str, Any]:
        """What a row says of the model: the originals count epochs from 0."""
        return (
            ({"train_dataset": self.task} if self.task else {})
            | ({"alpha": self.alpha} if self.alpha is not None else {})
            | ({"current_epoch": self.epoch - 1} if self.epoch is not None else {})
        )


def by_group(models: Iterable[PaperModel]) -> dict[str, dict[str, Model]]:
    """Return models as a study declares them."""
    groups: dict[str, dict[str, Model]] = {}
    for model in models:
        groups.setdefault(model.group, {})[model.name] = model.expression
    return groups


def at_alpha(alpha: float, expression: Model) -> PaperModel:
    """Return a mixture, whose name keeps all digits of its coefficient."""
    return PaperModel("alpha", f"alpha={float(alpha)!r}", expression, alpha=float(alpha))


def after_epoch(epoch: int, expression: Model, task: str = "") -> PaperModel:
    """Return a model that was saved during its fine-tuning."""
    return PaperModel("epoch", f"{task} epoch={epoch}".lstrip(), expression, epoch=epoch, task=task)


def named_files(text: str, counts: Sequence[int], meaning: str) -> list[Path]:
    """Read the files of an option.

    Raises
    ------
    DeclarationError
        There are more or fewer than it takes, or one does not exist.
    """
    files = [Path(word).expanduser() for word in comma_separated(text)]
    if len(files) not in counts:
        raise DeclarationError(f"{text!r} names {counted(len(files), 'file')}: expected {max(counts)}, {meaning}.")
    for path in files:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise DeclarationError(f"{path} {what}: expected {meaning}.")
    return files


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the numbers of every row on a line."""
    for row in rows:
        where = f"epoch {row['current_epoch'] + 1}" if "current_epoch" in row else f"alpha {row['alpha']}"
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if ":" in name)
        print(f"{where}: {numbers}{'  <- chosen on held-out data' if row.get('selected') else ''}")


def save_models(
    study: ExperimentManager, models: Iterable[PaperModel], path_of: Callable[[PaperModel], Path | None]
) -> Iterator[Path]:
    """Write models of a study as safetensors; those without a path are left out."""
    from shiftline.engine.weight_cache import WeightCache
    from shiftline.networks.spec import save_model

    plan = study.plan()
    cache = WeightCache(study.store, plan.artifacts)
    resolved = {planned.named.model: planned.expression for planned in plan.models}
    for model in models:
        if (path := path_of(model)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_model(path, *cache.state(resolved[model.name]))
            yield path
