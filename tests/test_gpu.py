"""What a GPU computes beside what the CPU does: predictions, trainings, features, shifts, resumptions.

`scripts/gpu_check.sh` runs these where there is a GPU. SHIFTLINE_TEST_DEVICE=cpu runs them on the CPU, so that a mistake in a test is
found without one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from shiftline import (
    DFR,
    JPEG,
    SGD,
    AdamW,
    Blur,
    Brightness,
    Contrast,
    ExperimentManager,
    FineTune,
    FromScratch,
    Invert,
    LinearProbe,
    Noise,
    Occlusion,
    Pixelate,
    RandAugment,
    Recolour,
    Rotate,
    Saturation,
    Tint,
    Translate,
    VerticalFlip,
    ZeroShot,
    glyph_clip,
    glyph_net,
    handwritten_digits,
    interpolations,
    uniform_soup,
)
from shiftline.backbones.glyphs import PROMPTS
from shiftline.data.pixels import apply_transforms
from shiftline.engine.context import Context, Interrupted
from shiftline.engine.run import run_group
from shiftline.engine.weight_cache import WeightCache
from shiftline.launch.planning import data_folder, plan_study
from shiftline.networks.spec import load_model
from shiftline.store.artifacts import Store
from shiftline.store.attempts import Attempts

pytestmark = pytest.mark.gpu

DEVICE = os.environ.get("SHIFTLINE_TEST_DEVICE", "cuda")
REFERENCE = handwritten_digits()
TRAINED = {"epochs": 4, "batch_size": 50}


class OnDevice(ExperimentManager):
    """Every kind of network and head that a device computes."""

    name = "on-device"
    reference = REFERENCE
    shifts = {"blur": REFERENCE.test.shifted(Blur(2.0)), "noise": REFERENCE.test.shifted(Noise(0.2))}
    reader = "plain"

    def __init__(self, *, device, precision="32", **options):
        super().__init__(**options)
        self.device, self.precision = device, precision

    def models(self):
        clip = ZeroShot(glyph_clip(), templates=PROMPTS)
        tuned = [FineTune(clip, optimizer=AdamW(lr=1e-3), seed=seed, **TRAINED) for seed in (0, 1)]
        return {
            "scratch": FromScratch(glyph_net("conv-narrow"), optimizer=SGD(lr=0.1), **TRAINED),
            "clip": clip,
            "probe": LinearProbe(clip),
            "tuned": tuned,
            "dfr": DFR(tuned[0], train_on=REFERENCE.train.few_shot(20)),
            "wise-ft": interpolations(clip, tuned[0], alphas=(0.25, 0.75)),
            "soup": uniform_soup(tuned),
        }


@pytest.fixture(scope="module", autouse=True)
def _needs_a_device():
    if DEVICE != "cpu":
        assert torch.cuda.is_available(), "these tests need a GPU, or SHIFTLINE_TEST_DEVICE=cpu"


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory, data_root):
    """A store in which everything was computed on the CPU."""
    root = tmp_path_factory.mktemp("cpu") / "store"
    root.mkdir()
    shutil.copytree(data_root, root / "data")
    study = OnDevice(device="cpu", store=root, quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    return study


def trained(study, root):
    """A store with the weights of another one, and none of its predictions."""
    shutil.copytree(study.store.root, root)
    store = Store(root)
    for key in store.complete():
        if store.manifest(key).kind in ("predict", "score"):
            shutil.rmtree(store.path(key))
    return root


@pytest.mark.parametrize(("precision", "tolerance"), [("32", 1e-4), ("tf32", 2e-2), ("bf16", 1e-1), ("fp16", 2e-2)])
def test_predictions_are_those_of_the_cpu(on_the_cpu, tmp_path, precision, tolerance):
    if precision == "tf32" and DEVICE == "cpu":
        pytest.skip("TF32 is a format of GPUs")
    study = OnDevice(device=DEVICE, precision=precision, store=trained(on_the_cpu, tmp_path / "store"), quiet=True)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    for planned in study.plan().models:
        key = planned.predictions["blur"]
        assert study.store.manifest(key).provenance["device"] == DEVICE
        for where in ("reference", "blur", "noise"):
            there, here = (one.predictions(planned.named.model, where).logits for one in (study, on_the_cpu))
            # Noise and shifts that land between two grey levels may differ by one in some pixels.
            allowed = tolerance * np.abs(here).max()
            assert np.quantile(np.abs(np.asarray(there) - np.asarray(here)), 0.99) <= allowed
            assert (np.argmax(there, 1) == np.argmax(here, 1)).mean() > 0.97


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["32", "bf16", "fp16"])
def test_trainings_reach_what_the_cpu_reaches(on_the_cpu, tmp_path, precision, compiled):
    class Trained(OnDevice):
        def models(self):
            return {name: _in(precision, model) for name, model in super().models().items() if name in ("scratch", "tuned")}

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data").symlink_to(on_the_cpu.store.root / "data")
    study = Trained(device=DEVICE, store=tmp_path / "store", quiet=True)
    study.compiled = compiled
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    here = on_the_cpu.results().query("distribution == 'reference' and primary").groupby("group")["value"].mean()
    there = study.results().query("distribution == 'reference' and primary").groupby("group")["value"].mean()
    for group in there.index:
        assert abs(there[group] - here[group]) < 0.05


def _in(precision, models):
    return (
        [replace(model, precision=precision) for model in models]
        if isinstance(models, list)
        else replace(models, precision=precision)
    )


def test_heads_on_features_of_the_device_are_those_of_the_cpu(on_the_cpu, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data").symlink_to(on_the_cpu.store.root / "data")
    study = OnDevice(device=DEVICE, store=tmp_path / "store", quiet=True)
    assert study.run(groups=["probe", "clip"]).exit_status == 0
    for group in ("probe", "clip"):
        here, there = (
            one.results().query(f"group == '{group}' and primary").set_index("distribution")["value"] for one in (on_the_cpu, study)
        )
        assert np.abs(here - there).max() < 0.01


@pytest.mark.parametrize("precision", ["32", "fp16"])
def test_a_stopped_training_goes_on_with_the_same_bits(tmp_path, data_root, precision):
    class One(OnDevice):
        def models(self):
            augment = [Translate(1), RandAugment()]
            return {
                "net": FromScratch(
                    glyph_net("conv-narrow"), augment=augment, precision=precision, optimizer=AdamW(lr=1e-3), **TRAINED
                )
            }

    made = []
    for place, stop_at in (("whole", None), ("cut", 31)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "data").symlink_to(data_root)
        study = One(device=DEVICE, store=tmp_path / place)
        plan = plan_study(study.declaration(), study.store)
        context = Context(
            plan=plan,
            store=study.store,
            attempts=Attempts(study.store),
            data=data_folder(study.store),
            weights=WeightCache(study.store, plan.artifacts, device=DEVICE),
            device=DEVICE,
            reader="plain",
        )
        job = next(job for job in plan.jobs.values() if job.kind == "train")
        if stop_at is not None:
            asked = iter(range(1000))
            context.stop_requested = lambda asked=asked, last=stop_at: next(asked) >= last
            with pytest.raises(Interrupted):
                run_group([job], context)
            context.stop_requested = lambda: False
        run_group([job], context)
        made.append(load_model(study.store.file(job.key, "model.safetensors"))[0])
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


SHIFTS = [
    Blur(2.0),
    Noise(0.2),
    JPEG(20),
    Pixelate(2),
    Occlusion(0.3),
    Invert(),
    Contrast(0.5),
    Brightness(0.3),
    Saturation(0.2),
    Recolour(),
    Tint(p=0.6),
    Rotate(30),
    VerticalFlip(),
]


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: type(shift).__name__)
def test_shifts_on_the_device_are_those_on_the_cpu(shift):
    images = torch.randint(0, 256, (16, 3, 48, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, ids = torch.arange(16) % 10, torch.arange(100, 116)
    here = apply_transforms([shift], images, labels, ids)
    there = apply_transforms([shift], images.to(DEVICE), labels.to(DEVICE), ids.to(DEVICE)).cpu()
    away = (here.int() - there.int()).abs()
    assert away.float().mean() < 0.05
    assert (away > 1).float().mean() < 0.01
