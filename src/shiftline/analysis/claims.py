"""Verdicts on claims: what a study expected of its results, judged by joint intervals at a level for all claims together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from shiftline.analysis.alphas import choose_alpha
from shiftline.analysis.contrasts import Contrast, Estimate, Halves, Term
from shiftline.analysis.correctness import RESAMPLES
from shiftline.analysis.notes import codes
from shiftline.analysis.panels import Answers, Axis, Panel, axes_of
from shiftline.analysis.settings import LineOptions, LineSettings
from shiftline.analysis.tables import AVERAGE, NOT_SHIFTS, REFERENCE, averaged, check_level, check_table
from shiftline.contracts.claims import ORACLE, VALIDATED, Claim, Quantity
from shiftline.errors import AnalysisError

HOLDS, FAILS, UNKNOWN = "holds", "fails", "cannot tell"
COLUMNS = ("claim", "condition", "verdict", "value", "low", "high", "level", "notes", "settled_by")
NUMBERS = {"images": "images", "seeds": "seeds", "line": "baselines"}
"""Parts of an interval, and the numbers that make each smaller."""
WORDS = {"images": "images", "seeds": "seeds", "baselines": "baseline models"}


def verdicts(
    table: pd.DataFrame,
    answers: Mapping[str, Answers],
    claims: Sequence[Claim],
    *,
    baseline: str | None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **line: Unpack[LineOptions],
) -> pd.DataFrame:
    """Judge claims by the joint intervals of their measures.

    A claim holds where the whole interval fulfils its condition, fails where none of it does, and cannot be told otherwise. Of m
    claims each is judged at the level ``1 - (1 - level) / m`` (Bonferroni): all intervals hold together with `level` at least.

    Parameters
    ----------
    table : DataFrame
        Tidy: see `shiftline.analysis`.
    answers : mapping of str to Answers
        By shift, and under "reference" those on the reference in its own classes.
    baseline : str or None
        May be None where no claim needs a line.

    Returns
    -------
    DataFrame
        `COLUMNS`; and for images, seeds and baselines how many there are (the fewest of a measure), and how many would give a
        verdict if all else stayed as it is: ``images``, ``images_needed``, and so on; NaN where there is a verdict, where no number
        of them alone is enough, or where seeds are unknown. ``settled_by`` says it in words. Fractions.

    Raises
    ------
    AnalysisError
        A model has no value yet, or a group is a curve of mixing coefficients.
    """
    check_level(level)
    if not claims:
        raise AnalysisError('there are no claims: write claims = [sl.Claim("...", sl.gain(...) >= 0.02)] in the study.')
    table = check_table(table, "group")
    judge = _Judge(table, answers, claims, baseline, line, resamples=resamples, seed=seed)
    each = 1 - (1 - level) / len(claims)
    return pd.DataFrame([judge.row(claim, each) for claim in claims])


class _Judge:
    """Everything that the claims of a study are about: one draw of the images for all of them."""

    def __init__(
        self,
        table: pd.DataFrame,
        answers: Mapping[str, Answers],
        claims: Sequence[Claim],
        baseline: str | None,
        line: LineOptions,
        *,
        resamples: int,
        seed: int,
    ) -> None:
        self.table = table
        self.shifts = averaged(table, [name for name in dict.fromkeys(table["distribution"]) if name not in NOT_SHIFTS])
        self.no_line = table.attrs.get("no_line", [])
        wanted = [one for claim in claims for one in claim.quantities()]
        lined = {name for one in wanted if one.kind != "accuracy" for name in self._places(one)}
        plain = {name for one in wanted if one.kind == "accuracy" for name in self._places(one)} - lined
        settings = LineSettings.of(baseline, REFERENCE, **line) if baseline is not None else None
        self.panels, others = axes_of(
            table, answers, settings, lined=sorted(lined), plain=sorted(plain), resamples=resamples, seed=seed
        )
        self.axes: dict[str, Axis] = {**others, **self.panels}

    def row(self, claim: Claim, level: float) -> dict[str, object]:
        condition = claim.condition
        quantities = list(claim.quantities())
        if quantities[0].kind == "r2":
            panel = self.panels[quantities[0].on]
            found, notes = _squared_correlation(panel, level), panel.fit.codes
            now = {"images": np.nan, "seeds": np.nan, "baselines": panel.fit.n}
        else:
            terms = [term for share, one in condition.measure.terms for term in self._terms(share, one)]
            found, notes, now = Contrast(terms).at(level), _notes(terms, quantities), _numbers(terms)
        verdict = _verdict(found, condition.low, condition.high)
        factors = _factors(found, condition.low, condition.high) if verdict == UNKNOWN else dict.fromkeys(now, np.nan)
        needed = {name: np.ceil(factors[name] * now[name]) for name in now}
        return {
            "claim": claim.text,
            "condition": condition.text,
            "verdict": verdict,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "level": level,
            "notes": codes(notes),
            "settled_by": _settled_by(found, now, needed) if verdict == UNKNOWN else "",
            **now,
            **{f"{name}_needed": number if np.isfinite(number) else np.nan for name, number in needed.items()},
        }

    def _places(self, one: Quantity) -> list[str]:
        if one.on != AVERAGE:
            return [one.on]
        return [name for name in self.shifts if one.kind == "accuracy" or name not in self.no_line]

    def _terms(self, share: float, one: Quantity) -> list[Term]:
        places = self._places(one)
        share /= len(places)
        prediction = -share if one.kind == "effective_robustness" else 0.0
        return [Term(self.axes[name], self._members(one.of, self.axes[name]), share, prediction) for name in places]

    def _members(self, name: str, axis: Axis) -> NDArray[np.int64]:
        models = axis.points.models
        rows = np.flatnonzero(models.index == name)
        if not len(rows):
            group, at, choice = name.rpartition("@")
            rows = np.flatnonzero(models["group"] == (group if at else name))
            alphas = models["alpha"].iloc[rows] if "alpha" in models.columns else pd.Series(dtype=float)
            if at:
                chosen = choose_alpha(self.table, group=group)
                rows = rows[np.isclose(alphas.astype(float), {VALIDATED: chosen.validated, ORACLE: chosen.oracle}[choice])]
            elif alphas.nunique() > 1:
                raise AnalysisError(
                    f"the group {name!r} is a curve of mixing coefficients, whose mean is no model's: name one of its models, "
                    f"{name}@{VALIDATED} or {name}@{ORACLE}."
                )
        missing = rows[~np.isfinite(axis.points.y.value[rows])]
        if not len(rows) or len(missing):
            model = models.index[missing[0]] if len(missing) else name
            raise AnalysisError(f"{str(model)!r} has no value on {axis.points.shift!r}: run the study to its end.")
        return rows.astype(np.int64)


def _notes(terms: Sequence[Term], quantities: Sequence[Quantity]) -> list[str]:
    found = ["oracle" for one in quantities if one.of.endswith(f"@{ORACLE}")]
    for term in terms:
        found += ["one-seed"] if len(term.members) == 1 else []
        if term.prediction:
            found += term.panel.fit.codes
            found += ["extrapolated"] if term.panel.extrapolates(term.members) else []
        if term.axis.drawn_y is None:
            points = term.axis.points.y
            found.append("no-answers" if np.isfinite(points.variance(points.value)[term.members]).all() else "no-images")
    return found


def _numbers(terms: Sequence[Term]) -> dict[str, float]:
    """Return the fewest images, seeds (of what is averaged over some) and baseline models behind some terms."""
    lines = [term.panel.fit.n for term in terms if term.prediction]
    seeds = [len(term.members) for term in terms if len(term.members) > 1]
    return {
        "images": float(min(term.axis.points.y.n[term.members].min() for term in terms)),
        "seeds": min(seeds) if seeds else np.nan,
        "baselines": min(lines) if lines else np.nan,
    }


def _settled_by(found: Estimate, now: Mapping[str, float], needed: Mapping[str, float]) -> str:
    """Say how many more images, seeds or baseline models would give a verdict, if the value stayed."""
    if np.isnan(found.value):
        return "extremes='clip' or the linear scale: an accuracy on the reference is 0 or 1"
    ways = [
        f"{needed[name] / now[name]:.2g} times the {words} ({needed[name]:,.0f} in the place of {now[name]:,.0f})"
        for name, words in WORDS.items()
        if np.isfinite(needed[name]) and needed[name] > now[name]
    ]
    return ", or ".join(ways) or "no number of images, seeds or baseline models alone"


def _verdict(found: Estimate, low: float, high: float) -> str:
    if found.low >= low and found.high <= high:
        return HOLDS
    return FAILS if found.high < low or found.low > high else UNKNOWN


def _factors(found: Estimate, low: float, high: float) -> dict[str, float]:
    """Return how many times as many images, seeds or baseline models would give a verdict, if the value stayed."""
    bounds = [bound for bound in (low, high) if np.isfinite(bound)]
    if not low <= found.value <= high:
        # Inside, the interval must leave all bounds alone; outside the one that it crosses.
        bounds = [min(bounds, key=lambda bound: abs(bound - found.value))]
    return {name: float(np.max([_factor(found, part, bound) for bound in bounds])) for part, name in NUMBERS.items()}


def _factor(found: Estimate, part: str, bound: float) -> float:
    """Return ``part^2 / (distance^2 - others^2)``: a part falls with the root of its number; infinite where others are large."""
    upward = int(bound > found.value)
    half = found.high - found.value if upward else found.value - found.low
    own, distance = getattr(found, part)[upward], abs(bound - found.value)
    if half <= distance:
        return 1.0
    left = distance**2 - max(half**2 - own**2, 0.0)
    return float(own**2 / left) if not left <= 0 else np.inf


def _squared_correlation(panel: Panel, level: float) -> Estimate:
    """Return R^2 with the interval of Fisher's transformation, over models, or over clusters where these are fewer."""
    missing = Halves(np.nan, np.nan)
    n, r = min(panel.fit.n, panel.fit.clusters), float(np.sqrt(max(panel.fit.r2, 0.0)))
    if n <= 3:
        return Estimate(panel.fit.r2, 0.0, 1.0, Halves(panel.fit.r2, 1 - panel.fit.r2), missing, missing)
    half = special.ndtri((1 + level) / 2) / np.sqrt(n - 3)
    middle = np.arctanh(min(r, 1 - 1e-12))
    low, high = (max(float(np.tanh(end)), 0.0) ** 2 for end in (middle - half, middle + half))
    value = panel.fit.r2
    return Estimate(value, low, high, Halves(value - low, high - value), missing, missing)
