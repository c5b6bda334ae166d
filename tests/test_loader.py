"""Loaders: every example once, the same batches whatever the workers, nothing leaked, errors raised."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from miniatures import arrays_of, view_of
from shiftline import Blur, HorizontalFlip, Invert, RandomResizedCrop, Split, Tint, Translate
from shiftline.data import readers
from shiftline.data.examples import Encoding, Example
from shiftline.data.loader import TrainingBatches, evaluation_chunks
from shiftline.data.pixels import augment, centre_boxes
from shiftline.data.randomness import bits, normal, permutation, uniform
from shiftline.data.readers import FfcvReader, PlainReader, training_reader
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.data.writer import write_split
from shiftline.errors import DataError

TRAIN = Split("digits", "train")
AUGMENT = (HorizontalFlip(), Translate(2))


def epoch(batches, number=0, **options):
    return list(batches.epoch(number, **options))


@pytest.fixture(params=["ffcv", "plain"])
def loader(request):
    """A function that makes a loader, once with each reader: every guarantee holds for both."""

    def make(folder, distribution=TRAIN, **options):
        settings_ = {"batch_size": 64, "size": 32, "augmentations": AUGMENT, "reader": request.param} | options
        return TrainingBatches(open_view(distribution, folder), **settings_)

    return make


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Twenty JPEG images of different sizes."""
    rng = np.random.default_rng(0)
    root = DataFolder(tmp_path_factory.mktemp("photographs"))
    examples = []
    for i in range(20):
        coarse = torch.from_numpy(rng.integers(0, 256, (3, 4, 4), dtype=np.uint8))
        pixels = tv.resize(coarse, [40 + i, 60 - i], antialias=True).permute(1, 2, 0).numpy()
        examples.append(Example(pixels, i % 2))
    write_split(root, Split("photos", "all"), examples, classes=["a", "b"], encoding=Encoding("jpeg", quality=95))
    return root


STREAMED = {"augmentations": (RandomResizedCrop(), *AUGMENT), "batch_size": 6, "size": 24}
PHOTOS = Split("photos", "all")


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.ids, b.ids)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("n", [1, 63, 64, 65, 66, 127, 129])
def test_every_example_comes_once_for_ragged_sizes(loader, digits_data, n):
    batches = loader(digits_data, TRAIN.indices(range(0, 2 * n, 2)), batch_size=min(n, 64))
    found = epoch(batches)
    assert len(found) == batches.steps
    assert sorted(torch.cat([b.ids for b in found]).tolist()) == list(range(0, 2 * n, 2))
    assert all(len(b) > 1 for b in found) or n == 1


def test_images_labels_and_ids_belong_together(loader, digits_data):
    from shiftline.datasets.digits import HandwrittenDigits

    source = arrays_of(HandwrittenDigits, "train")
    for batch in epoch(loader(digits_data, augmentations=())):
        np.testing.assert_array_equal(batch.labels.numpy(), source.labels[batch.ids])
        np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), source.images[batch.ids])


def test_batches_are_the_same_for_any_number_of_workers(loader, photographs):
    one, four = (loader(photographs, PHOTOS, decode_threads=w, **STREAMED) for w in (1, 4))
    assert same(epoch(one, 2), epoch(four, 2))


def test_raw_batches_are_the_same_through_either_reader_compiled_or_not(digits_data):
    view = open_view(TRAIN.indices(range(100)), digits_data)
    crops = {"batch_size": 32, "size": 32, "augmentations": AUGMENT}
    made = [
        epoch(TrainingBatches(view, reader=reader, memory_limit=limit, **crops))
        for reader in (PlainReader(view.index), FfcvReader(view.index, compiled=False), FfcvReader(view.index, compiled=True))
        for limit in (0, 1 << 30)
    ]
    assert all(same(made[0], other) for other in made[1:])


def test_augmentation_of_an_example_does_not_depend_on_batch_size_or_subset(loader, digits_data):
    by_id = {}
    for distribution, size in ((TRAIN, 64), (TRAIN, 7), (TRAIN.indices(range(50)), 16)):
        for batch in epoch(loader(digits_data, distribution, batch_size=size), 3):
            for image, example in zip(batch.images, batch.ids.tolist(), strict=True):
                assert torch.equal(by_id.setdefault(example, image), image)


def test_seed_and_epoch_change_order_and_augmentation_and_do_not_coincide(loader, digits_data):
    orders = {(seed, number): tuple(loader(digits_data, seed=seed).order(number).tolist()) for seed in (0, 1) for number in (0, 1)}
    assert len(set(orders.values())) == 4
    images = {
        tuple(epoch(loader(digits_data, TRAIN.indices(range(9)), batch_size=9, seed=s), n)[0].images.sum((1, 2, 3)).tolist())
        for s in (0, 1)
        for n in (0, 1)
    }
    assert len(images) == 4


def test_starting_in_the_middle_gives_the_rest_of_the_epoch(loader, digits_data, photographs):
    for batches in (loader(digits_data), loader(photographs, PHOTOS, **STREAMED)):
        assert same(epoch(batches, 1)[2:], epoch(batches, 1, first=2))


def test_two_ranks_share_each_batch_without_overlap(loader, digits_data):
    whole = epoch(loader(digits_data, batch_size=50))
    ranks = [epoch(loader(digits_data, batch_size=50, rank=r, world=2)) for r in (0, 1)]
    for batch, left, right in zip(whole, *ranks, strict=True):
        assert sorted([*left.ids.tolist(), *right.ids.tolist()]) == sorted(batch.ids.tolist())
        assert not set(left.ids.tolist()) & set(right.ids.tolist())


def test_fifty_early_breaks_leak_no_thread(loader, photographs):
    batches = loader(photographs, PHOTOS, decode_threads=3, **STREAMED)
    epoch(batches)
    before = threading.active_count()
    for number in range(50):
        for _ in batches.epoch(number):
            break
    assert threading.active_count() == before


def test_two_loaders_interleave(loader, photographs, digits_data):
    first, second = loader(photographs, PHOTOS, **STREAMED), loader(digits_data, batch_size=300)
    apart = (epoch(first), epoch(second))
    woven = ([], [])
    for a, b in zip(first.epoch(0), second.epoch(0), strict=False):
        woven[0].append(a)
        woven[1].append(b)
    assert same(woven[0], apart[0][: len(woven[0])])
    assert same(woven[1], apart[1][: len(woven[1])])


@pytest.mark.parametrize("broken_at", [0, 9])
def test_an_error_in_a_worker_is_raised_by_the_caller(photographs, broken_at):
    view = open_view(PHOTOS, photographs)

    class Broken(PlainReader):
        calls = 0

        def crops(self, *arguments):
            Broken.calls += 1
            if Broken.calls > broken_at:
                raise DataError("this image is broken")
            return super().crops(*arguments)

    batches = TrainingBatches(view, reader=Broken(view.index), decode_threads=2, **STREAMED | {"batch_size": 2})
    before = threading.active_count()
    with pytest.raises(DataError, match="this image is broken"):
        epoch(batches)
    assert threading.active_count() == before


def test_threads_and_random_state_are_left_as_found(loader, digits_data, photographs):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    epoch(loader(digits_data))
    epoch(loader(photographs, PHOTOS, **STREAMED))
    list(evaluation_chunks(open_view(PHOTOS, photographs)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_fewer_examples_than_a_batch_is_an_error(loader, digits_data):
    with pytest.raises(DataError, match="10 examples, fewer than one batch of 64"):
        loader(digits_data, TRAIN.indices(range(10)))


def test_a_shift_is_applied_before_augmentation_and_cropping(loader, photographs, digits_data):
    plain = epoch(loader(photographs, PHOTOS, **STREAMED))
    inverted = epoch(loader(photographs, PHOTOS.shifted(Invert()), **STREAMED))
    for a, b in zip(plain, inverted, strict=True):
        assert torch.equal(a.ids, b.ids)
        # Inverting commutes with cropping up to the resizer (the reader's, or torchvision's bicubic).
        assert (a.images.float() + b.images.float() - 255).abs().mean() < 12
    (first,) = epoch(loader(digits_data, TRAIN.indices(range(30)), batch_size=30))
    (second,) = epoch(loader(digits_data, TRAIN.indices(range(30)).shifted(Invert()), batch_size=30))
    assert torch.equal(first.images, 255 - second.images)


@pytest.mark.parametrize("crop", [1.0, 0.8])
@pytest.mark.parametrize("shifted", [False, True])
def test_memory_and_streaming_give_the_same_pixels_and_the_evaluation_crop(loader, digits_data, crop, shifted):
    distribution = TRAIN.indices(range(40)).shifted(Invert()) if shifted else TRAIN.indices(range(40))
    options = {"batch_size": 40, "augmentations": (), "crop": crop}
    (kept,), (read,) = (epoch(loader(digits_data, distribution, memory_limit=limit, **options)) for limit in (1 << 30, 0))
    assert torch.equal(kept.images, read.images)
    from shiftline.networks.preprocessing import resize_and_crop

    (chunk,) = evaluation_chunks(open_view(distribution, digits_data))
    expected = resize_and_crop(chunk.images[0], {"size": 32, "crop": crop, "interpolation": "bicubic"})
    difference = (kept.images.float() - expected[kept.ids].float()).abs().mean()
    assert difference == 0 if crop == 1.0 else difference < 8


def test_evaluation_is_sequential_complete_and_unpadded(photographs, digits_data):
    for distribution, folder in ((PHOTOS, photographs), (TRAIN.fraction(0.3), digits_data)):
        view = open_view(distribution, folder)
        chunks = list(evaluation_chunks(view, chunk_size=7, decode_threads=3))
        assert torch.cat([c.ids for c in chunks]).tolist() == view.ids.tolist()
        assert all(sum(len(run) for run in c.images) == len(c.ids) for c in chunks)
        again = list(evaluation_chunks(view, chunk_size=64, decode_threads=1))
        flat, other = ([image for c in made for run in c.images for image in run] for made in (chunks, again))
        assert all(torch.equal(a, b) for a, b in zip(flat, other, strict=True))


def test_a_tint_is_correlated_with_the_class_as_declared(digits_data):
    view = open_view(TRAIN.shifted(Tint(p=0.6, strength=1.0)), digits_data)
    (chunk,) = evaluation_chunks(view, chunk_size=1000)
    from shiftline.shifts.colour import PALETTE

    colours = (torch.tensor(PALETTE) * 255).round()
    found = (chunk.images[0][:, :, 0, 0].float()[:, None] - colours[None]).abs().sum(2).argmin(1)
    share = float((found == chunk.labels).float().mean())
    expected = 0.6 + 0.4 / 10
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 900) ** 0.5


def test_a_subset_is_independent_of_a_tint_with_the_same_seed(digits_data):
    from shiftline.shifts.colour import PALETTE

    view = open_view(TRAIN.shifted(Tint(p=0.6, strength=1.0, seed=0)).fraction(0.3, seed=0), digits_data)
    (chunk,) = evaluation_chunks(view, chunk_size=1000)
    colours = (torch.tensor(PALETTE) * 255).round()
    found = (chunk.images[0][:, :, 0, 0].float()[:, None] - colours[None]).abs().sum(2).argmin(1)
    share = float((found == chunk.labels).float().mean())
    assert abs(share - 0.64) < 4 * (0.64 * 0.36 / 270) ** 0.5


def test_fractions_are_nested_and_exact():
    view = view_of(np.arange(1000) * 3, np.zeros(1000, int))
    small, large, other = (TRAIN.fraction(share, seed=seed).select(view).ids for share, seed in ((0.1, 5), (0.5, 5), (0.1, 6)))
    assert len(small) == 100
    assert set(small) < set(large)
    assert set(other) != set(small)


@given(st.lists(st.floats(0, 5), min_size=4, max_size=4).filter(lambda r: sum(r) > 0.1), st.integers(0, 5))
def test_class_rates_are_met_with_as_many_examples_as_possible(rates, seed):
    labels = np.repeat(np.arange(4), [40, 30, 20, 50])
    ids = np.arange(len(labels)) * 2
    kept = TRAIN.class_rates(rates, seed=seed).select(view_of(ids, labels)).ids
    counts = np.bincount(labels[np.isin(ids, kept)], minlength=4)
    weights = np.array(rates)
    scale = min(n / r for n, r in zip([40, 30, 20, 50], rates, strict=True) if r > 0)
    # Brute force: each class has the largest whole number not above its share.
    assert all(abs(c - w * scale) < 1 + 1e-6 and c <= w * scale + 1e-6 for c, w in zip(counts, weights, strict=True))
    assert np.array_equal(kept, np.unique(kept))


def test_an_empty_view_is_an_error(digits_data):
    with pytest.raises(DataError, match="is empty"):
        open_view(TRAIN.fraction(0.0001), digits_data)


def test_random_boxes_lie_inside_and_have_the_asked_area_and_ratio():
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(20, 400, 3000), rng.integers(20, 400, 3000)
    crop = RandomResizedCrop(scale=(0.3, 0.9))
    boxes = crop.boxes(heights, widths, np.arange(3000), seed=1, epoch=0)
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= heights).all()
    assert (left + width <= widths).all()
    inside = np.abs(np.log(width / height)) <= np.log(4 / 3) + 0.08
    share = height * width / (heights * widths)
    ordinary = np.maximum(heights / widths, widths / heights) < 1.3
    assert inside.all()
    assert ((share > 0.25) & (share < 0.95))[ordinary].all()
    again = crop.boxes(heights[::-1], widths[::-1], np.arange(3000)[::-1], seed=1, epoch=0)
    np.testing.assert_array_equal(again[::-1], boxes)


def test_centre_boxes_are_torchvisions_centre_crop():
    image = torch.arange(3 * 40 * 60, dtype=torch.int32).reshape(3, 40, 60)
    ((top, left, height, width),) = centre_boxes(np.array([40]), np.array([60]), 0.5)
    assert torch.equal(image[:, top : top + height, left : left + width], tv.center_crop(image, [20, 20]))


def test_translation_is_that_of_padding_with_the_edge():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    ids = torch.arange(5)
    moved = augment(images, ids, [Translate(2)], seed=0, epoch=0)
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    for got, wide in zip(moved, padded, strict=True):
        windows = [wide[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
        assert any(torch.equal(got, window) for window in windows)


@settings(max_examples=50)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**31), st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_random_numbers_are_those_of_a_plain_integer_implementation(seed, number, ids):
    import zlib

    mask = 2**64 - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    state = mix((zlib.crc32(b"a stream") + golden) & mask)
    state = mix((state + (seed & mask) + golden) & mask)
    state = mix((state + number + golden) & mask)
    found = bits("a stream", seed, torch.tensor(ids), epoch=number, draws=3)
    for row, example in zip(found.tolist(), ids, strict=True):
        base = mix((state + example * golden + golden) & mask)
        assert [v & mask for v in row] == [mix((base + draw * golden) & mask) for draw in (1, 2, 3)]


def test_random_numbers_look_random():
    from scipy import stats

    ids = torch.arange(20_000)
    assert stats.kstest(uniform("a", 0, ids, draws=3).flatten().numpy(), "uniform").pvalue > 1e-4
    assert stats.kstest(normal("a", 0, ids, draws=3).flatten().numpy(), "norm").pvalue > 1e-4
    columns = torch.cat([uniform(s, seed, ids, epoch=e) for s in "ab" for seed in (0, 1) for e in (0, 1)], dim=1)
    correlations = np.corrcoef(columns.numpy().T) - np.eye(8)
    assert np.abs(correlations).max() < 5 / 20_000**0.5


def test_permutations_are_permutations():
    ids = np.arange(5, 500, 7)
    assert sorted(permutation(0, 1, ids)) == sorted(ids)
    assert permutation(0, 1, ids).tolist() != permutation(1, 0, ids).tolist()


def test_blur_is_a_convolution_with_a_gaussian():
    from scipy.ndimage import gaussian_filter

    from shiftline.data.pixels import apply_transforms

    image = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    image[:, :, 16, 16] = 255
    found = apply_transforms([Blur(1.5)], image, torch.zeros(1).long(), torch.zeros(1).long())[0, 0].numpy().astype(float)
    expected = gaussian_filter(image[0, 0].numpy().astype(float), 1.5, truncate=3.4)
    assert np.abs(found - expected).max() <= 1


def test_a_reader_is_named_or_found(digits_data, monkeypatch, capsys):
    index = open_view(TRAIN, digits_data).index
    assert training_reader(index).name == "ffcv"
    assert training_reader(index, "plain").name == "plain"
    with pytest.raises(DataError, match="there is no reader 'dali': choose auto, ffcv, plain"):
        training_reader(index, "dali")
    # A machine on which FFCV does not import.
    readers._say_once.cache_clear()
    monkeypatch.setattr(readers, "_ffcv_loop", broken_import)
    assert training_reader(index).name == "plain"
    assert training_reader(index).name == "plain"
    assert capsys.readouterr().err == "FFCV cannot be imported (libopencv is missing): training reads with Pillow instead.\n"
    with pytest.raises(DataError, match='the reader "ffcv" was requested, but FFCV cannot be imported'):
        training_reader(index, "ffcv")
    monkeypatch.setattr(readers, "ffcv_is_installed", lambda: False)
    assert training_reader(index).name == "plain"
    assert "FFCV is not installed: training reads with Pillow instead" in capsys.readouterr().err


def broken_import(compiled):
    raise ImportError("libopencv is missing")


def test_a_canonical_crop_is_torchvisions_and_comes_before_the_shift(loader, photographs):
    cropped = PHOTOS.crop(32)
    (chunk,) = evaluation_chunks(open_view(cropped, photographs), chunk_size=100)
    (plain,) = evaluation_chunks(open_view(PHOTOS, photographs), chunk_size=100)
    canonical = torch.cat(chunk.images)
    assert canonical.shape == (20, 3, 32, 32)
    singles = [image for run in plain.images for image in run]
    for image, single in zip(canonical, singles, strict=True):
        resized = tv.resize(single, [32], interpolation=tv.InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(image, tv.center_crop(resized, [32, 32]))
    (inverted,) = evaluation_chunks(open_view(cropped.shifted(Invert()), photographs), chunk_size=100)
    assert torch.equal(torch.cat(inverted.images), 255 - canonical)
    # Training sees the same canonical pixels, and crops within them.
    batches = loader(photographs, cropped, batch_size=20, size=32, augmentations=())
    (batch,) = epoch(batches)
    difference = (batch.images.float() - canonical[batch.ids].float()).abs()
    # FFCV decodes JPEG with the fast transform: a few grey levels.
    assert difference.max() == 0 if batches.source == "plain" else difference.mean() < 2
    found = epoch(loader(photographs, cropped.shifted(Invert()), **STREAMED))
    assert sorted(torch.cat([b.ids for b in found]).tolist()) == list(range(20))


def test_group_rates_are_met(tmp_path):
    groups = ["sea"] * 30 + ["land"] * 10 + ["air"] * 5
    examples = [Example(np.full((4, 4, 3), row, np.uint8), row % 2, group=group) for row, group in enumerate(groups)]
    folder, split = DataFolder(tmp_path), Split("birds", "all")
    write_split(folder, split, examples, classes=["a", "b"], encoding=Encoding("raw"))
    view = open_view(split.group_rates({"sea": 0.75, "land": 0.25}), folder)
    assert Counter(groups[i] for i in view.ids) == {"sea": 30, "land": 10}
    other = open_view(split.group_rates({"land": 1, "air": 1}, seed=1).shifted(Invert()), folder)
    assert Counter(groups[i] for i in other.ids) == {"land": 5, "air": 5}
    with pytest.raises(DataError, match="no example has the group 'fire'. The groups are air, land, sea"):
        open_view(split.group_rates({"fire": 1}), folder)
    plain = Split("plain", "all")
    write_split(folder, plain, [Example(e.source, e.label) for e in examples], classes=["a", "b"])
    with pytest.raises(DataError, match="plain/all was written without groups"):
        open_view(plain.group_rates({"sea": 1}), folder)
