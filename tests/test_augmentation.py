"""Training images and labels: drawn by id, the same for any batch, any number of processes, and as torchvision would have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from shiftline import ColourJitter, CutMix, Cutout, Mixup, RandAugment, Split, Tint, Translate
from shiftline.contracts.transforms import Augmentation
from shiftline.data.loader import FeatureBatches, JointBatches, TrainingBatches, evaluation_chunks
from shiftline.data.pixels import augment
from shiftline.data.views import open_view
from shiftline.errors import DataError
from shiftline.shifts.augmentations import mixing_shares, rand_augment_operations

TRAIN = Split("digits", "train")
IMAGES = torch.randint(0, 256, (24, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(100, 124)
EACH = [Cutout(8), ColourJitter(0.4, 0.4, 0.4, 0.1), RandAugment(2, 15)]


def loader(folder, distribution=TRAIN, **options):
    return TrainingBatches(open_view(distribution, folder), **{"batch_size": 64, "size": 32, "seed": 3} | options)


@pytest.mark.parametrize("augmentation", EACH, ids=lambda a: type(a).tag)
def test_an_augmentation_is_a_function_of_seed_epoch_and_id(augmentation):
    whole = augment(IMAGES, IDS, [augmentation], seed=1, epoch=2)
    assert whole.dtype == torch.uint8
    assert whole.shape == IMAGES.shape
    assert not torch.equal(whole, IMAGES)
    rows = torch.tensor([5, 0, 17])
    assert torch.equal(augment(IMAGES[rows], IDS[rows], [augmentation], seed=1, epoch=2), whole[rows])
    for other in ({"seed": 2, "epoch": 2}, {"seed": 1, "epoch": 3}):
        assert not torch.equal(augment(IMAGES, IDS, [augmentation], **other), whole)


@pytest.mark.parametrize("augmentation", [*EACH, Translate(3)], ids=lambda a: type(a).tag)
def test_two_of_a_kind_have_numbers_of_their_own(augmentation):
    once, twice = (augment(IMAGES, IDS, [augmentation] * n, seed=1, epoch=2) for n in (1, 2))
    again = augment(once, IDS, [augmentation], seed=1, epoch=2)
    assert not torch.equal(twice, once)
    assert not torch.equal(twice, again)


def test_cutout_paints_one_grey_square_that_the_border_may_cut():
    white = torch.full((500, 3, 20, 20), 255, dtype=torch.uint8)
    found = augment(white, torch.arange(500), [Cutout(6)], seed=0, epoch=0)
    assert set(found.unique().tolist()) == {127, 255}
    areas = (found[:, 0] == 127).sum(dim=(1, 2))
    assert areas.max() == 36
    assert areas.min() >= 9
    # Every pixel is hit about as often, as centres are uniform: the middle ones by 36 of 400 centres.
    assert (found[:, 0, 10, 10] == 127).float().mean().item() == pytest.approx(36 / 400, abs=0.05)


def test_colour_jitter_stays_within_its_factors():
    grey = torch.full((400, 3, 4, 4), 100, dtype=torch.uint8)
    found = augment(grey, torch.arange(400), [ColourJitter(brightness=0.5)], seed=0, epoch=0)[:, 0, 0, 0].float()
    assert found.min() >= 50
    assert found.max() <= 150
    assert stats.kstest(found.numpy(), stats.uniform(50, 100).cdf).pvalue > 1e-3


def test_rand_augment_has_torchvisions_operations_and_ranges():
    """Our operations at a strength against torchvision's own dispatcher at its magnitude."""
    theirs = v2.RandAugment(magnitude=12, num_magnitude_bins=31, interpolation=v2.InterpolationMode.NEAREST)
    image = IMAGES[0]
    space = theirs._AUGMENTATION_SPACE
    assert len(rand_augment_operations()) == len(space)
    for ours, (name, (magnitudes, signed)) in zip(rand_augment_operations(), space.items(), strict=True):
        values = magnitudes(31, 20, 20)
        for sign in (1.0, -1.0) if signed else (1.0,):
            value = 0.0 if values is None else float(values[12]) * sign
            expected = theirs._apply_image_or_video_transform(
                image, name, value, interpolation=theirs.interpolation, fill=theirs._fill
            )
            found = ours(image, 12 / 30, sign)
            # Their factor went through float32: a rounding of one grey level.
            assert (found.int() - expected.int()).abs().max() <= 1, name
            assert (found != expected).float().mean() < 0.02, name


class Bright(Augmentation):
    tag = "tests/bright"

    def apply(self, images, ids, *, seed, epoch):
        return images.float()


def test_a_users_augmentation_of_another_type_is_refused():
    with pytest.raises(DataError, match="Bright returned torch.float32 .* expected uint8"):
        augment(IMAGES, IDS, [Bright()], seed=0, epoch=0)


# ---- mixing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_shares_are_beta_distributed(alpha):
    found = mixing_shares(Mixup(alpha), torch.arange(4000), seed=0, epoch=0).numpy()
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_mixup_is_the_formula():
    images, partners = torch.randn(24, 3, 8, 8), torch.randn(24, 3, 8, 8)
    mixed, shares = Mixup().pairs(images, partners, IDS, seed=0, epoch=1)
    weight = shares[:, None, None, None]
    torch.testing.assert_close(mixed, weight * images + (1 - weight) * partners)


def test_cutmix_pastes_a_box_whose_area_is_the_share():
    ones, zeros = torch.ones(500, 3, 20, 20), torch.zeros(500, 3, 20, 20)
    ids = torch.arange(500)
    mixed, shares = CutMix().pairs(ones, zeros, ids, seed=0, epoch=0)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares)
    for image in mixed[:, 0]:
        rows, columns = (image == 0).any(dim=1), (image == 0).any(dim=0)
        assert (image == 0).sum() == rows.sum() * columns.sum()  # One rectangle.
    wished = mixing_shares(CutMix(), ids, seed=0, epoch=0)
    inside = (shares - wished).abs() < 0.06  # Others are cut by the border.
    assert inside.float().mean() > 0.2


@pytest.mark.slow
def test_everybody_has_a_partner_in_the_batch_and_is_one(digits_data):
    for batch in loader(digits_data, mixed=True, batch_size=50).epoch(0):
        assert sorted(batch.partners.ids.tolist()) == sorted(batch.ids.tolist())
        assert (batch.partners.ids != batch.ids).all()
        row = {int(example): place for place, example in enumerate(batch.ids)}
        places = [row[int(example)] for example in batch.partners.ids]
        assert torch.equal(batch.partners.images, batch.images[places])
        assert torch.equal(batch.partners.labels, batch.labels[places])


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_have_the_partners_of_one(digits_data, world):
    options = {"mixed": True, "batch_size": 50, "augmentations": [Translate(2)]}
    alone = list(loader(digits_data, **options).epoch(1))
    ranks = [list(loader(digits_data, rank=rank, world=world, **options).epoch(1)) for rank in range(world)]
    for step, batch in enumerate(alone):
        partner = dict(zip(batch.ids.tolist(), batch.partners.ids.tolist(), strict=True))
        pixels = dict(zip(batch.ids.tolist(), batch.partners.images, strict=True))
        shares = [rank[step] for rank in ranks]
        assert sorted(i for share in shares for i in share.ids.tolist()) == sorted(batch.ids.tolist())
        for share in shares:
            assert share.count == len(batch)
            assert share.partners.ids.tolist() == [partner[i] for i in share.ids.tolist()]
            assert all(torch.equal(a, pixels[i]) for a, i in zip(share.partners.images, share.ids.tolist(), strict=True))


def test_processes_that_are_left_over_get_an_example_that_does_not_count(digits_data):
    data = TRAIN.indices(range(11))
    ranks = [list(loader(digits_data, data, batch_size=3, rank=rank, world=4).epoch(0)) for rank in range(4)]
    for step in range(4):
        counted = [i for rank in ranks if rank[step].weight for i in rank[step].ids.tolist()]
        assert len(counted) == len(set(counted)) == ranks[0][step].count
        assert all(len(rank[step]) >= 1 for rank in ranks)


# ---- what is trained on ------------------------------------------------------------------------------------------------


def test_fresh_subsets_are_drawn_again_and_keep_their_rates(digits_data):
    rates = list(range(1, 11))
    batches = loader(digits_data, TRAIN.class_rates(rates, fresh=True))
    fixed = open_view(TRAIN.class_rates(rates), digits_data)
    drawn = []
    for epoch in range(3):
        found = list(batches.epoch(epoch))
        ids = torch.cat([batch.ids for batch in found])
        labels = torch.cat([batch.labels for batch in found])
        assert len(ids) == len(ids.unique()) == len(fixed)
        assert torch.equal(torch.bincount(labels), torch.bincount(torch.from_numpy(fixed.labels)))
        drawn.append(frozenset(ids.tolist()))
    assert len(set(drawn)) == 3
    again = torch.cat([batch.ids for batch in loader(digits_data, TRAIN.class_rates(rates, fresh=True)).epoch(2)])
    assert frozenset(again.tolist()) == drawn[2]


def test_few_shots_are_nested_and_exact(digits_data):
    smaller, larger = (open_view(TRAIN.few_shot(k, seed=5), digits_data) for k in (3, 8))
    assert np.bincount(smaller.labels).tolist() == [3] * 10
    assert np.bincount(larger.labels).tolist() == [8] * 10
    assert set(smaller.ids) < set(larger.ids)
    assert set(open_view(TRAIN.few_shot(3, seed=6), digits_data).ids) != set(smaller.ids)
    with pytest.raises(DataError, match=r"few_shot\(500\): .* has \d+ examples. Keep fewer"):
        open_view(TRAIN.few_shot(500), digits_data)


def test_label_noise_gives_exactly_that_share_a_wrong_label(digits_data):
    clean, noisy = open_view(TRAIN, digits_data), open_view(TRAIN.label_noise(0.3, seed=1), digits_data)
    wrong = clean.labels != noisy.labels
    assert wrong.sum() == round(0.3 * len(clean))
    # Every other class is as likely.
    steps = (noisy.labels - clean.labels)[wrong] % 10
    assert stats.chisquare(np.bincount(steps, minlength=10)[1:]).pvalue > 1e-3
    (batch,) = loader(digits_data, TRAIN.label_noise(0.3, seed=1), batch_size=900).epoch(0)
    assert torch.equal(batch.labels, torch.from_numpy(noisy.labels_of(batch.ids.numpy())))
    chunks = list(evaluation_chunks(noisy))
    assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), torch.from_numpy(noisy.labels))


def test_a_tint_sees_the_right_label_under_label_noise(digits_data):
    tinted = TRAIN.shifted(Tint(p=1.0))
    (clean,), (noisy,) = (list(loader(digits_data, data, batch_size=900).epoch(0)) for data in (tinted, tinted.label_noise(0.5)))
    assert torch.equal(clean.images, noisy.images)
    assert not torch.equal(clean.labels, noisy.labels)


def test_cached_features_come_in_the_order_of_the_images(digits_data):
    view = open_view(TRAIN, digits_data)
    ids, labels = torch.from_numpy(view.ids), torch.from_numpy(view.labels)
    for rank, world in ((0, 1), (1, 2)):
        images = loader(digits_data, batch_size=64, rank=rank, world=world)
        features = FeatureBatches(ids[:, None].float(), labels, ids, batch_size=64, seed=3, rank=rank, world=world)
        assert features.steps == images.steps
        for a, b in zip(images.epoch(2, first=4), features.epoch(2, first=4), strict=True):
            assert torch.equal(a.ids, b.ids)
            assert torch.equal(a.labels, b.labels)
            assert torch.equal(b.images[:, 0].long(), b.ids)
            assert a.count == b.count


def test_joint_batches_hold_every_example_of_every_task_once(digits_data):
    def joint():
        parts = [loader(digits_data, TRAIN.indices(r), batch_size=16) for r in (range(50), range(200, 330))]
        return JointBatches(parts, seed=0)

    batches = list(joint().epoch(1))
    assert len(batches) == joint().steps
    for task, expected in ((0, range(50)), (1, range(200, 330))):
        assert sorted(i for b in batches if b.task == task for i in b.ids.tolist()) == list(expected)
    turns = [batch.task for batch in batches]
    assert turns != sorted(turns)
    rest = list(joint().epoch(1, first=5))
    assert [b.ids.tolist() for b in rest] == [b.ids.tolist() for b in batches[5:]]
    assert turns != [b.task for b in joint().epoch(2)]
