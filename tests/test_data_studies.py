"""Studies over the known data sets, from the files to the table, on miniature trees."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import miniatures
from shiftline import (
    SGD,
    ExperimentManager,
    FromScratch,
    Reference,
    Split,
    cifar10_1,
    cifar10_2,
    cifar10_c,
    cifar10_reference,
    glyph_net,
    handwritten_digits,
    imagenet_c,
    imagenet_reference,
    imagenet_vid_robust,
    wilds,
    ytbb_robust,
)
from shiftline.data.sidecar import DataFolder
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.imagenet import sub_synsets, synsets
from shiftline.datasets.prepare import write_listing
from shiftline.datasets.splits import CIFAR10_AND_STL10
from shiftline.engine.predictions import load_predictions
from test_cli import called, ok

# Those that are looked for in a folder.
KNOWN = {name: family for name, family in catalogue().families.items() if not family.generated}

NATURAL = """
from shiftline import *

class NaturalShifts(ExperimentManager):
    name = "natural-shifts"
    reference = imagenet_reference()
    shifts = {
        "v2": imagenet_v2("matched-frequency"), "sketch": imagenet_sketch(), "rendition": imagenet_r(),
        "adversarial": imagenet_a(), "objectnet": objectnet(),
    }
    baseline = "from scratch"
    metrics = ("top-5-accuracy",)

    def models(self):
        run = FromScratch(glyph_net("linear"), epochs=6, batch_size=100, optimizer=AdamW(lr=0.03))
        return {"from scratch": run.checkpoints([2, 3, 4, 5, 6])}
"""


def prepared(root, store, name, splits, **options):
    """Make a miniature and write its splits."""
    family = KNOWN[name]
    if name.startswith("wilds-"):
        miniatures.wilds(root, name.removeprefix("wilds-"))
    else:
        getattr(miniatures, name.replace("-", "_").replace(".", "_"))(root, **options)
    for split in splits:
        found = family.listing(catalogue().folder_of(family, [split], root), split)
        write_listing(DataFolder(store / "data"), Split(name, split), found, encoding=family.encoding(split))


@pytest.mark.slow
def test_imagenet_and_its_natural_shifts_from_the_command_line(tmp_path, monkeypatch):
    root, store = tmp_path / "sets", tmp_path / "results"
    for build in (
        miniatures.imagenet,
        miniatures.imagenet_v2,
        miniatures.imagenet_sketch,
        miniatures.imagenet_r,
        miniatures.imagenet_a,
        miniatures.objectnet,
    ):
        build(root)
    monkeypatch.setenv("SHIFTLINE_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.py").write_text(NATURAL)
    message = called("run", "study.py").stderr
    assert "8 splits are not in the data folder" in message
    assert "\n  shiftline data write imagenet-v2 --split matched-frequency\n" in message
    listed = ok("data", "list")
    assert str(root / "objectnet-1.0") in listed
    for name in ("imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-r", "imagenet-a", "objectnet"):
        assert f"{name}/" in ok("data", "write", name)
    assert "written already" in ok("data", "write", "imagenet-a")
    assert "10 splits checked, 0 damaged" in ok("data", "verify")
    ok("run", "study.py", "--quiet")

    rows = json.loads(ok("results", "study.py", "--format", "json"))
    spaces = {(row["distribution"], row["label_space"]): row["n"] for row in rows if row["metric"] == "accuracy"}
    assert spaces == {
        ("reference", "imagenet"): 1000,
        ("reference val", "imagenet"): 1000,
        ("v2", "imagenet"): 1000,
        ("sketch", "imagenet"): 1000,
        ("rendition", "imagenet-r"): 200,
        ("reference", "imagenet-r"): 200,
        ("adversarial", "imagenet-a"): 200,
        ("reference", "imagenet-a"): 200,
        ("objectnet", "objectnet"): 6,
        ("reference", "objectnet"): 4,
    }
    from shiftline.cli.loading import load_study

    study = load_study("study.py")(store=store)
    place = {wnid: label for label, wnid in enumerate(synsets())}
    kept = [place[wnid] for wnid in sub_synsets("r")]
    values = {(r["model"], r["distribution"], r["label_space"]): r for r in rows if r["metric"] == "accuracy"}
    for planned in study.plan().models:
        # By hand: the reference's images of the 200 classes, answered with the best of the 200.
        for name, space in (("reference", "imagenet-r"), ("rendition", "imagenet-r")):
            found = load_predictions(study.store, planned.predictions[name])
            logits, labels = found["logits"].numpy(), found["labels"].numpy()
            labels = labels if name == "reference" else np.array(kept)[labels]
            right = [kept[logits[i, kept].argmax()] == labels[i] for i in range(len(labels)) if labels[i] in kept]
            assert values[planned.named.model, name, space]["value"] == np.mean(right)
        found = load_predictions(study.store, planned.predictions["objectnet"])
        members = [[409, 530], [954], [703]]
        best = [np.argmax([logits[group].max() for group in members]) for logits in found["logits"].numpy()]
        assert values[planned.named.model, "objectnet", "objectnet"]["value"] == np.mean(best == found["labels"].numpy())
    assert max(row["value"] for row in rows if row["distribution"] == "reference") > 0.02

    # Of four images models have none or all right.
    assert "have an accuracy of 0 or 1, extremes='clip' keeps them" in called("robustness", "study.py").stderr
    robustness = json.loads(ok("robustness", "study.py", "--format", "json", "--extremes", "clip"))
    by_hand = {
        r["model"]: r["value"]
        for r in rows
        if (r["distribution"], r["label_space"]) == ("reference", "imagenet-r") and r["metric"] == "accuracy"
    }
    for row in robustness:
        if row["shift"] == "rendition":
            assert row["reference"] == by_hand[row["model"]]
    table = ok("results", "study.py")
    assert "reference in" in table
    assert "top-5-accuracy" in ok("results", "study.py", "--metric", "top-5-accuracy")
    assert "the study has no metric 'macro-f1'" in called("results", "study.py", "--metric", "macro-f1").stderr


class OneModel(ExperimentManager):
    name = "one-model"
    metrics = ("balanced-accuracy", "negative-log-likelihood")

    def __init__(self, reference, shifts, *, metrics=(), batch_size=2, **options):
        super().__init__(**options, quiet=True)
        self.reference, self.shifts, self.batch_size = reference, shifts, batch_size
        self.metrics = (*type(self).metrics, *metrics)

    def models(self):
        return {"linear": FromScratch(glyph_net("linear"), epochs=1, batch_size=self.batch_size, optimizer=SGD(lr=0.01))}


def results(reference, shifts, store, **options):
    study = OneModel(reference, shifts, store=store, **options)
    outcome = study.run()
    assert outcome.exit_status == 0, outcome.failed
    table = study.results()
    assert table["value"].notna().all()
    inside = (table["low"] <= table["value"] + 1e-12) & (table["value"] <= table["high"] + 1e-12)
    # A percentile interval of a biased statistic (macro averages, minima) may lie beside the value; exact ones may not.
    assert inside[table["metric"].isin(["accuracy", "pm-k", "frame-accuracy", "wilds:acc_avg"])].all()
    return study, table


OWN = [name for name in KNOWN if {"train", "val", "test"} <= set(KNOWN[name].splits) and not name.startswith("wilds")]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_study_of_every_set_with_splits_of_its_own(name, tmp_path):
    prepared(tmp_path / "sets", tmp_path, name, ("train", "val", "test"))
    reference = Reference(Split(name, "train"), Split(name, "val"), Split(name, "test"))
    _, table = results(reference, {}, tmp_path)
    assert set(table["distribution"]) == {"reference", "reference val"}


@pytest.mark.slow
def test_signs_are_trained_on_and_typographic_attacks_are_scored_in_the_reference_classes(tmp_path, monkeypatch):
    prepared(tmp_path / "sets", tmp_path, "mtsd", ("train", "val"))
    signs = Split("mtsd", "val")
    results(Reference(Split("mtsd", "train"), signs.indices([0, 1]), signs.indices([2, 3])), {}, tmp_path)

    monkeypatch.chdir(tmp_path)
    ok("data", "attack", "digits/test", "--out", "attacked", "--store", tmp_path)
    assert "is not empty: expected a new folder" in called("data", "attack", "digits/test", "--out", "attacked").stderr
    ok("data", "write", "typographic", "--split", "digits-test", "--root", "attacked", "--store", tmp_path)
    _, table = results(handwritten_digits(), {"attack": Split("typographic", "digits-test")}, tmp_path, batch_size=100)
    attacked = table[(table["distribution"] == "attack") & (table["metric"] == "accuracy")]
    # The index keeps the classes of the data set that was attacked, in their order.
    assert attacked["label_space"].tolist() == ["digits"]
    assert attacked["n"].tolist() == [697]


@pytest.mark.slow
def test_cifar_and_its_shifts(tmp_path):
    root = tmp_path / "sets"
    prepared(root, tmp_path, "cifar10", ("train", "val", "test"), each=20)
    for name, splits in (
        ("cifar10.1", ("v4", "v6")),
        ("cifar10.2", ("test",)),
        ("cifar10-c", ("gaussian_noise-3",)),
        ("stl10", ("test",)),
    ):
        prepared(root, tmp_path, name, splits)
    shifts = {
        "10.1 v4": cifar10_1("v4"),
        "10.1 v6": cifar10_1(),
        "10.2": cifar10_2(),
        "noise": cifar10_c("gaussian_noise", 3),
        "stl": Split("stl10", "test").in_label_space(CIFAR10_AND_STL10),
    }
    _, table = results(cifar10_reference(), shifts, tmp_path, metrics=("top-5-accuracy", "macro-f1", "auroc", "calibration-error"))
    accuracies = table[table["metric"] == "accuracy"].set_index(["distribution", "label_space"])["n"]
    assert accuracies["stl", "cifar10 and stl10"] == 9
    assert accuracies["reference", "cifar10 and stl10"] == 18
    assert accuracies["10.1 v4", "cifar10"] == 11


@pytest.mark.slow
def test_corruptions_and_frames_of_imagenet(tmp_path):
    root = tmp_path / "sets"
    prepared(root, tmp_path, "imagenet", ("train", "held-out", "val"))
    prepared(root, tmp_path, "imagenet-c", ("gaussian_noise-3",))
    prepared(root, tmp_path, "imagenet-vid-robust", ("pm-0", "pm-10"))
    prepared(root, tmp_path, "ytbb-robust", ("pm-10",))
    shifts = {
        "noise": imagenet_c("gaussian_noise", 3),
        "vid pm-0": imagenet_vid_robust("pm-0"),
        "vid pm-10": imagenet_vid_robust(),
        "ytbb": ytbb_robust(),
    }
    _, table = results(imagenet_reference(), shifts, tmp_path, batch_size=100)
    primary = table[table["primary"]].set_index(["distribution", "label_space"])
    assert primary["metric"]["vid pm-10", "imagenet-vid-robust"] == "pm-k"
    assert primary["n"]["vid pm-10", "imagenet-vid-robust"] == 2
    assert primary["n"]["ytbb", "ytbb-robust"] == 2
    assert primary["metric"]["reference", "imagenet-vid-robust"] == "accuracy"
    frames = table[(table["distribution"] == "vid pm-10") & (table["metric"] == "frame-accuracy")]
    assert frames["n"].tolist() == [5]
    assert "accuracy" not in set(table[table["distribution"] == "vid pm-10"]["metric"])
    # All frames of a set have to be right: never above its anchors alone.
    assert primary["value"]["vid pm-10", "imagenet-vid-robust"] <= primary["value"]["vid pm-0", "imagenet-vid-robust"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "val", "test", "shift"),
    [
        ("iwildcam", "id_val", "id_test", "test"),
        ("fmow", "id_val", "id_test", "test"),
        ("rxrx1", "val", "id_test", "test"),
        ("camelyon17", "id_val", "val", "test"),
        ("waterbirds", "val", "test", None),
        ("celebA", "val", "test", None),
        ("domainnet", "val", "id_test", "test"),
    ],
)
def test_wilds_with_official_metrics_and_groups(name, val, test, shift, tmp_path):
    prepared(tmp_path / "sets", tmp_path, f"wilds-{name}", [s for s in ("train", val, test, shift) if s])
    reference = Reference(wilds(name, "train"), wilds(name, val), wilds(name, test))
    shifts = {} if shift is None else {"shift": wilds(name, shift)}
    study, table = results(reference, shifts, tmp_path, metrics=("worst-group-accuracy",))
    for where, part in table.groupby("distribution"):
        value = part.set_index("metric")["value"]
        if "wilds:acc_avg" in value:
            assert value["wilds:acc_avg"] == pytest.approx(value["accuracy"])
        if "wilds:acc_wg" in value:
            assert value["wilds:acc_wg"] == pytest.approx(value["worst-group-accuracy"]), where
    assert table[table["primary"]]["metric"].str.startswith("wilds:").all()
    groups = study.group_accuracies()
    counts = table[table["metric"] == "accuracy"].set_index("distribution")["n"].to_dict()
    assert groups.groupby("distribution")["n"].sum().to_dict() == counts
    worst = table[table["metric"] == "worst-group-accuracy"].set_index("distribution")["value"]
    assert groups.groupby("distribution")["value"].min().to_dict() == pytest.approx(worst.to_dict())


def test_adding_a_metric_runs_no_model_again(tmp_path, data_root):
    (tmp_path / "data").symlink_to(data_root)
    typed = {"typed": Split("typed-digits", "test")}
    study = OneModel(handwritten_digits(), typed, store=tmp_path, batch_size=100)
    study.run()
    before = {key: study.store.manifest(key).document["kind"] for key in study.store.complete()}
    study.metrics = ("accuracy", "macro-f1", "worst-group-accuracy", "calibration-error")
    study.run()
    made = {key: study.store.manifest(key).document["kind"] for key in study.store.complete() if key not in before}
    assert set(made.values()) == {"score"}
    assert len(made) == 7
    # Fonts are the groups of typed digits; handwritten ones have none.
    worst = study.results().query("metric == 'worst-group-accuracy'")
    assert worst["distribution"].tolist() == ["typed"]
    assert set(study.group_accuracies()["subgroup"]) > {"cmtt10"}


def commands_of(text, where):
    """The commands of the bash blocks of a document, with the paths that it uses put where the miniatures are."""
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S):
        for line in block.splitlines():
            command = line.split("#")[0].strip()
            if command.startswith("shiftline data "):
                for placeholder, path in where.items():
                    command = command.replace(placeholder, str(path))
                yield shlex.split(command)[1:]


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/data.md"])
def test_the_data_commands_of_the_documentation_run(document, tmp_path, monkeypatch):
    root = tmp_path / "sets"
    miniatures.imagenet(root)
    miniatures.imagenet_r(root)
    for path in ("own/a/1.png", "own/b/2.png", "domains/x/a/1.png", "domains/y/b/1.png"):
        miniatures.save(tmp_path / path)
    miniatures.own_images(tmp_path)
    monkeypatch.setenv("SHIFTLINE_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / document).read_text()
    places = {"train": "own", "domains": "domains", "all": "all", "files": "files", "folder": "hub"}
    done = [(c, ok(*c)) for c in commands_of(text, {f"path/to/{name}": folder for name, folder in places.items()})]
    assert len(done) >= (4 if document == "README.md" else 10)
    assert Path("birds-train.png" if document == "README.md" else "imagenet-r-test.png").stat().st_size > 1000


@pytest.mark.parametrize("model", ["timm:resnet10t", "timm:vit_tiny_patch16_224", "timm:convnext_atto"])
def test_parity_with_timms_own_transform(model, tmp_path, monkeypatch):
    """Photographs of odd sizes, through networks whose resized side is not always a whole number."""
    for label in range(43):
        path = tmp_path / "sets/gtsrb/GTSRB/Training" / f"{label:05d}/00000_00000.ppm"
        miniatures.save(path, label, size=(70 + label, 90 - label))
    monkeypatch.chdir(tmp_path)
    ok("data", "write", "gtsrb", "--split", "train-whole", "--root", "sets")
    out = ok("data", "parity", "gtsrb/train-whole", "--model", model, "--root", "sets", "--count", "20")
    # Two implementations of one resampling differ by rounding.
    assert float(re.search(r"mean difference ([\d.]+)", out)[1]) < 0.5
    assert int(re.search(r"largest (\d+)", out)[1]) <= 2
    assert "0 predictions differ" in out
    assert "names no model" in called("data", "parity", "gtsrb/train-whole", "--model", "resnet18", "--root", "sets").stderr


def test_a_model_that_squashes_images_is_given_squashed_images(tmp_path):
    assert compare_squashed(tmp_path) <= 2


def compare_squashed(tmp_path):
    """The largest difference of pixels to open_clip's transform for a model that squashes, without building its network."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from shiftline.backbones.open_clip import OpenClip
    from shiftline.networks.preprocessing import resize_and_crop
    from shiftline.networks.pretrained import resolve

    preprocessing = dict(resolve(OpenClip("ViT-B-16-SigLIP", "webli"), with_weights=False).preprocessing)
    assert preprocessing["squash"] is True
    transform = image_transform_v2(
        PreprocessCfg(size=224, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", resize_mode="squash"),
        is_train=False,
    )
    path = tmp_path / "wide.png"
    miniatures.save(path, 3, size=(70, 120))
    theirs = transform(Image.open(path).convert("RGB")) * 255
    ours = resize_and_crop(torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0)[None], preprocessing)
    return float((ours[0].float() - theirs).abs().max())
