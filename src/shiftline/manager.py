"""`ExperimentManager`: the class that a study subclasses, and its verbs."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shiftline.declare.distributions import Distribution, Reference
from shiftline.declare.expressions import Model, describe
from shiftline.declare.metrics import PROPORTIONS
from shiftline.declare.study import Study, declare_study
from shiftline.declare.training import devices_asked, run_of, without_seeds
from shiftline.errors import AnalysisError, DeclarationError, PlanError, TrainingError
from shiftline.identity import canonical, digest
from shiftline.launch.planning import data_folder, leaf_records, plan_study
from shiftline.launch.results import candidates, group_scores, scores
from shiftline.launch.status import Explanation, JobStatus, explain, status
from shiftline.plan.checks import expressions, leaves, named_keys
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts
from shiftline.store.upkeep import Collectable, Damage, collect, delete, record_study, repair, verify

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from shiftline.analysis.joint import Answers
    from shiftline.jobs.context import Context, Progress
    from shiftline.jobs.ranks import Ranks
    from shiftline.launch.frozen import Line, Submission
    from shiftline.launch.in_process import Outcome
    from shiftline.launch.progress import RunProgress

Models = Mapping[str, Model | Sequence[Model] | Mapping[str, Model]]


class ExperimentManager:
    """A study: subclass it, declare, and use the verbs.

    ::

        class MyStudy(ExperimentManager):
            name = "my-study"
            reference = handwritten_digits()
            shifts = {"blur": reference.test.shifted(Blur(2))}
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
    shifts : mapping of str to Distribution
        Where robustness is measured; may be empty.
    baseline : str, optional
        The group of models that fixes the line.
    metrics : sequence of str
        What is scored besides accuracy and the data sets' official metrics: of `shiftline.declare.metrics.METRICS`. All are
        computed from stored predictions, so that adding one runs no model again.
    threads : int
        CPU threads of a job. Results are the same bits for one number of threads on one type of CPU.
    reader : str
        Who reads training images: "auto" (FFCV where it can be imported), "ffcv" or "plain" (Pillow). They differ by some grey
        levels on JPEG images: what is trained with a reader that was named has keys of its own.
    compiled : bool
        Compile networks with torch.compile before they are trained: worth it for long trainings on a GPU.
    tensorboard : bool
        Write training logs for TensorBoard too, to ``<store>/tensorboard``.

    Parameters
    ----------
    store : path
        The folder of results. Nothing is touched before a verb is called.
    quiet : bool
        No progress bars.
    """

    name: ClassVar[str] = ""
    reference: Reference | None = None
    shifts: Mapping[str, Distribution] = {}
    baseline: str | None = None
    metrics: Sequence[str] = ()
    threads: int = 2
    reader: str = "auto"
    compiled: bool = False
    tensorboard: bool = False

    def __init__(self, *, store: str | os.PathLike[str] = "results", quiet: bool = False) -> None:
        self.store = Store(store)
        self.quiet = quiet

    def models(self) -> Models:
        """Return the groups of models: a list of recipes, one recipe, or a mapping from names to recipes."""
        raise DeclarationError(
            f"{type(self).__name__} declares no models: define models(self) and return {{group: [recipe, ...]}}."
        )

    # ---- the verbs -------------------------------------------------------------------------------------------------

    def declaration(self) -> Study:
        """Return the study as one value, checked.

        Raises
        ------
        DeclarationError
            Something is missing or contradicts itself.
        """
        if self.reference is None:
            declare_study(self.name, None, {}, {}, None)
        study = declare_study(self.name, self.reference, self.shifts, self.models(), self.baseline, self.metrics)
        return dataclasses.replace(study, reader=self.reader)

    def plan(self) -> Plan:
        """Lay out the jobs. Built-in data are written and names are resolved first, where that has not been done."""
        return self._plan(write=True)

    @property
    def devices(self) -> int:
        """Processes that `shiftline run` starts: the largest number that a recipe asks for."""
        return devices_asked(expressions(self.declaration()))

    def run(self, *, groups: Sequence[str] = (), kinds: Sequence[str] = (), fail_fast: bool = False) -> Outcome:
        """Run every job that is not complete, in this process.

        Parameters
        ----------
        groups, kinds : sequence of str
            Only the jobs that the models of these groups need, and those of these kinds with what they need; all where empty.
        fail_fast : bool
            Start nothing more once a job has failed; otherwise only what depends on it is left out.

        Returns
        -------
        Outcome
            What was made, what failed and what is blocked; failures do not raise.
        """
        if groups or kinds:
            self.plan().needed_by(groups, kinds)  # A name that does not exist is found before any time is spent.
        return self._run_here(lambda plan: plan.needed_by(groups, kinds), fail_fast=fail_fast)

    def work(self, *, since: float, parent: int, fail_fast: bool = False) -> Outcome:
        """Run jobs as one of several processes that share a store, until nothing is left for this one.

        Parameters
        ----------
        since : float
            When they were started, in seconds since 1970: what has failed since in one of them is tried by no other.
        parent : int
            The process that looks after them: without it, this one saves and ends.
        """
        from shiftline.launch.in_process import StopFlag
        from shiftline.launch.progress import RunProgress

        stop = StopFlag()
        with stop.listening():
            return self._run(
                lambda: stop() or os.getppid() != parent, RunProgress(self.name, quiet=True), fail_fast=fail_fast,
                since=since,
            )  # fmt: skip

    def freeze(
        self,
        folder: str | os.PathLike[str],
        *,
        study: str,
        parameters: Sequence[str] = (),
        groups: Sequence[str] = (),
        kinds: Sequence[str] = (),
        devices: int | None = None,
    ) -> Submission:
        """Write the pending jobs to a folder, one execution group a line, for workers elsewhere.

        Jobs that are complete, or in SLURM's queue, are left out.

        Parameters
        ----------
        study, parameters : str, sequence of str
            How the command line names this study.
        groups, kinds : sequence of str
            Only the jobs that the models of these groups need, and those of these kinds with what they need; all where empty.
        devices : int, optional
            Processes that share each training and prediction; unless given, trainings have what their recipes ask for.

        Raises
        ------
        DeclarationError
            There is no such group.
        """
        from shiftline.launch.frozen import freeze
        from shiftline.launch.status import queued_now

        plan = self._recorded_plan()
        wanted = plan.needed_by(groups, kinds)
        done, waiting = self.store.complete(), queued_now(plan, self.store)
        return freeze(
            plan, Path(folder).resolve(), study=study, parameters=parameters, store=self.store.root.resolve(),
            pending=lambda job: job.key in wanted and job.key not in done and job.key not in waiting, devices=devices,
        )  # fmt: skip

    def run_line(self, line: Line) -> Outcome:
        """Run one line of a frozen submission.

        Raises
        ------
        PlanError
            The study has changed since it was frozen, or what the line needs is not complete.
        """
        from shiftline.launch.frozen import jobs_of
        from shiftline.launch.in_process import StopFlag, run_jobs
        from shiftline.launch.planning import keys_now
        from shiftline.launch.progress import RunProgress

        study, stop = self.declaration(), StopFlag()
        plan = self._plan(write=False)
        jobs = jobs_of(
            line, plan, lambda: plan_study(study, self.store, write=False, selections=False),
            lambda job: keys_now(job, study, self.store),
        )  # fmt: skip
        with stop.listening():
            return self._together(
                stop, RunProgress(self.name, quiet=True),
                lambda context: run_jobs(jobs, lambda: context(plan), plan, self.store, stop=stop),
            )  # fmt: skip

    def make(self, model: Model) -> str:
        """Make what one expression of the study stands for, with what it needs and nothing else; return its key.

        Raises
        ------
        PlanError
            The study has no such expression, or it has nothing of its own to make.
        TrainingError
            It, or something that it needs, failed.
        """

        def wanted(plan: Plan) -> set[str]:
            if model not in plan.artifacts:
                raise PlanError(
                    f"{self.name!r} makes no {describe(model)}: name an expression that the study declares."
                )
            return plan.ancestors([plan.artifacts[model]])

        outcome = self._run_here(wanted, fail_fast=True)
        wanted(outcome.plan)
        key = outcome.plan.artifacts[model]
        if not self.store.has(key):
            errors = list(outcome.failed.values())
            raise TrainingError(f"{describe(model)} was not made: {errors[0] if errors else 'the run was stopped.'}")
        return key

    def status(self) -> list[JobStatus]:
        """Return the state of every job: also of those in SLURM's queue. Never writes."""
        return status(self._plan(write=False), self.store)

    def explain(self, key: str) -> Explanation:
        """Return why a key (or the first digits of one) is what it is. Never writes."""
        return explain(self._plan(write=False), key)

    def results(self) -> pd.DataFrame:
        """Return every score as a tidy table.

        Returns
        -------
        DataFrame
            model, group, recipe, seed, epoch, step, alpha, other_data (it reads other data than the reference's train and val),
            distribution, label_space, metric, primary (the metric stands for its distribution on an axis), value (a fraction, but
            for likelihoods), n, low, high (95 %: exact for proportions, else bootstrap over the examples), key. The reference has
            rows in the label space of every shift. A score that has not been made is a row without a value.
        """
        import pandas as pd

        from shiftline.analysis.intervals import clopper_pearson

        table = pd.DataFrame([vars(score) for score in scores(self._plan(write=False), self.store)])
        counted = table["correct"].notna()
        for column in ("value", "low", "high", "alpha"):
            table[column] = table[column].astype(float)
        if counted.any():
            correct, n = table.loc[counted, "correct"].astype(int), table.loc[counted, "n"].astype(int)
            interval = clopper_pearson(correct, n)
            table.loc[counted, "low"], table.loc[counted, "high"] = interval.low, interval.high
        for column in ("seed", "epoch", "step", "n"):
            table[column] = table[column].astype("Int64")
        return table.drop(columns="correct")

    def group_accuracies(self) -> pd.DataFrame:
        """Return the accuracy within every group, for the distributions that were scored by groups.

        Returns
        -------
        DataFrame
            model, group (of the study), distribution, label_space, subgroup (of the data), value, n, low, high (exact 95 %), key.
            Empty where no metric reads groups: say metrics = ("worst-group-accuracy",).
        """
        import pandas as pd

        from shiftline.analysis.intervals import clopper_pearson

        columns = ["model", "group", "distribution", "label_space", "subgroup", "value", "n", "low", "high", "key"]
        rows = [vars(score) for score in group_scores(self._plan(write=False), self.store)]
        if not rows:
            return pd.DataFrame(columns=columns)
        table = pd.DataFrame(rows)
        interval = clopper_pearson(table["correct"], table["n"])
        return table.assign(value=table["correct"] / table["n"], low=interval.low, high=interval.high)[columns]

    def candidates(self) -> pd.DataFrame:
        """Return the candidates of every selection as a table.

        Returns
        -------
        DataFrame
            selection, candidate (its number), recipe, metric, value (the mean over the held-out distributions), rule, chosen, key
            (of the selection). Values that have not been made are missing, and nothing is chosen then.
        """
        import pandas as pd

        rows = [vars(row) for row in candidates(self._plan(write=False), self.store)]
        return pd.DataFrame(
            rows, columns=["selection", "candidate", "recipe", "metric", "value", "rule", "chosen", "key"]
        )

    def effective_robustness(
        self,
        *,
        shifts: Sequence[str] | None = None,
        scale: str = "probit",
        by: str = "model",
        weights: str = "none",
        resamples: int = 2000,
    ) -> pd.DataFrame:
        """Return effective robustness per shift with joint intervals: see `shiftline.analysis.joint_effective_robustness`.

        Parameters
        ----------
        by : str
            "model", "recipe" (averaged over replicates) or "group".

        Raises
        ------
        AnalysisError
            The study has no shifts or no baseline group, or no line can be fitted.
        """
        from shiftline.analysis.joint import joint_effective_robustness

        study = self._study_with_line()
        return joint_effective_robustness(
            self._made(), self.answers(), baseline=str(study.baseline), by=by, shifts=shifts, scale=scale, weights=weights,
            resamples=resamples,
        )  # fmt: skip

    def compare(self, a: str, b: str, *, scale: str = "probit") -> pd.DataFrame:
        """Return whether a model, or group of replicates, is more robust than another: see `shiftline.analysis.compare`.

        Raises
        ------
        AnalysisError
            There is no such model or group, or it has no stored answers.
        """
        from shiftline.analysis.comparisons import compare

        study = self._study_with_line()
        return compare(self._made(), self.answers(), a, b, baseline=str(study.baseline), scale=scale)

    def answers(self) -> dict[str, Answers]:
        """Return which examples every model answers rightly, by shift, with those of the reference in its label space.

        Shifts whose metric is no share of right answers are left out, and so are models without both scores.
        """
        from shiftline.analysis.correctness import Correctness
        from shiftline.analysis.joint import Answers
        from shiftline.launch.answers import right_answers

        plan = self._plan(write=False)
        found, shifts = right_answers(plan, self.store), dict(plan.study.shifts)
        result = {}
        for (distribution, space), shifted in found.items():
            reference = found.get(("reference", space))
            if distribution in shifts and reference is not None:
                pair = (Correctness(r.models, r.right, r.ids, r.source) for r in (reference, shifted))
                result[distribution] = Answers(*pair)
        return result

    def support(self) -> pd.DataFrame:
        """Return how well shifts were split by support.

        Returns
        -------
        DataFrame
            shift, classifier, auc (of telling reference from shift, out of fold), slope (of the calibration), n_reference, n_shift,
            threshold, n_in, n_out (examples at that ratio), poor (the AUC is below 0.6: the classifier hardly tells), key. One row
            per threshold; empty where no shift has parts.
        """
        import pandas as pd

        from shiftline.launch.support import support_ratios

        columns = [
            "shift",
            "classifier",
            "auc",
            "slope",
            "n_reference",
            "n_shift",
            "threshold",
            "n_in",
            "n_out",
            "poor",
            "key",
        ]
        rows = [
            {
                "shift": found.shift, "classifier": found.classifier, "key": found.key, "threshold": threshold, "n_in": n_in,
                "n_out": n_out,
                **{name: found.summary[name] for name in ("auc", "slope", "n_reference", "n_shift", "poor")},
            }
            for found in support_ratios(self._plan(write=False), self.store)
            for threshold, n_in, n_out in found.summary["sizes"]
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def plot(self, folder: str | os.PathLike[str] | None = None, *, scale: str = "probit") -> dict[str, Path]:
        """Draw the figures of the study as PNG and PDF, each with its numbers beside it as CSV.

        Parameters
        ----------
        folder : path, optional
            ``<store>/figures/<name>`` unless given.

        Returns
        -------
        dict
            Name of the figure -> PNG file.
        """
        from shiftline.plots.figures import save_figures

        self._study_with_line()
        target = Path(folder) if folder is not None else self.store.root / "figures" / self.name
        return save_figures(self.figures(scale=scale), target)

    def figures(self, *, scale: str = "probit") -> dict[str, tuple[Figure, pd.DataFrame]]:
        """Return the figures with the numbers that they show."""
        from shiftline.analysis.joint import joint_effective_robustness
        from shiftline.plots.figures import forest_figure, study_figures

        study = self._study_with_line()
        table, answers = self._made(), self.answers()
        drawn = study_figures(table, baseline=str(study.baseline), scale=scale, title=self.name)
        # The mean over a curve of mixing coefficients is no model's.
        curves = [group for group, part in table.groupby("group") if part["alpha"].nunique() > 1]
        table = table[~table["group"].isin(curves)]
        if set(table["group"]) == {study.baseline}:
            return drawn
        robustness = joint_effective_robustness(table, answers, baseline=str(study.baseline), by="group", scale=scale)
        drawn["effective-robustness"] = forest_figure(robustness, baseline=str(study.baseline), title=self.name)
        return drawn | self._support_figures(table, answers, scale)

    def _support_figures(
        self, table: pd.DataFrame, answers: Mapping[str, Answers], scale: str
    ) -> dict[str, tuple[Figure, pd.DataFrame]]:
        """Draw the splits of shifts whose whole the study declares too."""
        import pandas as pd

        from shiftline.analysis.support import calibration_curve, over_thresholds
        from shiftline.launch.support import example_images, support_ratios
        from shiftline.plots.support import examples_figure, support_figure

        plan = self._plan(write=False)
        drawn: dict[str, tuple[Figure, pd.DataFrame]] = {}
        for found in support_ratios(plan, self.store):
            name = f"support-{found.shift.replace(' ', '-').replace('/', '-')}"
            name = name if name not in drawn and f"{name}-examples" not in drawn else f"{name}-{found.key[:8]}"
            images = example_images(found, data_folder(self.store), 8)
            shown = pd.DataFrame({"id": found.ids, "ratio": found.ratios, "key": found.key})
            drawn[f"{name}-examples"] = (
                examples_figure(images, title=f"{self.name}: {found.shift}, class and density ratio"),
                shown,
            )
            if found.shift not in answers:
                continue
            chosen = [threshold for _, threshold in found.parts.values()]
            thresholds = sorted({*(threshold for threshold, _, _ in found.summary["sizes"]), *chosen})
            curve = over_thresholds(
                table, answers[found.shift], found.ids, found.ratios, shift=found.shift, baseline=str(plan.study.baseline),
                thresholds=thresholds, scale=scale,
            )  # fmt: skip
            title = f"{self.name}: {found.shift} split by support (AUC {found.summary['auc']:.2f})"
            figure = support_figure(
                curve, calibration_curve(found.summary["calibration"]), found.reference_ratios, found.ratios,
                baseline=str(plan.study.baseline), chosen=chosen, title=title,
            )  # fmt: skip
            drawn[name] = figure, curve.assign(support=found.key)
        return drawn

    def verify(self, *, mend: bool = False) -> list[Damage]:
        """Hash every artifact and every written split; with `mend`, move damaged ones aside: they are made anew."""
        damages, data = verify(self.store), data_folder(self.store)
        spoilt = data.damaged()
        if mend:
            repair(self.store, damages)
            for split in spoilt:
                data.move_aside(split, self.store.root / "damaged")
        return [*damages, *(Damage(f"data/{split}", problem) for split, problem in spoilt.items())]

    def collect(self, *, remove: bool = False) -> list[Collectable]:
        """List (and with `remove` delete) what no study that ran on this store needs."""
        items = collect(self.store, needed=_needed(self._plan(write=False)))
        if remove:
            delete(items)
        return items

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _run_here(self, wanted: Callable[[Plan], AbstractSet[str]], *, fail_fast: bool) -> Outcome:
        """Run what is wanted of the plan, listening to signals."""
        from shiftline.launch.in_process import StopFlag
        from shiftline.launch.progress import RunProgress

        stop = StopFlag()
        with stop.listening():
            progress = RunProgress(self.name, quiet=self.quiet or _follows())
            return self._run(stop, progress, fail_fast=fail_fast, wanted=wanted)

    def _run(
        self,
        stop: Callable[[], bool],
        progress: RunProgress,
        *,
        fail_fast: bool,
        since: float = math.inf,
        wanted: Callable[[Plan], AbstractSet[str]] = lambda plan: plan.jobs.keys(),
    ) -> Outcome:
        """Run all that is wanted, not complete, and can be run."""
        from shiftline.launch.in_process import run_plan

        self.declaration()

        def everything(context: Callable[[Plan], Context]) -> Outcome:
            return run_plan(
                self._recorded_plan, context, self.store, stop=stop, announce=progress.announce, since=since, wanted=wanted,
                fail_fast=fail_fast,
            )  # fmt: skip

        return self._together(stop, progress, everything)

    def _together(
        self,
        stop: Callable[[], bool],
        progress: RunProgress,
        work: Callable[[Callable[[Plan], Context]], Outcome],
    ) -> Outcome:
        """Do some work, given what makes a context for it; or, where another process leads, this one's share of that."""
        from shiftline.jobs.ranks import started_ranks
        from shiftline.launch.activity import Activity
        from shiftline.launch.in_process import Outcome, follow

        self.store.check_writable()
        ranks = started_ranks() if started_with_others() else None
        activity = Activity(self.store, progress)
        threads_before: list[int] = []

        def context(plan: Plan) -> Context:
            import torch

            threads_before.append(torch.get_num_threads())
            torch.set_num_threads(self.threads)
            return self._context(plan, stop, activity, ranks)

        try:
            with progress.showing():
                if ranks is None:
                    return work(context)
                ranks.connect(_device(ranks.local_rank))
                try:
                    if not ranks.first:
                        follow(lambda: self._plan(write=False), context, ranks)
                        return Outcome(self._plan(write=False), followed=True)
                    outcome = work(context)
                    ranks.broadcast(None)
                    return outcome
                finally:
                    ranks.leave()
        finally:
            activity.end()
            if threads_before:
                import torch

                torch.set_num_threads(threads_before[0])

    def _plan(self, *, write: bool) -> Plan:
        return plan_study(self.declaration(), self.store, write=write)

    def _recorded_plan(self) -> Plan:
        plan = self._plan(write=True)
        record_study(self.store, digest(sorted(plan.jobs)), self.name, _needed(plan))
        return plan

    def _study_with_line(self) -> Study:
        study = self.declaration()
        if not study.shifts:
            raise AnalysisError(
                f"effective robustness was asked for, but {study.name!r} declares no shifts: write shifts = {{name: "
                "reference.test.shifted(...)}."
            )
        if study.baseline is None:
            raise AnalysisError(
                f"effective robustness was asked for, but {study.name!r} declares no baseline: write baseline = GROUP, one "
                f"of {', '.join(map(repr, study.groups))}, with three models or more."
            )
        members = sum(named.group == study.baseline for named in study.models)
        if members < 3:
            raise AnalysisError(
                f"the baseline group {study.baseline!r} of {study.name!r} has {members} models: a line needs at least 3. "
                "Add other architectures, training-set sizes or epochs."
            )
        return study

    def _made(self) -> pd.DataFrame:
        """Return the numbers that stand for their distributions on an axis, of which at least one must have been made."""
        table = self.results()
        table = table[table["primary"]].reset_index(drop=True)
        study = self.declaration()
        parts = [name for name, where in study.shifts if where.support is not None]
        for column, of in (("unit", without_seeds), ("run", run_of)):
            table[column] = table["model"].map(
                {named.model: digest(canonical(of(named.expression))) for named in study.models}
            )
        table["part"] = table["distribution"].isin(parts)
        # Of what is no proportion, the images' share of the uncertainty is read from the bootstrap interval.
        counted = table["metric"].isin(PROPORTIONS)
        table["se"] = ((table["high"] - table["low"]) / (2 * 1.96)).mask(counted)
        table["n"] = table["n"].mask(~counted)
        if table["value"].isna().all():
            raise AnalysisError(f"{self.name!r} has no results in {self.store.root} yet: run the study first.")
        return table

    def _context(self, plan: Plan, stop: Callable[[], bool], progress: Progress, ranks: Ranks | None) -> Context:
        from shiftline.data.readers import check_reader
        from shiftline.jobs.context import Context
        from shiftline.jobs.ranks import ALONE
        from shiftline.jobs.sizes import check_views
        from shiftline.models.bank import ModelBank

        device = _device(None if ranks is None else ranks.local_rank)
        check_reader(self.reader)
        check_views(plan, data_folder(self.store))
        return Context(
            plan=plan, store=self.store, attempts=Attempts(self.store), data=data_folder(self.store),
            leaves=leaf_records(plan.study, self.store, leaves(plan.study)),
            bank=ModelBank(self.store, device=device), device=device, workers=self.threads,
            progress=progress, stop_requested=stop, ranks=ALONE if ranks is None else ranks,
            reader=self.reader, compiled=self.compiled, tensorboard=self.tensorboard,
        )  # fmt: skip


def _needed(plan: Plan) -> list[str]:
    """Return the keys that a plan makes, and those that it names."""
    return [*plan.jobs, *named_keys(plan.study)]


def started_with_others() -> bool:
    """Return whether variables of torchrun or srun speak of several processes; torch is asked for the details."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _follows() -> bool:
    """This process only does its share of what another one runs, and has nothing to show."""
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else os.environ.get("SLURM_PROCID")
    return started_with_others() and rank not in (None, "0")


def _device(local_rank: int | None) -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return "cuda" if local_rank is None else f"cuda:{local_rank}"
