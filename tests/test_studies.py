"""The studies that are ready to run declare the published settings, and what they are declared with does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miniatures import view_of
from shiftline import (
    AdamW,
    ExperimentManager,
    FineTune,
    FromScratch,
    Reference,
    Split,
    Tint,
    ZeroShot,
    best,
    glyph_clip,
    glyph_net,
    handwritten_digits,
    replicates,
    sub_list,
    typed_digits,
    varied,
)
from shiftline.backbones.glyphs import PROMPTS
from shiftline.cli.loading import make_study
from shiftline.data.pixels import apply_transforms
from shiftline.errors import DeclarationError
from shiftline.operations.selection import Replicate, Varied
from shiftline.studies.imagenet_support_split import FROM_SCRATCH, PRE_TRAINED, ImageNetSupportSplit
from shiftline.studies.imagenet_synthetic_shift import ImageNetSyntheticShift, class_shares
from test_data_studies import prepared


def groups(study):
    return study.declaration().groups


def test_the_synthetic_shifts_have_the_published_settings(tmp_path):
    study = make_study("imagenet_synthetic_shift", ["tint_p=0.5"], tmp_path)
    assert groups(study) == ("baseline", "CLIP (FT)", "CLIP (LP-FT)", "CLIP (ZS-FT)", "AugReg (FT)", "AugReg (LP-FT)")
    models = study.models()
    assert [m.after for m in models["baseline"]] == list(range(51, 86))
    run = models["baseline"][0].run
    assert (run.epochs, run.batch_size, run.optimizer, run.label_smoothing, run.clip_norm) == (
        100,
        512,
        AdamW(lr=0.003, weight_decay=0.1, decay_all=True),
        0.1,
        1.0,
    )
    assert len(models["CLIP (FT)"]) == 4
    candidates = models["CLIP (ZS-FT)"][0].of.candidates
    assert [c.optimizer.lr for c in candidates] == [3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6]
    longer = ImageNetSyntheticShift(label_p=0.1, store=tmp_path)
    assert [m.after for m in longer.models()["baseline"]] == list(range(102, 171, 2))
    assert longer.models()["baseline"][0].run.schedule.warmup == 20
    assert longer.models()["CLIP (FT)"][0].of.candidates[0].epochs == 8
    many = groups(ImageNetSyntheticShift(out_of_support=True, hparams=True, store=tmp_path))
    assert len(many) == 6 + 1 + 6 + 6 + 4 + 6
    assert {"CLIP (ZS-FT) epochs=32", "CLIP (ZS-FT) batch_size=64", "CLIP (ZS-FT) weight_decay=0.0001"} <= set(many)


def test_the_support_split_has_the_published_models(tmp_path):
    assert (len(FROM_SCRATCH), len(PRE_TRAINED), len({*FROM_SCRATCH, *PRE_TRAINED})) == (78, 55, 133)
    study = ImageNetSupportSplit(store=tmp_path)
    assert {m.group: m.expression.other_data for m in study.declaration().models} == {"baseline": False, "pre-trained": True}
    split = study.shifts["r, in support"].split
    assert (split.folds, split.classifier.epochs, split.classifier.batch_size) == (10, 8, 64)
    assert str(split.classifier.init) == "ViT-L-14 laion2b_s32b_b82k"
    assert len(ImageNetSupportSplit(subsets=False, store=tmp_path).shifts) == 3


def test_the_models_of_the_support_split_are_known_to_timm():
    import timm

    assert set(FROM_SCRATCH) | set(PRE_TRAINED) <= set(timm.list_pretrained())


@given(st.sampled_from([0.1, 0.15, 0.2, 0.25, 0.3]))
def test_label_shift_keeps_the_frequent_half_whole(label_p):
    shares, mirrored = np.array(class_shares(label_p)), np.array(class_shares(1 - label_p))
    assert sorted(set(shares)) == pytest.approx([label_p / (1 - label_p), 1.0])
    assert ((shares == 1) == (mirrored < 1)).all()
    assert (shares == 1).sum() == 500


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 5))
def test_class_shares_keep_a_share_of_each_class(labels, shares, seed):
    labels, ids = np.array(labels), np.arange(len(labels)) + 100
    if not any(shares):
        return
    view = view_of(ids, labels)
    kept = Split("some", "split").class_shares(shares, seed=seed).select(view).ids
    assert (np.diff(kept) > 0).all()
    for label, share in enumerate(shares):
        count = int((labels == label).sum())
        assert int((labels[kept - 100] == label).sum()) == int(share * count + 1e-9)
    more = Split("some", "split").class_shares([min(1.0, s + 0.2) for s in shares], seed=seed).select(view).ids
    assert set(kept) <= set(more)


def test_class_shares_are_refused_where_they_mean_nothing():
    for shares in ((), (0, 0), (0.5, 1.5), (float("nan"), 1)):
        with pytest.raises(DeclarationError, match="class_shares"):
            handwritten_digits().test.class_shares(shares)


def test_a_tint_of_many_colours_has_one_per_class_and_leaves_the_palette_alone():
    images, ids = torch.full((4, 3, 8, 8), 128, dtype=torch.uint8), torch.arange(4)
    labels = torch.tensor([0, 1, 11, 999])
    many = apply_transforms([Tint(1.0, colours=1000)], images, labels, ids)
    assert len({tuple(image[:, 0, 0].tolist()) for image in many}) == 4
    few = apply_transforms([Tint(1.0)], images, labels, ids)
    assert torch.equal(few[1], few[2])
    assert torch.equal(apply_transforms([Tint(1.0, colours=1000)], images[2:], labels[2:], ids[2:]), many[2:])


CLIP = ZeroShot(glyph_clip(), templates=PROMPTS)
TUNED = best(FineTune(CLIP, epochs=1, optimizer=AdamW(lr=lr)) for lr in (1e-3, 1e-5))


def test_varied_changes_the_recipe_of_a_winner():
    longer = varied(TUNED, epochs=2, schedule__warmup=0.5, optimizer__weight_decay=0.01)
    assert isinstance(longer, Varied)
    winner = longer.resolved(TUNED.candidates[1])
    assert (winner.epochs, winner.optimizer, winner.schedule.warmup) == (2, AdamW(lr=1e-5, weight_decay=0.01), 0.5)
    assert varied(TUNED.candidates[0], epochs=2) == TUNED.candidates[0].replace(epochs=2)
    (copy,) = replicates(longer, [3])
    assert isinstance(copy, Replicate)
    assert copy.resolved(winner).seed == 3
    for wrong in ({"epoch": 2}, {"optimizer__rate": 1}, {"epochs": 0}):
        for model in (TUNED, longer, TUNED.candidates[0]):
            with pytest.raises(DeclarationError, match="has no such setting|expected 1 or more"):
                varied(model, **wrong)


class Variations(ExperimentManager):
    name = "variations"
    reference = handwritten_digits()

    def models(self):
        few = self.reference.train.fraction(0.2)
        tuned = best(FineTune(CLIP, train_on=few, epochs=1, optimizer=AdamW(lr=lr)) for lr in (1e-3, 1e-5))
        return {
            "zero-shot": CLIP,
            "tuned": tuned,
            "longer": replicates(varied(tuned, epochs=2), [1, 2]),
            "elsewhere": FromScratch(glyph_net("linear"), train_on=few, epochs=1),
        }


def test_what_varies_a_winner_is_planned_frozen_and_run(tmp_path, data_root):
    (tmp_path / "data").symlink_to(data_root)
    study = Variations(store=tmp_path, quiet=True)
    waiting = [job for job in study.plan().jobs.values() if job.kind == "replicate"]
    # Only the copies that are asked for stand in the plan, each below the selection itself.
    assert len(waiting) == 2
    assert all(len(job.parents) == 1 and study.plan().jobs[job.parents[0]].kind == "select" for job in waiting)
    frozen = study.freeze(tmp_path / "frozen", study="x", groups=["long*"], kinds=["train", "replicate"])
    kinds = {line.kind for line in _lines(frozen)}
    assert "replicate" in kinds
    assert not {"zero-shot", "tuned", "elsewhere"} & {line.label for line in _lines(frozen)}

    outcome = study.run(groups=["long*"])
    assert outcome.exit_status == 0, outcome.failed
    table = study.results()
    made = table[table["value"].notna()]["group"].unique().tolist()
    assert "longer" in made
    assert "elsewhere" not in made
    position = next(iter(study.candidates().query("chosen")["candidate"])) - 1
    rate = ("0.001", "1e-05")[position]
    recipes = table[table["group"] == "longer"]["recipe"].unique()
    assert len(recipes) == 2
    assert all("2 epochs" in recipe and f"lr={rate}" in recipe for recipe in recipes)
    with pytest.raises(DeclarationError, match="has no group 'short'. Its groups are"):
        study.run(groups=["short"])
    with pytest.raises(DeclarationError, match="there is no kind of job 'cook'"):
        study.run(kinds=["cook"])
    assert study.run(kinds=["replicate"]).made == 0
    assert study.run().exit_status == 0
    assert study.results()["value"].notna().all()


def _lines(frozen):
    from shiftline.launch.frozen import read_lines

    return read_lines(frozen.folder)


class Plain(ExperimentManager):
    name = "plain"

    def __init__(self, reference, models, shifts=None, **options):
        super().__init__(**options, quiet=True)
        self.reference, self._models, self.shifts = reference, models, shifts or {}

    def models(self):
        return self._models


def test_a_reference_may_have_no_val_and_no_train_split(tmp_path, data_root):
    (tmp_path / "data").symlink_to(data_root)
    digits = handwritten_digits()
    evaluated = Plain(Reference(None, None, digits.test), {"zero-shot": CLIP}, {"typed": typed_digits()}, store=tmp_path)
    assert evaluated.run().exit_status == 0
    assert set(evaluated.results()["distribution"]) == {"reference", "typed"}
    scratch = FromScratch(glyph_net("linear"), epochs=1)
    with pytest.raises(DeclarationError, match=r"this reference has none \(train=None\)"):
        Plain(Reference(None, None, digits.test), {"a": scratch}, store=tmp_path).plan()
    unselected = Reference(digits.train, None, digits.test)
    assert set(Plain(unselected, {"a": scratch}, store=tmp_path).plan().models[0].predictions) == {"reference"}
    with pytest.raises(DeclarationError, match=r"this reference has none \(val=None\)"):
        Plain(unselected, {"a": best([scratch, scratch.replace(seed=1)])}, store=tmp_path).plan()
    chosen = best([scratch, scratch.replace(seed=1)], on=Split("digits", "val"))
    assert Plain(unselected, {"a": chosen}, store=tmp_path).plan().models[0].other_data


def test_a_distribution_is_scored_in_the_classes_of_another_split(tmp_path, data_root):
    (tmp_path / "data").symlink_to(data_root)
    digits = handwritten_digits()
    same = digits.test.in_label_space(Split("typed-digits", "test"))
    few = digits.test.in_label_space(sub_list("three", ["one", "two", "three"]))
    study = Plain(Reference(None, None, digits.test), {"zero-shot": CLIP}, {"same": same, "few": few}, store=tmp_path)
    study.run()
    table = study.results().query("metric == 'accuracy'")
    values = table.set_index(["distribution", "label_space"])["value"]
    assert values["same", "typed-digits"] == values["reference", "digits"]
    assert table.set_index(["distribution", "label_space"])["n"]["few", "three"] < 697
    with pytest.raises(DeclarationError, match="expected a shiftline.LabelSpace, or a Split"):
        digits.test.in_label_space("typed-digits")


def test_one_expression_is_made_without_the_rest(tmp_path, data_root):
    from shiftline.errors import PlanError

    (tmp_path / "data").symlink_to(data_root)
    study = Variations(store=tmp_path, quiet=True)
    wanted = study.models()["elsewhere"]
    key = study.make(wanted)
    kinds = [study.store.manifest(done).document["kind"] for done in study.store.complete()]
    assert kinds == ["train"]
    assert study.store.complete() == {key}
    with pytest.raises(PlanError, match="name an expression that the study declares"):
        study.make(FromScratch(glyph_net("mlp"), epochs=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of unique classes")  # The miniature has few images of each.
def test_the_study_of_satellite_images_runs_on_a_miniature(tmp_path):
    splits = ("train", "id_val", "id_test", "val", "test")
    prepared(tmp_path / "sets", tmp_path, "wilds-fmow", splits)
    study = make_study("wilds_fmow", ["small=true"], tmp_path, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    table = study.results()
    later = table[table["primary"] & (table["distribution"] == "later years")]
    assert set(later["metric"]) == {"wilds:acc_worst_region"}
    assert table.groupby("group")["other_data"].first().to_dict()["DFR on later years"]
    assert not table.groupby("group")["other_data"].first().to_dict()["fine-tuned"]
    assert table["value"].notna().all()


@pytest.mark.slow
def test_the_study_of_darker_images_runs_on_a_miniature(tmp_path, monkeypatch):
    from shiftline.datasets.miniature import make_miniature
    from test_cli import ok

    make_miniature("cifar10", tmp_path / "sets")
    ok("data", "write", "cifar10", "--root", tmp_path / "sets", "--store", tmp_path, "--quiet")
    study = make_study("cifar10_brightness", ["small=true"], tmp_path, quiet=True)
    assert study.run().exit_status == 0
    assert set(study.results()["distribution"]) == {"reference", "reference val", "half the brightness"}
