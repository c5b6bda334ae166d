"""`ExperimentManager`: what a study declares, and its verbs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.claims import Claim
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.metrics import Metric
from shiftline.contracts.models import Model
from shiftline.contracts.published import PublishedBaseline
from shiftline.contracts.reference import Reference
from shiftline.contracts.study import Models, Study, declare_study
from shiftline.datasets.catalogue import families_of
from shiftline.errors import DeclarationError
from shiftline.findings import Findings
from shiftline.launch import runs, upkeep
from shiftline.launch.cost import Cost, expected_cost
from shiftline.launch.devices import AUTO
from shiftline.launch.frozen import Submission
from shiftline.launch.pending import freeze_pending
from shiftline.launch.planning import plan_study
from shiftline.launch.status import Explanation, JobStatus, explain, status
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store
from shiftline.store.upkeep import Collectable, Damage

if TYPE_CHECKING:
    from shiftline.launch.in_process import Outcome


class ExperimentManager(Findings):
    """A study: subclass it, declare, and use the verbs.

    ::

        class MyStudy(sl.ExperimentManager):
            name = "my-study"
            reference = sl.handwritten_digits()
            shifts = {"blur": reference.test.shifted(sl.Blur(2))}
            baseline = "from scratch"

            def models(self):
                return {"from scratch": [...], "zero-shot": [...]}

        study = MyStudy(store="results")
        study.run()

    Attributes
    ----------
    name : str
    reference : Reference
        Where models are trained, selected and reported.
    references : mapping of str to Distribution
        Further references in the same classes, from other sources: the line then predicts from the accuracies on all of them
        (multi-ID effective robustness, Shi et al. 2023).
    shifts : mapping of str to Distribution
        Where robustness is measured; may be empty.
    baseline : str or PublishedBaseline, optional
        The group of models that fixes the line, or `baseline_table(...)`: published accuracies that do.
    metrics : sequence of str or Metric
        What is scored besides accuracy and the data sets' official metrics: names of built-in metrics, or objects of your own
        class. All are computed from stored predictions, so that adding one runs no model again.
    claims : sequence of Claim
        What is expected of the results: `verdicts` says of each whether it holds.
    precision : str
        In which networks predict, part of the keys of predictions: "32"; "tf32", "bf16" or "fp16", which many GPUs compute
        faster. Logits are stored as float32; of trainings, recipes say the precision.
    threads : int
        CPU threads of a job. Results are the same bits for one number of threads on one type of CPU.
    reader : str
        Who reads training images: "auto" (FFCV where it can be imported), "ffcv" or "plain" (Pillow). They differ by some grey
        levels on JPEG images: what is trained with a reader that was named has keys of its own.
    compiled : bool
        Compile networks with torch.compile before they are trained: worth it for long trainings on a GPU.
    tensorboard : bool
        Write training logs for TensorBoard too, to ``<store>/tensorboard``.
    device : str
        Where networks run: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:N" or "mps". Values differ in their last bits
        between devices, and keys do not.
    memory : int
        MiB of images that predictions may hold, decoded and prepared for models. Results do not depend on it.

    Parameters
    ----------
    store : path
        The folder of results. Nothing is touched before a verb is called.
    quiet : bool
        No progress bars.
    """

    name: ClassVar[str] = ""
    reference: Reference | None = None
    references: Mapping[str, Distribution] = {}
    shifts: Mapping[str, Distribution] = {}
    baseline: str | PublishedBaseline | None = None
    metrics: Sequence[str | Metric] = ()
    claims: Sequence[Claim] = ()
    precision: str = "32"
    threads: int = 2
    reader: str = "auto"
    compiled: bool = False
    tensorboard: bool = False
    device: str = AUTO
    memory: int = 512

    def __init__(self, *, store: str | os.PathLike[str] = "results", quiet: bool = False) -> None:
        self.store = Store(store)
        self.quiet = quiet

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            _refuse_verb(cls, name)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse_verb(type(self), name)
        super().__setattr__(name, value)

    def models(self) -> Models:
        """Return the groups of models: a list of recipes, one recipe, or a mapping from names to recipes."""
        raise DeclarationError(
            f"{type(self).__name__} declares no models: define models(self) and return {{group: [recipe, ...]}}."
        )

    @property
    def run_settings(self) -> runs.Settings:
        """How it is run: threads, reader, compiling, logs, progress bars, device, memory."""
        return runs.Settings(
            self.threads, self.reader, self.compiled, self.tensorboard, self.quiet, device=self.device, memory=self.memory
        )

    def declaration(self) -> Study:
        """Return the study as one value; a `DeclarationError` says what is missing or contradicts itself."""
        models = {} if self.reference is None else self.models()
        where = self.name, self.reference, self.shifts, models, self.baseline
        study = declare_study(*where, self.metrics, self.claims, self.references, self.precision)
        return dataclasses.replace(study, reader=self.reader, families=families_of(type(self)))

    def plan(self) -> Plan:
        """Lay out the jobs. Built-in data are written and names are resolved first, where that has not been done."""
        return plan_study(self.declaration(), self.store)

    def run(self, *, groups: Sequence[str] = (), kinds: Sequence[str] = (), fail_fast: bool = False) -> Outcome:
        """Run every job that is not complete, in this process; what failed and what is blocked is in the outcome.

        Parameters
        ----------
        groups, kinds : sequence of str
            Only the jobs that the models of these groups need, and those of these kinds with what they need; all where empty.
        fail_fast : bool
            Start nothing more once a job has failed; otherwise only what depends on it is left out.
        """
        study = self.declaration()
        return runs.run(study, self.store, self.run_settings, groups=groups, kinds=kinds, fail_fast=fail_fast)

    def make(self, model: Model) -> str:
        """Make what one expression of the study stands for, and return its key: see `shiftline.launch.runs.make`."""
        return runs.make(self.declaration(), self.store, self.run_settings, model)

    def freeze(self, folder: str | os.PathLike[str], *, study: str, **options: Any) -> Submission:
        """Write the pending jobs to a folder for workers elsewhere: see `shiftline.launch.pending.freeze_pending`.

        `study` is how the command line names this study; `options` are parameters, groups, kinds and devices.
        """
        return freeze_pending(self.plan(), self.store, Path(folder), study=study, **options)

    def status(self) -> list[JobStatus]:
        """Return the state of every job: also of those in SLURM's queue. Never writes."""
        return status(self._stored_plan(), self.store)

    def cost(self) -> list[Cost]:
        """Return what the missing jobs will cost, from what finished ones did: see `shiftline.launch.cost.expected_cost`."""
        return expected_cost(self._stored_plan(), self.store)

    def explain(self, key: str) -> Explanation:
        """Return why a key (or the first digits of one) is what it is. Never writes."""
        return explain(self._stored_plan(), key)

    def verify(self, *, repair: bool = False) -> list[Damage]:
        """Hash every artifact and every written split; with `repair`, move damaged ones aside: the next run makes them again."""
        return upkeep.verify(self.store, repair=repair)

    def collect(self, *, remove: bool = False) -> list[Collectable]:
        """List (and with `remove` delete) what no study that ran on this store needs."""
        return upkeep.collect(self._stored_plan(), self.store, remove=remove)


DECLARED = (
    "name",
    "reference",
    "references",
    "shifts",
    "baseline",
    "metrics",
    "claims",
    "precision",
    "threads",
    "reader",
    "compiled",
    "tensorboard",
    "device",
    "memory",
    "models",
)
VERBS = {name for kind in ExperimentManager.__mro__ for name in vars(kind) if not name.startswith("_")} - set(DECLARED)


def _refuse_verb(cls: type, name: str) -> None:
    if name in VERBS:
        raise DeclarationError(
            f"{cls.__name__}.{name} hides the verb {name!r} of every study, so that `shiftline {name}` would not work: give the "
            f"attribute another name. Verbs are {', '.join(sorted(VERBS))}."
        )
