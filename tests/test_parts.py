"""Parts of a distribution, drawn by class and seed; ranges of ids on data that are sorted by class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shiftline import Split, Tint
from shiftline.data.examples import Example
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.data.writer import write_split
from shiftline.errors import DeclarationError
from shiftline.plan.checks import check_distribution

TRAIN = Split("digits", "train")


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=5).map(lambda found: tuple(f / sum(found) for f in found)),
    seed=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_are_disjoint_whole_and_stratified(digits_data, shares, seed):
    whole = open_view(TRAIN, digits_data)
    parts = [
        open_view(part, digits_data)
        for part in TRAIN.parts(*shares, seed=seed)
        if part.count({TRAIN: digits_data.open(TRAIN).record})
    ]
    assert np.array_equal(np.sort(np.concatenate([part.ids for part in parts])), whole.ids)
    of_class = np.bincount(whole.labels)
    for share, part in zip(shares, TRAIN.parts(*shares, seed=seed), strict=True):
        if not (count := part.count({TRAIN: digits_data.open(TRAIN).record})):
            continue
        view = open_view(part, digits_data)
        assert len(view) == count
        assert np.abs(np.bincount(view.labels, minlength=10) - share * of_class).max() <= 1


def test_parts_of_one_call_may_be_trained_on_and_evaluated():
    train, test = TRAIN.parts(0.7, 0.3)
    assert train.is_apart_from(test)
    assert train.shifted(Tint(p=1.0)).is_apart_from(test.fraction(0.5))
    assert not train.is_apart_from(train.fraction(0.5))
    assert not train.is_apart_from(TRAIN)
    for other in (TRAIN.parts(0.7, 0.3, seed=1), TRAIN.parts(0.6, 0.3), TRAIN.fraction(0.9).parts(0.7, 0.3)):
        assert not train.is_apart_from(other[1])
    with pytest.raises(DeclarationError, match=r"parts\(0.7, 0.4\): expected shares above 0 that sum to 1 at most"):
        TRAIN.parts(0.7, 0.4)


def test_a_range_of_ids_of_sorted_data_warns(tmp_path):
    """Folders of images are written class by class: the first hundred ids are one class."""
    folder, split = DataFolder(tmp_path), Split("birds", "test")
    pixels = np.zeros((8, 8, 3), np.uint8)
    write_split(folder, split, [Example(pixels + n, n // 10, path=str(n)) for n in range(30)], classes=("a", "b", "c"))
    records = {split: folder.open(split).record}
    with pytest.warns(UserWarning, match="the examples 5 to 14 of birds/test, which are sorted by class: 2 of its 3 classes"):
        check_distribution("cold", split.indices(range(5, 15)), records)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_distribution("all", split.indices(range(30)), records)
        check_distribution("every second", split.indices(range(0, 30, 2)), records)
        check_distribution("one", split.indices([3]), records)
    mixed = Split("birds", "mixed")
    write_split(folder, mixed, [Example(pixels + n, n % 3, path=str(n)) for n in range(30)], classes=("a", "b", "c"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_distribution("cold", mixed.indices(range(2)), {mixed: folder.open(mixed).record})
