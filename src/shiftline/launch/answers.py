"""Which examples the models of a study answer rightly: read from its scores, joined by key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file

from shiftline.declare.distributions import Split
from shiftline.errors import StoreError
from shiftline.plan.jobs import Plan
from shiftline.store.artifacts import Store
from shiftline.store.names import RIGHT


@dataclass(frozen=True)
class Right:
    """The answers of several models on one distribution in one label space.

    Attributes
    ----------
    models : tuple of str
    right : uint8 array of shape (models, examples)
    ids : int64 array of shape (examples,)
    source : str
    """

    models: tuple[str, ...]
    right: np.ndarray
    ids: np.ndarray
    source: str


def right_answers(plan: Plan, store: Store) -> dict[tuple[str, str], Right]:
    """Return which examples are answered rightly, by (distribution, label space), as far as scores have been made.

    Only metrics that stand for their distribution and are a share of right answers have them.

    Raises
    ------
    StoreError
        Two models were scored on other examples.
    """
    complete = store.complete()
    rows: dict[str, dict[str, np.ndarray]] = {}
    found: dict[tuple[str, str], dict[str, str]] = {}
    for planned in plan.models:
        for score in planned.scores:
            if not score.primary or score.key not in complete:
                continue
            if score.key not in rows:
                has_answers = RIGHT in store.manifest(score.key).files
                rows[score.key] = load_file(store.file(score.key, RIGHT)) if has_answers else {}
            if rows[score.key]:
                found.setdefault((score.distribution, score.space), {})[planned.named.model] = score.key
    study = plan.study
    sources = {name: _source(where.source) for name, where in study.evaluated()}
    return {place: _stacked(place, keys, rows, sources[place[0]]) for place, keys in found.items()}


def _source(split: Split) -> str:
    """Return whose images a split shows: stored corruptions are the images of another split."""
    from shiftline.data.families.catalogue import FAMILIES

    family = FAMILIES.get(split.dataset)
    return family.origin if family is not None and family.origin else str(split)


def _stacked(
    place: tuple[str, str], keys: dict[str, str], rows: dict[str, dict[str, np.ndarray]], source: str
) -> Right:
    first = rows[next(iter(keys.values()))]["ids"]
    for model, key in keys.items():
        if not np.array_equal(rows[key]["ids"], first):
            raise StoreError(
                f"{model!r} was scored on other examples of {place[0]!r} than the models before it ({key[:12]}): the score is "
                "damaged. `shiftline verify --repair` moves damaged artifacts aside, and the next run makes them again."
            )
    return Right(tuple(keys), np.stack([rows[key]["right"] for key in keys.values()]), first, source)
