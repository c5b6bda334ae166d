"""Sets that say more of an image than one label: several right ones, what is unusual about it, a shape and a texture; counts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import miniatures
from shiftline.contracts.metrics import metric_named
from shiftline.contracts.predictions import Predictions
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.imagenet import synsets
from shiftline.datasets.superclasses import LAION_C, SIXTEEN, superclass_space
from shiftline.errors import DataError
from shiftline.papers.names import FEW_SHOT, data_named

KNOWN = catalogue().families


def predictions(chosen, labels, columns, classes=20):
    logits = np.zeros((len(chosen), classes), np.float32)
    logits[np.arange(len(chosen)), chosen] = 1
    table = pd.DataFrame(columns)
    return Predictions(logits, np.asarray(labels), np.arange(len(chosen)), metadata=lambda names: table[names])


@pytest.mark.slow
def test_real_labels_are_those_of_the_images_number_and_images_without_one_are_left_out(tmp_path):
    base = miniatures.imagenet_real(tmp_path)
    found = KNOWN["imagenet-real"].listing(base, "val")
    assert len(found.examples) == 999
    assert [(e.label, e.metadata["accepted"]) for e in found.examples[:3]] == [(0, "0"), (2, "2 7"), (900, "900")]
    assert found.description.metrics == ("multi-label-accuracy",)


@pytest.mark.slow
def test_the_group_of_an_image_of_imagenet_x_is_its_top_factor(tmp_path):
    base = miniatures.imagenet_x(tmp_path)
    found = KNOWN["imagenet-x"].listing(base, "val")
    assert [e.group for e in found.examples[:5]] == ["pose", "background", "texture", "none", "pose"]
    assert found.examples[1].metadata["pose"] == found.examples[1].metadata["background"] == 1
    assert found.examples[1].metadata["texture"] == found.examples[1].metadata["shape"] == 0
    (base / "imagenet_x_val_top_factor.jsonl").write_text(json.dumps({"file_name": "other.JPEG", "pose": 1}) + "\n")
    with pytest.raises(DataError, match="names none of the images"):
        KNOWN["imagenet-x"].listing(base, "val")


def test_hard_images_have_all_their_labels_and_the_set_that_they_come_from(tmp_path):
    found = KNOWN["imagenet-hard"].listing(miniatures.imagenet_hard(tmp_path), "validation")
    assert [(e.label, e.metadata["accepted"], e.group) for e in found.examples] == [
        (3, "3", "ImageNet-V2"),
        (5, "5 9", "ImageNet-A"),
        (999, "999", "ObjectNet"),
    ]


@pytest.mark.parametrize(("covered", "count"), [(SIXTEEN, 207), (LAION_C, 285)])
def test_superclasses_cover_labels_of_imagenet_once(covered, count):
    space = superclass_space("x", covered)
    members = [wnid for group in space.members for wnid in group[1:]]
    assert len(members) == len(set(members)) == count
    assert set(members) <= set(synsets())
    assert {len(space.members[list(covered).index("dog")]), len(space.members[list(covered).index("cat")])} == {110, 7}


def test_cue_conflict_has_a_shape_and_a_texture(tmp_path):
    found = KNOWN["cue-conflict"].listing(miniatures.cue_conflict(tmp_path), "test")
    assert [(e.label, e.group, e.metadata["texture"]) for e in found.examples[:3]] == [
        (0, "airplane", 0),
        (0, "bear", 1),
        (1, "bear", 1),
    ]
    miniatures.save(tmp_path / "cue-conflict/bear/bear1-unicorn2.png")
    with pytest.raises(DataError, match="bear1-unicorn2.png says no shape and texture"):
        KNOWN["cue-conflict"].listing(tmp_path / "cue-conflict", "test")


def test_clevr_labels_are_numbers_of_objects(tmp_path):
    base = miniatures.clevr_counts(tmp_path)
    found = KNOWN["clevr-counts"].listing(base, "test")
    assert found.classes == tuple(map(str, range(3, 11)))
    assert [found.classes[e.label] for e in found.examples] == [str(3 + number % 8) for number in range(8)]
    assert len(KNOWN["clevr-counts"].listing(base, "train").examples) == 36


def test_domains_are_splits_with_one_list_of_classes(tmp_path):
    base = miniatures.office_home(tmp_path)
    one, other = (KNOWN["office-home"].listing(base, split) for split in ("art", "real-world"))
    assert one.classes == other.classes
    assert len(one.classes) == 65
    assert {e.group for e in other.examples} == {"Real World"}
    for path in sorted((base / "Art" / "Thing_07").iterdir()):
        path.unlink()
    (base / "Art" / "Thing_07").rmdir()
    with pytest.raises(DataError, match="has 64 class folders .*, expected 65"):
        KNOWN["office-home"].listing(base, "art")


@given(st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(0, 9), min_size=1)), min_size=1, max_size=30))
def test_one_of_the_accepted_labels_is_right(rows):
    chosen, accepted = zip(*rows, strict=True)
    columns = {"accepted": [" ".join(map(str, sorted(labels))) for labels in accepted]}
    found = metric_named("multi-label-accuracy", where="test").measure(
        predictions(chosen, [min(labels) for labels in accepted], columns)
    )
    assert found.value == pytest.approx(np.mean([c in labels for c, labels in rows]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_shape_bias_counts_decisions_for_shape_or_texture_on_conflicts(rows):
    chosen, shape, texture = (list(column) for column in zip(*rows, strict=True))
    found = metric_named("shape-bias", where="test").measure(predictions(chosen, shape, {"texture": texture}))
    decided = [c == s for c, s, t in rows if s != t and c in (s, t)]
    assert found.value == pytest.approx(np.mean(decided)) if decided else np.isnan(found.value)


def test_few_shot_names_of_cifar():
    for number in FEW_SHOT:
        if number > 2:
            assert data_named(f"CIFAR10{number}").per_class == number
    assert str(data_named("CIFAR101").scores["top1"].split) == "cifar10.1/v6"
