"""Identity: the same value has the same form everywhere, and what has no form is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftline.backbones.glyphs import GlyphNet, glyph_clip, glyph_net
from shiftline.backbones.open_clip import open_clip
from shiftline.backbones.timm import timm
from shiftline.contracts.codec import decode, encode
from shiftline.contracts.distributions import Split
from shiftline.contracts.identity import Declaration, canonical, canonical_json, digest, speed_only
from shiftline.contracts.transforms import Transform
from shiftline.errors import DeclarationError, IdentityError
from shiftline.operations.fine_tune import FineTune
from shiftline.operations.from_scratch import FromScratch
from shiftline.operations.interpolate import Interpolate
from shiftline.operations.optimisers import SGD, Adam, AdamW, Constant, Cosine, Step, Triangle
from shiftline.operations.probe import LinearProbe
from shiftline.operations.selection import best, replicates
from shiftline.operations.zero_shot import ZeroShot
from shiftline.shifts.augmentations import Translate
from shiftline.shifts.colour import Invert, Tint
from shiftline.shifts.quality import Blur, Noise

GOLDEN = Path(__file__).parent / "golden" / "digests.json"

rates = st.floats(1e-6, 10)
optimizers = st.one_of(
    st.builds(SGD, lr=rates, momentum=st.floats(0.1, 0.99), nesterov=st.booleans()),
    st.builds(Adam, lr=rates),
    st.builds(AdamW, lr=rates, weight_decay=st.floats(0, 1)),
)
schedules = st.one_of(
    st.builds(Constant),
    st.builds(Cosine, warmup=st.floats(0, 5)),
    st.builds(Triangle, warmup=st.floats(0, 5)),
    st.builds(Step, every=st.floats(0.5, 10)),
)
transforms = st.one_of(
    st.builds(Invert),
    st.builds(Blur, sigma=st.floats(0.1, 5)),
    st.builds(Noise, sigma=rates, seed=st.integers(0, 9)),
    st.builds(Tint, p=st.floats(0, 1)),
)
splits = st.builds(Split, st.sampled_from(["digits", "ünïcode"]), st.sampled_from(["train", "val"]))
distributions = st.recursive(
    splits,
    lambda below: st.one_of(
        st.builds(lambda d, f, s: d.fraction(f, seed=s), below, st.floats(0.01, 1), st.integers(0, 99)),
        st.builds(lambda d, t: d.shifted(t), below, transforms),
        st.builds(lambda d, i: d.indices(i), below, st.sets(st.integers(0, 50), min_size=1)),
        st.builds(lambda d, r: d.class_rates(r), below, st.lists(st.floats(0.1, 1), min_size=1, max_size=5)),
        st.builds(lambda d, f, s: d.parts(f, 1 - f, seed=s)[s % 2], below, st.floats(0.01, 0.99), st.integers(0, 9)),
        st.builds(lambda d, k, s: d.few_shot(k, seed=s), below, st.integers(1, 9), st.integers(0, 9)),
        st.builds(lambda d, f: d.label_noise(f), below, st.floats(0, 1)),
    ),
    max_leaves=4,
)
scratch = st.builds(
    FromScratch,
    st.sampled_from([glyph_net("mlp"), timm("resnet18")]),
    epochs=st.integers(1, 9),
    optimizer=optimizers,
    schedule=schedules,
    train_on=st.none() | distributions,
    seed=st.integers(0, 9),
    augment=st.lists(st.builds(Translate, st.integers(0, 4)), max_size=2),
)
zero_shots = st.builds(ZeroShot, st.sampled_from([glyph_clip(), open_clip("ViT-B-32", "openai")]))
models = st.recursive(
    scratch | zero_shots,
    lambda below: st.one_of(
        st.builds(FineTune, below, optimizer=optimizers, epochs=st.integers(1, 9)),
        st.builds(LinearProbe, below),
        st.builds(Interpolate, below, below, st.floats(0, 1)),
        st.builds(lambda ms: best(ms), st.lists(below, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)


@given(st.one_of(models, distributions))
def test_decoding_gives_back_what_was_encoded(value):
    document = json.loads(json.dumps(encode(value)))
    assert decode(document) == value
    assert digest(canonical(decode(document))) == digest(canonical(value))


@given(models, models)
def test_different_values_have_different_digests(first, second):
    assert (first == second) == (digest(canonical(first)) == digest(canonical(second)))


@given(models, st.integers(10, 20))
def test_a_changed_field_changes_the_digest(model, seed):
    assert digest(canonical(FromScratch(glyph_net("mlp")).seeded(seed))) != digest(canonical(FromScratch(glyph_net("mlp"))))
    wrapped = FineTune(model, seed=seed)
    assert digest(canonical(wrapped)) != digest(canonical(FineTune(model)))


def _examples() -> dict[str, Declaration]:
    clip = ZeroShot(glyph_clip(), templates=("a photo of the digit {}",))
    tuned = FineTune(clip, epochs=3, optimizer=AdamW(lr=1e-3), schedule=Cosine(warmup=1))
    data = Split("digits", "test").fraction(0.5, seed=3).shifted(Tint(p=0.6), Blur(2))
    return {
        "zero-shot": clip,
        "fine-tune": tuned,
        "probe": LinearProbe(clip, train_on=Split("digits", "train").class_rates([1, 2])),
        "wise-ft": Interpolate(clip, tuned, 0.3),
        "replicate": replicates(best([tuned]), [4])[0],
        "checkpoint": FromScratch(timm("resnet50.a1_in1k"), epochs=16, optimizer=SGD(lr=0.5)).checkpoints([4])[0],
        "distribution": data,
    }


def test_digests_are_those_of_the_golden_file():
    found = {name: digest(canonical(value)) for name, value in _examples().items()}
    golden = json.loads(GOLDEN.read_text())
    assert found == golden, (
        "identity changed: every result in every store would be orphaned. If the form of declarations changed on purpose, "
        "raise SCHEMA in identity.py (for one class: its revision) and write the golden file again with:\n"
        + json.dumps(found, indent=1)
    )


def test_another_process_with_another_hash_seed_gives_the_same_digests():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_identity import _examples\n"
        "from shiftline.contracts.identity import canonical, digest\n"
        "print(digest([canonical(v) for v in _examples().values()]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {digest([canonical(v) for v in _examples().values()]) + "\n"}


def test_the_digest_is_sha256_of_the_canonical_text():
    import hashlib

    form = canonical(Blur(2))
    assert canonical_json(form) == '{"sigma":2.0,"type":"blur"}'
    assert digest(form) == hashlib.sha256(b'{"sigma":2.0,"type":"blur"}').hexdigest()


def test_equal_meanings_are_equal_values():
    assert SGD(lr=1) == SGD(lr=1.0) == SGD(lr=np.float64(1.0))
    assert digest(canonical(SGD(lr=1))) == digest(canonical(SGD(lr=1.0)))
    assert Split("a", "b").indices([3, 1]) == Split("a", "b").indices(np.array([1, 3]))


def test_fields_of_speed_stay_out_of_identity_and_of_equality():
    class Work(Declaration):
        tag = "test/work"
        size: int
        workers: int = speed_only(default=1)

    assert canonical(Work(3, 8)) == {"type": "test/work", "size": 3}
    assert Work(3, 8) == Work(3, 1)
    assert decode(encode(Work(3, 8)), types=[Work]).workers == 8


def test_a_raised_revision_changes_the_digest_and_is_checked_on_decoding():
    class First(Transform):
        tag = "test/mine"

    class Second(Transform):
        tag = "test/mine"
        revision = 2

    assert digest(canonical(First())) != digest(canonical(Second()))
    with pytest.raises(DeclarationError, match="revision 1, this version has 2"):
        decode(encode(First()), types=[Second])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_does_not_equal_itself_is_refused_by_path(value):
    class Holder(Declaration):
        tag = "test/holder"
        numbers: tuple[float, ...]

    with pytest.raises(IdentityError, match=r"Holder.numbers\[1\] is (nan|inf)"):
        canonical(Holder((1.0, value)))


def test_a_function_is_refused_by_path():
    class Holder(Declaration):
        tag = "test/holder"
        f: object

    with pytest.raises(IdentityError, match="Holder.f is the function.*a subclass of shiftline.Transform"):
        canonical(Holder(lambda x: x))


def test_arrays_and_fields_that_the_form_uses_itself_are_refused():
    class Holder(Declaration):
        tag = "test/holder"
        weights: object

    with pytest.raises(IdentityError, match="Holder.weights is a ndarray: expected a declaration, text"):
        Holder(np.zeros(3))
    with pytest.raises(IdentityError, match="has a field 'type'"):

        class Bad(Declaration):
            type: str


def test_a_class_without_a_tag_is_refused():
    class Nameless(Declaration):
        pass

    with pytest.raises(IdentityError, match="has no tag"):
        canonical(Nameless())


def test_unknown_types_and_fields_are_named_on_decoding():
    with pytest.raises(DeclarationError, match="'nothing', which is unknown here. Known: .*blur"):
        decode({"type": "nothing"})
    with pytest.raises(DeclarationError, match="has no field 'radius': it has sigma"):
        decode({"type": "blur", "radius": 2})


def test_declarations_are_frozen():
    with pytest.raises(AttributeError):
        GlyphNet("mlp").name = "linear"
