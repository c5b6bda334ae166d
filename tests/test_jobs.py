"""Predictions, scores and selections: fused equals separate, counts equal a recount, failures stay where they belong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import TinyStudy
from shiftline import SGD, FineTune, FromScratch, Interpolate, ZeroShot, glyph_clip, glyph_net
from shiftline.contracts.metrics import accuracy
from shiftline.engine import predict as predict_module
from shiftline.engine.context import Context
from shiftline.engine.predict import predict_group
from shiftline.engine.predictions import load_predictions
from shiftline.engine.weight_cache import WeightCache
from shiftline.errors import StoreError, WeightsError
from shiftline.launch.planning import data_folder
from shiftline.networks.preprocessing import prepare
from shiftline.operations.selection import Best
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft, Store
from shiftline.store.attempts import Attempts


def context_of(study, store=None):
    plan = study.plan()
    target = study.store if store is None else store
    return Context(
        plan=plan,
        store=target,
        attempts=Attempts(target),
        data=data_folder(study.store),
        weights=WeightCache(study.store, plan.artifacts),
    )


def test_fused_predictions_have_the_bits_of_separate_ones(tiny, tmp_path):
    context = context_of(tiny, Store(tmp_path))
    jobs = [job for job in context.plan.jobs.values() if job.kind == "predict"]
    for group in ([j for j in jobs if j.distribution == d] for d in {j.distribution for j in jobs}):
        for job in group[::3]:
            predict_group([job], context)
            alone, together = (load_predictions(store, job.key) for store in (context.store, tiny.store))
            for name in ("logits", "labels", "ids"):
                assert torch.equal(alone[name], together[name]), (job.label, name)


def test_predictions_do_not_depend_on_the_chunk_or_the_workers(tiny, tmp_path, monkeypatch):
    context = context_of(tiny, Store(tmp_path))
    job = next(j for j in context.plan.jobs.values() if j.kind == "predict" and isinstance(j.model, Interpolate))
    # A multiple of the inference batch: the batches that pass through the model stay the same.
    monkeypatch.setattr(predict_module, "LARGEST_CHUNK", predict_module.inference_batch("cpu"))
    context.decode_threads = 3
    predict_group([job], context)
    assert torch.equal(load_predictions(context.store, job.key)["logits"], load_predictions(tiny.store, job.key)["logits"])


def test_logits_are_those_of_the_model_on_the_images(tiny):
    from shiftline.data.loader import evaluation_chunks
    from shiftline.data.views import open_view

    context = context_of(tiny)
    for job in [j for j in context.plan.jobs.values() if j.kind == "predict"][::7]:
        (chunk,) = evaluation_chunks(open_view(job.distribution, context.data), chunk_size=4096)
        state, spec = context.weights.state(job.model)
        module = context.weights.module(job.model)
        with torch.no_grad():
            expected = module(prepare(chunk.images[0], spec.preprocessing))
        found = load_predictions(tiny.store, job.key)
        torch.testing.assert_close(found["logits"], expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(found["ids"], chunk.ids)
        assert all(torch.isfinite(t).all() for t in state.values())


def test_models_with_one_encoder_compute_its_features_once(tiny, tmp_path, monkeypatch):
    context = context_of(tiny, Store(tmp_path))
    jobs = [
        job
        for job in context.plan.jobs.values()
        if job.kind == "predict"
        and type(job.model).__name__ in ("ZeroShot", "LinearProbe")
        and job.distribution == tiny.reference.test
    ]
    assert len(jobs) == 2
    calls = []
    original = torch.nn.Module.__call__
    from shiftline.networks.glyph_nets import GlyphTrunk

    monkeypatch.setattr(GlyphTrunk, "__call__", lambda self, x: (calls.append(len(x)), original(self, x))[1])
    predict_group(jobs, context)
    assert sum(calls) == 697


def test_training_reads_through_ffcv(tiny):
    readers = {tiny.store.manifest(j.key).summary["reader"] for j in tiny.plan().jobs.values() if j.kind == "train"}
    assert readers == {"ffcv"}


def test_scores_count_what_was_predicted(tiny):
    for planned in tiny.plan().models:
        for score in planned.scores:
            tensors = load_predictions(tiny.store, planned.predictions[score.distribution])
            correct = int(np.sum(tensors["logits"].numpy().argmax(1) == tensors["labels"].numpy()))
            summary = tiny.store.manifest(score.key).summary
            assert (summary["correct"], summary["n"]) == (correct, len(tensors["ids"]))
            assert len(set(tensors["ids"].tolist())) == len(tensors["ids"])


def test_the_selected_candidate_has_the_highest_validation_accuracy(tiny):
    plan = tiny.plan()
    (select,) = [job for job in plan.jobs.values() if job.kind == "select"]
    summary = tiny.store.manifest(select.key).summary
    counts = [tiny.store.manifest(key).summary for (key,) in select.document["candidates"]]
    assert summary["values"] == [count["correct"] / count["n"] for count in counts]
    assert summary["index"] == int(np.argmax(summary["values"]))
    assert select.distribution == tiny.reference.val


def test_interpolated_ends_have_the_bits_of_the_ends(tiny):
    models = {m.named.model: m for m in tiny.plan().models}
    for end, same in (("wise-ft alpha=0", "zero-shot"), ("wise-ft alpha=1", "tuned seed=0")):
        for name in models[end].predictions:
            first, second = (load_predictions(tiny.store, models[m].predictions[name])["logits"] for m in (end, same))
            assert torch.equal(first, second)


def test_interpolated_weights_are_not_stored(tiny):
    stored = {tiny.store.manifest(key).kind for key in tiny.store.complete()}
    assert stored == {"train", "zero-shot", "features", "probe", "predict", "score", "select"}


def test_damaged_predictions_are_one_clear_error(tiny, tmp_path):
    import shutil

    plan = tiny.plan()
    key = next(iter(plan.models[0].predictions.values()))
    copy = Store(tmp_path)
    shutil.copytree(tiny.store.path(key), copy.path(key))
    path = copy.path(key) / "predictions.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="is damaged: .* bytes were recorded"):
        load_predictions(copy, key)


def test_the_cache_forgets_the_least_recently_used_and_reads_again(tiny):
    plan = tiny.plan()
    cache = WeightCache(tiny.store, plan.artifacts, limit=1)
    models = [m.expression for m in plan.models]
    first = {n: t.clone() for n, t in cache.state(models[0])[0].items()}
    for model in models:
        cache.module(model)
    assert len(cache._states) <= 2
    again = cache.state(models[0])[0]
    assert all(torch.equal(first[n], again[n]) for n in first)


def test_ends_with_different_features_are_refused_by_the_cache(tiny):
    plan = tiny.plan()
    cache = WeightCache(tiny.store, plan.artifacts)
    by_type = {type(m.expression).__name__: m.expression for m in plan.models}
    with pytest.raises(WeightsError, match="differ in architecture"):
        cache.state(Interpolate(by_type["ZeroShot"], plan.models[0].expression, 0.5))


class Failing(TinyStudy):
    """One model that cannot be trained, one that depends on it, one that is fine."""

    name = "failing"
    baseline = None

    def models(self):
        few = self.reference.train.fraction(0.1)
        bad = FromScratch(glyph_net("mlp"), train_on=few, epochs=1, batch_size=20, optimizer=SGD(lr=1e30), seed=5)
        return {
            "bad": bad,
            "needs it": FineTune(bad, train_on=few, epochs=1, batch_size=20),
            "fine": ZeroShot(glyph_clip(), templates=("the digit {}",)),
        }


def test_a_failure_blocks_only_what_depends_on_it(new_store):
    study = Failing(store=new_store, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 1
    assert len(outcome.failed) == 1
    assert "the loss became" in next(iter(outcome.failed.values()))
    states = {}
    for row in study.status():
        states.setdefault(row.state, []).append(row)
    assert len(states["failed"]) == 1
    assert "the loss became" in states["failed"][0].detail
    assert len(states["blocked"]) == len(outcome.blocked) == 17
    table = study.results().set_index("model")
    assert table.loc["fine", "value"].notna().all()
    assert table.loc[["bad", "needs it"], "value"].isna().all()
    assert len(table) == 12
    # A failure is never a result: a second run tries again, and nothing else.
    again = study.run()
    assert again.made == 0
    assert len(again.failed) == 1


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        ([[0.5], [0.9], [0.7]], "best", 1),
        ([[0.5], [0.9], [0.9]], "best", 1),
        ([[0.9, 0.1], [0.6, 0.6]], "best", 1),
        ([[0.5], [0.889], [0.891], [0.9]], "one-standard-error", 2),
        # Two held-out sets: the standard error of the mean of two is smaller by the root of two.
        ([[0.892, 0.892], [0.894, 0.894], [0.9, 0.9]], "one-standard-error", 1),
    ],
)
def test_selections_follow_their_rule(tmp_path, values, rule, expected):
    store = Store(tmp_path)
    keys = []
    for row, scores in enumerate(values):
        keys.append([])
        for column, value in enumerate(scores):
            key = f"{row:032x}{column:032x}"
            with store.publish(key, "score", {}) as draft:
                draft.summary.update(value=value, n=100)
                if rule != "best":
                    draft.summary.update(variance=0.01**2)
            keys[-1].append(key)
    candidates = tuple(FromScratch(glyph_net("mlp"), seed=seed) for seed in range(len(values)))
    selection = Best(candidates, accuracy(), rule=rule)
    job = Job("s" * 64, "select", {"candidates": keys}, (), "select", model=selection)
    draft = Draft(tmp_path)
    selection.produce(job, draft, SimpleNamespace(store=store))
    assert draft.summary["index"] == expected
