"""Ensembles in output space: the mean of stored predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import save_file
from torch import Tensor

from shiftline.errors import StoreError
from shiftline.jobs.context import Context
from shiftline.jobs.predictions import load_predictions
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import LOGITS


def ensemble(job: Job, draft: Draft, context: Context) -> None:
    """Average the members' predictions on one distribution.

    Raises
    ------
    StoreError
        The members were predicted on different examples.
    """
    document = job.document
    members = [load_predictions(context.store, key) for key in document["members"]]
    first = members[0]
    if any(not torch.equal(first["ids"], member["ids"]) for member in members):
        raise StoreError(f"{job.label}: the members were predicted on different examples.")
    mean = mean_outputs([member["logits"] for member in members], document["weights"], document["space"])
    save_file({"logits": mean, "labels": first["labels"], "ids": first["ids"]}, draft.folder / LOGITS)
    draft.summary.update(n=len(mean), classes=mean.shape[1])


def mean_outputs(logits: Sequence[Tensor], weights: Sequence[float], space: str) -> Tensor:
    """Return the weighted mean of logits; with "probabilities", the logarithm of that of their softmaxes.

    Parameters
    ----------
    logits : sequence of float tensors, each of shape (N, C)
    weights : sequence of float
        Shares that sum to one.
    """
    # In float64, so that a weight of one gives the member back exactly.
    wide = [member.double() for member in logits]
    if space == "probabilities":
        probabilities = sum(w * member.softmax(dim=1) for w, member in zip(weights, wide, strict=True))
        assert isinstance(probabilities, Tensor)
        return probabilities.clamp_min(torch.finfo(torch.float64).tiny).log().float()
    mean = sum(w * member for w, member in zip(weights, wide, strict=True))
    assert isinstance(mean, Tensor)
    return mean.float()
