"""Which examples the models of a study answer correctly: read from its scores, joined by key."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load_file

from shiftline.analysis.correctness import Correctness
from shiftline.analysis.panels import Answers
from shiftline.contracts.distributions import Split
from shiftline.contracts.files import PER_EXAMPLE
from shiftline.datasets.catalogue import catalogue
from shiftline.errors import StoreError
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store

Arrays = Mapping[str, np.ndarray]


def answers(plan: Plan, store: Store, *, on_reference: bool = False) -> dict[str, Answers]:
    """Return which examples every model answers correctly, by shift, with those of the reference in its label space.

    Shifts whose metric is no share of correct answers are left out, and so are models without both scores.

    Parameters
    ----------
    on_reference : bool
        Add those on the reference in its own classes, as "reference".
    """
    found, result = _correct_answers(plan, store), {}
    own = next((correct for (distribution, _), correct in found.items() if distribution == "reference"), None)
    if on_reference and own is not None:
        result["reference"] = Answers(own, own)
    for (distribution, space), shifted in found.items():
        ends = [found.get((name, space)) for name in ("reference", *dict(plan.study.references))]
        references = [end for end in ends if end is not None]
        if distribution in dict(plan.study.shifts) and len(references) == len(ends):
            result[distribution] = Answers(references[0], shifted, tuple(references[1:]))
    return result


def _correct_answers(plan: Plan, store: Store) -> dict[tuple[str, str], Correctness]:
    """Return which examples are answered correctly, by (distribution, label space), as far as scores have been made.

    Only metrics that stand for their distribution and are a share of correct answers have them.

    Raises
    ------
    StoreError
        Two models were scored on other examples.
    """
    complete = store.complete()
    rows: dict[str, Arrays] = {}
    found: dict[tuple[str, str], dict[str, str]] = {}
    for planned in plan.models:
        for score in planned.scores:
            if not score.primary or score.key not in complete:
                continue
            if score.key not in rows:
                rows[score.key] = _per_example(score.key, store)
            if rows[score.key]:
                found.setdefault((score.distribution, score.space), {})[planned.named.model] = score.key
    sources = {name: _source(where.source, plan) for name, where in plan.study.evaluated()}
    return {panel: _stacked(panel, keys, rows, sources[panel[0]]) for panel, keys in found.items()}


def _per_example(key: str, store: Store) -> Arrays:
    """Return the answers behind a score that is a proportion; nothing for others."""
    if PER_EXAMPLE not in store.manifest(key).files:
        return {}
    arrays: Arrays = load_file(store.file(key, PER_EXAMPLE))
    return arrays if arrays["values"].dtype == np.uint8 else {}


def _source(split: Split, plan: Plan) -> str:
    """Return whose images a split shows: stored corruptions are the images of another split."""
    family = catalogue(*plan.study.families).families.get(split.dataset)
    return family.origin if family is not None and family.origin else str(split)


def _stacked(panel: tuple[str, str], keys: dict[str, str], rows: dict[str, Arrays], source: str) -> Correctness:
    first = rows[next(iter(keys.values()))]["ids"]
    for model, key in keys.items():
        if not np.array_equal(rows[key]["ids"], first):
            raise StoreError(
                f"{model!r} was scored on other examples of {panel[0]!r} than the models before it ({key[:12]}): the score is "
                "damaged. `shiftline verify --repair` moves damaged artifacts aside, and the next run makes them again."
            )
    return Correctness(tuple(keys), np.stack([rows[key]["values"] for key in keys.values()]), first, source)
