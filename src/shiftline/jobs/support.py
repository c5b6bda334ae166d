"""Domain classifiers, out-of-fold logits, calibrated density ratios, and the parts of a shift (Cohen-Wang et al. 2024, B.4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from shiftline.data.loader import Batch, TrainingBatches, evaluation_chunks
from shiftline.data.randomness import uniform
from shiftline.data.views import View, open_view, select_some
from shiftline.declare.distributions import Distribution
from shiftline.declare.optimisers import AdamW, Cosine
from shiftline.declare.support import (
    LARGEST_REFERENCE,
    DomainFeatures,
    DomainFold,
    DomainTuning,
    EmbeddingClassifier,
    FineTunedClassifier,
    SupportModel,
    SupportPart,
    SupportRatio,
)
from shiftline.declare.training import FineTune
from shiftline.errors import DataError
from shiftline.jobs.context import Context, Interrupted
from shiftline.jobs.initial import initial_classifier
from shiftline.jobs.loop import TrainingRun
from shiftline.jobs.probe import fit_head
from shiftline.jobs.ranks import ALONE
from shiftline.models.classifier import Classifier, set_head
from shiftline.models.preprocessing import prepare
from shiftline.models.spec import ModelSpec
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.names import DOMAINS

FEWEST = 50
"""Examples of a part: with fewer an accuracy is known to no better than 14 points."""
THRESHOLDS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the sizes that are reported."""
POOR_AUC = 0.6
BINS = 10


# ---- which examples --------------------------------------------------------------------------------------------------


def _views(model: SupportModel, job: Job, context: Context) -> tuple[View, View]:
    """Open the sample of the reference and the shift.

    Raises
    ------
    DataError
        The reference has fewer examples (of the shift's classes) than were asked for.
    """
    split = model.split
    reference, shifted = (
        open_view(d, context.data, fingerprint=job.fingerprint(d)) for d in (split.reference, model.shifted)
    )
    records = [context.data.open(d.source).record for d in (split.reference, model.shifted)]
    space = model.shifted.label_space or records[1].space
    # A shift's classes may go by other names, or cover several of the reference's: its label space relates them.
    names = [record.ids if space is None else space.places(record.ids) for record in records]
    present = {names[1][label] for label in np.unique(shifted.labels)} - {-1}
    kept = np.array([name in present for name in names[0]])[reference.labels]
    if kept.any() and not kept.all():
        reference = _keep(reference, reference.ids[kept])
    if split.size is not None and len(reference) < split.size:
        raise DataError(
            f"{model.describe()}: {split.size} reference examples were asked for, {split.reference} has {len(reference)} of the "
            "shift's classes. Ask for fewer (SupportSplit.size), or give it more of the reference."
        )
    return select_some(reference, split.size or LARGEST_REFERENCE, seed=split.seed), shifted


def _keep(view: View, ids: np.ndarray) -> View:
    return replace(view, ids=ids, labels=view.labels_of(ids))


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
def domain_features(job: Job, draft: Draft, context: Context) -> None:
    """Compute embeddings and pooled pixels of one side."""
    model = job.model
    assert isinstance(model, DomainFeatures)
    classifier = model.split.classifier
    assert isinstance(classifier, EmbeddingClassifier)
    view = _views(model, job, context)[model.side == "shift"]
    distribution = model.split.reference if model.side == "reference" else model.shifted
    network, spec = _network(model, context)
    context.progress.begin(job.label, len(view))
    rows = []
    for inputs in _inputs(view, spec, job, context):
        parts = [network.features(inputs).float()]
        if classifier.pooled:
            parts.append(nn.functional.adaptive_avg_pool2d(inputs, classifier.pooled).flatten(1))
        rows.append(torch.cat(parts, dim=1).cpu().numpy())
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
    for chunk in evaluation_chunks(view, workers=context.workers, device=context.device):
        for images in chunk.images:
            if context.stop_requested():
                raise Interrupted(f"{job.label}: stopped; it is computed anew by the next run.")
            yield from prepare(images.to(context.device), spec.preprocessing).split(256)
        context.progress.advance(len(chunk.ids))


# ---- folds -----------------------------------------------------------------------------------------------------------


def domain_fold(job: Job, draft: Draft, context: Context) -> None:
    """Fit a classifier on all folds but one, and write its logits (positive: reference) on that one."""
    model = job.model
    assert isinstance(model, DomainFold)
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
    sides = [load_file(context.store.file(context.plan.artifacts[one], DOMAINS)) for one in model.inputs]
    for side, whose in zip(sides, (model.split.reference, model.shifted), strict=True):
        _check_folds(side["folds"], str(whose), model)
    train = [side["features"][side["folds"] != model.fold].astype(np.float64) for side in sides]
    domains = np.concatenate([np.ones(len(train[0]), np.int64), np.zeros(len(train[1]), np.int64)])
    weight, bias, _ = fit_head(
        np.concatenate(train), domains, num_classes=2, inverse_l2=classifier.inverse_l2, max_iterations=2000
    )
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


def domain_tuning(job: Job, draft: Draft, context: Context) -> None:
    """Fine-tune at one learning rate on all folds but the first, and write the AUC on that."""
    model = job.model
    assert isinstance(model, DomainTuning)
    held = _fine_tuned(job, model, model.rate, 0, context)
    draft.summary.update(rate=model.rate, auc=_auc(held["reference_logits"], held["shift_logits"]))


def _fine_tuned(job: Job, model: SupportModel, rate: float, fold: int, context: Context) -> dict[str, np.ndarray]:
    """Linear probe, then fine-tuning, on all folds but one; return the logits on that one."""
    classifier = model.split.classifier
    assert isinstance(classifier, FineTunedClassifier)
    views, distributions = _views(model, job, context), (model.split.reference, model.shifted)
    folds = [folds_of(view, d, model) for view, d in zip(views, distributions, strict=True)]
    for numbers, whose in zip(folds, distributions, strict=True):
        _check_folds(numbers, str(whose), model)
    seen = [_keep(view, view.ids[numbers != fold]) for view, numbers in zip(views, folds, strict=True)]
    out = [_keep(view, view.ids[numbers == fold]) for view, numbers in zip(views, folds, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.split.seed)
        network, spec = _network(model, context)
        recipe = FineTune(
            classifier.init, head="random", features=classifier.features, epochs=classifier.epochs,
            batch_size=classifier.batch_size, clip_norm=1.0,
            optimizer=AdamW(lr=rate, weight_decay=classifier.weight_decay, decay_all=True),
            schedule=Cosine(warmup=1 if classifier.epochs > 1 else 0), seed=model.split.seed,
        )  # fmt: skip
        with torch.no_grad():
            features = [
                torch.cat([network.features(x).float().cpu() for x in _inputs(v, spec, job, context)]) for v in seen
            ]
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
                view, batch_size=min(size, len(view)), size=int(spec.preprocessing["size"]),
                crop=float(spec.preprocessing["crop"]), seed=recipe.seed, workers=context.workers, reader=context.reader,
                device=context.device,
            )
            for view, size in zip(views, (first, recipe.batch_size - first), strict=True)
        ]  # fmt: skip

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


# ---- ratios ----------------------------------------------------------------------------------------------------------


def support(job: Job, draft: Draft, context: Context) -> None:
    """Pool the folds, calibrate, and write the density ratio of every example."""
    model = job.model
    assert isinstance(model, SupportRatio)
    folds = [load_file(context.store.file(context.plan.artifacts[fold], DOMAINS)) for fold in model.folds]
    pooled = {name: np.concatenate([fold[name] for fold in folds]) for name in folds[0]}
    for side in ("reference", "shift"):
        order = np.argsort(pooled[f"{side}_ids"], kind="stable")
        for name in ("ids", "logits"):
            pooled[f"{side}_{name}"] = pooled[f"{side}_{name}"][order]
    reference, shifted = pooled["reference_logits"], pooled["shift_logits"]
    slope = calibration_slope(np.concatenate([reference, shifted]), np.repeat([1, -1], [len(reference), len(shifted)]))
    pooled["ratios"] = density_ratio(shifted, slope, len(reference), len(shifted))
    pooled["reference_ratios"] = density_ratio(reference, slope, len(reference), len(shifted))
    save_file(pooled, draft.folder / DOMAINS)
    auc = _auc(reference, shifted)
    draft.summary.update(
        auc=auc, slope=slope, n_reference=len(reference), n_shift=len(shifted), poor=auc < POOR_AUC,
        sizes=[[t, int((pooled["ratios"] >= t).sum()), int((pooled["ratios"] < t).sum())] for t in THRESHOLDS],
        calibration=calibration_bins(reference, shifted, slope),
    )  # fmt: skip


def _auc(reference: np.ndarray, shifted: np.ndarray) -> float:
    domains = np.repeat([1, 0], [len(reference), len(shifted)])
    return float(roc_auc_score(domains, np.concatenate([reference, shifted])))


def calibration_slope(logits: np.ndarray, signs: np.ndarray) -> float:
    """Return ``argmin_a sum log(1 + exp(-a f y))``, solved exactly: the root of its monotone derivative.

    Parameters
    ----------
    logits : float64 array, shape (N,)
    signs : array of 1 (reference) and -1 (shift), shape (N,)

    Returns
    -------
    float
        0 where the logits tell nothing; at most 100, which is reached where they tell everything.
    """
    margins = logits * signs

    def derivative(a: float) -> float:
        return float(-(margins * expit(-a * margins)).sum())

    if derivative(0.0) >= 0:
        return 0.0
    return 100.0 if derivative(100.0) < 0 else float(brentq(derivative, 0.0, 100.0, xtol=1e-12))


def density_ratio(logits: np.ndarray, slope: float, n_reference: int, n_shift: int) -> np.ndarray:
    """Return ``p_ref(x) / p_shift(x) = [p(ref|x) / p(shift|x)] * [p(shift) / p(ref)]``, float64, shape (N,)."""
    with np.errstate(over="ignore"):
        ratio: np.ndarray = np.exp(slope * logits) * (n_shift / n_reference)
    return ratio


def calibration_bins(reference: np.ndarray, shifted: np.ndarray, slope: float) -> list[list[float]]:
    """Return [mean predicted probability of being reference, examples of the reference, examples] by tenths of the examples."""
    predicted = expit(slope * np.concatenate([reference, shifted]))
    domains = np.repeat([1, 0], [len(reference), len(shifted)])
    order = np.argsort(predicted, kind="stable")
    return [
        [float(predicted[rows].mean()), int(domains[rows].sum()), len(rows)]
        for rows in np.array_split(order, BINS)
        if len(rows)
    ]


def support_part(job: Job, draft: Draft, context: Context) -> None:
    """Write the ids of one part.

    Raises
    ------
    DataError
        It has fewer than 50 examples.
    """
    model = job.model
    assert isinstance(model, SupportPart)
    key = context.plan.artifacts[model.ratio]
    found = load_file(context.store.file(key, DOMAINS))
    inside = found["ratios"] >= model.threshold
    ids = found["shift_ids"][inside if model.part == "in" else ~inside]
    if len(ids) < FEWEST:
        sizes = context.store.manifest(key).summary["sizes"]
        row = "; ".join(f"{t:g}: {a}/{b}" for t, a, b in sizes)
        raise DataError(
            f"the {model.part}-support part of {model.shifted} has {len(ids)} of {len(inside)} examples at the ratio "
            f"{model.threshold:g}: expected {FEWEST} or more, an accuracy would mean little. In- and out-of-support examples by "
            f"threshold: {row}. Choose another threshold, or leave this part out."
        )
    save_file({"ids": np.ascontiguousarray(ids)}, draft.folder / DOMAINS)
    draft.summary.update(n=len(ids), of=len(inside))
