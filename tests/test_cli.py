"""The command line as a user types it: output, machine-readable rows, exit status, one error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from shiftline.cli.app import main

TINY = f"{Path(__file__).parent / 'conftest.py'}:TinyStudy"


def shiftline(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "shiftline.cli.app", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


def called(*arguments, cwd=None):
    """The same command in this process: starting one takes seconds."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["shiftline", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd or "."):
            main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def ok(*arguments, **options):
    done = called(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def error(*arguments, **options):
    done = called(*arguments, **options)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_run_does_nothing_and_says_so(tiny):
    started = time.monotonic()
    done = shiftline("run", TINY, "--store", tiny.store.root)
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert "tiny: nothing to do, all" in out
    # A guard against importing torch for nothing, far above what it takes.
    assert time.monotonic() - started < 30
    assert ok("run", TINY, "--store", tiny.store.root, "--quiet") == ""


def test_planning_a_finished_study_imports_no_torch_and_no_pandas(tiny):
    code = (
        "import sys; sys.argv = ['shiftline', 'run', 'module', '--store', sys.argv[1]]\n"
        "from shiftline.studies.digits import Digits\n"
        "from shiftline.launch.planning import plan_study\n"
        "from shiftline.store.artifacts import Store\n"
        "from shiftline.cli import app, loading\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'ffcv'} & set(sys.modules), set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny.store.root)], check=True)


def test_results_as_json_have_exactly_the_promised_names(tiny):
    rows = json.loads(ok("results", TINY, "--store", tiny.store.root, "--format", "json"))
    assert len(rows) == 48
    names = [
        "model",
        "group",
        "recipe",
        "seed",
        "epoch",
        "step",
        "alpha",
        "other_data",
        "order_unverified",
        "distribution",
        "label_space",
        "metric",
        "primary",
        "value",
        "n",
        "low",
        "high",
        "key",
        "model_key",
    ]
    assert all(list(row) == names for row in rows)
    zero_shot = next(r for r in rows if r["model"] == "zero-shot" and r["distribution"] == "reference")
    assert zero_shot["alpha"] is None
    assert 0.7 < zero_shot["value"] < 0.9
    assert zero_shot["n"] == 697
    table = list(csv.DictReader(io.StringIO(ok("results", TINY, "--store", tiny.store.root, "--format", "csv"))))
    assert [float(r["value"]) for r in table] == [r["value"] for r in rows]


def test_robustness_as_json_has_exactly_the_promised_names(tiny):
    rows = json.loads(ok("robustness", TINY, "--store", tiny.store.root, "--format", "json", "--scale", "logit"))
    names = [
        "shift",
        "model",
        "group",
        "key",
        "reference",
        "shifted",
        "predicted",
        "effective_robustness",
        "low",
        "high",
        "scale",
        "r2",
        "n_baseline",
        "extrapolated",
        "notes",
    ]
    assert all(list(row) == names for row in rows)
    assert {row["scale"] for row in rows} == {"logit"}
    assert all(isinstance(row["extrapolated"], bool) for row in rows)


def test_tables_for_people_are_in_percent(tiny):
    out = ok("results", TINY, "--store", tiny.store.root)
    assert "accuracy (%)" in out
    assert "wise-ft alpha=0.5" in out
    out = ok("robustness", TINY, "--store", tiny.store.root)
    assert "ER (pp)" in out
    assert "probit axes, 5 baseline models" in out


def test_robustness_by_recipe_with_its_parts(tiny):
    out = ok("robustness", TINY, "--store", tiny.store.root, "--by", "recipe", "--parts")
    assert all(head in out for head in ("+- line", "+- images", "+- seeds"))
    rows = json.loads(ok("robustness", TINY, "--store", tiny.store.root, "--by", "recipe", "--parts", "--format", "json"))
    (tuned,) = [row for row in rows if row["group"] == "tuned" and row["shift"] == "blur"]
    assert tuned["replicates"] == 2
    assert tuned["seeds"] > 0
    assert tuned["low"] < tuned["effective_robustness"] < tuned["high"]


def test_two_groups_are_compared(tiny):
    store = ("--store", tiny.store.root)
    out = ok("compare", TINY, "tuned", "zero-shot", *store)
    assert "tuned minus zero-shot" in out
    rows = json.loads(ok("compare", TINY, "probe", "zero-shot", *store, "--format", "json"))
    assert [row["shift"] for row in rows] == ["blur", "invert", "average"]
    table = tiny.results()
    values = table[table["primary"]].pivot(index="model", columns="distribution", values="value")
    for row in rows[:2]:
        difference = values.loc["probe", row["shift"]] - values.loc["zero-shot", row["shift"]]
        assert row["accuracy_difference"] == pytest.approx(difference)
    assert "no model or group 'tune'" in error("compare", TINY, "tune", "zero-shot", *store)
    assert "no shift of the study has been split" in error("support", TINY, *store)


def test_plan_status_and_explain(tiny):
    store = ("--store", tiny.store.root)
    assert "12 models" in ok("plan", TINY, *store)
    lines = ok("plan", TINY, "--jobs", *store).splitlines()
    assert len(lines) == len(tiny.plan().jobs)
    assert "complete" in ok("status", TINY, *store)
    rows = json.loads(ok("status", TINY, "--format", "json", *store))
    assert {row["state"] for row in rows} == {"complete"}
    key = next(row["key"] for row in rows if row["kind"] == "train")
    out = ok("explain", TINY, key[:16], *store)
    assert out.startswith(key)
    assert "nearest relative" in out


@pytest.mark.slow
def test_verify_repair_and_run_heal_a_store(tiny, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny.store.root, copy, symlinks=True)
    assert "0 damaged" in ok("verify", TINY, "--store", copy)
    victim = sorted((copy / "artifacts").glob("*/*/predictions.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    done = shiftline("verify", TINY, "--store", copy)
    assert done.returncode == 1
    assert f"damaged: {victim.parent.name[:12]}" in done.stdout
    assert "moved aside" in ok("verify", TINY, "--store", copy, "--repair")
    # Its score was computed before the damage and is kept: only the prediction is made again.
    assert "1 job done" in ok("run", TINY, "--store", copy)
    assert "0 damaged" in ok("verify", TINY, "--store", copy)
    assert "1 item," in ok("collect", TINY, "--store", copy)
    assert (copy / "damaged").exists()
    assert "deleted" in ok("collect", TINY, "--store", copy, "--delete")
    assert not list((copy / "damaged").iterdir())


@pytest.mark.slow
def test_plot_writes_figures_with_their_numbers(tiny, tmp_path):
    files = ok("plot", TINY, "--store", tiny.store.root, "--out", tmp_path).split()
    assert [Path(f).name for f in files] == ["robustness.png", "alpha-curves.png", "alpha-table.png", "effective-robustness.png"]
    for file in files:
        image = np.asarray(Image.open(file).convert("L"))
        assert min(image.shape) > 300
        assert image.std() > 10
        assert Path(file).with_suffix(".csv").stat().st_size > 100
        assert Path(file).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_writing_a_folder_of_images_and_using_it(tmp_path):
    for split, n in (("train", 12), ("val", 4), ("test", 6)):
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                noise = np.random.default_rng([i, level, n]).integers(-30, 30, (40, 36, 3))
                Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        out = ok(
            "data",
            "write",
            "shades",
            "--split",
            split,
            "--images",
            tmp_path / "images" / split,
            "--store",
            tmp_path / "s",
            "--format",
            "jpeg",
            "--short-side",
            34,
        )
        assert f"shades/{split}: {2 * n} images, 2 classes" in out
    (row,) = [line for line in ok("data", "list", "--store", tmp_path / "s").splitlines() if "shades" in line]
    assert "test, train, val" in row
    (tmp_path / "shades.py").write_text(
        "import shiftline as sl\n"
        "from shiftline import *\n"
        "class Shades(ExperimentManager):\n"
        "    name = 'shades'\n"
        "    reference = Reference(*(Split('shades', s) for s in ('train', 'val', 'test')))\n"
        "    shifts = {'invert': reference.test.shifted(Invert())}\n"
        "    def __init__(self, *, epochs: int = 4, **options):\n"
        "        super().__init__(**options)\n"
        "        self.epochs = epochs\n"
        "    def models(self):\n"
        "        return {'cnn': FromScratch(sl.timm('test_resnet'), epochs=self.epochs, batch_size=8,\n"
        "                                   optimizer=AdamW(lr=3e-3), augment=[RandomResizedCrop(scale=(0.5, 1)), HorizontalFlip()])}\n"
    )
    ok("run", tmp_path / "shades.py", "epochs=3", "--store", tmp_path / "s", "--quiet")
    rows = json.loads(ok("results", tmp_path / "shades.py", "epochs=3", "--store", tmp_path / "s", "--format", "json"))
    values = {row["distribution"]: row["value"] for row in rows}
    assert values["reference"] > 0.8
    assert values["invert"] < 0.5
    assert "missing" in ok("status", tmp_path / "shades.py", "epochs=2", "--store", tmp_path / "s", "--format", "json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "digit"], "there is no study 'digit': did you mean digits?"),
        (["run", "nowhere.py"], "the study file nowhere.py does not exist"),
        (["run", "nowhere:Study"], "the module 'nowhere' cannot be imported"),
        (["run", "raises.py"], "raises on import: ZeroDivisionError: division by zero"),
        (["run", "none.py"], "has 0 studies (no class subclasses"),
        (["run", "two.py"], "has 2 studies (A, B): expected one, or its name after a colon, two.py:Class"),
        (["run", "two.py:C"], "has no study 'C': it has A, B"),
        (["run", "digits", "seed=3"], "'seed=3' is no parameter of Digits: expected name=value; its parameters are seeds=3"),
        (["run", "digits", "seeds=many"], "seeds='many': expected a value of type int"),
        (["run", "recipe.py"], "A plain function has no canonical form: write it as a subclass of shiftline.Transform"),
        (["status", "digits"], "has no data for 'digits' yet: run the study first"),
        (["run", "digits", "--store", "none.py"], "none.py cannot be written"),
        (["data", "write", "x"], "there is no data set 'x'"),
        (["data", "write", "imagenet-s"], "did you mean imagenet-"),
        (["data", "write", "digits"], "digits makes its own images"),
        (["data", "write", "imagenet", "--split", "test"], "has no split 'test': it has train, held-out, val, train-whole"),
        (["data", "write", "imagenet"], "where is imagenet"),
        (["data", "write", "imagenet", "--root", "nowhere"], "the folder nowhere does not exist"),
        (["data", "write", "imagenet-c", "--root", "."], "has many splits: say which"),
        (["data", "write", "x", "--split", "train", "--images", "nowhere"], "the folder nowhere does not exist"),
        (["data", "write", "x", "--images", "."], "becomes one split: name it"),
        (["data", "write", "x", "--images", ".", "--domains", "."], "say where the images are, in one way"),
        (["data", "write", "imagenet", "--split", "a", "--images", "."], "imagenet is a known data set"),
        (["data", "write", "x", "--split", "a", "--images", ".", "--format", "webp"], "choose original, raw or jpeg"),
        (["data", "show", "digits"], "names no split: expected DATASET/SPLIT"),
        (["data", "show", "digits/dev"], "digits has no split 'dev'"),
        (["data", "join", "a/b", "c/d"], "c/d is not in the data folder"),
        (["data", "parity", "imagenet/val", "--model", "resnet18"], "where is imagenet|names no model"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, arguments, message):
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text(
        "from shiftline import ExperimentManager\nclass A(ExperimentManager): pass\nclass B(ExperimentManager): pass\n"
    )
    (tmp_path / "recipe.py").write_text(
        "from shiftline import *\n"
        "class S(ExperimentManager):\n"
        "    name = 's'\n"
        "    reference = handwritten_digits()\n"
        "    def models(self):\n"
        "        return {'a': FromScratch(glyph_net('mlp'), train_on=self.reference.train.shifted(lambda i, l, d: i))}\n"
    )
    found = error(*arguments, cwd=tmp_path)
    assert any(part in found for part in message.split("|")), found


def test_unknown_options_list_the_valid_ones():
    done = shiftline("results", "digits", "--format", "xml")
    assert done.returncode == 2
    assert "table" in done.stderr
    assert "json" in done.stderr
