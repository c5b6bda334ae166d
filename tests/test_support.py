"""Splitting by support: ratios against closed forms, parts as distributions of a study, and refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from shiftline import (
    SGD,
    AdamW,
    EmbeddingClassifier,
    ExperimentManager,
    FineTunedClassifier,
    FromScratch,
    Invert,
    Noise,
    Reference,
    Sometimes,
    SupportSplit,
    Tint,
    ZeroShot,
    glyph_clip,
    glyph_net,
    handwritten_digits,
)
from shiftline.analysis import Correctness, calibration_curve, difficulty, matching_weights, over_thresholds
from shiftline.backbones.glyphs import PROMPTS
from shiftline.contracts.codec import decode, encode
from shiftline.data.pixels import apply_transforms
from shiftline.engine.predictions import load_predictions
from shiftline.errors import AnalysisError, DeclarationError, PlanError
from shiftline.launch.support import support_ratios
from shiftline.operations.support.ratios import calibrate, calibration_bins, two_sample_p
from shiftline.studies.digits import Digits

# ---- known truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["slope", "slope-and-intercept"])
@pytest.mark.parametrize(("n_reference", "n_shift"), [(20000, 20000), (30000, 6000)])
def test_ratios_of_two_gaussians_are_those_of_their_densities(n_reference, n_shift, form):
    """N(0, 1) against N(1.5, 1): log p_ref/p_shift is 1.125 - 1.5 x, whatever the numbers of examples."""
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(0, 1, n_reference), generator.normal(1.5, 1, n_shift)])
    y = np.repeat([1, 0], [n_reference, n_shift])
    logits = cross_val_predict(LogisticRegression(), x[:, None], y, cv=5, method="decision_function")
    found = calibrate(logits[:n_reference], logits[n_reference:], form=form)
    assert found.slope == pytest.approx(1.0, abs=0.05)
    truth = stats.norm.logpdf(x) - stats.norm.logpdf(x, 1.5)
    np.testing.assert_allclose(np.log(found.ratio(logits)), truth, atol=0.3)
    # An overconfident classifier is brought back: the slope undoes the factor.
    prior = np.log(n_reference / n_shift)
    bold = 3 * (logits - prior) + prior
    assert calibrate(bold[:n_reference], bold[n_reference:], form=form).slope == pytest.approx(found.slope / 3, rel=1e-5)
    assert 0.9 < found.ratio(logits[n_reference:]).mean() < 1.1


def test_a_mixture_is_split_where_its_densities_say():
    """A shift that is half the reference, half elsewhere: its parts have the planted sizes."""
    generator = np.random.default_rng(1)
    reference = generator.normal(0, 1, 20000)
    inside = generator.random(10000) < 0.5
    shifted = np.where(inside, generator.normal(0, 1, 10000), generator.normal(8, 1, 10000))
    x = np.concatenate([reference, shifted])
    y = np.repeat([1, 0], [20000, 10000])
    logits = cross_val_predict(LogisticRegression(), np.stack([x, x**2], axis=1), y, cv=5, method="decision_function")
    ratios = calibrate(logits[:20000], logits[20000:], form="slope").ratio(logits[20000:])
    # p_ref / (p_ref / 2 + p_elsewhere / 2) is 2 inside and next to 0 outside.
    assert ((ratios >= 0.2) == inside).mean() > 0.99
    assert np.median(ratios[inside]) == pytest.approx(2.0, rel=0.15)


def test_a_shift_that_is_none_is_in_support_whatever_its_size():
    """500 against 10,000 of one distribution: the log prior in the logit holds the published slope at 1."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(10_500, 400)).astype(np.float32)
    y = np.repeat([1, 0], [10_000, 500])
    logits = cross_val_predict(LogisticRegression(C=0.1, max_iter=300), x, y, cv=5, method="decision_function")
    share = {
        form: (calibrate(logits[:10_000], logits[10_000:], form=form).ratio(logits[10_000:]) < 0.2).mean()
        for form in ("published", "slope", "slope-and-intercept")
    }
    assert share["published"] > 0.02
    assert share["slope"] == share["slope-and-intercept"] == 0


def test_a_constant_bias_is_taken_out_by_the_intercept():
    generator = np.random.default_rng(3)
    reference, shifted = (1.125 - 1.5 * generator.normal(mean, 1, 8000) for mean in (0, 1.5))
    truth = (shifted > np.log(0.2)).mean()
    for bias in (-1.0, 1.0):
        shares = {
            form: (calibrate(reference + bias, shifted + bias, form=form).ratio(shifted + bias) > 0.2).mean()
            for form in ("slope", "slope-and-intercept")
        }
        assert abs(shares["slope"] - truth) > 0.05
        assert shares["slope-and-intercept"] == pytest.approx(truth, abs=0.02)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.2, 3), st.sampled_from([0.2, 0.5, 0.9]))
def test_calibrations_are_minima_of_the_loss(seed, scale, share):
    generator = np.random.default_rng(seed)
    signs = np.where(generator.random(200) < share, 1, -1)
    logits = scale * (signs * 0.5 + generator.normal(size=200))
    prior = np.log((signs > 0).sum() / (signs < 0).sum())

    def loss(slope, constant, offset):
        return np.logaddexp(0, -signs * (slope * (logits - offset) + constant)).sum()

    def found(form):
        return calibrate(logits[signs > 0], logits[signs < 0], form=form)

    for form, offset in (("slope", prior), ("published", 0.0)):
        theirs = minimize_scalar(lambda a, offset=offset: loss(a, offset, offset), bounds=(0, 100), method="bounded")
        assert found(form).slope == pytest.approx(theirs.x, abs=1e-4)
    both = minimize(lambda ab: loss(ab[0], ab[1], prior), [1.0, prior], bounds=[(0, 100), (-50, 50)])
    mine = found("slope-and-intercept")
    assert loss(mine.slope, mine.intercept + prior, prior) <= both.fun + 1e-5


@pytest.mark.parametrize("form", ["slope", "slope-and-intercept", "published"])
def test_slopes_at_the_ends(form):
    low, high = np.array([-1.0, -1]), np.array([1.0, 1])
    assert calibrate(low, high, form=form).slope == 0.0
    assert calibrate(high, low, form=form).slope == 100.0
    assert np.isfinite(calibrate(np.zeros(2), np.zeros(2), form=form).ratio(np.zeros(2))).all()


def test_the_two_sample_test_is_that_of_mann_and_whitney():
    generator = np.random.default_rng(4)
    one, other = generator.normal(0.2, 1, 80).round(1), generator.normal(0, 1, 150).round(1)
    theirs = stats.mannwhitneyu(one, other, alternative="greater", use_continuity=False, method="asymptotic").pvalue
    assert two_sample_p([(one, other)]) == pytest.approx(theirs)
    assert two_sample_p([(np.zeros(5), np.zeros(6))]) == 1.0
    null = [two_sample_p([(generator.normal(size=40), generator.normal(size=30)) for _ in range(3)]) for _ in range(400)]
    assert stats.kstest(null, "uniform").pvalue > 0.001


def test_the_calibration_curve_counts_every_example_once():
    generator = np.random.default_rng(2)
    reference, shifted = generator.normal(1, 1, 300), generator.normal(-1, 1, 500)
    curve = calibration_curve(calibration_bins(expit(2 * reference), expit(2 * shifted)))
    assert curve["n"].sum() == 800
    assert (curve["observed"] * curve["n"]).sum() == pytest.approx(300)
    assert curve["predicted"].is_monotonic_increasing
    # Two Gaussians at a distance of 2: the slope 2 is the true one, and the curve is the diagonal.
    assert ((curve["low"] <= curve["predicted"]) & (curve["predicted"] <= curve["high"])).mean() >= 0.8


# ---- difficulty ------------------------------------------------------------------------------------------------------


def test_matched_examples_are_as_difficult_as_the_others():
    generator = np.random.default_rng(3)
    right = generator.integers(0, 2, size=(4, 1000)).astype(np.uint8)
    inside = generator.random(1000) < 0.4
    right[:, ~inside] &= generator.integers(0, 2, size=(4, (~inside).sum())).astype(np.uint8)
    answers = Correctness(("a", "b", "c", "d"), right, np.arange(1000), "s")
    hard = difficulty(answers, ["a", "b", "c", "d"])
    np.testing.assert_allclose(hard, 1 - right.mean(axis=0))
    weights = matching_weights(hard, inside)
    assert weights.mean() == pytest.approx(1.0)
    # Difficulties that no out-of-support example has cannot be matched.
    matched = hard[inside][np.isin(hard[inside], hard[~inside])]
    assert np.average(hard[~inside], weights=weights) == pytest.approx(matched.mean())
    assert hard[~inside].mean() > matched.mean() + 0.05
    with pytest.raises(AnalysisError, match="share no difficulty"):
        matching_weights(np.array([0.0, 0.0, 1.0]), np.array([True, True, False]))


def test_parts_are_compared_in_the_classes_of_the_shift():
    """The reference has values in its own classes and in the shift's: the panel takes the shift's."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
    from joint_intervals import SETTINGS, simulate

    table, answers, _ = simulate(np.random.default_rng(0), **SETTINGS["images and seeds"])
    own = table[table["distribution"] == "reference"].assign(label_space="all", value=0.5)
    both = pd.concat([own, table.assign(label_space="fewer")], ignore_index=True)
    ids, ratios = answers["shift 0"].shifted.ids, np.linspace(0.01, 1, 1000)
    settings = {"shift": "shift 0", "baseline": "baseline", "thresholds": [0.2], "resamples": 50}
    there = over_thresholds(both, answers["shift 0"], ids, ratios, **settings)
    alone = over_thresholds(table, answers["shift 0"], ids, ratios, **settings)
    np.testing.assert_allclose(there["effective_robustness"], alone["effective_robustness"])


def test_batches_of_whole_examples_are_corrected_for():
    from types import SimpleNamespace

    from shiftline.operations.support.domains import DomainBatches

    batches = object.__new__(DomainBatches)
    batches.sides = [SimpleNamespace(batch_size=127, examples=100_000), SimpleNamespace(batch_size=1, examples=500)]
    # The classifier learns 127 to 1, the data are 200 to 1.
    assert batches.prior_correction == pytest.approx(np.log(200 / 127))


# ---- declarations ----------------------------------------------------------------------------------------------------

TRAIN = handwritten_digits().train
SPLIT = SupportSplit(TRAIN, EmbeddingClassifier(glyph_clip()), folds=4)


def test_parts_are_expressions():
    shift = handwritten_digits().test.shifted(Invert())
    part = shift.in_support(SPLIT, threshold=0.1)
    assert decode(encode(part)) == part
    assert part.predicted == shift
    assert str(part) == "digits/test + invert, in support"
    assert part.support.ratio == shift.out_of_support(SPLIT).support.ratio
    assert len(part.support.ratio.folds) == 4


def test_the_declarations_of_the_documentation(new_store):
    text = (Path(__file__).parent.parent / "docs/robustness.md").read_text()
    space = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(block, space)
    study = Digits(store=new_store, quiet=True)
    study.claims = space["claims"]
    assert len(study.declaration().claims) == 4
    assert space["baseline"].column_of("v2") == "imagenet-v2"

    class Documented(Small):
        def __init__(self, **options):
            ExperimentManager.__init__(self, **options)
            self.shifts = space["shifts"]

    plan = type("Plain", (Documented,), {"reference": space["reference"]})(store=new_store).plan()
    assert [job.kind for job in plan.jobs.values()].count("domain-fold") == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SupportSplit("train", SPLIT.classifier), "expected the reference's train split"),
        (lambda: SupportSplit(TRAIN, glyph_clip()), "expected EmbeddingClassifier"),
        (lambda: SupportSplit(TRAIN, SPLIT.classifier, folds=1), "folds is 1: expected 2 or more"),
        (lambda: SupportSplit(TRAIN, SPLIT.classifier, size=0), "size is 0"),
        (lambda: EmbeddingClassifier("ViT"), "expected a model expression or a pre-trained backbone"),
        (lambda: EmbeddingClassifier(glyph_clip(), pooled=-1), "pooled is -1"),
        (lambda: FineTunedClassifier(glyph_clip(), learning_rates=()), "expected positive numbers"),
        (lambda: TRAIN.in_support(glyph_clip()), "expected SupportSplit"),
        (lambda: TRAIN.in_support(SPLIT, threshold=0), "expected a density ratio above 0"),
        (lambda: Sometimes("invert", 0.5), "expected a shiftline.Transform"),
        (lambda: Sometimes(Invert(), 1.5), "share is 1.5"),
    ],
)
def test_bad_declarations_are_one_clear_error(make, message):
    with pytest.raises(DeclarationError, match=message):
        make()


def test_a_mixture_changes_a_share_of_the_images_by_id():
    import torch

    images = torch.randint(0, 256, (1000, 3, 4, 4), dtype=torch.uint8)
    ids = torch.arange(1000)
    labels = torch.zeros(1000, dtype=torch.int64)
    mixed = apply_transforms([Sometimes(Invert(), 0.3)], images, labels, ids)
    changed = (mixed != images).flatten(1).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(mixed[changed], 255 - images[changed])
    alone = apply_transforms([Sometimes(Invert(), 0.3)], images[500:], labels[500:], ids[500:])
    assert torch.equal(alone, mixed[500:])


class Splits(ExperimentManager):
    """A mixture with a planted half, split in both ways."""

    name = "splits"
    baseline = "from scratch"
    threads = 1
    reference = Reference(
        handwritten_digits().train, handwritten_digits().val.indices(range(60)), handwritten_digits().test.indices(range(400))
    )
    mixture = reference.test.shifted(Sometimes(Invert(), 0.5))
    quick = SupportSplit(reference.train.fraction(0.5), EmbeddingClassifier(glyph_clip()), folds=4)
    published = SupportSplit(
        reference.train, FineTunedClassifier(glyph_clip(), learning_rates=(1e-3, 1e-5), epochs=1, batch_size=64), folds=2, size=300
    )
    shifts = {
        "mixture": mixture,
        "in": mixture.in_support(quick),
        "out": mixture.out_of_support(quick),
        "in, fine-tuned": mixture.in_support(published),
    }

    def models(self):
        few = self.reference.train.fraction(0.2)
        nets = [
            FromScratch(glyph_net(net), train_on=few, epochs=epochs, batch_size=20, optimizer=SGD(lr=0.05))
            for net, epochs in (("linear", 1), ("linear", 2), ("linear", 4), ("mlp", 3), ("mlp", 5), ("mlp", 8))
        ]
        return {"from scratch": nets, "zero-shot": ZeroShot(glyph_clip(), templates=PROMPTS[:1])}


@pytest.fixture(scope="module")
def splits(tmp_path_factory, data_root):
    store = tmp_path_factory.mktemp("splits") / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    study = Splits(store=store, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    return study


def planted(ids):
    """Which images of the mixture were inverted."""
    import torch

    images = torch.zeros((len(ids), 3, 2, 2), dtype=torch.uint8)
    keys = torch.from_numpy(ids)
    return apply_transforms([Sometimes(Invert(), 0.5)], images, torch.zeros_like(keys), keys).flatten(1).any(dim=1).numpy()


@pytest.mark.slow
def test_both_classifiers_find_the_planted_half(splits):
    for found in support_ratios(splits.plan(), splits.store):
        inverted = planted(found.ids)
        assert ((found.ratios < 0.2) == inverted).mean() > 0.95, found.classifier
        assert found.shift == "mixture"
        assert found.summary["n_shift"] == 400
        assert 0.6 < found.summary["auc"] < 0.95
    sizes = {found.classifier.split("(")[0]: found.summary["n_reference"] for found in support_ratios(splits.plan(), splits.store)}
    assert sizes == {"embedding-classifier": 450, "fine-tuned-classifier": 300}


@pytest.mark.slow
def test_parts_are_scored_on_their_examples_of_the_whole_prediction(splits):
    plan, table = splits.plan(), splits.results()
    assert len({p.predictions["mixture"] for p in plan.models} | {p.predictions["in"] for p in plan.models}) == len(plan.models)
    found = next(r for r in support_ratios(plan, splits.store) if "in" in r.subsets)
    for planned in plan.models:
        tensors = load_predictions(splits.store, planned.predictions["mixture"])
        right = (tensors["logits"].argmax(dim=1) == tensors["labels"]).numpy()
        ratios = dict(zip(found.ids, found.ratios, strict=True))
        inside = np.array([ratios[i] >= 0.2 for i in tensors["ids"].tolist()])
        rows = table[(table["model"] == planned.named.model) & table["primary"]].set_index("distribution")
        for name, mask in (("mixture", slice(None)), ("in", inside), ("out", ~inside)):
            assert rows.loc[name, "value"] == pytest.approx(right[mask].mean())
            assert rows.loc[name, "n"] == len(right[mask])


@pytest.mark.slow
def test_effective_robustness_is_near_zero_inside_and_knows_its_size(splits):
    rows = splits.effective_robustness(by="group").query("group == 'zero-shot'").set_index("shift")
    assert rows.loc["in", "low"] <= 0.02
    assert abs(rows.loc["in", "effective_robustness"]) < 0.08
    assert rows.loc["mixture", "effective_robustness"] > 0.15
    assert "average" not in rows.index
    assert rows.loc["in", "high"] - rows.loc["in", "low"] > 0


@pytest.mark.slow
def test_every_example_is_scored_by_the_fold_that_did_not_see_it(splits):
    from safetensors.numpy import load_file

    from shiftline.contracts.files import DOMAINS

    plan = splits.plan()
    for where in (splits.shifts["in"], splits.shifts["in, fine-tuned"]):
        folds = [load_file(splits.store.file(plan.artifacts[fold], DOMAINS)) for fold in where.support.ratio.folds]
        for side in ("shift", "reference"):
            ids = np.concatenate([fold[f"{side}_ids"] for fold in folds])
            assert len(ids) == len(set(ids.tolist()))
    waves = plan.waves()
    assert {job.kind for job in waves[0]} >= {"domain-features", "domain-tuning"}
    assert sum(job.kind == "domain-fold" for job in waves[1]) == 6


@pytest.mark.slow
def test_tables_and_figures_of_a_split(splits, tmp_path):
    table = splits.support()
    assert (table["n_in"] + table["n_out"] == 400).all()
    assert not table["poor"].any()
    written = splits.plot(tmp_path / "figures")
    assert {"effective-robustness", "support-mixture", "support-mixture-examples"} <= set(written)
    for path in written.values():
        assert path.with_suffix(".csv").stat().st_size > 0
        assert path.with_suffix(".pdf").stat().st_size > 0
    import pandas as pd

    curve = pd.read_csv(tmp_path / "figures" / "support-mixture.csv")
    assert {"in", "out", "out, matched"} <= set(curve["subset"])
    assert curve["support"].str.len().eq(64).all()


# ---- refusals --------------------------------------------------------------------------------------------------------


class Small(ExperimentManager):
    name = "small-splits"
    reference = handwritten_digits().shifted(Tint(p=0.6))
    threads = 1
    folds, size, threshold, train, transform, groups = 3, None, 0.2, None, Noise(0.001), False

    def __init__(self, **options):
        super().__init__(**options)
        split = SupportSplit(
            self.train or self.reference.train,
            EmbeddingClassifier(glyph_clip()),
            folds=self.folds,
            size=self.size,
            groups=self.groups,
        )
        shift = self.reference.test.shifted(self.transform)
        self.shifts = {
            "in": shift.in_support(split, threshold=self.threshold),
            "out": shift.out_of_support(split, threshold=self.threshold),
        }

    def models(self):
        return {"net": FromScratch(glyph_net("linear"), epochs=1, optimizer=AdamW(lr=1e-3))}


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"folds": 1000}, PlanError, "1000 folds of 697 examples"),
        ({"size": 5000}, PlanError, "size is 5000 reference examples, .* has 900"),
        ({"groups": True}, PlanError, "digits/train was written without groups"),
        ({"train": handwritten_digits().val}, DeclarationError, "not \\(a subset of\\) the reference's train split"),
    ],
)
def test_bad_splits_are_found_before_any_time_is_spent(new_store, changes, kind, message):
    with pytest.raises(kind, match=message):
        type("Changed", (Small,), changes)(store=new_store).plan()


def test_a_part_that_is_too_small_fails_alone_and_lists_the_sizes(new_store):
    outcome = Small(store=new_store, quiet=True).run()
    (failed,) = outcome.failed.values()
    assert "the out-support subset of" in failed
    assert "expected 50 or more" in failed
    assert "0.0001: 697/0" in failed
    assert {job.kind for job in outcome.blocked} == {"score"}
    table = Small(store=new_store, quiet=True).support()
    assert table["poor"].all()


@pytest.mark.slow
def test_folds_without_an_example_are_refused_in_their_job(new_store):
    outcome = type("Many", (Small,), {"folds": 600})(store=new_store, quiet=True).run()
    assert any("Take fewer folds" in error for error in outcome.failed.values())


def test_examples_of_one_group_are_in_one_fold():
    from types import SimpleNamespace

    from shiftline.operations.support.domains import folds_of

    names = np.array([f"hospital {i % 7}" for i in range(100)])
    model = SimpleNamespace(split=SimpleNamespace(groups=True, folds=3, seed=0))
    view = SimpleNamespace(ids=np.arange(0, 100, 2), groups=lambda: names)
    folds = folds_of(view, TRAIN, model)
    assert len(folds) == 50
    assert all(len(set(folds[names[view.ids] == name])) == 1 for name in set(names))
    # Another data set with the same groups has them in the same folds.
    other = SimpleNamespace(ids=np.arange(1, 100, 2), groups=lambda: names)
    both = dict(zip(names[other.ids], folds_of(other, TRAIN, model), strict=True))
    assert all(both[name] == fold for name, fold in zip(names[view.ids], folds, strict=True))


def test_a_reference_cannot_be_a_subset(new_store):
    test = handwritten_digits().test
    reference = Reference(TRAIN, handwritten_digits().val, test.in_support(SPLIT))
    with pytest.raises(DeclarationError, match="reference is a subset by support: only shifts are split"):
        type("Bad", (Small,), {"reference": reference, "shifts": {}, "__init__": ExperimentManager.__init__})(
            store=new_store
        ).plan()
