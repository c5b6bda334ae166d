"""Declarations: what can be said, and the message where something cannot."""

from __future__ import annotations

import pytest

from shiftline import (
    DFR,
    SGD,
    AdamW,
    Architecture,
    Blur,
    ColourJitter,
    Cosine,
    Cutout,
    FineTune,
    FromScratch,
    FromStore,
    Interpolate,
    LinearProbe,
    LocalWeights,
    Mixup,
    RandAugment,
    Recipe,
    Reference,
    Split,
    Step,
    Task,
    ZeroShot,
    average,
    best,
    ensemble,
    ensembles,
    fisher_average,
    flip_tta,
    glyph_clip,
    glyph_net,
    greedy_soup,
    grid,
    handwritten_digits,
    interpolations,
    patch_joint,
    patch_parallel,
    replicates,
    swa,
    task_arithmetic,
    timm,
    uniform_soup,
)
from shiftline.contracts.identity import canonical
from shiftline.contracts.models import describe, distinct, map_children
from shiftline.contracts.study import declare_study
from shiftline.contracts.transforms import Augmentation, Transform
from shiftline.errors import DeclarationError
from shiftline.operations.combine import Combine
from shiftline.operations.fine_tune import TrainingTask
from shiftline.operations.selection import Replicate
from shiftline.shifts.augmentations import HorizontalFlip, RandomResizedCrop
from shiftline.shifts.colour import Contrast, Tint
from shiftline.shifts.geometry import Rotate

REFERENCE = handwritten_digits()
CLIP = ZeroShot(glyph_clip())
TUNED = FineTune(CLIP)
TASK = Task(REFERENCE.train, REFERENCE.val)


class Formless(Architecture):
    tag = "tests/formless"


class Lazy(Recipe):
    tag = "tests/lazy"


class Own(Augmentation):
    tag = "test/own"


class Idle(Transform):
    tag = "test/idle"


def study(models, *, shifts=None, baseline=None, reference=REFERENCE, name="s"):
    return declare_study(name, reference, shifts or {}, models, baseline)


def test_recipes_compose():
    ends = interpolations(CLIP, TUNED)
    again = FineTune(ends[5], epochs=2)
    chosen = best(interpolations(CLIP, best([again, TUNED])))
    assert describe(again).startswith("fine-tune(interpolate(zero-shot(glyph-clip)")
    assert {part for part in distinct(chosen) if isinstance(part, ZeroShot)} == {CLIP}
    assert Interpolate(*replicates(TUNED, [1, 2]), 0.5).start.seed == 1


def test_replicates_change_the_seed_of_the_outermost_training_only():
    lp_ft = FineTune(FineTune(CLIP, seed=7), epochs=2)
    (copy,) = replicates(lp_ft, [3])
    assert copy.seed == 3
    assert copy.init.seed == 7
    assert Interpolate(CLIP, TUNED, 0.3).seeded(5).end.seed == 5
    assert replicates(best([TUNED]), [2]) == [Replicate(best([TUNED]), 2)]


def test_a_replicate_keeps_what_another_member_starts_from():
    start = FromScratch(glyph_net("mlp"))
    path = Interpolate(start, FineTune(start, epochs=1), 0.5).seeded(5)
    assert (path.start.seed, path.end.seed, path.end.init) == (0, 5, start)
    added = task_arithmetic(start, [(FineTune(start), 0.5)]).seeded(5)
    assert [member.seed for member in added.members] == [0, 5]


def test_grids_multiply_and_tied_keys_change_together():
    runs = grid(lambda lr, epochs, seed: (lr, epochs, seed), lr__epochs=[(0.1, 4), (0.2, 8)], seed=[0, 1])
    assert runs == [(0.1, 4, 0), (0.1, 4, 1), (0.2, 8, 0), (0.2, 8, 1)]
    with pytest.raises(DeclarationError, match="1 values for the 2 tied keys lr, epochs"):
        grid(lambda **k: k, lr__epochs=[(0.1,)])


def test_generators_are_taken_whole():
    assert len(FromScratch(glyph_net("mlp"), epochs=3).checkpoints(e for e in (1, 2))) == 2
    assert len(grid(lambda lr, seed: (lr, seed), lr=[1, 2], seed=(s for s in range(3)))) == 6


def test_numbers_of_equal_meaning_have_one_form():
    assert canonical(AdamW(lr=1, betas=(0, 0.5))) == canonical(AdamW(lr=1.0, betas=(0.0, 0.5)))


def test_checkpoints_share_one_run():
    first, last = FromScratch(glyph_net("mlp"), epochs=5).checkpoints([5, 2])
    assert first.run == last.run
    assert first.training_run() == last.training_run()
    assert (first.after, last.after, first.run.save) == (2, 5, (2, 5))


def test_members_are_named_by_what_tells_them_apart():
    declared = study(
        {
            "wise": interpolations(CLIP, TUNED, [0, 0.25]),
            "seeds": replicates(TUNED, [3, 4]),
            "epochs": FromScratch(glyph_net("mlp"), epochs=5).checkpoints([1, 2]),
            "alone": CLIP,
            "named": {"mine": TUNED.replace(epochs=3)},
            "numbered": [TUNED.replace(epochs=4, seed=1), LinearProbe(CLIP)],
        }
    )
    assert [m.model for m in declared.models] == [
        "wise alpha=0",
        "wise alpha=0.25",
        "seeds seed=3",
        "seeds seed=4",
        "epochs epoch=1",
        "epochs epoch=2",
        "alone",
        "mine",
        "numbered 1",
        "numbered 2",
    ]


def test_map_children_leaves_an_unchanged_expression_alone():
    model = Interpolate(CLIP, TUNED, 0.5)
    assert map_children(model, lambda m: m) is model


def test_attributes_for_the_results_table():
    assert Interpolate(CLIP, TUNED.replace(seed=3), 0.5).attributes() == {"alpha": 0.5, "seed": 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: study({}), "declares no models"),
        (lambda: study({"a": []}), "declares no models"),
        (lambda: study({"a": [3]}), "holds a int: expected model expressions"),
        (lambda: study({"a": CLIP}, reference=None), "has no reference distribution"),
        (lambda: study({"a": CLIP}, name=""), "needs a name"),
        (lambda: study({"a": CLIP}, shifts={"x": 3}), "the shift 'x'.*is a int"),
        (lambda: study({"a": CLIP}, shifts={"average": REFERENCE.test}), "cannot be named 'average'"),
        (lambda: study({"a": CLIP}, baseline="b"), "'b', which does not exist: the groups are 'a'"),
        (lambda: study({"a": {"x": CLIP}, "b": {"x": TUNED}}), "two models are named 'x'"),
        (lambda: Reference(REFERENCE.train, REFERENCE.test, REFERENCE.test), "val and test are the same"),
        (lambda: Reference(REFERENCE.train, 3, REFERENCE.test), "Reference.val is a int"),
        (lambda: Split("a/b", "c"), "expected two plain names"),
        (lambda: REFERENCE.test.fraction(0), "above 0 and at most 1"),
        (lambda: REFERENCE.test.indices([]), "at least one id"),
        (lambda: REFERENCE.test.indices([-1]), "0 or more"),
        (lambda: REFERENCE.test.indices([1, 1]), "appear once"),
        (lambda: REFERENCE.test.class_rates([0, 0]), "not all 0"),
        (lambda: REFERENCE.test.shifted(lambda x: x), "has no canonical form.*subclass of shiftline.Transform"),
        (lambda: Interpolate(CLIP, TUNED, 1.2), "alpha is 1.2: expected a mixing coefficient from 0"),
        (lambda: Interpolate(CLIP, TUNED, float("nan")), "alpha is nan"),
        (lambda: Interpolate(glyph_clip(), TUNED, 0.5), "expected a model with a head"),
        (lambda: best([]), "best\\(\\) of nothing"),
        (lambda: best([glyph_clip()]), "a candidate is a GlyphClip"),
        (lambda: FineTune(glyph_clip()), 'brings no head.*head="random"'),
        (lambda: FineTune(CLIP, head="new"), "choose one of keep, random"),
        (lambda: FineTune(CLIP, trainable="tail"), "choose one of all, head, encoder"),
        (lambda: FineTune(3), "expected a model expression"),
        (lambda: FromScratch(CLIP), "is a ZeroShot: expected timm"),
        (lambda: FromScratch(glyph_net("mlp"), epochs=0), "epochs is 0"),
        (lambda: FromScratch(glyph_net("mlp"), batch_size=0), "batch_size is 0"),
        (lambda: FromScratch(glyph_net("mlp"), precision="64"), "choose one of 32, bf16, fp16"),
        (lambda: FromScratch(glyph_net("mlp"), label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: FromScratch(glyph_net("mlp"), clip_norm=0.0), "positive norm"),
        (lambda: FromScratch(glyph_net("mlp"), optimizer="sgd"), "expected SGD"),
        (lambda: FromScratch(glyph_net("mlp"), schedule="cosine"), "expected Constant"),
        (lambda: FromScratch(glyph_net("mlp"), augment=[3]), "expected a list of augmentations"),
        (lambda: FromScratch(glyph_net("mlp"), epochs=2).checkpoints([3]), "expected epochs from 1 to 2"),
        (lambda: glyph_net("transformer"), "choose one of linear, mlp"),
        (lambda: ZeroShot(glyph_clip(), templates=("a photo",)), "exactly one {}"),
        (lambda: ZeroShot(glyph_clip(), templates=()), "at least one text"),
        (lambda: ZeroShot(glyph_clip(), classes=("one", ())), r"classes\[1\].*at least one name"),
        (lambda: LinearProbe(CLIP, inverse_l2=0), "expected a positive number"),
        (lambda: LocalWeights(CLIP, "x"), "expected timm"),
        (lambda: AdamW(lr=0), "expected a positive learning rate"),
        (lambda: AdamW(lr=lambda: 1), "AdamW.lr is a function, which has no canonical form: expected a plain float"),
        (lambda: AdamW(lr="1e-3"), "AdamW.lr is '1e-3' .str.: expected a plain float"),
        (lambda: FromScratch(glyph_net("mlp"), seed=1.0), "seed is 1.0 .float.: expected a plain int"),
        (lambda: FromScratch(glyph_net("mlp"), epochs=2, steps=3), "has epochs=2 and steps=3: a duration is one of the two"),
        (lambda: FromScratch(glyph_net("mlp"), steps=0), "steps is 0: expected 1 or more"),
        (lambda: FromScratch(glyph_net("mlp"), steps=5, save=(6,)), "expected steps from 1 to 5"),
        (lambda: FromScratch(glyph_net("mlp"), accumulate=65), "accumulate is 65: expected 1 to batch_size"),
        (lambda: FromScratch(glyph_net("mlp"), mix="mixup"), "expected Mixup.. or CutMix"),
        (lambda: Mixup(alpha=0), "Mixup.alpha is 0.0: expected a positive"),
        (lambda: Cutout(0), "Cutout.pixels is 0"),
        (lambda: RandAugment(magnitude=31), "magnitude is 31: expected 0 to 30"),
        (lambda: ColourJitter(hue=0.6), "hue is 0.6: expected 0 to 0.5"),
        (lambda: SGD(lr=0.1, momentum=0.0, nesterov=True), "Nesterov's method needs momentum"),
        (lambda: SGD(lr=0.1, momentum=1.0), "SGD.momentum is 1.0"),
        (lambda: AdamW(lr=0.1, betas=(0.9,)), "expected two numbers from 0 to below 1"),
        (lambda: FromScratch(LocalWeights(glyph_net("mlp"), "x.pt")), "would not read the file"),
        (lambda: FromScratch(glyph_net("mlp"), augment=[Cutout(3), RandomResizedCrop()]), "Give one of them, and put it first"),
        (lambda: ZeroShot(glyph_clip(), templates=["the {} of {x}"]), "and no other braces"),
        (lambda: swa(best([TUNED]), [1, 2]), "swa of a Best: expected a training"),
        (lambda: Reference(REFERENCE.train.class_rates([1] * 10, fresh=True), REFERENCE.val, REFERENCE.test), "give the fresh"),
        (lambda: REFERENCE.train.class_rates([1] * 10, fresh=True).label_noise(0.1), "drawn again in every epoch: select first"),
        (lambda: Step(), "Step needs every=EPOCHS or every_steps=STEPS"),
        (lambda: Step(every=1, every_steps=1), "one of the two"),
        (lambda: Cosine(warmup=1, warmup_steps=3), "give epochs or steps, not both"),
        (lambda: Cosine(warmup_steps=-3), "Cosine.warmup is negative"),
        (lambda: FineTune(CLIP, head="random", trainable="encoder"), "a random head that is frozen says nothing"),
        (lambda: FineTune(CLIP, features="backbone"), "under a head that is kept"),
        (lambda: FineTune(glyph_clip(), head="random", features="keep"), "choose one of backbone, embedding"),
        (lambda: FineTune(CLIP, tasks=[TrainingTask(REFERENCE.train, CLIP)]), 'say trainable="encoder"'),
        (lambda: FineTune(flip_tta(CLIP)), "averages outputs: it has no weights of its own"),
        (lambda: LinearProbe(ensemble([CLIP, TUNED])), "averages outputs"),
        (lambda: DFR(CLIP, groups="colour"), "choose one of class, metadata"),
        (lambda: uniform_soup([CLIP]), "uniform_soup of 1 model: give two or more"),
        (lambda: greedy_soup([CLIP]), "greedy_soup of 1 model"),
        (lambda: average([]), "average of 0 models"),
        (lambda: average([CLIP, TUNED], weights=[1]), "2 models and 1 weights"),
        (lambda: average([CLIP, TUNED], weights=[1, -1]), r"sum to 0: no average"),
        (lambda: average([CLIP, TUNED], weights=[1, float("nan")]), "expected finite numbers"),
        (lambda: average([CLIP, ensemble([CLIP, TUNED])]), "member 1 is ensemble of logits.*averages outputs"),
        (lambda: Combine((CLIP, TUNED), (0.5, 0.6)), "sum to 1.1: expected 1"),
        (lambda: fisher_average([CLIP, TUNED], weights=[1, 0]), "expected positive numbers"),
        (lambda: fisher_average([CLIP, TUNED], target="label"), "choose one of expected, sampled, empirical"),
        (lambda: task_arithmetic(CLIP, []), "task_arithmetic of no task"),
        (lambda: task_arithmetic(CLIP, [(TUNED, "1")]), "expected finite numbers"),
        (lambda: interpolations(CLIP, TUNED, [0.5], subset="tail"), "choose one of all, encoder, head"),
        (lambda: ensembles(CLIP, TUNED, [1.5]), "alphas=.* is 1.5"),
        (lambda: ensemble([CLIP, TUNED], weights=[1]), "has 1 weights: give one per member"),
        (lambda: ensemble([CLIP, TUNED], space="weights"), "choose one of logits, probabilities"),
        (lambda: ensemble([CLIP, TUNED], weights=[2, -1]), "expected shares of 0 or more"),
        (lambda: best([CLIP], metric="speed"), "Choose from accuracy, auroc"),
        (lambda: best([CLIP], rule="lowest"), "choose one of best, one-standard-error"),
        (lambda: best([CLIP], metric="macro-f1", rule="one-standard-error"), "no mean over examples"),
        (lambda: best([CLIP], on=["val"]), "holds a str: expected distributions"),
        (lambda: patch_joint(CLIP, [], supported=[REFERENCE.val]), "give a list of Task"),
        (lambda: patch_parallel(CLIP, [TASK], supported=[]), "what the model should keep"),
        (lambda: patch_parallel(CLIP, [TASK] * 4, supported=[REFERENCE.val]), "tries 14641 combinations"),
        (lambda: Task("train", REFERENCE.val), "Task.train is a str"),
        (lambda: FromStore("abc"), "expected a whole key, 64 hexadecimal digits"),
        (lambda: ZeroShot(glyph_clip(), templates="imagenet"), "a set: openai-imagenet, simple-imagenet"),
        (lambda: ZeroShot(glyph_clip(), templates=["a photo of a digit"]), "must hold exactly one {}"),
        (lambda: ZeroShot(glyph_clip(), classes=["one", ""]), "every class needs at least one name"),
        (lambda: REFERENCE.train.few_shot(0), "expected 1 or more examples per class"),
        (lambda: REFERENCE.train.label_noise(2), "expected a share, 0 to 1"),
        (lambda: REFERENCE.train.class_rates([1, 2], fresh=True).fraction(0.5), "drawn again in every epoch: select first"),
        (lambda: Formless(), "Formless has no build method"),
        (lambda: Lazy(), "Lazy has no make method"),
        (lambda: FromScratch(glyph_net("mlp"), augment=[Own()]), "the augmentation Own has no apply method"),
        (lambda: REFERENCE.test.shifted(Idle()), "has no apply method"),
        (lambda: replicates(LinearProbe(TUNED), range(3)), "nothing in it depends on a seed"),
        (lambda: AdamW(lr=float("nan")), "expected a positive learning rate"),
        (lambda: Blur(0), "expected a positive number"),
        (lambda: Rotate(200), "-180 to 180"),
        (lambda: Contrast(-1), "0 or more"),
        (lambda: Tint(p=1.5), "expected a probability"),
        (lambda: HorizontalFlip(p=-1), "expected a probability"),
        (lambda: RandomResizedCrop(scale=(0, 1)), "0 < low <= high"),
    ],
)
def test_bad_declarations_say_what_is_wrong(make, message):
    with pytest.raises(DeclarationError, match=message):
        make()


def test_a_timm_named_is_named_by_its_name():
    assert describe(FromScratch(timm("resnet18"), epochs=2)) == "from-scratch(resnet18, 2 epochs, adamw lr=0.001)"
