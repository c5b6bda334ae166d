"""Shared fixtures: a small study on real digits, and a store in which it has run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Names are looked up without a network, and a missing one fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from shiftline import (
    SGD,
    AdamW,
    Blur,
    ExperimentManager,
    FineTune,
    FromScratch,
    Invert,
    LinearProbe,
    Split,
    Tint,
    Translate,
    ZeroShot,
    best,
    glyph_clip,
    glyph_net,
    handwritten_digits,
    interpolations,
    replicates,
)
from shiftline.backbones.glyphs import PROMPTS
from shiftline.data.sidecar import DataFolder

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


class TinyStudy(ExperimentManager):
    """Every recipe and every kind of job, in seconds."""

    name = "tiny"
    baseline = "from scratch"
    reference = handwritten_digits().shifted(Tint(p=0.6))
    shifts = {"blur": reference.test.shifted(Blur(2.0)), "invert": reference.test.fraction(0.3).shifted(Invert())}

    def models(self):
        train = self.reference.train
        scratch = [
            FromScratch(
                glyph_net(net),
                train_on=train.fraction(share),
                epochs=3,
                batch_size=20,
                optimizer=SGD(lr=0.02),
                augment=[Translate(1)],
            )
            for net, share in (("linear", 0.1), ("linear", 1.0), ("mlp", 0.3))
        ]
        run = FromScratch(glyph_net("conv-narrow"), epochs=3, optimizer=AdamW(lr=3e-3))
        zero_shot = ZeroShot(glyph_clip(), templates=PROMPTS)
        few = train.fraction(0.2)
        tuned = best([FineTune(zero_shot, train_on=few, epochs=1, optimizer=AdamW(lr=lr)) for lr in (1e-3, 1e-4)])
        return {
            "from scratch": [*scratch, *run.checkpoints([1, 3])],
            "zero-shot": zero_shot,
            "probe": LinearProbe(zero_shot, train_on=few),
            "tuned": replicates(tuned, [0, 1]),
            "wise-ft": interpolations(zero_shot, tuned, [0, 0.5, 1]),
        }


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The splits that make themselves, written once."""
    from shiftline.datasets.catalogue import catalogue
    from shiftline.datasets.prepare import split_records

    root = tmp_path_factory.mktemp("data")
    made = [family for family in catalogue().families.values() if family.generated]
    split_records(DataFolder(root), [Split(family.name, split) for family in made for split in family.splits])
    return root


@pytest.fixture(scope="session")
def digits_data(data_root: Path) -> DataFolder:
    return DataFolder(data_root)


@pytest.fixture
def new_store(tmp_path: Path, data_root: Path) -> Path:
    """An empty store that shares the written data."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    return store


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> TinyStudy:
    """The tiny study, after it has run. Not to be changed."""
    store = tmp_path_factory.mktemp("tiny") / "store"
    store.mkdir()
    (store / "data").symlink_to(data_root)
    study = TinyStudy(store=store, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    return study


@pytest.fixture
def test_split() -> Split:
    return Split("digits", "test")
