"""Models named by where they are on Hugging Face's hub, from a cache without a network: resolved, pinned, and run."""

from __future__ import annotations

import json

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

import shiftline as sl
from shiftline.errors import ModelError
from shiftline.networks.hub import snapshot
from shiftline.networks.pretrained import classifier_state, encoder_state, resolve
from shiftline.operations.published import Published

COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A function that puts a model into an empty cache of the hub; there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot.cache_clear()

    def put(where, files, *, commit=COMMIT):
        base = tmp_path / f"models--{where.replace('/', '--')}"
        folder = base / "snapshots" / commit
        folder.mkdir(parents=True)
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs" / "main").write_text(commit)
        for name, content in files.items():
            if isinstance(content, str):
                (folder / name).write_text(content)
            else:
                save_file(content, folder / name)
        return folder

    yield put
    snapshot.cache_clear()


def timm_files(classes=7):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=classes)
    config = {
        "architecture": "test_vit",
        "num_classes": classes,
        "label_names": [f"class {row}" for row in range(classes)],
        "pretrained_cfg": {"input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "crop_pct": 0.9},
    }
    return model, {"config.json": json.dumps(config), "model.safetensors": model.state_dict()}


def test_a_timm_model_of_the_hub_is_pinned_to_its_commit(cache):
    model, files = timm_files()
    cache("someone/net", files)
    backbone = sl.timm("hf_hub:someone/net")
    record = resolve(backbone, with_weights=True)
    assert (record.architecture, record.weights) == ("test_vit", f"someone/net@{COMMIT}")
    assert record.num_classes == 7
    assert record.class_ids == tuple(f"class {row}" for row in range(7))
    assert record.preprocessing["mean"] == [0.1, 0.2, 0.3]
    assert record.preprocessing["crop"] == 0.9
    state = classifier_state(backbone, record)
    torch.testing.assert_close(state["head.weight"], model.state_dict()["head.weight"])
    by_commit = sl.timm(f"hf_hub:someone/net@{COMMIT}")
    assert resolve(by_commit, with_weights=True).sha256 == record.sha256
    Published(backbone)  # It is a classifier like any of timm's.


def test_another_commit_under_the_same_name_is_not_taken_for_it(cache):
    _, files = timm_files()
    cache("someone/net", files)
    backbone = sl.timm("hf_hub:someone/net")
    record = resolve(backbone, with_weights=True)
    _, others = timm_files(classes=8)
    cache("someone/net", others, commit="b" * 40)
    snapshot.cache_clear()
    with pytest.raises(ModelError, match=f"changed: .*; someone/net@{COMMIT} names what was recorded"):
        encoder_state(backbone, record)
    assert resolve(sl.timm(f"hf_hub:someone/net@{COMMIT}"), with_weights=True).sha256 == record.sha256


@pytest.mark.parametrize("quick", [False, True])
def test_an_open_clip_model_of_the_hub_is_one_of_its_architectures(cache, quick):
    config = {
        "model_cfg": open_clip.get_model_config("RN50") | ({"quick_gelu": True} if quick else {}),
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"},
    }
    state = open_clip.create_model("RN50", pretrained=None).state_dict() if quick else {}
    cache("someone/clip", {"open_clip_config.json": json.dumps(config), "open_clip_model.safetensors": state})
    backbone = sl.open_clip("hf-hub:someone/clip")
    assert backbone.names().arguments == {"quick_gelu": quick}
    if not quick:
        return  # The weights are read alike.
    record = resolve(backbone, with_weights=True)
    assert record.weights == f"someone/clip@{COMMIT}"
    assert record.preprocessing["std"] == [0.4, 0.5, 0.6]
    assert open_clip.get_model_config(record.architecture)["vision_cfg"] == open_clip.get_model_config("RN50")["vision_cfg"]
    torch.testing.assert_close(encoder_state(backbone, record)["conv1.weight"], state["visual.conv1.weight"])
    assert str(backbone) == "hf-hub:someone/clip"


def test_what_cannot_be_had_is_one_message(cache):
    with pytest.raises(ModelError, match="hf_hub:no/where cannot be had .*point HF_HUB_CACHE at the folder"):
        resolve(sl.timm("hf_hub:no/where"), with_weights=True)
    cache("someone/else", {"README.json": "{}"})
    with pytest.raises(ModelError, match="has no config.json: it is no model of this library"):
        resolve(sl.timm("hf_hub:someone/else"), with_weights=True)
    cache("some/new", {"config.json": json.dumps({"architecture": "resnet18_v9"})})
    with pytest.raises(ModelError, match="is a 'resnet18_v9', which timm does not know: did you mean resnet18"):
        resolve(sl.timm("hf_hub:some/new"), with_weights=True)
