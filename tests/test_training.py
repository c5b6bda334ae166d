"""Training: against a plain loop, resumed bit for bit, and stopped with a reason where it goes wrong."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftline import (
    SGD,
    Adam,
    AdamW,
    Architecture,
    ColourJitter,
    Constant,
    Cosine,
    CutMix,
    Cutout,
    ExperimentManager,
    FineTune,
    FromScratch,
    HorizontalFlip,
    LinearProbe,
    Mixup,
    RandAugment,
    RandomResizedCrop,
    Split,
    Step,
    Translate,
    Triangle,
    ZeroShot,
    glyph_clip,
    glyph_net,
    handwritten_digits,
)
from shiftline.contracts.files import checkpoint_file
from shiftline.data.loader import TrainingBatches
from shiftline.data.views import open_view
from shiftline.engine.context import Context, Interrupted
from shiftline.engine.heads import fit_head
from shiftline.engine.run import run_group
from shiftline.engine.weight_cache import WeightCache
from shiftline.launch.planning import data_folder, plan_study
from shiftline.networks.preprocessing import normalise
from shiftline.networks.spec import build_classifier, load_model
from shiftline.operations.fine_tune import TrainingTask
from shiftline.store.attempts import Attempts

REFERENCE = handwritten_digits()


class One(ExperimentManager):
    """A study of one model."""

    name = "one"
    reference = REFERENCE
    threads = 1

    def __init__(self, recipe, **options):
        super().__init__(quiet=True, **options)
        self.recipe = recipe

    def models(self):
        return {"it": self.recipe}


def prepared(recipe, store, **options):
    """The training job of a recipe and a context to run it in."""
    study = One(recipe, store=store)
    plan = plan_study(study.declaration(), study.store)
    context = Context(
        plan=plan,
        store=study.store,
        attempts=Attempts(study.store),
        data=data_folder(study.store),
        weights=WeightCache(study.store, plan.artifacts),
        decode_threads=1,
        **options,
    )
    return next(job for job in plan.jobs.values() if job.kind in ("train", "probe")), context


def run_with_parents(job, context):
    """Run a job after the jobs that it needs."""
    for key in job.parents:
        if not context.store.has(key):
            run_with_parents(context.plan.jobs[key], context)
    run_group([job], context)


def weights(context, job, name="model.safetensors"):
    return load_model(context.store.file(job.key, name))[0]


def equal(first, second):
    return set(first) == set(second) and all(torch.equal(first[n], second[n]) for n in first)


def few(share=0.1):
    return REFERENCE.train.fraction(share)


def test_it_is_the_plain_loop(new_store):
    recipe = FromScratch(
        glyph_net("mlp"),
        train_on=few(),
        epochs=2,
        batch_size=32,
        optimizer=SGD(lr=0.05, weight_decay=0.01),
        schedule=Constant(),
        label_smoothing=0.1,
        augment=[Translate(1)],
        seed=4,
    )
    job, context = prepared(recipe, new_store)
    run_group([job], context)
    found, spec = load_model(context.store.file(job.key, "model.safetensors"))

    torch.manual_seed(4)
    model = build_classifier(spec)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": matrices, "weight_decay": 0.01}, {"params": rest}], lr=0.05, momentum=0.9)
    batches = TrainingBatches(open_view(few(), context.data), batch_size=32, size=32, augmentations=recipe.augment, seed=4)
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            optimizer.zero_grad()
            logits = model(normalise(batch.images, spec.preprocessing))
            torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=0.1).backward()
            optimizer.step()
    assert equal(found, model.state_dict())


class Dropped(Architecture):
    """An architecture that draws random numbers in its forward pass."""

    tag = "tests/dropped"
    size = 32

    def build(self):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 16), torch.nn.ReLU(), torch.nn.Dropout(0.3))
        net.num_features = 16
        return net


CLIP = ZeroShot(glyph_clip(), templates=("the digit {}",))
SHORT = {"train_on": few(), "epochs": 4, "batch_size": 16}
RESUMED = {
    "sgd": FromScratch(
        glyph_net("conv-narrow"),
        optimizer=SGD(lr=0.05, nesterov=True),
        schedule=Step(every=2),
        augment=[Translate(2), HorizontalFlip()],
        **SHORT,
    ),
    "adamw": FromScratch(
        glyph_net("mlp"), optimizer=AdamW(lr=1e-3), schedule=Cosine(warmup=1), clip_norm=1.0, save=(1, 3), **SHORT
    ),
    "adam-bf16": FromScratch(glyph_net("mlp"), optimizer=Adam(lr=1e-3), schedule=Triangle(warmup=1), precision="bf16", **SHORT),
    "fp16": FromScratch(
        glyph_net("mlp"), optimizer=SGD(lr=0.05), schedule=Constant(warmup_steps=3), precision="fp16", clip_norm=1.0, **SHORT
    ),
    "mixup": FromScratch(glyph_net("mlp"), optimizer=AdamW(lr=1e-3), mix=Mixup(0.4), accumulate=3, **SHORT),
    "cutmix": FromScratch(
        glyph_net("mlp"),
        optimizer=AdamW(lr=1e-3),
        mix=CutMix(),
        label_smoothing=0.1,
        augment=[RandAugment(), Cutout(6), ColourJitter(0.4, 0.4, 0.4, 0.1)],
        **SHORT,
    ),
    "steps": FromScratch(
        glyph_net("mlp"),
        train_on=few(),
        steps=20,
        batch_size=16,
        optimizer=SGD(lr=0.05),
        schedule=Step(every_steps=7),
        save=(3, 8, 20),
    ),
    "fresh": FromScratch(
        glyph_net("mlp"),
        train_on=REFERENCE.train.fraction(0.4).class_rates(range(1, 11), fresh=True),
        epochs=3,
        batch_size=16,
        optimizer=SGD(lr=0.05),
    ),
    "dropout": FromScratch(Dropped(), optimizer=SGD(lr=0.05), augment=[RandomResizedCrop()], **SHORT),
    "features": FineTune(CLIP, optimizer=AdamW(lr=1e-3), trainable="head", **SHORT),
    "frozen": FineTune(
        CLIP, train_on=few(), epochs=2, batch_size=16, optimizer=AdamW(lr=1e-3), trainable="head", augment=[Translate(1)]
    ),
    "joint": FineTune(
        CLIP,
        epochs=2,
        batch_size=16,
        optimizer=AdamW(lr=1e-3),
        trainable="encoder",
        other_data=True,
        tasks=[TrainingTask(few(), CLIP), TrainingTask(Split("typed-digits", "test").indices(range(40)), CLIP)],
    ),
}


@pytest.mark.parametrize(("name", "stop_at"), [*((name, 9) for name in RESUMED), ("adamw", 1), ("steps", 0)])
def test_resuming_equals_not_being_interrupted(tmp_path, data_root, name, stop_at):
    recipe = RESUMED[name]
    stores = []
    for place in ("whole", "cut"):
        store = tmp_path / place
        store.mkdir()
        (store / "data").symlink_to(data_root)
        stores.append(store)
    made = []
    for store, interrupted in zip(stores, (False, True), strict=True):
        job, context = prepared(recipe, store)
        for key in job.parents:
            run_with_parents(context.plan.jobs[key], context)
        if interrupted:
            asked = iter(range(100))
            context.stop_requested = lambda asked=asked: next(asked) >= stop_at
            with pytest.raises(Interrupted, match=r"stopped at epoch \d+, step \d+"):
                run_group([job], context)
            assert not context.store.has(job.key)
            # A new process would have another random state.
            torch.manual_seed(99)
            context.stop_requested = lambda: False
        run_group([job], context)
        made.append((job, context))
    assert made[0][0].key == made[1][0].key
    for file in ("model.safetensors", *(checkpoint_file(recipe.epoch_or_step, after) for after in recipe.save)):
        assert equal(*(weights(context, job, file) for job, context in made))


@pytest.mark.slow
def test_killed_trainings_go_on_and_end_with_the_same_bits(tmp_path, data_root):
    """Every kind of training, in a process that is killed at random moments and started again."""
    code = """
import sys; sys.path.insert(0, sys.argv[1])
from test_training import RESUMED, prepared, run_with_parents
recipes = {name: r.replace(steps=300) if r.epoch_or_step == "step" else r.replace(epochs=24) for name, r in RESUMED.items()}
print("ready", flush=True)
for recipe in recipes.values():
    job, context = prepared(recipe, sys.argv[2], save_seconds=0.1)
    if not context.store.has(job.key):
        run_with_parents(job, context)
    print(job.key, flush=True)
"""
    keys, kills, moments = [], 0, random.Random(0)
    for place in ("whole", "cut"):
        store = tmp_path / place
        store.mkdir()
        (store / "data").symlink_to(data_root)
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(store)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        while place == "cut" and kills < 5:
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as victim:
                assert victim.stdout.readline() == "ready\n"
                time.sleep(moments.uniform(0.5, 6))
                victim.send_signal(signal.SIGKILL)
                kills += victim.wait() == -signal.SIGKILL
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        keys.append(done.stdout.split()[1:])
    assert keys[0] == keys[1]
    assert len(keys[0]) == len(RESUMED)
    for key in keys[0]:
        folders = [tmp_path / place / "artifacts" / key[:2] / key for place in ("whole", "cut")]
        files = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in folders]
        assert files[0] == files[1]
        for name in files[0]:
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_damaged_state_says_what_to_delete(new_store):
    job, context = prepared(RESUMED["sgd"], new_store)
    folder = context.attempts.state(job.key)
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"junk")
    with pytest.raises(Exception, match="cannot be read .*Delete it to start this training again"):
        run_group([job], context)


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(new_store):
    recipe = FromScratch(glyph_net("mlp"), train_on=few(), epochs=3, batch_size=16, optimizer=SGD(lr=1e30))
    job, context = prepared(recipe, new_store)
    with pytest.raises(Exception, match=r"the loss became (nan|inf) in epoch 1.*Lower the learning rate"):
        run_group([job], context)
    assert not context.store.has(job.key)


def test_the_log_has_a_line_per_epoch(new_store):
    job, context = prepared(RESUMED["adamw"], new_store)
    run_group([job], context)
    lines = [json.loads(line) for line in context.attempts.log(job.key).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]) == {"epoch", "step", "loss", "lr", "images_per_second"}
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_saved_epochs_are_the_weights_of_those_epochs(tmp_path, data_root):
    """Constant learning rate: the first epoch of four is the whole of a one-epoch training."""
    recipe = RESUMED["adamw"].replace(schedule=Constant(), save=(1, 4))
    made = {}
    for number, changed in enumerate((recipe, recipe.replace(epochs=1, save=()))):
        store = tmp_path / str(number)
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(changed, store)
        run_group([job], context)
        made[number] = (job, context)
    job, context = made[0]
    assert equal(weights(context, job, "epoch-0001.safetensors"), weights(*reversed(made[1])))
    assert equal(weights(context, job, "epoch-0004.safetensors"), weights(context, job))


@pytest.mark.parametrize("accumulate", [2, 5, 16])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, data_root, accumulate):
    """The last batch of 90 = 5 * 16 + 10 is cut into fewer or smaller parts."""
    made = []
    for number, parts in enumerate((1, accumulate)):
        store = tmp_path / str(number)
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(
            FromScratch(glyph_net("mlp"), optimizer=SGD(lr=0.05), accumulate=parts, clip_norm=0.5, **SHORT), store
        )
        run_group([job], context)
        made.append(weights(context, job))
    for name, tensor in made[0].items():
        torch.testing.assert_close(made[1][name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mix", [Mixup(0.5), CutMix()])
def test_mixing_is_the_plain_loop_over_soft_labels(new_store, mix):
    recipe = FromScratch(
        glyph_net("mlp"),
        train_on=few(),
        epochs=2,
        batch_size=32,
        optimizer=SGD(lr=0.05),
        schedule=Constant(),
        mix=mix,
        label_smoothing=0.1,
        seed=4,
    )
    job, context = prepared(recipe, new_store)
    run_group([job], context)
    found, spec = load_model(context.store.file(job.key, "model.safetensors"))
    torch.manual_seed(4)
    model = build_classifier(spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    batches = TrainingBatches(open_view(few(), context.data), batch_size=32, size=32, seed=4, mixed=True)
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            optimizer.zero_grad()
            images, partners = (normalise(b.images, spec.preprocessing) for b in (batch, batch.partners))
            mixed, share = mix.pairs(images, partners, batch.ids, seed=4, epoch=epoch)
            one, other = (torch.nn.functional.one_hot(b.labels, 10).float() for b in (batch, batch.partners))
            target = share[:, None] * one + (1 - share[:, None]) * other
            target = 0.9 * target + 0.1 / 10
            (-(target * model(mixed).log_softmax(dim=1)).sum(dim=1).mean()).backward()
            optimizer.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


def test_training_on_cached_features_is_training_under_a_frozen_encoder(tmp_path, data_root):
    """An augmentation that changes nothing makes the encoder run in every step."""
    made = {}
    for name, augment in (("features", []), ("images", [Translate(0)])):
        store = tmp_path / name
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(FineTune(CLIP, optimizer=SGD(lr=0.1), trainable="head", augment=augment, **SHORT), store)
        run_with_parents(job, context)
        assert ("features" in job.document) == (name == "features")
        assert context.store.manifest(job.key).summary["reader"] == ("features" if name == "features" else "ffcv")
        made[name] = weights(context, job)
    for name, tensor in made["images"].items():
        torch.testing.assert_close(made["features"][name], tensor, rtol=1e-4, atol=1e-5)


def test_two_probes_of_one_encoder_share_its_features(new_store):
    class Probes(One):
        def models(self):
            return {
                "a": [LinearProbe(CLIP, train_on=few(), inverse_l2=c) for c in (0.1, 1.0)],
                "b": FineTune(CLIP, trainable="head", **SHORT),
            }

    plan = Probes(None, store=new_store).plan()
    assert sum(job.kind == "features" for job in plan.jobs.values()) == 1


def test_weights_after_steps_are_the_weights_after_those_steps(tmp_path, data_root):
    recipe = RESUMED["steps"].replace(schedule=Constant(), save=(8, 20))
    made = []
    for number, changed in enumerate((recipe, recipe.replace(steps=8, save=()))):
        store = tmp_path / str(number)
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(changed, store)
        run_group([job], context)
        made.append((job, context))
    (job, context), (short, other) = made
    assert context.store.manifest(job.key).summary["steps"] == 20
    assert equal(weights(context, job, "step-0008.safetensors"), weights(other, short))
    assert equal(weights(context, job, "step-0020.safetensors"), weights(context, job))


def test_fp16_is_fp16_on_the_cpu_too(new_store):
    """Fabric alone would train in bf16: the scaler's state tells which it is."""
    job, context = prepared(RESUMED["fp16"], new_store, stop_requested=iter([False] * 3 + [True] * 9).__next__)
    with pytest.raises(Interrupted):
        run_group([job], context)
    state = torch.load(context.attempts.state(job.key) / "state.pt", weights_only=True)
    assert state["precision"]["scale"] >= 1


def test_a_frozen_head_stays_as_it_was(new_store):
    job, context = prepared(FineTune(CLIP, optimizer=AdamW(lr=1e-3), trainable="encoder", **SHORT), new_store)
    run_with_parents(job, context)
    (start,) = [j for j in context.plan.jobs.values() if j.kind == "zero-shot"]
    before, after = weights(context, start), weights(context, job)
    assert torch.equal(before["head.weight"], after["head.weight"])
    assert not torch.equal(before["encoder.stem.weight"], after["encoder.stem.weight"])


def test_every_part_of_a_joint_training_is_seen_through_its_own_head(new_store):
    """Under heads that disagree about everything, the loss is that of chance with one head and falls with its own."""
    other = ZeroShot(
        glyph_clip(),
        templates=("the digit {}",),
        classes=("nine", "eight", "seven", "six", "five", "four", "three", "two", "one", "zero"),
    )
    images = REFERENCE.train.indices(range(100))
    flipped = Split("typed-digits", "test").indices(range(100))
    recipe = FineTune(
        CLIP,
        epochs=1,
        batch_size=50,
        optimizer=SGD(lr=1e-9),
        trainable="encoder",
        other_data=True,
        tasks=[TrainingTask(images, CLIP), TrainingTask(flipped, other)],
    )
    job, context = prepared(recipe, new_store)
    run_with_parents(job, context)
    expected = []
    for task in recipe.tasks:
        view = open_view(task.train_on, context.data)
        module = context.weights.module(CLIP)
        head = context.weights.state(task.head)[0]
        batch = next(TrainingBatches(view, batch_size=100, size=32).epoch(0))
        with torch.no_grad():
            features = module.features(normalise(batch.images, context.backbones[glyph_clip()].preprocessing))
            logits = features @ head["head.weight"].T + head["head.bias"]
            expected.append(float(torch.nn.functional.cross_entropy(logits, batch.labels)))
    assert expected[1] > 2 * expected[0]
    assert context.store.manifest(job.key).summary["loss"] == pytest.approx(np.mean(expected), rel=1e-3)


def test_a_head_on_the_backbone_sits_before_the_projection(new_store):
    job, context = prepared(FineTune(glyph_clip(), head="random", **SHORT), new_store)
    run_group([job], context)
    state, spec = load_model(context.store.file(job.key, "model.safetensors"))
    assert spec.features == "backbone"
    assert state["head.weight"].shape == (10, 128)
    assert not any(name.startswith("encoder.projection") for name in state)
    model = build_classifier(spec)
    model.load_state_dict(state)
    assert model.features(torch.randn(2, 3, 32, 32)).norm(dim=1).sub(1).abs().min() > 1e-3


def test_tensorboard_gets_what_the_log_has(new_store):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job, context = prepared(RESUMED["adamw"], new_store, tensorboard=True)
    run_group([job], context)
    lines = [json.loads(line) for line in context.attempts.log(job.key).read_text().splitlines()]
    events = EventAccumulator(str(new_store / "tensorboard" / job.key[:12]))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([line["loss"] for line in lines])


@pytest.mark.slow
def test_a_compiled_network_is_trained_alike(tmp_path, data_root):
    made = []
    for compiled in (False, True):
        store = tmp_path / str(compiled)
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(FromScratch(glyph_net("mlp"), optimizer=SGD(lr=0.01), **SHORT), store, compiled=compiled)
        run_group([job], context)
        made.append(weights(context, job))
    assert set(made[0]) == set(made[1])
    for name, tensor in made[0].items():
        torch.testing.assert_close(made[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_a_frozen_encoder_stays_as_it_was(new_store):
    recipe = FineTune(
        ZeroShot(glyph_clip(), templates=("the digit {}",)), train_on=few(), epochs=1, batch_size=16, trainable="head"
    )
    job, context = prepared(recipe, new_store)
    (start,) = [j for j in context.plan.jobs.values() if j.kind == "zero-shot"]
    run_with_parents(job, context)
    before, after = weights(context, start), weights(context, job)
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("encoder."))
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_a_new_head_is_new_and_the_encoder_is_kept(new_store):
    clip = ZeroShot(glyph_clip(), templates=("the digit {}",))
    recipe = FineTune(clip, head="random", train_on=few(), epochs=1, batch_size=16, optimizer=SGD(lr=1e-12, momentum=0.0))
    job, context = prepared(recipe, new_store)
    (start,) = [j for j in context.plan.jobs.values() if j.kind == "zero-shot"]
    run_with_parents(job, context)
    before, after = weights(context, start), weights(context, job)
    torch.testing.assert_close(before["encoder.stem.weight"], after["encoder.stem.weight"])
    assert (before["head.weight"] - after["head.weight"]).abs().max() > 1


@pytest.mark.parametrize("warmup", [0.0, 2.0])
@pytest.mark.parametrize("name", ["constant", "cosine", "triangle", "step"])
def test_schedules_are_torchs(name, warmup):
    from torch.optim import lr_scheduler as torchs

    steps, epochs = 10, 8
    schedule = {
        "constant": Constant(warmup),
        "cosine": Cosine(warmup),
        "triangle": Triangle(warmup),
        "step": Step(3, warmup=warmup),
    }[name]
    found = [schedule.multiplier(step=s, total=steps * epochs, steps_per_epoch=steps) for s in range(steps * epochs)]
    first = int(warmup * steps)
    remaining = steps * epochs - first
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    after = {
        "constant": lambda: torchs.ConstantLR(optimizer, 1.0),
        "cosine": lambda: torchs.CosineAnnealingLR(optimizer, remaining),
        "triangle": lambda: torchs.LinearLR(optimizer, 1.0, 0.0, remaining),
        "step": lambda: torchs.StepLR(optimizer, 3 * steps, 0.1),
    }[name]()
    expected = [(s + 1) / first for s in range(first)]
    for _ in range(remaining):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        after.step()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_weight_decay_is_on_matrices_and_kernels_only():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    groups = AdamW(lr=1e-3, weight_decay=0.2).groups(model.parameters())
    assert [[p.ndim for p in g["params"]] for g in groups] == [[4, 2], [1, 1, 1, 1]]
    assert [g["weight_decay"] for g in groups] == [0.2, 0.0]
    (everything,) = AdamW(lr=1e-3, weight_decay=0.2, decay_all=True).groups(model.parameters())
    assert len(everything["params"]) == 6


@pytest.mark.parametrize(("declared", "kind"), [(SGD(lr=0.1), "SGD"), (Adam(lr=0.1), "Adam"), (AdamW(lr=0.1), "AdamW")])
def test_optimisers_are_torchs(declared, kind):
    made = declared.build([torch.nn.Parameter(torch.zeros(2, 2))], fused=False)
    assert type(made).__name__ == kind


# ---- linear probes -----------------------------------------------------------------------------------------------------


def _blobs(classes, n=120, d=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, d)) * 3 + rng.normal(size=(classes, d))[labels] * 4 + 7, labels


@pytest.mark.parametrize("classes", [2, 4])
def test_a_folded_probe_is_scikit_learns_pipeline(classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _blobs(classes)
    weight, bias, converged = fit_head(features, labels, num_classes=classes, inverse_l2=0.3, max_iterations=500)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500)).fit(features, labels)
    logits = features @ weight.T + bias
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(features), atol=1e-4)
    assert converged


def test_classes_without_examples_are_never_predicted():
    features, labels = _blobs(2)
    weight, bias, _ = fit_head(features, np.array([1, 4])[labels], num_classes=6, inverse_l2=1.0, max_iterations=500)
    predicted = (features @ weight.T + bias).argmax(1)
    assert set(predicted) == {1, 4}
    with pytest.raises(Exception, match="needs two classes or more"):
        fit_head(features, np.ones(len(features), int), num_classes=6, inverse_l2=1.0, max_iterations=9)


def test_a_probe_that_does_not_converge_is_recorded():
    features, labels = _blobs(4)
    assert not fit_head(features, labels, num_classes=4, inverse_l2=100.0, max_iterations=1)[2]


def test_a_probe_is_better_than_the_head_it_replaces(new_store):
    job, context = prepared(LinearProbe(ZeroShot(glyph_clip(), templates=("the digit {}",))), new_store)
    run_with_parents(job, context)
    assert context.store.manifest(job.key).summary == {"examples": 900, "converged": True}
    assert math.isfinite(weights(context, job)["head.bias"].sum())
