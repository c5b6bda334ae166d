"""Classes of one's own: the files of docs/extending.md as a user's, and each planted mistake one error before any training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shiftline.store.artifacts import Store
from test_cli import called

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), flags=re.S)
FILES = {block.split()[1]: block.partition("\n")[2] for block in BLOCKS if re.match(r"# \w+\.py\n", block)}
FIVE = ["brier.py", "ties.py", "shapes.py", "dead.py", "study.py"]


@pytest.fixture
def folder(tmp_path):
    """A folder outside the repository with the files of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def shell(folder, *words):
    command = [str(Path(sys.executable).parent / "shiftline"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_of_the_five_files_has_at_most_forty_lines():
    assert set(FIVE) | {"checks.py"} == set(FILES)
    assert all(FILES[name].count("\n") <= 40 for name in FIVE)


@pytest.mark.slow
def test_the_five_files_are_planned_run_printed_drawn_and_checked(folder):
    listed = shell(folder, "data", "list", "--from", "study.py")
    assert re.search(r"shapes +│ train, val, test", listed.stdout)
    for verb in ("plan", "run"):
        done = shell(folder, verb, "study.py")
        assert done.returncode == 0, done.stderr
    assert "my-lab/ties" in shell(folder, "plan", "study.py", "--jobs").stdout
    rows = json.loads(shell(folder, "results", "study.py", "--format", "json").stdout)
    assert {row["metric"] for row in rows} == {"accuracy", "macro-f1", "my-lab/brier"}
    brier = [row for row in rows if row["metric"] == "my-lab/brier"]
    assert all(row["low"] < row["value"] < row["high"] for row in brier)
    table = shell(folder, "results", "study.py", "--metric", "my-lab/brier").stdout
    assert "my-lab/brier (%)" not in table
    assert f"{brier[0]['value']:.3f}" in table
    plotted = shell(folder, "plot", "study.py")
    assert plotted.returncode == 0, plotted.stderr
    assert (folder / "results/figures/mine/effective-robustness.png").is_file()
    shown = shell(folder, "data", "show", "shapes/test", "--from", "study.py", "--out", "sheet.png")
    assert shown.returncode == 0, shown.stderr
    checked = subprocess.run([sys.executable, "checks.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert json.loads((folder / "defaults.json").read_text())["my-lab/dead-pixels"]["defaults"] == {"seed": 0}


@pytest.mark.slow
def test_the_other_classes_of_the_page_are_run_by_the_contract(tmp_path):
    others = [block for block in BLOCKS if not re.match(r"# \w+\.py\n", block)]
    study = (
        "from shiftline.testing import check_study\n"
        "class Others(sl.ExperimentManager):\n"
        "    name, reference = 'others', sl.handwritten_digits()\n"
        "    def models(self):\n"
        "        return {'trained': trained, 'bitfit': tuned}\n"
        "check_study(Others)\n"
    )
    (tmp_path / "own.py").write_text("\n".join([*others, study]))
    subprocess.run([sys.executable, "own.py"], cwd=tmp_path, check=True)


# ---- planted mistakes ------------------------------------------------------------------------------------------------

SINGLE = (
    "\n".join(FILES[name] for name in ("brier.py", "ties.py", "shapes.py", "dead.py"))
    + "\n"
    + "\n".join(line for line in FILES["study.py"].splitlines() if not re.match(r"from (brier|dead|shapes|ties) import", line))
)
"""The five files as one: each mistake is a module of its own, in this process."""
RETURN_BRIER = "return ((probabilities - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1)"
ADD_TENSOR = "merged[name] = start[name] + mean.reshape(start[name].shape)"
MISTAKES = {
    "a metric of the wrong shape": (
        RETURN_BRIER,
        "return probabilities",
        r"per_example of the metric 'my-lab/brier' returned .* of shape",
    ),
    "a metric that is NaN": (RETURN_BRIER, "return np.full(len(labels), np.nan)", "returned NaN or infinite values"),
    "a metric that is text": (RETURN_BRIER, "return ['good'] * len(labels)", "expected bool or float of shape"),
    "a merge that drops a tensor": (
        ADD_TENSOR,
        f"{ADD_TENSOR}\n        del merged[name]",
        r"what Ties.merge returned lacks 'head.bias'",
    ),
    "a merge that adds a tensor": (
        ADD_TENSOR,
        f"{ADD_TENSOR}\n            merged['extra'] = mean",
        "Ties.merge returned adds 'extra'",
    ),
    "a merge that reshapes a tensor": (
        ADD_TENSOR,
        "merged[name] = mean[:, None]",
        r"Ties.merge returned a tensor of shape .* expected the shape",
    ),
    "a merge that is NaN": (ADD_TENSOR, "merged[name] = start[name] * float('nan')", "Ties.merge returned NaN"),
    "a merge of networks that differ": (
        "tuned = [sl.FineTune(scratch[0], seed=seed, **short) for seed in range(3)]",
        'tuned = [sl.FromScratch(sl.glyph_net("conv-narrow"), seed=seed, **short) for seed in range(3)]',
        "cannot be mixed, they differ in architecture",
    ),
    "a transform that changes the shape": (
        "return images * keep.to(torch.uint8)",
        "return images[:, :, 1:]",
        "the transform 'my-lab/dead-pixels' returned",
    ),
    "a transform of floats": ("return images * keep.to(torch.uint8)", "return images * keep.float()", "expected uint8"),
    "splits that overlap": (
        "np.random.default_rng(self.splits.index(split))",
        "np.random.default_rng(0)",
        r"share \d+ examples of .*, byte for byte",
    ),
    "classes that change between splits": (
        'return sl.Listing(examples, ("disc", "square", "cross"))',
        'return sl.Listing(examples, ("disc", "square", "cross") if split == "train" else ("disc", "cross", "square"))',
        "all splits of a reference, and all references, have the same classes in the same order",
    ),
    "an attribute that hides a verb": (
        'baseline = "from scratch"',
        'baseline = "from scratch"\n    status = "draft"',
        "Mine.status hides the verb 'status'",
    ),
    "a tag of somebody else": ('tag = "my-lab/dead-pixels"', 'tag = "blur"', "two classes have the tag 'blur'"),
    "a metric without a method": ("def per_example(", "def per_exmple(", "defines none of per_example, value and statistic"),
    "a merge without a method": ("def merge(self, states)", "def mrege(self, states)", "the merge Ties has no merge method"),
    "a data set that cannot be listed": ("def list_split(", "def list_splits(", "the data set 'shapes' cannot be listed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_one_error_before_anything_is_trained(mistake, tmp_path):
    good, bad, message = MISTAKES[mistake]
    assert good in SINGLE
    path = tmp_path / f"{re.sub(r'[^a-z]', '_', mistake)}.py"
    path.write_text(SINGLE.replace(good, bad))
    done = called("run", path, "--store", tmp_path / "store", "--quiet")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("error: ") == 1
    assert Store(tmp_path / "store").complete() == set()
