"""Predictions in other number formats: keys of their own, float32 logits, torch's settings as before."""

from __future__ import annotations

import pytest
import torch

from shiftline import SGD, Blur, ExperimentManager, FromScratch, ZeroShot, glyph_clip, glyph_net, handwritten_digits
from shiftline.backbones.glyphs import PROMPTS
from shiftline.engine.precision import check_precision, predicting_in
from shiftline.errors import DeclarationError, DeviceError

REFERENCE = handwritten_digits()


class Small(ExperimentManager):
    name = "small"
    reference = REFERENCE
    shifts = {"blur": REFERENCE.test.shifted(Blur(2))}

    def __init__(self, precision="32", **options):
        super().__init__(**options)
        self.precision = precision

    def models(self):
        net = FromScratch(glyph_net("conv-narrow"), epochs=2, batch_size=50, optimizer=SGD(lr=0.05))
        return {"nets": [net], "zero-shot": ZeroShot(glyph_clip(), templates=PROMPTS)}


@pytest.fixture(scope="module")
def store(tmp_path_factory, data_root):
    root = tmp_path_factory.mktemp("precision")
    (root / "data").symlink_to(data_root)
    assert Small(store=root, quiet=True).run().exit_status == 0
    return root


@pytest.mark.parametrize(("precision", "digits"), [("bf16", 0.1), ("fp16", 0.02)])
def test_predictions_have_keys_of_their_own_and_trainings_do_not(store, precision, digits):
    plain, half = Small(store=store, quiet=True), Small(precision, store=store, quiet=True)
    before = plain.store.complete()
    assert half.run().exit_status == 0
    made = {half.store.manifest(key).kind for key in half.store.complete() - before}
    assert made == {"predict", "score"}
    models = [planned.named.model for planned in plain.plan().models]
    assert len(models) == 2
    for name in models:
        exact, rounded = (study.predictions(name, "blur").logits for study in (plain, half))
        assert rounded.dtype == exact.dtype
        assert not (rounded == exact).all()
        assert abs(rounded - exact).max() < digits * abs(exact).max()
    for planned in half.plan().models:
        for key in planned.predictions.values():
            assert half.plan().jobs[key].document["precision"] == precision


def test_settings_of_torch_are_as_they_were():
    with predicting_in("tf32", "cpu"):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    with predicting_in("32", "cpu"):
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert not torch.is_autocast_enabled("cpu")


def test_a_format_that_is_none_or_that_the_device_lacks_is_refused_before_a_job(store):
    with pytest.raises(DeclarationError, match="the precision of 'small' is 'bf32': choose one of 32, tf32, bf16, fp16"):
        Small("bf32", store=store).declaration()
    with pytest.raises(DeclarationError, match="is 32: choose one of 32, tf32, bf16, fp16. They are text: write '32',"):
        Small(32, store=store).declaration()
    before = Small(store=store).store.complete()
    study = Small("tf32", store=store, quiet=True)
    with pytest.raises(DeviceError, match=r"precision 'tf32' is a format of NVIDIA GPUs .* runs on 'cpu'"):
        study.run()
    assert study.store.complete() == before


def test_a_gpu_of_before_ampere_has_neither_bf16_nor_tf32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    for name in ("tf32", "bf16"):
        with pytest.raises(DeviceError, match="since Ampere"):
            check_precision(name, "cuda")
    check_precision("fp16", "cuda")
