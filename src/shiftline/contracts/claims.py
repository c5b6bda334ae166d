"""Claims: what a study expects of its results, as conditions on measures, which are judged once there are results."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from shiftline.errors import DeclarationError

AVERAGE = "average"
REFERENCE = "reference"
VALIDATED, ORACLE = "validated", "oracle"
GAINS = ("effective_robustness", "accuracy")


@dataclass(frozen=True)
class Quantity:
    """One number of a study.

    Attributes
    ----------
    kind : str
        "accuracy", "effective_robustness" or "r2".
    of : str
        A model, a group (its mean), or GROUP@validated or GROUP@oracle: the model of that mixing coefficient. Empty for "r2".
    on : str
        A shift, "average", or for an accuracy "reference".
    """

    kind: str
    of: str
    on: str


@dataclass(frozen=True)
class Measure:
    """A sum of quantities. Measures are added, subtracted, multiplied by numbers, and compared with numbers.

    Attributes
    ----------
    terms : tuple of (float, Quantity)
    text : str
        For people.
    """

    terms: tuple[tuple[float, Quantity], ...]
    text: str

    def __add__(self, other: Measure) -> Measure:
        return Measure((*self.terms, *_measure(other).terms), f"{self.text} + {other.text}")

    def __sub__(self, other: Measure) -> Measure:
        return Measure((*self.terms, *(-1 * _measure(other)).terms), f"{self.text} - {other.text}")

    def __mul__(self, factor: float) -> Measure:
        return Measure(tuple((_number(factor) * share, one) for share, one in self.terms), f"{factor:g} ({self.text})")

    __rmul__ = __mul__

    def __ge__(self, bound: float) -> Condition:
        return Condition(self, _number(bound), math.inf, f"{self.text} >= {bound:g}")

    def __gt__(self, bound: float) -> Condition:
        return Condition(self, _number(bound), math.inf, f"{self.text} > {bound:g}")

    def __le__(self, bound: float) -> Condition:
        return Condition(self, -math.inf, _number(bound), f"{self.text} <= {bound:g}")

    def __lt__(self, bound: float) -> Condition:
        return Condition(self, -math.inf, _number(bound), f"{self.text} < {bound:g}")

    def between(self, low: float, high: float) -> Condition:
        """Return the condition that the measure lies between two numbers: that it is about as large as their middle."""
        if _number(low) >= _number(high):
            raise DeclarationError(f"between({low:g}, {high:g}): expected the smaller number first.")
        return Condition(self, low, high, f"{self.text} between {low:g} and {high:g}")


@dataclass(frozen=True)
class Condition:
    """That a measure lies between two numbers, of which one may be infinite."""

    measure: Measure
    low: float
    high: float
    text: str

    def __bool__(self) -> bool:
        raise DeclarationError(
            f"{self.text} is judged by results, it is not true or false here: for two bounds write between(a, b)."
        )


@dataclass(frozen=True)
class Claim:
    """What a study expects: ``sl.Claim("zero-shot models are robust", sl.effective_robustness("zero-shot") >= 0.02)``.

    Whether it holds is judged by the joint interval of the measure: see `shiftline.analysis.claims.verdicts`.

    Parameters
    ----------
    text : str
        The claim in words.
    condition : Condition
        A measure compared with a number, in fractions: ``>=``, ``>``, ``<=``, ``<`` or ``.between(a, b)``.

    Raises
    ------
    DeclarationError
        It has no words, or no condition; or its condition mixes an R^2 with anything else.
    """

    text: str
    condition: Condition

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise DeclarationError(f"a claim is said in words, got {self.text!r}.")
        if not isinstance(self.condition, Condition):
            raise DeclarationError(
                f"the claim {self.text!r} has the condition {self.condition!r}: compare a measure with a number, for instance "
                'sl.gain("wise-ft@validated", over="fine-tuned") >= 0.02.'
            )
        kinds = [one.kind for _, one in self.condition.measure.terms]
        if "r2" in kinds and (len(kinds) > 1 or self.condition.measure.terms[0][0] != 1):
            raise DeclarationError(f"the claim {self.text!r} mixes an R^2 with other measures: compare it alone.")

    def quantities(self) -> Iterator[Quantity]:
        """Yield the numbers that it is about."""
        for _, one in self.condition.measure.terms:
            yield one


def accuracy(of: str, on: str = AVERAGE) -> Measure:
    """Return the measure "accuracy" (the metric that stands for a distribution) of a model or group.

    Parameters
    ----------
    of : str
        A model, a group (its mean), or GROUP@validated: the model of the mixing coefficient that reference val chooses
        (GROUP@oracle: that the shifts themselves choose, a bound).
    on : str
        A shift, "average" over the shifts, or "reference".
    """
    return _of("accuracy", of, on)


def effective_robustness(of: str, on: str = AVERAGE) -> Measure:
    """Return the measure "accuracy under shift minus what the baseline fit predicts"; arguments as in `accuracy`.

    On a subset by support it is that inside or outside the support.
    """
    return _of("effective_robustness", of, on)


def gain(a: str, *, over: str, on: str = AVERAGE, of: str = "effective_robustness") -> Measure:
    """Return the measure "effective robustness (or accuracy) of one model minus that of another"; names as in `accuracy`."""
    if of not in GAINS:
        raise DeclarationError(f"gain(of={of!r}) does not exist: choose one of {', '.join(GAINS)}.")
    one, other = _of(of, a, on), _of(of, over, on)
    return Measure((one - other).terms, f"gain in {of.replace('_', ' ')} of {a} over {over} on {on}")


def relative_robustness(of: str, *, over: str, on: str = AVERAGE) -> Measure:
    """Return the measure "accuracy under shift minus that of the model before the intervention" (Taori et al. 2020)."""
    found = gain(of, over=over, on=on, of="accuracy")
    return Measure(found.terms, f"relative robustness of {of} over {over} on {on}")


def r2(on: str) -> Measure:
    """Return the measure "R^2 of the baseline fit under a shift"."""
    return Measure(((1.0, Quantity("r2", "", _name(on))),), f"R^2 on {on}")


def _of(kind: str, of: str, on: str) -> Measure:
    return Measure(((1.0, Quantity(kind, _name(of), _name(on))),), f"{kind.replace('_', ' ')} of {of} on {on}")


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise DeclarationError(f"a measure names models, groups and shifts, got {name!r}.")
    return name


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DeclarationError(f"a measure is compared with (or multiplied by) a number, got {value!r}.")
    return float(value)


def _measure(value: object) -> Measure:
    if not isinstance(value, Measure):
        raise DeclarationError(f"measures are added to measures, got {value!r}: compare with numbers, measure >= 0.02.")
    return value
