"""Patching by weight interpolation under frozen zero-shot heads, as the program of the paper does it (Ilharco et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.models import Model
from shiftline.contracts.reference import Reference
from shiftline.contracts.require import require
from shiftline.operations.combine import Combine
from shiftline.operations.fine_tune import FineTune
from shiftline.operations.from_store import FromStore
from shiftline.operations.interpolate import Interpolate
from shiftline.operations.patching import Task, patch_joint, patch_parallel, patch_sequential
from shiftline.operations.selection import Best, HeldOut
from shiftline.operations.with_head import WithHead
from shiftline.operations.zero_shot import ZeroShot
from shiftline.papers.call import PaperModel, Training, after_epoch, at_alpha, by_group
from shiftline.papers.names import NamedData
from shiftline.papers.rows import named_numbers
from shiftline.study import ExperimentManager

MODES = {"joint": patch_joint, "sequential": patch_sequential, "parallel": patch_parallel}


@dataclass(frozen=True)
class TextTask:
    """A data set with the class names that its head is written from."""

    data: NamedData
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Patching:
    """What is patched, and how.

    Attributes
    ----------
    model : Backbone
        A vision-language model: its text tower writes every head, and its image tower is patched.
    tasks : tuple of TextTask
        Patched tasks; one as a rule.
    supported : tuple of TextTask
        What the model should keep: alpha is chosen on their held-out data and the patched tasks'.
    alphas : tuple of float
    mode : str
        Of several tasks: "joint", "sequential" or "parallel".
    training : Training
    encoder : str
        Key of a model in the store whose encoder is patched in the place of the model's own.
    selection : bool
        Hold data out, and choose alpha on it.
    """

    model: Backbone
    tasks: tuple[TextTask, ...]
    supported: tuple[TextTask, ...]
    alphas: tuple[float, ...]
    training: Training
    mode: str = "joint"
    encoder: str = ""
    selection: bool = True

    def head(self, task: TextTask) -> Model:
        """Return the model before patching, under the head of a task."""
        written = ZeroShot(self.model, templates=task.data.templates, classes=task.classes)
        return WithHead(FromStore(self.encoder), written) if self.encoder else written

    @property
    def start(self) -> Model:
        return self.head(self.tasks[0])

    def under(self, model: Model, task: TextTask) -> Model:
        """Return a model's encoder under the head of a task."""
        return WithHead(model, self.head(task))

    def _train_on(self, task: TextTask) -> Distribution:
        return task.data.reference(selection=self.selection).training

    def chosen(self) -> Best | None:
        """Return the patched model whose alpha is chosen on held-out data; None where nothing is held out."""
        held_out = [HeldOut(one.data.val, self.head(one)) for one in self.supported if one.data.val is not None]
        if not self.selection or not held_out or any(task.data.val is None for task in self.tasks):
            return None
        return self._patched(held_out)

    def _patched(self, supported: Sequence[HeldOut]) -> Best:
        """Return the selection among all mixtures; without supported data only its candidates are meant."""
        tasks = [Task(train_on := self._train_on(task), task.data.val or train_on, self.head(task)) for task in self.tasks]
        make = MODES[self.mode] if len(tasks) > 1 else patch_sequential
        return make(self.start, tasks, supported=supported or [tasks[0].held_out()], alphas=self.alphas, **self.training.settings())

    def _candidates(self) -> tuple[Model, ...]:
        chosen = self.chosen()
        require(
            chosen is not None or self.mode != "sequential" or len(self.tasks) == 1,
            "--mode sequential chooses alpha after each task, on held-out data: leave --reference-val none out, and evaluate a "
            "task that is kept.",
        )
        return (chosen or self._patched(())).candidates

    def mixtures(self) -> dict[float, Model]:
        """Return the patched model at every alpha; of parallel patches each counts alpha, of a sequence the last."""
        candidates = self._candidates()
        if self.mode == "parallel" and len(self.tasks) > 1:
            # Every combination is there, in the order of a number whose digits are the alphas.
            step = sum(len(self.alphas) ** position for position in range(len(self.tasks)))
            candidates = candidates[::step]
        return dict(zip(self.alphas, candidates, strict=True))

    def runs(self) -> list[FineTune]:
        """Return the trainings that are mixed: one, or one per task of a parallel patch; of a sequence the last."""
        last = self._candidates()[-1]
        if isinstance(last, Interpolate):
            found = [last.end]
        else:
            assert isinstance(last, Combine)
            found = [member.encoder for member in last.members[1:] if isinstance(member, WithHead)]
        return [run for run in found if isinstance(run, FineTune)]

    def coefficients(self, winner: Model) -> list[float]:
        """Return the mixing coefficients of a winner among parallel patches, which are chosen together."""
        mixed = winner.encoder if isinstance(winner, WithHead) else winner
        return list(mixed.weights[1:]) if isinstance(mixed, Combine) else []

    def models(self, task: TextTask, *, epochs: bool) -> list[PaperModel]:
        """Return every model as it is evaluated on a task; the one that is chosen comes last."""
        found: list[PaperModel] = []
        if epochs:
            runs = self.runs()
            # The epochs of parallel patches are told apart by their data sets.
            names = [""] if len(runs) == 1 else [task.data.name for task in self.tasks]
            for name, run in zip(names, runs, strict=True):
                saved = enumerate(run.checkpoints(run.save), 1)
                found += [after_epoch(epoch, self.under(model, task), name) for epoch, model in saved]
        found += [at_alpha(alpha, self.under(model, task)) for alpha, model in self.mixtures().items()]
        if (chosen := self.chosen()) is not None:
            found.append(PaperModel("chosen", CHOSEN, self.under(chosen, task)))
        return found


CHOSEN = "chosen"
"""The name of the patched model whose coefficient was chosen on held-out data."""


class PatchedTask(ExperimentManager):
    """The models of a patching on one data set, each under the head that the text tower writes for it.

    Parameters
    ----------
    patching : Patching
    task : TextTask
        What is evaluated.
    epochs : bool
        Evaluate after each epoch of fine-tuning too.
    exp_name : str
        Names the study, with the data set.
    """

    def __init__(
        self, patching: Patching, task: TextTask, *, epochs: bool = False, exp_name: str = "patch", **options: Any
    ) -> None:
        super().__init__(**options)
        self.name = f"{exp_name} on {task.data.name.replace('/', '-')}"  # type: ignore[misc]
        self.reference = Reference(None, None, task.data.test)
        self.data = task.data
        self.paper_models = patching.models(task, epochs=epochs)

    def models(self) -> dict[str, dict[str, Model]]:
        return by_group(self.paper_models)

    def named_numbers(self) -> dict[str, dict[str, float]]:
        """Return what was measured as the original names it: model -> ``MNIST:top1`` -> fraction."""
        where = dict.fromkeys([(self.data.name, suffix) for suffix in self.data.scores], "reference")
        return named_numbers(self.results(), where, [self.data])


def tasks_of(named: Sequence[NamedData], classes: Mapping[str, tuple[str, ...]]) -> tuple[TextTask, ...]:
    """Return data sets with their class names."""
    return tuple(TextTask(one, classes[one.name]) for one in named)
