"""Every kind of expression, declared in one study, planned, run, scored: on real digits, with real (small) networks."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from shiftline import (
    DFR,
    SGD,
    Adam,
    AdamW,
    Architecture,
    Augmentation,
    Blur,
    ColourJitter,
    Constant,
    Cosine,
    CutMix,
    Cutout,
    ExperimentManager,
    FineTune,
    FromScratch,
    FromStore,
    HeldOut,
    HorizontalFlip,
    Interpolate,
    LinearProbe,
    Mixup,
    RandAugment,
    RandomResizedCrop,
    Recipe,
    Reference,
    Split,
    Step,
    Task,
    Translate,
    Triangle,
    WithHead,
    ZeroShot,
    analogy,
    average,
    best,
    ensemble,
    ensembles,
    fisher_average,
    flip_tta,
    glyph_clip,
    glyph_net,
    greedy_soup,
    handwritten_digits,
    interpolations,
    materialize,
    negation,
    patch_joint,
    patch_parallel,
    patch_sequential,
    replicates,
    swa,
    task_arithmetic,
    typed_digits,
    uniform_soup,
    with_batch_norm,
)
from shiftline.backbones.glyphs import PROMPTS
from shiftline.contracts.models import Model, distinct
from shiftline.data.examples import Encoding, Example
from shiftline.data.loader import evaluation_chunks
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import groups_of, open_view
from shiftline.data.writer import write_split
from shiftline.engine.heads import fit_head, group_weights
from shiftline.engine.predictions import load_predictions
from shiftline.engine.weight_cache import WeightCache
from shiftline.errors import DataError, DeclarationError, StoreError
from shiftline.launch.planning import data_folder
from shiftline.networks.preprocessing import prepare
from shiftline.networks.spec import build_classifier
from shiftline.testing.studies import check_study

pytestmark = pytest.mark.slow


class SmallNormed(Architecture):
    """A user's own architecture, with batch norm."""

    tag = "tests/small-normed"
    size = 32
    width: int = 8

    def build(self):
        net = nn.Sequential(
            nn.Conv2d(3, self.width, 5, 4, 2), nn.BatchNorm2d(self.width), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        net.num_features = 16 * self.width
        return net


class Halved(Recipe):
    """A user's own recipe: the head at half its length."""

    tag = "tests/halved-head"
    of: Model

    def make(self, work):
        model = work.model(self.of)
        with torch.no_grad():
            model.head.weight.mul_(0.5)
            model.head.bias.mul_(0.5)
        return model


class Darker(Augmentation):
    """A user's own augmentation."""

    tag = "tests/darker"

    def apply(self, images, ids, *, seed, epoch):
        return images // 2


CLIP = ZeroShot(glyph_clip(), templates=PROMPTS)
TRAIN = handwritten_digits().train
FEW = TRAIN.few_shot(5)
QUICK = {"train_on": FEW, "epochs": 1, "batch_size": 16}


def tuned(**settings):
    return FineTune(CLIP, **QUICK | {"optimizer": AdamW(lr=1e-3)} | settings)


MEMBERS = [tuned(seed=seed) for seed in range(3)]
GREEDY = greedy_soup(MEMBERS)
NORMED = FromScratch(SmallNormed(), train_on=TRAIN.fraction(0.2), epochs=3, batch_size=32, optimizer=SGD(lr=0.05))
TYPED = Split("typed-digits", "test")
PATCHED = Task(
    train=TYPED.indices(range(200)), val=TYPED.indices(range(200, 300)), head=ZeroShot(glyph_clip(), templates=("the digit {}",))
)
OTHER = Task(train=TYPED.indices(range(300, 400)), val=TYPED.indices(range(400, 500)))


class Everything(ExperimentManager):
    """One of each."""

    name = "everything"
    digits = handwritten_digits()
    reference = Reference(digits.train, digits.val.indices(range(100)), digits.test.indices(range(200)))
    shifts = {"blur": reference.test.indices(range(100)).shifted(Blur(2.0)), "typed": typed_digits().indices(range(600, 720))}
    threads = 1

    def models(self):
        patching = {"supported": [self.reference.val], "alphas": (0, 1), "epochs": 1, "batch_size": 16, "optimizer": AdamW(lr=1e-3)}
        return {
            "training": {
                "accumulate": tuned(accumulate=4),
                "steps": tuned(epochs=None, steps=7, schedule=Step(every_steps=3, warmup_steps=2)),
                "mixup": tuned(mix=Mixup(0.4)),
                "cutmix": tuned(mix=CutMix(), schedule=Triangle(warmup_steps=1)),
                "augmented": tuned(
                    augment=[
                        RandomResizedCrop(),
                        HorizontalFlip(),
                        Translate(2),
                        Cutout(8),
                        RandAugment(),
                        Darker(),
                        ColourJitter(0.4, 0.4, 0.4, 0.1),
                    ]
                ),
                "bf16": tuned(precision="bf16"),
                "fp16": tuned(precision="fp16", clip_norm=1.0),
                "nesterov": tuned(optimizer=SGD(lr=0.01, nesterov=True, weight_decay=1e-4), schedule=Constant(warmup=0.5)),
                "adam": tuned(optimizer=Adam(lr=1e-3), label_smoothing=0.1, schedule=Cosine(warmup=0.5)),
                "fresh": tuned(train_on=TRAIN.class_rates(range(1, 11), fresh=True), batch_size=64),
                "noisy": tuned(train_on=FEW.label_noise(0.2)),
                "own architecture": NORMED,
                "own recipe": Halved(MEMBERS[0]),
            },
            "initialisation": {
                "random head": FineTune(glyph_clip(), head="random", **QUICK),
                "random head on the embedding": FineTune(glyph_clip(), head="random", features="embedding", **QUICK),
                "lp-ft": FineTune(LinearProbe(CLIP, train_on=FEW), **QUICK),
                "frozen head": tuned(trainable="encoder"),
                "frozen encoder": tuned(trainable="head"),
                "frozen encoder, crops": tuned(trainable="head", augment=[RandomResizedCrop()]),
                "probe of a backbone": LinearProbe(glyph_clip(), train_on=FEW),
                "dfr": DFR(MEMBERS[0], train_on=FEW),
            },
            "weight space": {
                "uniform soup": uniform_soup(MEMBERS),
                "greedy soup": GREEDY,
                "average": average(MEMBERS, weights=[1, 2, 3]),
                "swa": swa(tuned(epochs=3), [2, 3]),
                "fisher": fisher_average(MEMBERS[:2], examples=12, target="expected", train_on=FEW),
                "addition": task_arithmetic(CLIP, [(MEMBERS[0], 0.5), (MEMBERS[1], 0.5)]),
                "negation": negation(CLIP, MEMBERS[0], scale=0.3),
                "analogy": analogy(CLIP, MEMBERS[0], MEMBERS[1], scale=0.2),
                "head only": interpolations(CLIP, MEMBERS[0], [0.5], subset="head")[0],
                "encoder only": interpolations(CLIP, MEMBERS[0], [0.5], subset="encoder")[0],
                "kept": materialize(average(MEMBERS)),
                "further": FineTune(average(MEMBERS), **QUICK),
                "with head": WithHead(MEMBERS[0], CLIP),
            },
            "batch norm": dict(zip(("as it is", "re-estimated"), with_batch_norm(swa(NORMED, [2, 3])), strict=True)),
            "patching": {
                "joint": patch_joint(CLIP, [PATCHED, OTHER], **patching),
                "sequential": patch_sequential(CLIP, [PATCHED, OTHER], **patching),
                "parallel": patch_parallel(CLIP, [PATCHED, OTHER], **patching),
                "sequential, under the task's head": WithHead(patch_sequential(CLIP, [PATCHED], **patching), PATCHED.head),
            },
            "wise-ft": interpolations(CLIP, MEMBERS[0], [0, 0.5, 1]),
            "output space": ensembles(CLIP, MEMBERS[0], [0, 0.5, 1]),
            "outputs": {
                "probabilities": ensemble([CLIP, *MEMBERS], space="probabilities"),
                "flip": flip_tta(MEMBERS[0]),
                "flip and ensemble": ensemble([flip_tta(MEMBERS[0]), CLIP], weights=[3, 1]),
            },
            "selection": {
                "by F1": best(MEMBERS, metric="macro-f1"),
                "by likelihood": best(MEMBERS, metric="negative-log-likelihood", rule="one-standard-error"),
                "one standard error": best(interpolations(CLIP, MEMBERS[0], [0, 0.5, 1]), rule="one-standard-error"),
                "elsewhere": best(MEMBERS, on=[self.reference.val, HeldOut(PATCHED.val, PATCHED.head)]),
            },
            "copies": replicates(best([tuned(optimizer=AdamW(lr=lr)) for lr in (1e-3, 1e-4)]), [0, 1]),
        }


@pytest.fixture(scope="module")
def everything(tmp_path_factory, data_root):
    store = tmp_path_factory.mktemp("everything") / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    study = Everything(store=store, quiet=True)
    outcome = study.run()
    assert outcome.failed == {}
    assert outcome.exit_status == 0
    return study


def test_every_expression_is_run_and_scored(everything):
    table = everything.results()
    assert table["value"].between(0, 1).all()
    assert len(table) == 4 * len(everything.declaration().models)
    kinds = {job.kind for job in everything.plan().jobs.values()}
    assert kinds == {
        "train",
        "zero-shot",
        "features",
        "probe",
        "dfr",
        "materialize",
        "greedy-soup",
        "fisher",
        "fisher-average",
        "batch-norm",
        "own",
        "predict",
        "ensemble",
        "score",
        "select",
    }


def test_a_second_run_has_nothing_to_do(everything):
    assert everything.run().made == 0


def accuracy(study, model, where="reference"):
    table = study.results()
    return table[(table["model"] == model) & (table["distribution"] == where)]["value"].item()


def test_equal_ends_have_equal_accuracies(everything):
    for alpha, end in ((0, "wise-ft alpha=0"), (1, "wise-ft alpha=1")):
        for where in ("reference", "blur", "typed"):
            assert accuracy(everything, f"output space alpha={alpha}", where) == accuracy(everything, end, where)
    assert accuracy(everything, "own recipe") == accuracy(everything, "wise-ft alpha=1")


def test_other_data_is_marked_in_the_table(everything):
    marked = everything.results().groupby("model", sort=False)["other_data"].first()
    assert set(marked[marked].index) == {"joint", "sequential", "parallel", "sequential, under the task's head", "elsewhere"}


def test_durations_in_steps_have_a_column_of_their_own(everything):
    table = everything.results().drop_duplicates("model").set_index("model")
    assert table.loc["steps", "step"] == 7
    assert table["step"].notna().sum() == 1
    assert table.loc["accumulate", "epoch"] == 1


def test_candidates_are_a_table(everything):
    table = everything.candidates()
    assert table.groupby("key")["chosen"].sum().eq(1).all()
    assert table["value"].notna().all()
    chosen = table[table["chosen"] & (table["rule"] == "best")]
    for _, row in chosen.iterrows():
        assert row["value"] == table[table["key"] == row["key"]]["value"].max()
    assert set(table["metric"]) == {"accuracy", "macro-f1", "negative-log-likelihood"}


def test_patching_helps_the_patched_task(everything):
    before, after = accuracy(everything, "wise-ft alpha=0", "typed"), accuracy(everything, "joint", "typed")
    assert after >= before - 0.05


@pytest.mark.slow
def test_check_study_knows_every_expression():
    report = check_study(Everything)
    assert "fisher-average" in report.kinds
    assert np.isfinite(report.seconds)


def test_a_key_is_a_model_of_a_study(everything):
    (train,) = [job for job in everything.plan().jobs.values() if job.kind == "train" and job.model == MEMBERS[0]]

    class Later(ExperimentManager):
        name = "later"
        reference = Everything.reference

        def models(self):
            stored = FromStore(train.key)
            return {"stored": stored, "mixed": interpolations(CLIP, stored, [0.5])}

    later = Later(store=everything.store.root, quiet=True)
    assert later.run().exit_status == 0
    assert accuracy(later, "stored") == accuracy(everything, "wise-ft alpha=1")
    assert accuracy(later, "mixed") == accuracy(everything, "wise-ft alpha=0.5")


# ---- what is made is what was said -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(everything, planned):
    return WeightCache(everything.store, planned.artifacts)


@pytest.fixture(scope="module")
def planned(everything):
    return everything.plan()


def weights(cache, model):
    return {name: tensor.clone() for name, tensor in cache.state(model)[0].items()}


def named(planned, name):
    return next(model for model in planned.models if model.named.model == name)


def test_a_part_is_mixed_and_the_other_is_the_starts(cache, planned):
    start, end = (weights(cache, model) for model in (CLIP, MEMBERS[0]))
    for name, mixed in (("head only", "head."), ("encoder only", "encoder.")):
        found = weights(cache, named(planned, name).expression)
        module = {n: t.clone() for n, t in cache.module(named(planned, name).expression).state_dict().items()}
        for tensor, value in found.items():
            expected = torch.lerp(start[tensor], end[tensor], 0.5) if tensor.startswith(mixed) else start[tensor]
            assert torch.equal(value, expected)
            assert torch.equal(module[tensor], expected)


def test_flipped_predictions_are_the_mean_of_two_views(everything, cache, planned):
    prediction = load_predictions(everything.store, named(planned, "flip").predictions["reference"])
    module = cache.module(MEMBERS[0])
    spec = cache.spec(MEMBERS[0])
    view = open_view(everything.reference.test, data_folder(everything.store))
    (chunk,) = evaluation_chunks(view)
    with torch.no_grad():
        images = prepare(torch.cat(chunk.images), spec.preprocessing)
        expected = (module(images) + module(images.flip(-1))) / 2
    torch.testing.assert_close(prediction["logits"], expected, rtol=1e-4, atol=1e-5)
    plain = load_predictions(everything.store, named(planned, "wise-ft alpha=1").predictions["reference"])
    assert not torch.allclose(prediction["logits"], plain["logits"], atol=1e-2)


def test_the_greedy_soup_is_that_of_brute_force(everything, cache, planned):
    (job,) = [job for job in planned.jobs.values() if job.kind == "greedy-soup"]
    summary = everything.store.manifest(job.key).summary
    members = [weights(cache, model) for model in MEMBERS]
    view = open_view(everything.reference.val, data_folder(everything.store))
    (chunk,) = evaluation_chunks(view)
    spec = cache.spec(MEMBERS[0])
    images = prepare(torch.cat(chunk.images), spec.preprocessing)
    module = build_classifier(spec).eval()

    def correct(rows):
        mean = {n: torch.stack([members[r][n] for r in rows]).mean(0) for n in members[0]}
        module.load_state_dict(mean)
        with torch.no_grad():
            return int((module(images).argmax(1) == chunk.labels).sum()), mean

    alone = [correct([row])[0] for row in range(3)]
    assert summary["alone"] == alone
    order = sorted(range(3), key=lambda row: -alone[row])
    kept = order[:1]
    for row in order[1:]:
        if correct([*kept, row])[0] >= correct(kept)[0]:
            kept.append(row)
    assert summary["kept"] == kept
    for name, tensor in correct(kept)[1].items():
        torch.testing.assert_close(weights(cache, GREEDY)[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_kept_combination_is_the_combination(everything, cache, planned):
    kept, soup = (weights(cache, model) for model in (materialize(average(MEMBERS)), average(MEMBERS)))
    assert all(torch.equal(kept[name], soup[name]) for name in soup)
    logits = [load_predictions(everything.store, named(planned, n).predictions["blur"])["logits"] for n in ("kept", "uniform soup")]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_task_arithmetic_is_its_formulas(cache, planned):
    base, a, b = (weights(cache, model) for model in (CLIP, *MEMBERS[:2]))
    formulas = {
        "addition": lambda n: base[n] + 0.5 * (a[n] - base[n]) + 0.5 * (b[n] - base[n]),
        "negation": lambda n: base[n] - 0.3 * (a[n] - base[n]),
        "analogy": lambda n: b[n] + 0.2 * (a[n] - base[n]),
    }
    for name, formula in formulas.items():
        found = weights(cache, named(planned, name).expression)
        for tensor, value in found.items():
            torch.testing.assert_close(value, formula(tensor), rtol=1e-4, atol=1e-5)


def test_dfr_is_scikit_learn_with_balanced_examples(everything, cache, planned):
    """On 5 examples of each class, with one class thinned out: every class counts the same."""
    view = open_view(TRAIN.class_rates([1, 5, 5, 5, 5, 5, 5, 5, 5, 5]).fraction(0.2), data_folder(everything.store))
    module = cache.module(MEMBERS[0])
    (chunk,) = evaluation_chunks(view)
    spec = cache.spec(MEMBERS[0])
    with torch.no_grad():
        features = module.features(prepare(torch.cat(chunk.images), spec.preprocessing)).double().numpy()
    labels = chunk.labels.numpy()
    shares = group_weights(labels)
    assert shares.sum() == pytest.approx(len(labels))
    sums = np.bincount(labels, weights=shares, minlength=10)
    np.testing.assert_allclose(sums, len(labels) / 10)
    weight, bias, _ = fit_head(features, labels, num_classes=10, inverse_l2=0.2, max_iterations=1000, weights=shares)
    scaled = StandardScaler().fit(features)
    theirs = LogisticRegression(C=0.2, max_iter=1000).fit(
        scaled.transform(features), labels, sample_weight=compute_sample_weight("balanced", labels)
    )
    np.testing.assert_allclose(features @ weight.T + bias, theirs.decision_function(scaled.transform(features)), atol=1e-4)


def test_groups_of_the_metadata_are_told_apart_within_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    folder = DataFolder(tmp_path)
    groups = ["land", "water", "land", "land", "water", "land"] * 2
    examples = [Example(image, row % 2, group=group) for row, (image, group) in enumerate(zip(images, groups, strict=True))]
    write_split(folder, Split("birds", "val"), examples, classes=["a", "b"], encoding=Encoding("raw"))
    ids, labels = np.arange(12), np.arange(12) % 2
    found = DFR(glyph_net("mlp"), groups="metadata").example_weights(
        SimpleNamespace(labels=torch.from_numpy(labels), ids=torch.from_numpy(ids)),
        SimpleNamespace(distribution=Split("birds", "val"), document={}),
        SimpleNamespace(data=folder),
    )
    pairs = [f"{label} {group}" for label, group in zip(labels, groups, strict=True)]
    assert len(set(pairs)) == 4
    # n / (G n_g): every pair of class and group counts as much.
    assert [sum(w for w, p in zip(found, pairs, strict=True) if p == pair) for pair in set(pairs)] == pytest.approx([3.0] * 4)
    plain = [Example(image, row % 2) for row, image in enumerate(images)]
    write_split(folder, Split("plain", "val"), plain, classes=["a", "b"], encoding=Encoding("raw"))
    with pytest.raises(DataError, match="plain/val was written without groups"):
        groups_of(folder, Split("plain", "val"))


def test_reestimated_batch_norm_changes_statistics_only(cache, planned):
    before, after = (weights(cache, named(planned, name).expression) for name in ("as it is", "re-estimated"))
    for name, tensor in before.items():
        if "running" in name:
            assert not torch.allclose(tensor, after[name])
        elif "num_batches" not in name:
            assert torch.equal(tensor, after[name])


def test_patching_leaves_the_head_as_it_is(cache, planned):
    head = weights(cache, CLIP)["head.weight"]
    for name in ("joint", "sequential", "parallel"):
        torch.testing.assert_close(weights(cache, named(planned, name).expression)["head.weight"], head)
    task = weights(cache, PATCHED.head)["head.weight"]
    under = weights(cache, named(planned, "sequential, under the task's head").expression)["head.weight"]
    assert torch.equal(under, task)
    assert not torch.allclose(task, head)


def test_a_selection_over_tasks_is_judged_under_each_tasks_head(everything, planned):
    """The value of a candidate is the mean of its accuracies, the task's under the task's own head."""
    table = everything.candidates()
    scores = {job.key: job for job in planned.jobs.values() if job.kind == "score"}
    checked = 0
    for job in planned.jobs.values():
        if job.kind == "select" and len(job.document["candidates"][0]) == 2 and job.model.on[1].head == PATCHED.head:
            values = table[table["key"] == job.key]["value"].tolist()
            for value, keys in zip(values, job.document["candidates"], strict=True):
                assert isinstance(scores[keys[1]].model, WithHead)
                assert scores[keys[1]].model.head == PATCHED.head
                parts = [everything.store.manifest(key).summary["value"] for key in keys]
                assert value == pytest.approx(sum(parts) / 2)
                checked += 1
    assert checked >= 3


def stored_study(everything, expressions, baseline=None):
    class Later(ExperimentManager):
        name = "later"
        reference = Everything.reference
        shifts = Everything.shifts

        def models(self):
            return expressions

    study = Later(store=everything.store.root, quiet=True)
    study.baseline = baseline
    return study


def test_what_a_stored_model_was_trained_on_is_not_forgotten(everything, planned, tmp_path):
    """Patched on typed digits: other data, refused as baseline, and never scored on what it was trained on."""
    patched = named(planned, "sequential, under the task's head").expression
    tuned_on_typed = next(part for part in distinct(patched) if isinstance(part, FineTune) and part.other_data)
    key = planned.artifacts[tuned_on_typed]
    table = stored_study(everything, {"a": WithHead(FromStore(key), CLIP)})
    assert table.run().exit_status == 0
    assert table.results()["other_data"].all()
    clean = stored_study(everything, {"a": FromStore(planned.artifacts[MEMBERS[0]])})
    assert clean.run().exit_status == 0
    assert not clean.results()["other_data"].any()
    with pytest.raises(DeclarationError, match="which reads other data"):
        stored_study(everything, {"a": FromStore(key)}, baseline="a").plan()
    leaking = stored_study(everything, {"a": FromStore(key)})
    leaking.shifts = {"typed": typed_digits()}
    with pytest.raises(DeclarationError, match="share examples of typed-digits/test"):
        leaking.plan()
    check_study(lambda **options: stored_study(everything, {"a": FromStore(key)}))


def test_a_stored_model_that_is_none_is_refused(everything, planned):
    (score,) = [job.key for job in planned.jobs.values() if job.kind == "select"][:1]
    for key, message in (("0" * 64, "has no artifact 000000000000"), (score, "has no file 'model.safetensors'")):
        with pytest.raises(StoreError, match=message):
            stored_study(everything, {"a": FromStore(key)}).plan()


def test_a_soup_at_the_end_of_a_path_is_added_up_once(everything, planned, monkeypatch):
    module = importlib.import_module("shiftline.weights.average")
    calls, plain = [], module.combine

    def counted(*arguments, **options):
        calls.append(1)
        return plain(*arguments, **options)

    monkeypatch.setattr(module, "combine", counted)
    fresh = WeightCache(everything.store, planned.artifacts)
    soup = average(MEMBERS)
    for alpha in (0.25, 0.5, 0.75):
        found = fresh.module(Interpolate(CLIP, soup, alpha)).state_dict()
        start, end = (weights(fresh, model) for model in (CLIP, soup))
        torch.testing.assert_close(found["head.weight"], torch.lerp(start["head.weight"], end["head.weight"], alpha))
    assert len(calls) == 1
