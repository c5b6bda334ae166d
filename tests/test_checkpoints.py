"""Checkpoints: however a training program wraps a network, its weights are found; what is no such file is said."""

from __future__ import annotations

import argparse
import json
import random

import open_clip
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn

import shiftline as sl
from shiftline.errors import ModelError
from shiftline.networks.checkpoint import EMA, RAW, fill_counters, read_checkpoint
from shiftline.networks.interchange import from_library
from shiftline.networks.pretrained import encoder_state, resolve, weights_digest
from shiftline.networks.spec import load_model
from shiftline.papers.classifiers import read_classifier
from shiftline.papers.imports import import_file
from shiftline.store.artifacts import Store
from test_cli import called

PLAIN = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(3)}
OTHER = {name: tensor + 1 for name, tensor in PLAIN.items()}
BESIDE = {
    "epoch": 3,
    "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    "args": argparse.Namespace(lr=0.1),
    "callbacks": {},
}


def network(**changes):
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=7, **changes).state_dict()


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@given(
    prefixes=st.lists(st.sampled_from(["module.", "_orig_mod.", "model."]), max_size=3),
    nests=st.lists(st.sampled_from(RAW), max_size=3),
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
    averaged=st.none() | st.sampled_from(EMA),
    counted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_wrapping_holds_the_plain_weights(prefixes, nests, beside, averaged, counted, seed, tmp_path_factory):
    def wrapped(state):
        wrapping = prefixed(state, "".join(prefixes)) | ({"n_averaged": torch.tensor(5)} if counted else {})
        for nest in nests:
            wrapping = {nest: wrapping}
        return wrapping

    document = wrapped(OTHER)
    if nests or averaged:
        raw = document if nests else {"state_dict": document}
        document = raw | {key: BESIDE[key] for key in beside} | ({averaged: wrapped(PLAIN)} if averaged else {})
    items = list(document.items())
    random.Random(seed).shuffle(items)
    path = tmp_path_factory.mktemp("c") / "c.pt"
    torch.save(dict(items), path)
    for weights, expected in (("ema", PLAIN if averaged else OTHER), ("raw", OTHER)):
        found = read_checkpoint(path, weights=weights)
        assert weights_digest(found.state) == weights_digest(expected)
        assert len(found.notes) == bool(averaged)
        assert all(f"The {weights} ones were taken" in note for note in found.notes)


def test_a_name_of_the_network_itself_is_no_wrapper(tmp_path):
    torch.save({"model.fc.weight": torch.ones(2)}, tmp_path / "own.pt")
    assert list(read_checkpoint(tmp_path / "own.pt").state) == ["fc.weight"]
    assert list(read_checkpoint(tmp_path / "own.pt", own_names=["model.fc.weight"]).state) == ["model.fc.weight"]


def test_shards_and_snapshots_are_one_file(tmp_path):
    save_file({"fc.weight": PLAIN["fc.weight"]}, tmp_path / "a.safetensors")
    save_file({name: PLAIN[name] for name in ("fc.bias", "bn.num_batches_tracked")}, tmp_path / "b.safetensors")
    files = {name: "a.safetensors" if name == "fc.weight" else "b.safetensors" for name in PLAIN}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    for path in (index, tmp_path):
        assert weights_digest(read_checkpoint(path).state) == weights_digest(PLAIN)
    index.write_text(json.dumps({"weight_map": files | {"head.weight": "a.safetensors"}}))
    with pytest.raises(ModelError, match="names 1 tensors that its files lack, such as 'head.weight'"):
        read_checkpoint(index)
    index.write_text(json.dumps({"weight_map": {"fc.weight": "../a.safetensors"}}))
    with pytest.raises(ModelError, match="expected files beside it"):
        read_checkpoint(index)
    index.write_text("{")
    with pytest.raises(ModelError, match="is damaged or no index of weights"):
        read_checkpoint(index)
    index.unlink()
    with pytest.raises(ModelError, match="has none of model.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_cut_off_is_never_called_a_dangerous_pickle(tmp_path, share, suffix):
    path = tmp_path / f"cut{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(network(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match="is damaged, cut off or no file|is damaged or cut off"):
        read_checkpoint(path)


def test_what_holds_no_weights_says_what_it_holds(tmp_path):
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(ModelError, match="holds no state dict but the keys optimizer, epoch: expected names with tensors"):
        read_checkpoint(tmp_path / "none.pt")


def test_counters_alone_are_filled():
    wanted = {"bn.num_batches_tracked": torch.tensor(7), "bn.weight": torch.ones(2)}
    filled = fill_counters({}, wanted)
    assert filled == {"bn.num_batches_tracked": torch.tensor(0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {n: t for n, t in state.items() if not n.startswith("layer1")},
            r"of \d+ tensors are missing, for example .*layer1",
        ),
        (
            lambda state: state | {"fc.weight": state["fc.weight"][:, :5]},
            r"of another shape.*\(7, 5\) in the file, \(7, \d+\) in the",
        ),
        (lambda state: state | {"more.weight": torch.ones(2)}, "it has 1 tensors more, for example .*more.weight"),
        (lambda state: prefixed(state, "student."), "has no classifier of test_resnet .fc.weight; its tensors are named student."),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    torch.save(change(network()), tmp_path / "c.pt")
    with pytest.raises(ModelError, match=message):
        from_library(tmp_path / "c.pt", "timm:test_resnet")


def test_weights_of_a_study_may_be_wrapped_and_say_which_were_taken(tmp_path):
    state = network()
    averaged = {name: t + 1 if t.is_floating_point() else t for name, t in state.items()}
    for name, document in {
        "raw": state,
        "averaged": averaged,
        "both": {"state_dict": prefixed(state, "module."), "state_dict_ema": prefixed(averaged, "module.")},
    }.items():
        torch.save(document, tmp_path / f"{name}.pt")

    def digest(name, **options):
        return resolve(sl.LocalWeights(sl.timm("test_resnet"), str(tmp_path / f"{name}.pt"), **options), with_weights=True).sha256

    with pytest.warns(UserWarning, match="The ema ones were taken"):
        assert digest("both") == digest("averaged")
    with pytest.warns(UserWarning, match="The raw ones were taken"):
        assert digest("both", weights="raw") == digest("raw")


def test_the_command_says_which_weights_it_took(tmp_path):
    torch.save({"state_dict": network(), "state_dict_ema": network()}, tmp_path / "both.pt")
    for weights in ("ema", "raw"):
        found = called(
            "import", tmp_path / "both.pt", "--architecture", "timm:test_resnet", "--store", tmp_path / "st", "--weights", weights
        )
        assert found.returncode == 0
        assert f"The {weights} ones were taken" in found.stderr


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_position_embeddings_of_another_grid_are_named_and_resized_as_timm_does(name, tmp_path):
    """timm's own loader is the oracle."""
    small = timm.create_model(name, img_size=112, num_classes=3)
    torch.save(small.state_dict(), tmp_path / "small.pt")
    local = sl.LocalWeights(sl.timm(name), str(tmp_path / "small.pt"))
    with pytest.raises(ModelError, match="pos_embed is of 7x7 patches, the network has 14x14: resize it with --resample-positions"):
        resolve(local, with_weights=True)
    resampled = local.replace(resample_positions=True)
    found = encoder_state(resampled, resolve(resampled, with_weights=True))
    oracle = timm.create_model(name, num_classes=3)
    timm.models.load_checkpoint(oracle, str(tmp_path / "small.pt"), filter_fn=checkpoint_filter_fn)
    torch.testing.assert_close(found["pos_embed"], oracle.state_dict()["pos_embed"])
    if "distilled" in name:
        with pytest.raises(ModelError, match="has no classifier of deit_tiny_distilled_patch16_224 .no single one"):
            import_file(Store(tmp_path), tmp_path / "small.pt", architecture=f"timm:{name}", resample=True)
        return
    key = import_file(Store(tmp_path), tmp_path / "small.pt", architecture=f"timm:{name}", resample=True)
    state, _ = load_model(Store(tmp_path).file(key, "model.safetensors"))
    torch.testing.assert_close(state["encoder.pos_embed"], oracle.state_dict()["pos_embed"])


def test_a_training_checkpoint_of_open_clip_is_imported(tmp_path):
    """What its program writes: the state dict of a wrapped model in a nest, beside the optimizer and the epoch."""
    clip = open_clip.create_model("RN50", pretrained=None)
    state = {f"module.{name}": tensor for name, tensor in clip.state_dict().items()}
    document = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    torch.save(document, tmp_path / "epoch_3.pt")
    found, _, headed = read_classifier(tmp_path / "epoch_3.pt", sl.open_clip("RN50", "openai"))
    assert not headed
    torch.testing.assert_close(found["encoder.conv1.weight"], clip.state_dict()["visual.conv1.weight"])
