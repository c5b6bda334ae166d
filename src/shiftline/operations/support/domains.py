"""Domain classifiers: which examples they see, their features, and their logits on the fold that they did not see."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import DOMAINS
from shiftline.data.loader import Batch, TrainingBatches
from shiftline.data.prepared import prepared_chunks
from shiftline.data.randomness import uniform
from shiftline.data.views import View, open_view, select_some
from shiftline.engine.batches import inference_batch
from shiftline.engine.context import Context, Interrupted
from shiftline.engine.heads import fit_head
from shiftline.engine.initial import initial_classifier
from shiftline.engine.loop import TrainingRun
from shiftline.engine.ranks import ALONE
from shiftline.errors import DataError
from shiftline.networks.classifier import Classifier, set_head
from shiftline.networks.preprocessing import normalise, resize_and_crop
from shiftline.networks.spec import ModelSpec
from shiftline.operations.fine_tune import FineTune
from shiftline.operations.optimisers import AdamW, Cosine
from shiftline.operations.support.classifiers import LARGEST_REFERENCE, EmbeddingClassifier, FineTunedClassifier
from shiftline.operations.support.ratios import auc_of
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft

if TYPE_CHECKING:
    from shiftline.operations.support.declaration import DomainFeatures, DomainFold, DomainTuning, SupportModel

# ---- which examples --------------------------------------------------------------------------------------------------


def _views(model: SupportModel, job: Job, context: Context) -> tuple[View, View]:
    """Open the sample of the reference and the shift.

    Raises
    ------
    DataError
        The reference has fewer examples (of the shift's classes) than were requested.
    """
    split = model.split
    reference, shifted = (open_view(d, context.data, fingerprint=job.fingerprint(d)) for d in (split.reference, model.shifted))
    records = [context.data.open(d.source).record for d in (split.reference, model.shifted)]
    space = model.shifted.label_space or records[1].space
    # A shift's classes may go by other names, or cover several of the reference's: its label space relates them.
    names = [record.ids if space is None else space.indices(record.ids) for record in records]
    present = {names[1][label] for label in np.unique(shifted.labels)} - {-1}
    kept = np.array([name in present for name in names[0]])[reference.labels]
    if kept.any() and not kept.all():
        reference = reference.keep(reference.ids[kept])
    if split.size is not None and len(reference) < split.size:
        raise DataError(
            f"{model.describe()}: {split.size} reference examples were requested, {split.reference} has {len(reference)} of the "
            "shift's classes. Ask for fewer (SupportSplit.size), or give it more of the reference."
        )
    return select_some(reference, split.size or LARGEST_REFERENCE, seed=split.seed), shifted


def folds_of(view: View, distribution: Distribution, model: SupportModel) -> np.ndarray:
    """Return the fold of every example: a function of its id, or of its group.

    Two transformations of one image have one id, and are never on both sides of a classifier.
    """
    split = model.split
    if split.groups:
        names = view.groups()[view.ids]
        # A checksum of the name: the same fold wherever the group stands.
        return np.array([zlib.crc32(f"{split.seed} {name}".encode()) % split.folds for name in names])
    numbers = uniform("support-fold", split.seed, torch.from_numpy(view.ids))[:, 0].numpy()
    return np.minimum((numbers * split.folds).astype(np.int64), split.folds - 1)


def _check_folds(folds: np.ndarray, whose: str, model: SupportModel) -> None:
    there = np.bincount(folds, minlength=model.split.folds)
    if (there == 0).any():
        what = "groups" if model.split.groups else "examples"
        raise DataError(
            f"{model.describe()}: the fold {int(np.argmin(there)) + 1} of {model.split.folds} has no {what} of {whose} "
            f"({len(folds)} examples): one class alone cannot be told apart. Take fewer folds."
        )


# ---- embeddings ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def domain_features(model: DomainFeatures, job: Job, draft: Draft, context: Context) -> None:
    """Compute embeddings and pooled pixels of one side."""
    classifier = model.split.classifier
    assert isinstance(classifier, EmbeddingClassifier)
    view = _views(model, job, context)[model.side == "shift"]
    distribution = model.split.reference if model.side == "reference" else model.shifted
    network, spec = _network(model, context)
    context.progress.begin(job.label, len(view))
    rows = []
    for inputs in _inputs(view, spec, job, context):
        columns = [network.features(inputs).float()]
        if classifier.pooled:
            columns.append(nn.functional.adaptive_avg_pool2d(inputs, classifier.pooled).flatten(1))
        rows.append(torch.cat(columns, dim=1).cpu().numpy())
    folds = folds_of(view, distribution, model)
    save_file({"features": np.concatenate(rows), "ids": view.ids, "folds": folds}, draft.folder / DOMAINS)
    draft.summary.update(n=len(view), dimensions=rows[0].shape[1])


def _network(model: SupportModel, context: Context) -> tuple[Classifier, ModelSpec]:
    classifier = model.split.classifier
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, spec = initial_classifier(
            classifier.init, context, num_classes=2, features=str(classifier.features), new_head=True
        )
    return network.to(context.device).to(memory_format=torch.channels_last).eval(), spec


def _inputs(view: View, spec: ModelSpec, job: Job, context: Context) -> Iterator[Tensor]:
    """Yield what the network sees of a view, in id order."""
    for chunk in prepared_chunks(
        view,
        [partial(resize_and_crop, preprocessing=spec.preprocessing)],
        decode_threads=context.decode_threads,
        device=context.device,
    ):
        for images in torch.split(chunk.images[0], inference_batch(context.device)):
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; it is computed again by the next run.")
            yield normalise(images.to(context.device), spec.preprocessing)
        context.progress.advance(len(chunk.ids))


# ---- folds -----------------------------------------------------------------------------------------------------------


def domain_fold(model: DomainFold, job: Job, draft: Draft, context: Context) -> None:
    """Fit a classifier on all folds but one, and write its logits (positive: reference) on that one."""
    if isinstance(model.split.classifier, FineTunedClassifier):
        aucs = {key: context.store.manifest(key).summary for key in job.parents}
        tuned = [summary for summary in aucs.values() if "auc" in summary]
        rate = max(tuned, key=lambda summary: (summary["auc"], -summary["rate"]))["rate"]
        held = _fine_tuned(job, model, rate, model.fold, context)
        draft.summary.update(rate=rate)
    else:
        held = _regression(model, context)
    save_file(held, draft.folder / DOMAINS)
    draft.summary.update(n_reference=len(held["reference_ids"]), n_shift=len(held["shift_ids"]))


def _regression(model: DomainFold, context: Context) -> dict[str, np.ndarray]:
    classifier = model.split.classifier
    assert isinstance(classifier, EmbeddingClassifier)
    sides = [load_file(context.store.file(context.plan.artifacts[one], DOMAINS)) for one in model.fitted_on]
    for side, whose in zip(sides, (model.split.reference, model.shifted), strict=True):
        _check_folds(side["folds"], str(whose), model)
    train = [side["features"][side["folds"] != model.fold].astype(np.float64) for side in sides]
    domains = np.concatenate([np.ones(len(train[0]), np.int64), np.zeros(len(train[1]), np.int64)])
    weight, bias, _ = fit_head(np.concatenate(train), domains, num_classes=2, inverse_l2=classifier.inverse_l2, max_iterations=2000)
    held = [side["folds"] == model.fold for side in sides]
    logits = [
        side["features"][out].astype(np.float64) @ (weight[1] - weight[0]) + (bias[1] - bias[0])
        for side, out in zip(sides, held, strict=True)
    ]
    return _held_out([side["ids"][out] for side, out in zip(sides, held, strict=True)], logits)


def _held_out(ids: list[np.ndarray], logits: list[np.ndarray]) -> dict[str, np.ndarray]:
    names = ("reference", "shift")
    result = {f"{name}_ids": np.ascontiguousarray(i) for name, i in zip(names, ids, strict=True)}
    return result | {f"{name}_logits": x.astype(np.float64) for name, x in zip(names, logits, strict=True)}


def domain_tuning(model: DomainTuning, job: Job, draft: Draft, context: Context) -> None:
    """Fine-tune at one learning rate on all folds but the first, and write the AUC on that."""
    held = _fine_tuned(job, model, model.rate, 0, context)
    draft.summary.update(rate=model.rate, auc=auc_of(held["reference_logits"], held["shift_logits"]))


def _fine_tuned(job: Job, model: SupportModel, rate: float, fold: int, context: Context) -> dict[str, np.ndarray]:
    """Linear probe, then fine-tuning, on all folds but one; return the logits on that one."""
    classifier = model.split.classifier
    assert isinstance(classifier, FineTunedClassifier)
    views, distributions = _views(model, job, context), (model.split.reference, model.shifted)
    folds = [folds_of(view, d, model) for view, d in zip(views, distributions, strict=True)]
    for numbers, whose in zip(folds, distributions, strict=True):
        _check_folds(numbers, str(whose), model)
    seen = [view.keep(view.ids[numbers != fold]) for view, numbers in zip(views, folds, strict=True)]
    out = [view.keep(view.ids[numbers == fold]) for view, numbers in zip(views, folds, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.split.seed)
        network, spec = _network(model, context)
        recipe = FineTune(
            classifier.init,
            head="random",
            features=classifier.features,
            epochs=classifier.epochs,
            batch_size=classifier.batch_size,
            clip_norm=1.0,
            optimizer=AdamW(lr=rate, weight_decay=classifier.weight_decay, decay_all=True),
            schedule=Cosine(warmup=1 if classifier.epochs > 1 else 0),
            seed=model.split.seed,
        )
        with torch.no_grad():
            features = [torch.cat([network.features(x).float().cpu() for x in _inputs(v, spec, job, context)]) for v in seen]
        domains = np.concatenate([np.ones(len(seen[0]), np.int64), np.zeros(len(seen[1]), np.int64)])
        weight, bias, _ = fit_head(
            torch.cat(features).double().numpy(), domains, num_classes=2, inverse_l2=1.0, max_iterations=2000
        )
        set_head(network, torch.from_numpy(weight), torch.from_numpy(bias))
        # Folds are many and independent: each is one process's work, whatever trainings are shared.
        batches = DomainBatches(seen, recipe, spec, context)
        run = TrainingRun(job, recipe, network, spec, batches, replace(context, ranks=ALONE))
        run.resume()
        run.train()
    logits = []
    with torch.no_grad():
        for view in out:
            outputs = torch.cat([network(x).float().cpu() for x in _inputs(view, spec, job, context)])
            logits.append((outputs[:, 1] - outputs[:, 0]).double().numpy() + batches.prior_correction)
    return _held_out([view.ids for view in out], logits)


class DomainBatches:
    """Batches in which reference (label 1) and shift (label 0) have their shares: a function of (epoch, step)."""

    def __init__(self, views: list[View], recipe: FineTune, spec: ModelSpec, context: Context) -> None:
        total = sum(len(view) for view in views)
        first = min(max(round(recipe.batch_size * len(views[0]) / total), 1), recipe.batch_size - 1)
        self.sides = [
            TrainingBatches(
                view,
                batch_size=min(size, len(view)),
                size=int(spec.preprocessing["size"]),
                crop=float(spec.preprocessing["crop"]),
                seed=recipe.seed,
                decode_threads=context.decode_threads,
                reader=context.reader,
                device=context.device,
            )
            for view, size in zip(views, (first, recipe.batch_size - first), strict=True)
        ]

    @property
    def prior_correction(self) -> float:
        """What to add to logits that were learnt from these batches: their shares are whole examples, and so not the data's."""
        (a, b), (n, m) = ([getattr(side, name) for side in self.sides] for name in ("batch_size", "examples"))
        return float(np.log(n / m) - np.log(a / b))

    @property
    def steps(self) -> int:
        return min(side.steps for side in self.sides)

    @property
    def examples(self) -> int:
        return sum(side.examples for side in self.sides)

    @property
    def source(self) -> str:
        return self.sides[0].source

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on; the longer side's last batches are left out."""
        pairs = zip(*(side.epoch(epoch, first=first) for side in self.sides), strict=False)
        for reference, shifted in pairs:
            labels = torch.cat([torch.ones_like(reference.labels), torch.zeros_like(shifted.labels)])
            images, ids = (torch.cat([getattr(reference, n), getattr(shifted, n)]) for n in ("images", "ids"))
            yield Batch(images, labels, ids, epoch, count=len(ids))
