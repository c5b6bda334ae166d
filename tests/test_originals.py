"""The commands of the programs that shiftline replaces: their options, their numbers, their files."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from miniatures import arrays_of, wilds_iwildcam
from shiftline.cli.app import app
from shiftline.datasets.miniature import PLANTED, make_miniature, planted
from shiftline.errors import ShiftlineError
from shiftline.networks.random_clip import build_random_clip

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PROMPTS = ["a photo of the digit {}", "a picture of the digit {}", "an image of the digit {}", "the digit {}"]
SHORT = ["--epochs", "2", "--lr", "1e-3", "--warmup_length", "5", "--batch-size", "64"]
DIGITS = ["--train-dataset", "Digits", "--eval-datasets", "Digits,TypedDigits", "--template", "digits"]


def called(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments):
    result = called(*arguments)
    assert result.exit_code == 0, result.stderr + str(result.exception)
    return result.stdout


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, data_root):
    """A call of `shiftline wise-ft` on digits with a random CLIP, all of whose models are saved."""
    place = tmp_path_factory.mktemp("wise-ft")
    (place / "store").mkdir()
    (place / "store" / "data").symlink_to(data_root)
    out = ok(
        "wise-ft",
        *DIGITS,
        *SHORT,
        "--model",
        "random-clip",
        "--alpha",
        0,
        0.3,
        1,
        "--results-db",
        place / "r.jsonl",
        "--save",
        place / "models",
        "--store",
        place / "store",
        "--quiet",
    )
    return place, out


# ---- agreement -----------------------------------------------------------------------------------------------------


def by_hand(store):
    """The papers' formulas in a few lines of PyTorch: zero-shot head, interpolation, logits, counts."""
    import open_clip

    from shiftline.datasets.digits import HandwrittenDigits
    from shiftline.networks.preprocessing import prepare
    from shiftline.networks.pretrained import clip_preprocessing

    clip, tokenize = build_random_clip().eval(), open_clip.get_tokenizer("ViT-B-32")
    rows = []
    with torch.no_grad():
        for name in NAMES:
            texts = clip.encode_text(tokenize([prompt.format(name) for prompt in PROMPTS]))
            texts = texts / texts.norm(dim=-1, keepdim=True)
            mean = texts.mean(dim=0)
            rows.append(clip.logit_scale.exp() * mean / mean.norm())
    head = torch.stack(rows)
    digits = arrays_of(HandwrittenDigits, "test")
    images = prepare(torch.from_numpy(digits.images).movedim(-1, 1), clip_preprocessing(64))

    def logits(state, weight, bias):
        clip.visual.load_state_dict(state)
        with torch.no_grad():
            features = clip.visual(images)
            return features / features.norm(dim=-1, keepdim=True) @ weight.T + bias

    return clip.visual.state_dict(), head, logits, torch.from_numpy(digits.labels)


def parts(path):
    from safetensors.torch import load_file

    state = load_file(path)
    encoder = {name.removeprefix("encoder."): t for name, t in state.items() if name.startswith("encoder.")}
    return encoder, state["head.weight"], state["head.bias"]


def test_weights_logits_counts_and_rows_are_those_of_the_formulas(tuned):
    from shiftline.engine.predictions import load_predictions
    from shiftline.papers.wise_ft import WiseFT

    place, _ = tuned
    zero, head, logits, labels = by_hand(place)
    zero = {name: t.clone() for name, t in zero.items()}
    start, weight, bias = parts(place / "models/wise_ft_alpha=0.000.safetensors")
    assert start.keys() == zero.keys()
    assert all(torch.equal(start[name], zero[name]) for name in zero)
    torch.testing.assert_close(weight, head, atol=1e-5, rtol=0)
    assert not bias.any()
    end, end_weight, end_bias = parts(place / "models/wise_ft_alpha=1.000.safetensors")
    last = parts(place / "models/finetuned/checkpoint_2.safetensors")
    assert all(torch.equal(end[name], last[0][name]) for name in end)

    mixed = {name: (1 - 0.3) * start[name] + 0.3 * end[name] for name in start}
    found = parts(place / "models/wise_ft_alpha=0.300.safetensors")
    for name in mixed:
        torch.testing.assert_close(found[0][name], mixed[name], atol=1e-7, rtol=1e-6)
    study = WiseFT(
        train="Digits",
        evaluate="Digits,TypedDigits",
        model="random-clip",
        template="digits",
        alpha=(0.0, 0.3, 1.0),
        epochs=2,
        lr=1e-3,
        warmup_length=5,
        batch_size=64,
        store=place / "store",
    )
    rows = {row["alpha"]: row for row in rows_of(place / "r.jsonl") if isinstance(row["alpha"], float)}
    numbers = {0.0: (start, weight, bias), 0.3: None, 1.0: (end, end_weight, end_bias)}
    numbers[0.3] = (mixed, 0.7 * weight + 0.3 * end_weight, 0.7 * bias + 0.3 * end_bias)
    for planned in study.plan().models:
        kind, _, alpha = planned.named.model.partition("=")
        if kind == "alpha":
            expected = logits(*numbers[float(alpha)])
            stored = load_predictions(study.store, planned.predictions["reference"])
            torch.testing.assert_close(stored["logits"].float(), expected, atol=1e-4, rtol=1e-4)
            right = int((expected.argmax(dim=1) == labels).sum())
            assert rows[float(alpha)]["Digits:top1"] == right / len(labels)


def test_rows_have_what_scripts_read(tuned):
    place, out = tuned
    rows = rows_of(place / "r.jsonl")
    assert [row.get("current_epoch") for row in rows] == [0, 1, None, None, None]
    assert [row["alpha"] for row in rows] == [[0.0, 0.3, 1.0], [0.0, 0.3, 1.0], 0.0, 0.3, 1.0]
    original = {
        "data_location",
        "eval_datasets",
        "train_dataset",
        "template",
        "classnames",
        "alpha",
        "exp_name",
        "results_db",
        "model",
        "batch_size",
        "lr",
        "wd",
        "ls",
        "warmup_length",
        "epochs",
        "load",
        "save",
        "freeze_encoder",
        "cache_dir",
        "fisher",
        "fisher_floor",
        "device",
    }
    for row in rows:
        assert original <= row.keys()
        assert {"Digits:top1", "TypedDigits:top1"} <= row.keys()
    assert rows[0]["eval_datasets"] == ["Digits", "TypedDigits"]
    assert (rows[0]["wd"], rows[0]["ls"], rows[0]["exp_name"], rows[0]["freeze_encoder"]) == (0.1, 0.0, None, False)
    assert rows[-1]["Digits:top1"] == rows[1]["Digits:top1"]
    assert "alpha 0.3: Digits:top1" in out
    assert "5 rows added" in out


def test_a_second_call_resumes_and_adds_no_row_twice(tuned):
    place, _ = tuned
    before = set((place / "store" / "artifacts").rglob("manifest.json"))
    again = [
        "wise-ft",
        *DIGITS,
        *SHORT,
        "--model",
        "random-clip",
        "--results-db",
        place / "r.jsonl",
        "--store",
        place / "store",
        "--quiet",
    ]
    assert "0 rows added" in ok(*again, "--alpha", 0, 0.3, 1)
    assert set((place / "store" / "artifacts").rglob("manifest.json")) == before
    assert "1 rows added" in ok(*again, "--alpha", 0.3, 0.6)
    made = set((place / "store" / "artifacts").rglob("manifest.json")) - before
    assert {json.loads(path.read_text())["document"]["kind"] for path in made} == {"predict", "score"}


def test_the_figure_and_the_table_of_the_paper(tuned):
    place, _ = tuned
    options = ["--reference", "Digits", "--eval-datasets", "TypedDigits", "--results-db", place / "r.jsonl"]
    ok("scatter-plot", *options, "--save", place / "plots")
    assert (place / "plots/TypedDigits.png").stat().st_size > 5000
    lines = (place / "plots/TypedDigits.csv").read_text().splitlines()
    assert lines[0] == "method,alpha,Digits:top1,TypedDigits:top1"
    rows = {row["alpha"]: row for row in rows_of(place / "r.jsonl") if isinstance(row["alpha"], float)}
    summary = ok("wise-ft-table", *options, "--format", "csv").splitlines()
    assert summary[0] == "method,row,Digits:top1,TypedDigits:top1,average,average with reference"
    best = max(rows.values(), key=lambda row: row["TypedDigits:top1"])
    cells = {line.split(",")[1]: line.split(",") for line in summary[1:]}
    assert float(cells["best alpha"][3]) == best["TypedDigits:top1"]
    assert float(cells["its alpha"][3]) == best["alpha"]
    assert float(cells["zero-shot (alpha 0)"][5]) == pytest.approx((rows[0.0]["Digits:top1"] + rows[0.0]["TypedDigits:top1"]) / 2)
    text = ok("wise-ft-table", *options, "--every-alpha")
    assert f"{100 * rows[0.3]['Digits:top1']:.1f}" in text
    latex = ok("wise-ft-table", *options, "--format", "latex")
    assert latex.startswith(r"\begin{tabular}{llrrrr}")
    assert latex.count(r"\\") == 1 + 4


# ---- files of the original -----------------------------------------------------------------------------------------


@pytest.fixture
def originals(monkeypatch):
    """Classes like those of the original's modules; they are gone when the files are read."""
    module = types.ModuleType("src_models_modeling")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class ImageEncoder(nn.Module):
        def __init__(self, seed):
            from torchvision.transforms import Compose, Resize, ToTensor

            super().__init__()
            self.model = build_random_clip(seed)
            self.train_preprocess = self.val_preprocess = Compose([Resize(64), ToTensor()])
            self.cache_dir = None

    class ClassificationHead(nn.Linear):
        normalize = True

    class ImageClassifier(nn.Module):
        def __init__(self, seed, classes=10):
            super().__init__()
            torch.manual_seed(seed)
            self.image_encoder = ImageEncoder(seed)
            self.classification_head = ClassificationHead(64, classes)
            self.process_images = True

    for cls in (ImageEncoder, ClassificationHead, ImageClassifier):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)

    def write(path, seed, classes=10, *, encoder=False, state=False):
        model = ImageClassifier(seed, classes)
        thing = model.image_encoder if encoder else model
        if state:
            torch.save(thing.state_dict(), path)
        else:
            path.write_bytes(pickle.dumps(thing))
        return model

    return write


def forget():
    del sys.modules["src_models_modeling"]


def test_pickled_classifiers_are_interpolated_without_their_code(tmp_path, data_root, originals):
    (tmp_path / "data").symlink_to(data_root)
    models = [originals(tmp_path / "zeroshot.pt", 0), originals(tmp_path / "finetuned.pt", 1, state=True)]
    forget()
    ok(
        "wise-ft",
        "--load",
        f"{tmp_path}/zeroshot.pt,{tmp_path}/finetuned.pt",
        "--eval-datasets",
        "Digits",
        "--alpha",
        0,
        0.5,
        "--results-db",
        tmp_path / "r.jsonl",
        "--save",
        tmp_path / "out",
        "--store",
        tmp_path,
        "--quiet",
    )
    assert [row["alpha"] for row in rows_of(tmp_path / "r.jsonl")] == [0.0, 0.5]
    encoder, weight, _ = parts(tmp_path / "out/wise_ft_alpha=0.000.safetensors")
    assert torch.equal(weight, models[0].classification_head.weight)
    assert all(torch.equal(t, models[0].image_encoder.model.visual.state_dict()[name]) for name, t in encoder.items())
    encoder, weight, _ = parts(tmp_path / "out/wise_ft_alpha=0.500.safetensors")
    torch.testing.assert_close(weight, (models[0].classification_head.weight + models[1].classification_head.weight) / 2)
    key = ok("import", tmp_path / "zeroshot.pt", "--store", tmp_path).strip()
    assert len(key) == 64
    assert ok("import", tmp_path / "out/wise_ft_alpha=0.000.safetensors", "--store", tmp_path).strip() == key


def test_a_pickle_can_do_nothing(tmp_path):
    from shiftline.papers.classifiers import read_weights

    class Evil:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "was-here"),)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"visual.proj": torch.ones(2), "other": Evil()}))
    assert torch.equal(read_weights(tmp_path / "evil.pt")["visual.proj"], torch.ones(2))
    assert not (tmp_path / "was-here").exists()
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ShiftlineError, match="a whole module of torch.save, which can run code"):
        read_weights(tmp_path / "module.pt")
    itself = {"visual.proj": torch.ones(2)}
    itself["more"] = itself
    (tmp_path / "itself.pt").write_bytes(pickle.dumps(itself))
    assert list(read_weights(tmp_path / "itself.pt")) == ["visual.proj"]
    # Setting the defaults of a function that the file may call: BUILD with a pair of states.
    rebuild = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__)stb."
    (tmp_path / "change.pt").write_bytes(rebuild)
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(ShiftlineError, match="the file changes"):
        read_weights(tmp_path / "change.pt")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    (tmp_path / "cut.pt").write_bytes((tmp_path / "evil.pt").read_bytes()[:100])
    with pytest.raises(ShiftlineError, match="the file is cut, or no pickle of tensors"):
        read_weights(tmp_path / "cut.pt")


def test_fisher_information_weighs_the_mixture(tuned, tmp_path):
    from safetensors.torch import load_file

    place, _ = tuned
    files = [place / "models/wise_ft_alpha=0.000.safetensors", place / "models/finetuned/checkpoint_2.safetensors"]
    common = ["--store", place / "store", "--quiet"]
    for number, file in enumerate(files):
        out = ok(
            "fisher",
            "--train-dataset",
            "Digits",
            "--load",
            file,
            "--fisher",
            tmp_path / f"f{number}.safetensors",
            "--examples",
            32,
            *common,
        )
        assert "32 images of digits/train" in out
    ok(
        "wise-ft",
        "--load",
        ",".join(map(str, files)),
        "--fisher",
        f"{tmp_path}/f0.safetensors,{tmp_path}/f1.safetensors",
        "--fisher_floor",
        "1e-6",
        "--eval-datasets",
        "Digits",
        "--alpha",
        0.25,
        1,
        "--save",
        tmp_path / "out",
        *common,
    )
    (start, end), fishers = map(load_file, files), [load_file(tmp_path / f"f{number}.safetensors") for number in (0, 1)]
    found = load_file(tmp_path / "out/wise_ft_alpha=0.250.safetensors")
    for name in start:
        weights = [share * fisher[name].clamp_min(1e-6) for share, fisher in zip((0.75, 0.25), fishers, strict=True)]
        expected = (weights[0] * start[name] + weights[1] * end[name]) / (weights[0] + weights[1])
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-5)
    whole = load_file(tmp_path / "out/wise_ft_alpha=1.000.safetensors")
    assert all(torch.equal(whole[name], end[name]) for name in end)


def test_the_steps_alone(tuned, tmp_path):
    place, _ = tuned
    common = ["--store", place / "store", "--quiet"]
    out = ok("zero-shot", *DIGITS, "--model", "random-clip", "--save", tmp_path, *common)
    rows = {row["alpha"]: row for row in rows_of(place / "r.jsonl") if isinstance(row["alpha"], float)}
    assert f"Digits:top1 {rows[0.0]['Digits:top1']:.4f}" in out
    out = ok(
        "fine-tune",
        *DIGITS[:4],
        *SHORT,
        "--load",
        tmp_path / "zeroshot.safetensors",
        "--freeze-encoder",
        "--results-db",
        tmp_path / "r.jsonl",
        "--save",
        tmp_path,
        *common,
    )
    assert [row["current_epoch"] for row in rows_of(tmp_path / "r.jsonl")] == [0, 1]
    before, after = parts(tmp_path / "zeroshot.safetensors"), parts(tmp_path / "finetuned/checkpoint_2.safetensors")
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert not torch.equal(before[1], after[1])


def test_without_a_held_out_part_all_is_trained_on(tmp_path):
    from shiftline.papers.names import data_named

    held_out, whole = (data_named("ImageNet16").reference(selection=chosen) for chosen in (True, False))
    assert (str(held_out.train), str(held_out.val)) == ("imagenet/train 16-shot", "imagenet/held-out")
    assert (str(whole.train), whole.val) == ("imagenet/train-whole 16-shot", None)


def test_alphas_that_differ_little_stay_apart():
    from shiftline.papers.wise_ft import WiseFT

    study = WiseFT(
        train="Digits", evaluate="Digits", model="glyph-clip", template="digits", alpha=(0.3333333, 0.33333334), rows="alpha"
    )
    assert len(study.models()["alpha"]) == 2


def test_names_of_data_sets_are_the_originals():
    from shiftline.papers.names import classes_from, data_named

    assert str(data_named("FashionMNISTVal").test) == "fashion-mnist/val"
    assert str(classes_from([data_named("ImageNetR"), data_named("ImageNetV2")]).test) == "imagenet-v2/matched-frequency"
    assert str(classes_from([data_named("ImageNetA")]).test) == "imagenet/val"
    assert str(classes_from([data_named("TypedDigits")]).test) == "typed-digits/test"
    assert str(data_named("imagenet-v2/top-images").test) == "imagenet-v2/top-images"


# ---- patching ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(tmp_path_factory, data_root):
    place = tmp_path_factory.mktemp("patch")
    make_miniature("mnist", place / "sets")
    shutil.copytree(data_root, place / "store" / "data")
    return place


@pytest.mark.slow
def test_a_task_is_patched_under_frozen_heads(mnist):
    from safetensors.torch import load_file

    options = [
        "patch",
        "--train-dataset",
        "MNIST",
        "--eval-datasets",
        "MNIST,Digits",
        "--model",
        "random-clip",
        "--epochs",
        2,
        "--lr",
        "1e-3",
        "--batch-size",
        32,
        "--warmup_length",
        3,
        "--data-location",
        mnist / "sets",
        "--store",
        mnist / "store",
        "--alpha",
        0,
        0.5,
        1,
        "--quiet",
    ]
    out = ok(*options, "--results-db", mnist / "r.jsonl", "--save", mnist / "models", "--eval-every-epoch")
    rows = rows_of(mnist / "r.jsonl")
    assert [row.get("current_epoch") for row in rows] == [0, 1, None, None, None]
    curve = [row for row in rows if isinstance(row["alpha"], float)]
    assert [row["alpha"] for row in curve] == [0.0, 0.5, 1.0]
    assert sum(row["selected"] for row in curve) == 1
    assert out.count("<- chosen on held-out data") == 1
    assert curve[-1]["MNIST:top1"] == rows[1]["MNIST:top1"]
    first, last = (load_file(mnist / f"models/MNIST/patched_alpha={alpha}.safetensors") for alpha in ("0.000", "1.000"))
    assert torch.equal(first["head.weight"], last["head.weight"])
    assert not torch.equal(first["encoder.proj"], last["encoder.proj"])
    assert "no alpha was chosen" in ok(*options, "--reference-val", "none")
    # Fewer alphas may choose another one: its row says so, and stands beside the old.
    fewer = [word for word in options if word != 0.5]
    ok(*fewer, "--results-db", mnist / "r.jsonl")
    assert len(rows_of(mnist / "r.jsonl")) == 5 + 2
    # An encoder of a file in the place of the model's own: patching it further starts where it is.
    ok(*options, "--load", mnist / "models/MNIST/patched_alpha=1.000.safetensors", "--results-db", mnist / "more.jsonl")
    assert next(row for row in rows_of(mnist / "more.jsonl") if row["alpha"] == 0.0)["MNIST:top1"] == curve[-1]["MNIST:top1"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["joint", "sequential", "parallel"])
def test_several_tasks_are_patched(mnist, mode, tmp_path):
    out = ok(
        "patch",
        "--train-dataset",
        "MNIST,Digits",
        "--eval-datasets",
        "MNIST,Digits,CIFAR10",
        "--model",
        "random-clip",
        "--mode",
        mode,
        "--epochs",
        1,
        "--lr",
        "1e-3",
        "--batch-size",
        32,
        "--warmup_length",
        3,
        "--data-location",
        _with_cifar(mnist),
        "--store",
        mnist / "store",
        "--alpha",
        0,
        0.5,
        "--results-db",
        tmp_path / "r.jsonl",
        "--eval-every-epoch",
        "--quiet",
    )
    rows = rows_of(tmp_path / "r.jsonl")
    epochs = [rows.pop(0)["train_dataset"] for row in list(rows) if "current_epoch" in row]
    assert epochs == (["MNIST", "Digits"] if mode == "parallel" else ["MNIST,Digits"])
    assert {"MNIST:top1", "Digits:top1", "CIFAR10:top1"} <= rows[0].keys()
    assert [row["alpha"] for row in rows][:2] == [0.0, 0.5]
    assert "chosen on held-out data" in out
    if mode == "parallel" and len(rows) == 3:
        assert len(rows[2]["alpha"]) == 2


@pytest.mark.slow
def test_a_patched_model_is_scored_by_the_metrics_of_the_data(mnist, tmp_path):
    wilds_iwildcam(tmp_path / "sets")
    ok(
        "patch",
        "--train-dataset",
        "Digits",
        "--eval-datasets",
        "Digits,IWildCamID",
        "--model",
        "random-clip",
        "--epochs",
        1,
        "--lr",
        "1e-3",
        "--warmup_length",
        3,
        "--data-location",
        tmp_path / "sets",
        "--store",
        mnist / "store",
        "--alpha",
        0.5,
        "--results-db",
        tmp_path / "r.jsonl",
        "--reference-val",
        "none",
        "--quiet",
    )
    (row,) = rows_of(tmp_path / "r.jsonl")
    assert {"Digits:top1", "IWildCamID:top1", "IWildCamID:F1-macro_all"} <= row.keys()


def _with_cifar(mnist):
    if not (mnist / "sets/cifar-10-batches-py").is_dir():
        make_miniature("cifar10", mnist / "sets")
    return mnist / "sets"


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("wise-ft --eval-datasets Digits", "nothing to interpolate: give --train-dataset to fine-tune, or --load"),
        ("wise-ft --train-dataset Digits --model glyph-clip --template digits", "nothing is evaluated: give --eval-datasets"),
        ("wise-ft --train-dataset Digits --eval-datasets Digits", "a zero-shot model needs --model and --template"),
        (
            "wise-ft --train-dataset Digits --eval-datasets Digits --freeze-encoder --fisher a.pt,b.pt",
            "--freeze-encoder with --fisher",
        ),
        ("wise-ft --load a.pt --eval-datasets Digits", "names 1 file: expected 2, the zero-shot model and the fine-tuned one"),
        ("wise-ft --load a.pt,missing.pt --eval-datasets Digits", "missing.pt does not exist"),
        ("wise-ft --train-dataset ImageNett --eval-datasets Digits", "no data set 'ImageNett': did you mean ImageNet"),
        ("wise-ft --train-dataset Digits --eval-datasets ImageNetV3", "no data set 'ImageNetV3': did you mean ImageNetV2"),
        ("wise-ft --train-dataset ImageNetV2 --eval-datasets Digits", "ImageNetV2 is only evaluated: it has no training split"),
        (
            "wise-ft --train-dataset ImageNet --eval-datasets ImageNetR --data-location nowhere",
            "Get the data from|was not found|does not exist",
        ),
        ("wise-ft --train-dataset Digits --eval-datasets Digits --model ViT-X --template digits", "there is no model 'ViT-X'"),
        (
            "wise-ft --train-dataset Digits --eval-datasets Digits --model glyph-clip --template poem",
            "there are no templates 'poem'",
        ),
        (
            "wise-ft --train-dataset Digits --eval-datasets Digits --model glyph-clip --template digits --alpha 0 1.5",
            "mixing coefficient",
        ),
        ("wise-ft --train-dataset Digits --eval-datasets Digits --results-db other.csv", "line 1, is no JSON"),
        ("wise-ft --train-dataset Digits --eval-datasets Digits --reference-val some", "choose held-out or none"),
        ("fine-tune --eval-datasets Digits", "what is fine-tuned on"),
        ("fisher --load a.pt", "which images is the Fisher information estimated on"),
        ("patch --eval-datasets Digits --model glyph-clip", "what is patched? Give --train-dataset"),
        ("patch --train-dataset Digits --model glyph-clip --eval-datasets ImageNetRValClasses", "scored in the classes of another"),
        ("wise-ft --load .,a.pt --eval-datasets Digits", "is a folder: expected the zero-shot model"),
        ("scatter-plot --eval-datasets ImageNetV2 --results-db missing.jsonl --save plots", "there are no results missing.jsonl"),
        ("wise-ft-table --eval-datasets ImageNetV2 --results-db other.csv", "is no JSON"),
        ("run imagenet_support_split shift=v3", "there is no shift 'v3': choose of v2, sketch, r, or all"),
        ("run imagenet_synthetic_shift", "say one of tint_p=0.5, label_p=0.1, out_of_support=true"),
        ("run digits --group cnn", "has no group 'cnn'"),
        ("run digits --kind cook", "there is no kind of job 'cook': the kinds are"),
        ("data make-miniature coco --root x", "no miniature of 'coco': choose one of imagenet, mnist, cifar10"),
    ],
)
def test_bad_input_is_one_clear_error(command, message, tmp_path, monkeypatch, data_root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHIFTLINE_DATA", raising=False)
    Path("results").mkdir()
    Path("results/data").symlink_to(data_root)
    Path("a.pt").write_bytes(b"x")
    Path("b.pt").write_bytes(b"x")
    Path("other.csv").write_text("model,accuracy\n")
    result = called(*command.split())
    assert isinstance(result.exception, ShiftlineError), result
    assert any(part in str(result.exception) for part in message.split("|")), str(result.exception)
    assert not Path("results/artifacts").exists()


def test_models_of_other_classes_and_rows_of_another_study_are_refused(tuned, tmp_path, originals, data_root):
    place, _ = tuned
    (tmp_path / "data").symlink_to(data_root)
    for seed in (0, 1):
        originals(tmp_path / f"{seed}.pt", seed, classes=7)
    forget()
    loaded = [
        "wise-ft",
        "--load",
        f"{tmp_path}/0.pt,{tmp_path}/1.pt",
        "--train-dataset",
        "Digits",
        "--eval-datasets",
        "Digits",
        "--store",
        tmp_path,
    ]
    with pytest.raises(ShiftlineError, match="has a head of 7 classes, the reference has 10"):
        raise called(*loaded).exception
    with pytest.raises(ShiftlineError, match="does not hold the image tower of RN50 openai"):
        raise called(*loaded, "--model", "RN50").exception
    with pytest.raises(
        ShiftlineError, match="rows have no ImageNet:top1: the file is of another study.*Digits:top1, TypedDigits:top1"
    ):
        raise called(
            "scatter-plot", "--eval-datasets", "TypedDigits", "--results-db", place / "r.jsonl", "--save", tmp_path
        ).exception
    rows = rows_of(place / "r.jsonl")
    (tmp_path / "twice.jsonl").write_text(
        "".join(json.dumps(row | {"Digits:top1": x}) + "\n" for x in (0.1, 0.2) for row in rows[2:3])
    )
    with pytest.raises(ShiftlineError, match="alpha 0 twice, with other numbers"):
        raise called(
            "wise-ft-table", "--reference", "Digits", "--eval-datasets", "TypedDigits", "--results-db", tmp_path / "twice.jsonl"
        ).exception


# ---- miniatures and published classifiers --------------------------------------------------------------------------


def test_a_miniature_is_never_written_over_data(tmp_path):
    (tmp_path / "imagenet").mkdir()
    with pytest.raises(ShiftlineError, match="exists: a miniature is written to a folder of its own"):
        raise called("data", "make-miniature", "imagenet", "--root", tmp_path).exception
    assert not list((tmp_path / "imagenet").iterdir())


def test_the_planted_mixture_is_one_image_in_so_many():
    assert [number for number in range(12) if planted("imagenet-sketch", 0, number, 20)] == [0, 5, 10]
    assert not planted("imagenet-a", 3, 1, 2)
    assert set(PLANTED) == {"imagenet-v2", "imagenet-sketch", "imagenet-r"}


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_vit", "test_efficientnet", "test_byobnet", "resnetv2_18", "efficientformerv2_s0"]
)
def test_a_published_classifier_has_the_logits_that_timm_gives_it(name, tmp_path):
    import timm
    from safetensors.torch import save_file

    from shiftline import LocalWeights
    from shiftline import timm as timm_named
    from shiftline.networks.pretrained import backbone_spec, classifier_state, resolve
    from shiftline.networks.spec import build_classifier

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = LocalWeights(timm_named(name), str(tmp_path / "w.safetensors"))
    record = resolve(backbone, with_weights=True)
    assert record.num_classes == 7
    ours = build_classifier(backbone_spec(record, num_classes=7, features="plain")).eval()
    ours.load_state_dict(classifier_state(backbone, record))
    size = record.preprocessing["size"]
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), model(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "crossvit_tiny_240"])
def test_a_classifier_that_is_no_linear_layer_on_features_is_refused(name, tmp_path):
    import timm
    from safetensors.torch import save_file

    from shiftline import LocalWeights
    from shiftline import timm as timm_named
    from shiftline.networks.pretrained import classifier_state, resolve

    save_file(timm.create_model(name, num_classes=7).state_dict(), tmp_path / "w.safetensors")
    backbone = LocalWeights(timm_named(name), str(tmp_path / "w.safetensors"))
    record = resolve(backbone, with_weights=True)
    assert record.num_classes is None
    with pytest.raises(ShiftlineError, match="has no linear classifier of its own"):
        classifier_state(backbone, record)


def test_a_published_classifier_of_other_classes_is_refused_before_any_time_is_spent(tmp_path, data_root):
    import timm
    from safetensors.torch import save_file

    from shiftline import ExperimentManager, LocalWeights, Published, handwritten_digits
    from shiftline import timm as timm_named

    (tmp_path / "data").symlink_to(data_root)

    class Off(ExperimentManager):
        name = "off-the-shelf"
        reference = handwritten_digits()

        def models(self):
            return {"published": Published(LocalWeights(timm_named("test_vit"), str(tmp_path / "w.safetensors")))}

    for classes in (7, 10):
        torch.manual_seed(0)
        save_file(timm.create_model("test_vit", num_classes=classes).state_dict(), tmp_path / "w.safetensors")
        study = Off(store=tmp_path, quiet=True)
        if classes == 7:
            with pytest.raises(ShiftlineError, match="has a head of 7 classes, the reference has 10"):
                study.plan()
        else:
            assert study.run().exit_status == 0
            assert study.results()["value"].notna().all()
    assert np.isin(study.results()["n"], [200, 697]).all()
