"""Metrics: what is measured of predictions. `shiftline.metrics` has the built-in ones, one class each.

A user's own metric is a class like theirs::

    class Brier(Metric):
        '''Mean squared distance of the probabilities to the label (Brier 1950).'''

        tag = "my-lab/brier"
        higher_is_better = False
        percent = False

        def per_example(self, logits, labels, groups): ...

Scores, intervals, tables and selections follow from what the class says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.identity import Declaration, changed_fields
from shiftline.contracts.plugins import tagged
from shiftline.contracts.predictions import Measured, Predictions
from shiftline.contracts.require import counted, near
from shiftline.errors import DataError, DeclarationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Statistic = Callable[[Floats], float]
    """From the weights of the examples, float64 (N,), to a value: ones, or how often a resample draws each."""

RESAMPLES = 1000
WORK = 1e8
"""Numbers that all resamples of one metric may go through: beyond, there are fewer of them, but at least 100."""


class Metric(Declaration):
    """Base of the metrics.

    A subclass sets a `tag` that never changes, raises `revision` when its numbers change, and defines one of `per_example` (for a
    mean over examples: intervals and paired bootstraps follow), `value`, or `statistic`.

    Attributes
    ----------
    higher_is_better : bool
        Selections take the highest value, or the lowest.
    percent : bool
        Tables for people show 100 times the value; accuracies are fractions everywhere else.
    unit : str
        Of a metric that is not shown as percent.
    reads_groups : bool
        It needs data that were written with groups.
    fewest_classes : int
        With fewer it says nothing.
    reads_metadata : bool
        It reads other columns of the examples' metadata.
    requestable : bool
        A study may ask for it; others come with data sets.
    own_classes_only : bool
        It knows the data set's own classes, and is left out in other label spaces.
    replaces_accuracy : bool
        Data that bring it are not scored by plain accuracy.
    """

    higher_is_better: ClassVar[bool] = True
    percent: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    reads_groups: ClassVar[bool] = False
    reads_metadata: ClassVar[bool] = False
    fewest_classes: ClassVar[int] = 1
    requestable: ClassVar[bool] = True
    own_classes_only: ClassVar[bool] = False
    replaces_accuracy: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reads_metadata = cls.reads_metadata or cls.reads_groups

    @property
    def name(self) -> str:
        """How tables call it: its tag, with the fields that differ from their defaults."""
        changed = changed_fields(self)
        words = ", ".join(f"{name}={value}" for name, value in changed.items())
        return f"{type(self).tag}({words})" if words else type(self).tag

    def __str__(self) -> str:
        return self.name

    @property
    def is_mean(self) -> bool:
        """It is a mean over examples, so that a standard error is known."""
        return type(self).per_example is not Metric.per_example

    def lacks(self, *, classes: int, grouped: bool) -> str:
        """Return what data would have to be like for it, "data that ...", or nothing where they are."""
        if self.reads_groups and not grouped:
            return "were written with groups"
        return f"have {self.fewest_classes} classes or more" if classes < self.fewest_classes else ""

    # ---- what a subclass defines ---------------------------------------------------------------------------------------

    def per_example(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Return what the mean runs over.

        Parameters
        ----------
        logits : ndarray of float32, shape (N, C)
        labels : ndarray of int64, shape (N,)
        groups : ndarray of str, shape (N,), or None
            None unless `reads_groups` is set.

        Returns
        -------
        ndarray of bool or float, shape (N,)
            bool: it is a proportion, with an exact interval.
        """
        raise NotImplementedError

    def value(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> float:
        """Return the metric of some predictions: see `per_example` for the arguments."""
        raise NotImplementedError

    def statistic(self, predictions: Predictions) -> Statistic:
        """Return the metric as a function of the examples' weights: the fast way to resample it.

        Unless defined, `value` is called on the examples, each repeated as often as its weight says.
        """
        import numpy as np

        if type(self).value is Metric.value:
            raise DeclarationError(
                f"the metric {type(self).__name__} ({_defined_at(type(self))}) defines none of per_example, value and statistic: "
                "write def value(self, logits, labels, groups) and return a number."
            )
        groups = predictions.groups if self.reads_groups else None

        def statistic(weights: Floats) -> float:
            rows = np.repeat(np.arange(len(weights)), weights.astype(int))
            return self._number(
                self.value(predictions.logits[rows], predictions.labels[rows], None if groups is None else groups[rows])
            )

        return statistic

    def cost(self, predictions: Predictions) -> float:
        """Return how many numbers one evaluation of the statistic goes through: it decides the number of resamples."""
        return float(len(predictions))

    # ---- what is made of it --------------------------------------------------------------------------------------------

    def measure(self, predictions: Predictions) -> Measured:
        """Return the value of some predictions, brought into their label space, and what its uncertainty is known by.

        Raises
        ------
        DataError
            The metric is not defined on these examples, or returns the wrong shape, NaN or text.
        """
        import numpy as np

        inside = predictions.in_space()
        if not len(inside):
            assert predictions.projection is not None
            raise DataError(f"no example has a class of the label space {predictions.projection.name!r}.")
        if self.is_mean:
            values = self.values(inside)
            variance = float(values.var()) / len(values)
            if values.dtype == np.bool_:
                correct = int(values.sum())
                return Measured(float(values.mean()), len(values), correct, variance=variance, per_example=values)
            low, high, resamples = bootstrap_interval(lambda weights: float(np.average(values, weights=weights)), len(values))
            return Measured(float(values.mean()), len(values), None, low, high, resamples, variance, per_example=values)
        statistic = self.statistic(inside)
        value = statistic(np.ones(len(inside)))
        if not np.isfinite(value):
            classes = counted(len(np.unique(inside.labels)), "class", "classes")
            raise DataError(
                f"{self.name} is not defined on {counted(len(inside), 'example')} of {classes}: it is {value}{_at(type(self))}. "
                "Leave the metric out, or keep examples of several classes."
            )
        low, high, resamples = bootstrap_interval(statistic, len(inside), work=self.cost(inside))
        groups = group_counts(inside) if self.reads_groups else {}
        return Measured(value, len(inside), None, low, high, resamples, groups=groups)

    def values(self, predictions: Predictions) -> np.ndarray:
        """Return `per_example` of some predictions, checked.

        Raises
        ------
        DataError
            It returned the wrong shape, NaN or text.
        """
        import numpy as np

        groups = predictions.groups if self.reads_groups else None
        found = np.asarray(self.per_example(predictions.logits, predictions.labels, groups))
        expected = f"expected bool or float of shape ({len(predictions)},)"
        if found.shape != (len(predictions),) or found.dtype.kind not in "bfiu":
            raise DataError(
                f"per_example of the metric {self.name!r} returned {found.dtype} of shape {found.shape}{_at(type(self))}: "
                f"{expected}, one value per example."
            )
        if not np.isfinite(found).all():
            raise DataError(
                f"per_example of the metric {self.name!r} returned NaN or infinite values{_at(type(self))}: {expected}. Look for "
                "a division by zero, or a logarithm of 0."
            )
        return found if found.dtype == np.bool_ else found.astype(np.float64)

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"value of the metric {self.name!r} returned {value!r}{_at(type(self))}: expected one number."
            ) from None
        return number

    def best(self, values: list[float]) -> int:
        """Return the index of the best of some values, the first of ties."""
        return values.index(max(values) if self.higher_is_better else min(values))


def bootstrap_interval(
    statistic: Statistic, count: int, *, work: float | None = None, level: float = 0.95, seed: int = 0
) -> tuple[float, float, int]:
    """Percentile interval over resamples of the examples (Efron 1979).

    Parameters
    ----------
    count : int
        Number of examples.
    work : float, optional
        Numbers that one evaluation goes through; `count` unless given.

    Returns
    -------
    low, high : float
    resamples : int
    """
    import numpy as np

    resamples = int(np.clip(WORK / max(1.0, count if work is None else work), 100, RESAMPLES))
    random = np.random.default_rng(seed)
    draws = [statistic(np.bincount(random.integers(0, count, count), minlength=count).astype(float)) for _ in range(resamples)]
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), resamples


def group_counts(predictions: Predictions) -> dict[str, tuple[int, int]]:
    """Return the number of correct predictions and of examples in each group."""
    import numpy as np

    names, index = np.unique(predictions.groups, return_inverse=True)
    hits = np.bincount(index, weights=predictions.correct, minlength=len(names)).astype(int)
    totals = np.bincount(index, minlength=len(names))
    return {str(name): (int(k), int(n)) for name, k, n in zip(names, hits, totals, strict=True)}


def _defined_at(cls: type) -> str:
    """Return the file and line of a class, for a message."""
    try:
        return f"{Path(inspect.getsourcefile(cls) or '').name}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__


def _at(cls: type) -> str:
    """Return where a user's own class stands, for a message; nothing for a built-in one."""
    return "" if cls.__module__.startswith("shiftline.") else f" ({_defined_at(cls)})"


def metric_named(name: object, *, where: str) -> Metric:
    """Return a metric: one that is given as it is, or by its name ("macro-f1"; "wilds:acc_wg" with an argument).

    Raises
    ------
    DeclarationError
        There is none of that name: the names are listed.
    """
    if isinstance(name, Metric):
        return name
    tag, colon, argument = str(name).partition(":")
    known = tagged(Metric)
    if not isinstance(name, str) or tag not in known:
        names = [tag for tag, cls in known.items() if cls.requestable]
        raise DeclarationError(
            f"{where} has the metric {name!r}, which does not exist{near(name, names)} Choose from {', '.join(sorted(names))}, "
            "or give an object of your own class, a subclass of shiftline.Metric."
        )
    named: Any = known[tag]
    found: Metric = named(argument) if colon else named()
    return found


def requested_metric(name: object, *, where: str) -> Metric:
    """Return a metric that a study or a selection asks for.

    Raises
    ------
    DeclarationError
        There is none of that name, or it comes with data sets only.
    """
    metric = metric_named(name, where=where)
    if not metric.requestable:
        names = [tag for tag, cls in tagged(Metric).items() if cls.requestable]
        raise DeclarationError(
            f"{where} has the metric {metric.name!r}, which comes with the data sets that have it: choose from "
            f"{', '.join(sorted(names))}."
        )
    return metric


def accuracy() -> Metric:
    """Return plain accuracy: what every distribution is scored by, unless its data set says otherwise."""
    return tagged(Metric)["accuracy"]()
