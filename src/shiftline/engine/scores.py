"""Scores: metrics of stored predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from shiftline.contracts.files import LOGITS, PER_EXAMPLE
from shiftline.contracts.predictions import Predictions
from shiftline.engine.context import Context
from shiftline.engine.predictions import subset_ids
from shiftline.errors import DataError
from shiftline.plan.jobs import Job
from shiftline.store.arrays import mapped_arrays
from shiftline.store.artifacts import Draft

if TYPE_CHECKING:
    import pandas as pd


def score(job: Job, draft: Draft, context: Context) -> None:
    """Score predictions in the classes of the job's label space.

    The summary holds the value and its number of examples; for a proportion the number of successes, so that its interval can be
    exact, for other metrics the ends of a bootstrap interval. What a mean runs over is kept in a file: tests between models, and
    intervals that know that all models share their images, need no logits then.
    """
    assert job.metric is not None
    predictions = _predictions(job, context)
    try:
        measured = job.metric.measure(predictions)
    except DataError as error:
        raise DataError(f"{job.label}: {error}") from error
    draft.summary.update(metric=job.metric.name, **measured.summary())
    if (values := measured.per_example) is not None:
        kind = np.uint8 if values.dtype == np.bool_ else np.float32
        ids = predictions.in_space().ids if len(values) != len(predictions) else predictions.ids
        save_file({"values": values.astype(kind), "ids": np.ascontiguousarray(ids)}, draft.folder / PER_EXAMPLE)


def _predictions(job: Job, context: Context) -> Predictions:
    assert job.metric is not None
    assert job.distribution is not None
    arrays = mapped_arrays(context.store.file(job.parents[0], LOGITS))
    logits, labels, ids = (arrays[name] for name in ("logits", "labels", "ids"))
    official = context.data.open(job.distribution.source).official if job.metric.own_classes_only else {}
    whole = Predictions(
        logits,
        labels,
        ids,
        metadata=lambda columns: _metadata(job, context, columns).iloc[ids],
        official=official,
        projection=job.projection,
    )
    subset = job.document.get("subset")
    return whole if subset is None else whole.kept(np.isin(ids, subset_ids(context.store, subset)))


def _metadata(job: Job, context: Context, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    assert job.distribution is not None
    record = context.data.open(job.distribution.source).record
    if record.metadata != job.document.get("metadata", record.metadata):
        raise DataError(
            f"{job.distribution.source} was written again with other groups since the study was planned: run the study again, its "
            "keys follow the data."
        )
    return pd.read_parquet(context.data.metadata(job.distribution.source), columns=columns)
