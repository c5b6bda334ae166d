"""The stored predictions of a study's models, as its users read them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shiftline.analysis.agreement import Classes
from shiftline.analysis.tables import REFERENCE
from shiftline.contracts.distributions import Split
from shiftline.contracts.files import DOMAINS, LOGITS
from shiftline.contracts.predictions import Predictions, projected
from shiftline.errors import AnalysisError, DataError, StoreError
from shiftline.launch.planning import data_folder
from shiftline.plan.jobs import Plan
from shiftline.plan.spaces import Projection
from shiftline.store.arrays import mapped_arrays
from shiftline.store.artifacts import Store

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4096
"""Examples whose logits are brought into a label space at once."""


def predictions(plan: Plan, store: Store, model: str, distribution: str) -> Predictions:
    """Return what a model predicts on a distribution of its study: see `ExperimentManager.predictions`.

    Raises
    ------
    AnalysisError
        The study has no such model or distribution.
    StoreError
        They have not been made, or are damaged.
    """
    models = {planned.named.model: planned for planned in plan.models}
    planned = models[_known(model, models, "model")]
    name = _known(distribution, planned.predictions, "distribution")
    key = planned.predictions[name]
    if not store.has(key):
        raise StoreError(
            f"{model!r} has not predicted on {name!r} yet ({key[:12]} is not in {store.root}): run the study, shiftline run."
        )
    arrays = mapped_arrays(store.file(key, LOGITS))
    job = plan.jobs[next(score.key for score in planned.scores if score.distribution == name)]
    split = dict(plan.study.evaluated())[name].source
    found = Predictions(
        arrays["logits"],
        arrays["labels"],
        arrays["ids"],
        names=plan.facts.splits[plan.study.reference.labelled].classes,
        metadata=lambda columns: _metadata(store, split, columns).iloc[arrays["ids"]],
        projection=job.projection,
    )
    subset = job.document.get("subset")
    return found if subset is None else found.kept(np.isin(found.ids, mapped_arrays(store.file(subset, DOMAINS))["ids"]))


def predicted_classes(plan: Plan, store: Store, shift: str, models: Sequence[str]) -> tuple[Classes, Classes]:
    """Return the classes that models predict on the reference and on a shift, in the label space of the shift.

    Raises
    ------
    AnalysisError, StoreError
        As in `predictions`.
    """
    found = [predictions(plan, store, model, shift) for model in models]
    on_reference = [predictions(plan, store, model, REFERENCE) for model in models]
    space = found[0].projection
    if space is not None:
        # The reference is seen in the classes of the shift: its labels are its own.
        space = Projection(space.name, space.count, space.outputs, space.outputs)
    return (
        Classes(tuple(models), np.stack([_classes(replace(one, projection=space)) for one in on_reference])),
        Classes(tuple(models), np.stack([_classes(one) for one in found])),
    )


def _classes(found: Predictions) -> np.ndarray:
    """Return predicted classes in the label space, a part of the logits in memory at a time."""
    if (space := found.projection) is None:
        return found.predicted.astype(np.int32)
    there = np.flatnonzero(np.asarray(space.labels)[found.labels] >= 0)
    parts = [there[start : start + CHUNK] for start in range(0, len(there), CHUNK)]
    return np.concatenate([projected(found.logits[rows], space).argmax(axis=1) for rows in parts]).astype(np.int32)


def _known(name: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(map(repr, names))}."
    raise AnalysisError(f"the study has no {what} {name!r}.{meant}")


def _metadata(store: Store, split: Split, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    path = data_folder(store).metadata(split)
    if not path.is_file():
        raise DataError(f"{split} was written without metadata ({path} does not exist).")
    return pd.read_parquet(path, columns=columns)
