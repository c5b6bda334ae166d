"""The page "Coming from ...", command by command, on miniatures, and the notebooks on what the commands made."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from shiftline import Split
from shiftline.data.sidecar import DataFolder
from shiftline.datasets.miniature import planted
from shiftline.networks.random_clip import build_random_clip
from test_cluster import cluster  # noqa: F401 - a fixture.

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "coming-from.md").read_text()
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)]
SMALLER = {
    "ViT-B/32": "random-clip",
    "ViT-L/14": "random-clip",
    "--epochs=10": "--epochs=1",
    "--epochs=5": "--epochs=1",
    "checkpoint_10": "checkpoint_1",
    "ImageNet16": "ImageNet1",
    "scripts/": f"'{ROOT}/scripts/'",
    "--alpha 0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0": "--alpha 0 0.5 1.0",
}
"""What makes the commands of the page cheap enough for a test."""
THROUGH_SLURM = ("imagenet_synthetic_shift_baseline.sh", "imagenet_support_split.sh evaluate")

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]


def pickled(folder):
    """Write what the original's fine-tuning leaves: pickled classifiers of classes that are not there any more."""
    module = sys.modules["originals_modeling"] = types.ModuleType("originals_modeling")

    class ImageEncoder(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.model = build_random_clip(seed)

    class ImageClassifier(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.image_encoder, self.classification_head = ImageEncoder(seed), nn.Linear(64, 1000)

    for cls in (ImageEncoder, ImageClassifier):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("zeroshot", "finetuned")):
        (folder / f"{name}.pt").write_bytes(pickle.dumps(ImageClassifier(seed)))
    del sys.modules[module.__name__]


class Shell:
    """Runs lines of the page in one folder, whose user has a home of their own."""

    def __init__(self, folder):
        self.folder = folder

    @property
    def environment(self):
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return os.environ | {"PATH": paths, "HOME": str(self.folder), "UV_CACHE_DIR": str(self.folder / "uv")}

    def run(self, line):
        for word, other in SMALLER.items():
            line = line.replace(word, other)
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def commands(block):
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    made = Shell(tmp_path_factory.mktemp("coming from"))
    for line in commands(BLOCKS[0]):
        made.run(line)
    return made


@pytest.fixture(scope="module")
def wise_ft(shell):
    pickled(shell.folder / "models")
    return [shell.run(line) for block in BLOCKS[1:4] for line in commands(block)]


def test_the_commands_of_wise_ft(shell, wise_ft):
    rows = [json.loads(line) for line in (shell.folder / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 1 + 3
    names = [f"{name}:top1" for name in ("ImageNet", "ImageNetV2", "ImageNetR", "ImageNetA", "ImageNetSketch")]
    assert all(set(names) <= row.keys() for row in rows)
    loaded = [json.loads(line) for line in (shell.folder / "loaded.jsonl").read_text().splitlines()]
    assert [row["alpha"] for row in loaded] == [0.0, 0.5, 1.0]
    assert (shell.folder / "models/wiseft/wise_ft_alpha=0.500.safetensors").is_file()
    assert {path.stem for path in (shell.folder / "plots").glob("*.png")} == {
        "ImageNetV2",
        "ImageNetR",
        "ImageNetA",
        "ImageNetSketch",
    }
    assert any(out.startswith(r"\begin{tabular}") for out in wise_ft)


def test_the_command_of_patching(shell):
    (line,) = commands(BLOCKS[4])
    out = shell.run(line)
    assert "<- chosen on held-out data" in out
    rows = [json.loads(line) for line in (shell.folder / "patching.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all({"ImageNet:top1", "MNIST:top1"} <= row.keys() for row in rows)


def test_the_commands_of_the_readme(tmp_path):
    (block,) = (b for b in re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S) if "wise-ft" in b)
    here = Shell(tmp_path)
    assert "alpha 0.5: Digits:top1" in "".join(here.run(line) for line in commands(block))
    assert (tmp_path / "plots/TypedDigits.png").is_file()
    # What was computed is said without the libraries that compute.
    words = commands(block)[0].split()[1:]
    code = f"""import sys; from shiftline.cli.app import app
sys.argv = ['shiftline', *{words}]; app(standalone_mode=False)
print([name for name in ('torch', 'timm', 'scipy.stats', 'sklearn') if name in sys.modules])"""
    assert here.run(f"{sys.executable} -c {shlex.quote(code)}").splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def ask(shell, cluster):  # noqa: F811
    """The commands of the third program: two through SLURM, the others here."""
    for line in [line for block in BLOCKS[5:7] for line in commands(block)]:
        if "scripts/" not in line:
            shell.run(line)
        elif any(name in line for name in THROUGH_SLURM):
            out = shell.run(f"{line} small=true")
            assert "execution groups submitted" in out
            jobs = re.search(r"squeue --jobs ([\d,]+)", out)[1]
            until = time.time() + 900
            while subprocess.run(["squeue", "-h", "--jobs", jobs], capture_output=True, text=True).stdout.strip():
                assert time.time() < until, "SLURM did not finish"
                time.sleep(2)
        else:
            shell.run(f"{line} small=true --local --quiet")
    return shell


def test_the_commands_of_ask_your_distribution_shift(ask):
    synthetic = json.loads(ask.run("shiftline status imagenet_synthetic_shift tint_p=0.5 small=true hparams=true --format json"))
    assert {row["state"] for row in synthetic} == {"complete"}
    split = json.loads(ask.run("shiftline status imagenet_support_split shift=sketch small=true --format json"))
    assert {row["state"] for row in split} == {"complete"}
    whole = json.loads(ask.run("shiftline status imagenet_support_split subsets=false small=true --format json"))
    assert {row["state"] for row in whole} == {"complete"}
    joined = DataFolder(ask.folder / "results" / "data").open(Split("imagenet-with-shifts", "all"))
    assert joined.record.count == 1000 + 1000 + 1000 + 200
    wrong = subprocess.run(["bash", ROOT / "scripts/imagenet_support_split.sh", "cook", "v2"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "there is no stage 'cook': choose evaluate, tune or estimate" in wrong.stderr


def test_a_split_finds_the_planted_mixture(ask):
    from shiftline.launch.support import support_ratios
    from shiftline.studies.imagenet_support_split import ImageNetSupportSplit

    study = ImageNetSupportSplit(shift="sketch", small=True, store=ask.folder / "results")
    (found,) = support_ratios(study.plan(), study.store)
    images = DataFolder(ask.folder / "results" / "data").open(study.shifts["sketch"].source).record.count
    assert images == len(found.ids) == 1000
    # One image of each class, in the order of the labels.
    truth = torch.tensor([planted("imagenet-sketch", int(example), 0, 1) for example in found.ids])
    inside = torch.as_tensor(found.ratios >= 0.2)
    assert int((inside & truth).sum()) > 0.95 * int(truth.sum())
    assert int((inside & ~truth).sum()) < 0.05 * int((~truth).sum())


def executed(name, folder, **variables):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert "**Question.**" in notebook.cells[0].source
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    last = notebook.cells[-1].get("outputs", [])
    assert any("image/png" in output.get("data", {}) for output in last), "a notebook ends with its figure"
    return [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(("name", "pictures"), [("example_experiment", 4), ("wise_ft", 1), ("patching", 1)])
def test_the_notebooks_on_digits(name, pictures, tmp_path):
    # Two scatter figures, a table of averages and the forest; a curve; a curve.
    assert len(executed(name, tmp_path)) == pictures


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebooks_on_a_miniature(ask, tmp_path):
    ask.run("bash scripts/imagenet_support_split.sh estimate all small=true --local --quiet")
    where = {"SHIFTLINE_STORE": str(ask.folder / "results"), "SHIFTLINE_SMALL": "1"}
    assert len(executed("imagenet_synthetic_shift", tmp_path, **where)) >= 2
    assert len(executed("imagenet_support_split", tmp_path, **where)) >= 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["imagenet_synthetic_shift", "imagenet_support_split"])
def test_a_notebook_without_its_study_says_so(name, tmp_path):
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="run the study first"):
        executed(name, tmp_path, SHIFTLINE_STORE=str(tmp_path / "empty"))
