"""The verbs of a study that read what its runs have stored: tables, statistics, figures. None of them writes to the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Unpack

from shiftline.contracts.study import Study
from shiftline.launch.planning import plan_study
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from shiftline.analysis.ood_select import Selected
    from shiftline.analysis.panels import Answers
    from shiftline.analysis.settings import LineOptions
    from shiftline.contracts.predictions import Predictions


class Findings:
    """What a study found. `ExperimentManager` has these verbs."""

    name: ClassVar[str]
    store: Store

    def declaration(self) -> Study:
        """Return the study as one value."""
        raise NotImplementedError

    def _stored_plan(self) -> Plan:
        return plan_study(self.declaration(), self.store, write=False)

    def results(self) -> pd.DataFrame:
        """Return every score as a tidy table: see `shiftline.report.tables.results_table` for the columns."""
        from shiftline.report.tables import results_table

        return results_table(self._stored_plan(), self.store)

    def group_accuracies(self) -> pd.DataFrame:
        """Return the accuracy within every group of the data: see `shiftline.report.tables.group_accuracies_table`."""
        from shiftline.report.tables import group_accuracies_table

        return group_accuracies_table(self._stored_plan(), self.store)

    def candidates(self) -> pd.DataFrame:
        """Return the candidates of every selection: see `shiftline.report.tables.candidates_table`."""
        from shiftline.report.tables import candidates_table

        return candidates_table(self._stored_plan(), self.store)

    def effective_robustness(
        self,
        *,
        shifts: Sequence[str] | None = None,
        reference: str | Sequence[str] | None = None,
        by: str = "model",
        level: float = 0.95,
        resamples: int = 2000,
        **line: Unpack[LineOptions],
    ) -> pd.DataFrame:
        """Return effective robustness per shift with joint intervals: see `shiftline.analysis.joint_effective_robustness`.

        `by` is "model", "recipe" (averaged over replicates) or "group"; `reference` names the references that the line stands on,
        all of the study unless given; `line` says how it is fitted.
        """
        from shiftline.report.robustness import robustness_table

        plan = self._stored_plan()
        return robustness_table(
            plan, self.store, shifts=shifts, reference=reference, by=by, level=level, resamples=resamples, **line
        )

    def compare(
        self, a: str, b: str, *, reference: str | Sequence[str] | None = None, level: float = 0.95, **line: Unpack[LineOptions]
    ) -> pd.DataFrame:
        """Return whether a model, or group of replicates, is more robust than another: see `shiftline.analysis.compare`."""
        from shiftline.report.robustness import comparison_table

        return comparison_table(self._stored_plan(), self.store, a, b, reference=reference, level=level, **line)

    def verdicts(self, *, level: float = 0.95, resamples: int = 2000, **line: Unpack[LineOptions]) -> pd.DataFrame:
        """Return of every claim whether it holds, fails or cannot be told: see `shiftline.analysis.verdicts`."""
        from shiftline.report.robustness import verdicts_table

        return verdicts_table(self._stored_plan(), self.store, level=level, resamples=resamples, **line)

    def answers(self) -> dict[str, Answers]:
        """Return which examples every model classifies correctly, by shift: see `shiftline.launch.answers.answers`."""
        from shiftline.launch.answers import answers

        return answers(self._stored_plan(), self.store)

    def predictions(self, model: str, distribution: str) -> Predictions:
        """Return what a model predicts on a distribution, mapped from disk: nothing is read before it is looked at.

        Parameters
        ----------
        model : str
            A name of the column `model` of `results`.
        distribution : str
            "reference", "reference val" or a shift. A subset by support has the rows of its examples.

        Returns
        -------
        Predictions
            logits (float32, a column per class of the reference), labels, ids, names of the classes; `predicted`, `correct`,
            `groups`. Labels of a shift with other classes are in these: `in_space()` brings both into the classes in which it is
            scored. Compare models with the functions of `shiftline.analysis`: `diversity_table`, `corrected_examples`.

        Raises
        ------
        AnalysisError
            There is no such model or distribution.
        StoreError
            They have not been made.
        """
        from shiftline.launch.predictions import predictions

        return predictions(self._stored_plan(), self.store, model, distribution)

    def agreement(
        self, *, shifts: Sequence[str] | None = None, groups: Sequence[str] | None = None, scale: str = "probit"
    ) -> pd.DataFrame:
        """Return accuracy under shift as agreement on the line estimates it, without labels, beside what labels say.

        See `shiftline.analysis.agreement_on_the_line`. Models of `groups`, of all unless given, which have been evaluated.

        Returns
        -------
        DataFrame
            shift, group, model, reference, aline_s, aline_d, shifted (from labels), slope, intercept and r2 of the line of
            agreements, pairs, notes. Fractions.
        """
        from shiftline.report.agreement import agreement_table

        return agreement_table(self._stored_plan(), self.store, shifts=shifts, groups=groups, scale=scale)

    def corruption_errors(self, *, baseline: str = "alexnet") -> pd.DataFrame:
        """Return mCE, relative mCE and their parts, for shifts that are splits of ImageNet-C or CIFAR-10-C as they are.

        See `shiftline.analysis.corruption_errors`.

        Parameters
        ----------
        baseline : str
            A model of the study, or "alexnet", whose errors on ImageNet-C are published.
        """
        from shiftline.report.corruptions import corruption_table

        return corruption_table(self._stored_plan(), self.store, baseline=baseline)

    def ood_select(
        self, shift: str, *, shares: Sequence[float] | None = None, scale: str = "probit", level: float = 0.95, seed: int = 0
    ) -> Selected:
        """Return images of a shift on which accuracy falls as reference accuracy rises: see `shiftline.analysis.ood_select`.

        Models of one training (epochs, replicates) are kept together when the models are split into halves.
        """
        from shiftline.report.agreement import ood_selection

        return ood_selection(self._stored_plan(), self.store, shift, shares=shares, scale=scale, level=level, seed=seed)

    def support(self) -> pd.DataFrame:
        """Return how well shifts were split by support: see `shiftline.report.tables.support_table`."""
        from shiftline.report.tables import support_table

        return support_table(self._stored_plan(), self.store)

    def figures(
        self, *, reference: str | Sequence[str] | None = None, linear_accuracy: bool = False, **line: Unpack[LineOptions]
    ) -> dict[str, tuple[Figure, pd.DataFrame]]:
        """Return the figures with the numbers that they show: see `plot`."""
        from shiftline.report.study_figures import study_figures

        plan = self._stored_plan()
        return study_figures(plan, self.store, reference=reference, linear_accuracy=linear_accuracy, **line)

    def plot(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        reference: str | Sequence[str] | None = None,
        linear_accuracy: bool = False,
        **line: Unpack[LineOptions],
    ) -> dict[str, Path]:
        """Draw the figures as PNG and PDF, with their numbers as CSV; return the PNG files by name.

        A study without shifts or a baseline has the figures that need no line: accuracies, accuracies under shift against those on
        the reference, and curves of mixing coefficients.

        Parameters
        ----------
        folder : path, optional
            ``<store>/figures/<name>`` unless given.
        reference : str or sequence of str, optional
            References that the line stands on, all of the study unless given.
        linear_accuracy : bool
            Draw beside curves of mixing coefficients the accuracies between those of their ends, which choosing at random between
            their predictions gives (the linear-accuracy baseline of Wortsman et al. 2022).
        line : LineOptions
            How the line is fitted.
        """
        from shiftline.report.figures import save_figures

        target = Path(folder) if folder is not None else self.store.root / "figures" / self.name
        return save_figures(self.figures(reference=reference, linear_accuracy=linear_accuracy, **line), target)
