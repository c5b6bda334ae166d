"""The twelve invariants of the design, each with a test that fails when it is broken.

Some are held by other files in detail; this one has one plain test for each.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import shiftline
from conftest import TinyStudy
from shiftline import ExperimentManager, FromScratch, Reference, Split, glyph_net, handwritten_digits, typed_digits
from shiftline.analysis import effective_robustness
from shiftline.contracts.records import SplitRecord
from shiftline.engine.context import Interrupted
from shiftline.engine.predictions import load_predictions
from shiftline.engine.run import run_group
from shiftline.errors import DeclarationError
from shiftline.networks.spec import load_model
from shiftline.plan.checks import backbones
from shiftline.plan.facts import Facts
from shiftline.plan.graph import build_plan
from shiftline.store.artifacts import Store
from test_training import RESUMED, prepared

SOURCE = Path(shiftline.__file__).parent


def python(code, *arguments, **options):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True, **options)


def test_1_importing_and_constructing_touch_nothing(tmp_path):
    code = """
import os, sys, random
touched = []
sys.addaudithook(lambda event, args: touched.append((event, str(args[0]))) if event in ("socket.connect", "os.mkdir", "os.rename")
                 or event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") else None)
state = random.getstate()
import shiftline
from shiftline.studies.digits import Digits
study = Digits(store="never")
study.declaration()
heavy = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "ffcv", "timm", "open_clip"} & set(sys.modules)
assert not heavy, heavy
assert random.getstate() == state
assert not [t for t in touched if "__pycache__" not in t[1]], touched
assert not os.listdir("."), os.listdir(".")
"""
    python(code, cwd=tmp_path)


def test_2_identity_is_a_pure_function_of_declared_fields(tiny):
    golden = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text())
    assert golden
    assert list(tiny.plan().jobs) == list(TinyStudy(store=tiny.store.root).plan().jobs)


def test_3_artifacts_are_immutable_and_a_job_writes_only_its_own(tiny, tmp_path):
    store = Store(tmp_path)
    for content in (b"first", b"second"):
        with store.publish("ab" * 32, "train", {}) as draft:
            (draft.folder / "x").write_bytes(content)
    assert store.file("ab" * 32, "x").read_bytes() == b"first"
    assert [p.name for p in (tmp_path / "artifacts").rglob("*") if p.is_file()] in (["manifest.json", "x"], ["x", "manifest.json"])


def test_4_resuming_equals_not_being_interrupted(tmp_path, data_root):
    """In detail, for every optimiser and with SIGKILL, in test_training.py; for whole studies in test_manager.py."""
    states = []
    for name, stops in (("whole", ()), ("cut", (2, 3, 5))):
        store = tmp_path / name
        store.mkdir()
        (store / "data").symlink_to(data_root)
        job, context = prepared(RESUMED["adamw"], store)
        for stop in stops:
            asked = iter(range(100))
            context.stop_requested = lambda asked=asked, stop=stop: next(asked) >= stop
            with pytest.raises(Interrupted):
                run_group([job], context)
        context.stop_requested = lambda: False
        run_group([job], context)
        states.append((load_model(context.store.file(job.key, "model.safetensors"))[0], context.store.manifest(job.key).summary))
    assert all(torch.equal(states[0][0][n], states[1][0][n]) for n in states[0][0])
    assert states[0][1] == states[1][1]


@pytest.mark.parametrize("where", ["shift", "val", "test"])
def test_5_training_reads_reference_data_only_and_nothing_is_scored_where_it_was_trained(where, new_store):
    digits = handwritten_digits()

    class Study(ExperimentManager):
        name = "s"
        reference = digits
        shifts = {"inverted": Split("typed-digits", "test")}

        def models(self):
            other = {"shift": Split("typed-digits", "test"), "val": digits.val, "test": digits.test}[where]
            return {"a": FromScratch(glyph_net("mlp"), train_on=other)}

    with pytest.raises(DeclarationError, match="training and selection read reference data only"):
        Study(store=new_store).plan()


def test_5_the_reported_split_is_not_the_one_selected_on():
    digits = handwritten_digits()
    with pytest.raises(DeclarationError, match="val and test are the same"):
        Reference(digits.train, digits.test, digits.test)


def test_6_both_axes_use_one_label_space():
    study = dataclasses.replace(TinyStudy().declaration(), shifts=(("typed", typed_digits()),))
    from shiftline.plan.checks import sources
    from test_plan import backbone_record

    records = {s: SplitRecord(str(s), 900, tuple("abcdefghij"), (90,) * 10) for s in sources(study)}
    known = {backbone: backbone_record(backbone) for backbone in backbones(study)}
    records[Split("digits", "test")] = SplitRecord("x", 900, tuple("abcde"), (180,) * 5)
    with pytest.raises(DeclarationError, match="all splits of a reference, and all references, have the same classes"):
        build_plan(Facts(study, records, known))
    records[Split("digits", "test")] = SplitRecord("x", 900, tuple("abcdefghij"), (90,) * 10)
    records[Split("typed-digits", "test")] = SplitRecord("y", 900, tuple("abcdz"), (180,) * 5)
    with pytest.raises(DeclarationError, match=r"lacks 1 of them: 'z'. Both axes of a panel need one label space"):
        build_plan(Facts(study, records, known))
    records[Split("typed-digits", "test")] = SplitRecord("y", 900, tuple("edcba"), (180,) * 5)
    plan = build_plan(Facts(study, records, known))
    for model in plan.models:
        by_space = {score.space: {s.distribution for s in model.scores if s.space == score.space} for score in model.scores}
        assert by_space["typed-digits"] == {"reference", "typed"}
        keys = {(s.distribution, s.space): plan.jobs[s.key] for s in model.scores}
        assert keys["typed", "typed-digits"].projection.outputs == (4, 3, 2, 1, 0, -1, -1, -1, -1, -1)
        assert keys["typed", "typed-digits"].projection.labels == (0, 1, 2, 3, 4)
        # The reference is restricted to the shift's classes from the same predictions.
        assert keys["reference", "typed-digits"].parents == keys["reference", "digits"].parents


def test_6_averages_over_shifts_are_averages_of_per_shift_values(tiny):
    table = tiny.effective_robustness()
    rest = table[table["shift"] != "average"].groupby("model")["effective_robustness"].mean()
    average = table[table["shift"] == "average"].set_index("model")["effective_robustness"]
    pd.testing.assert_series_equal(average, rest[average.index], check_names=False)


def test_7_joins_are_by_key_and_a_missing_model_is_a_visible_gap(tiny):
    results = tiny.results()
    shuffled = results.sample(frac=1, random_state=1)
    first = effective_robustness(results, baseline="from scratch").set_index(["shift", "model"])["effective_robustness"]
    second = effective_robustness(shuffled, baseline="from scratch").set_index(["shift", "model"])["effective_robustness"]
    pd.testing.assert_series_equal(first.sort_index(), second.sort_index())
    assert len(results) == len(tiny.plan().models) * 4


def test_8_each_example_counts_once(tiny):
    for planned in tiny.plan().models:
        for name, key in planned.predictions.items():
            ids = load_predictions(tiny.store, key)["ids"]
            expected = {"reference": 697, "reference val": 200, "blur": 697, "invert": 209}[name]
            assert len(ids) == len(torch.unique(ids)) == expected


@pytest.mark.slow
def test_9_analysis_and_plots_work_without_torch():
    code = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "open_clip", "lightning_fabric", "ffcv"):
            raise ImportError(name)
sys.meta_path.insert(0, Forbidden())
import pandas as pd
from shiftline.analysis import effective_robustness
from shiftline.report.panels import robustness_figure
rows = [(f"m{i}", "base", d, v, 100, float("nan"), float("nan"), float("nan"), "k") for i, x in enumerate((.5, .6, .7)) for d, v in (("reference", x), ("s", x / 2))]
table = pd.DataFrame(rows, columns="model group distribution value n alpha low high key".split())
assert len(effective_robustness(table, baseline="base")) == 3
_, numbers = robustness_figure(table, baseline="base", scale="probit", title="t")
assert set(numbers["shift"]) == {"s"}
"""
    python(code)


def test_9_declarations_and_plans_need_the_standard_library_only():
    code = """
import sys
from shiftline.contracts import codec, study
from shiftline.operations import training
from shiftline.plan import graph
outside = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"shiftline", "lazy_loader", "__main__"}
print(sorted(n for n in outside if not n.startswith("_")))
"""
    assert python(code).stdout.strip() in ("[]", "['sitecustomize']")


@pytest.mark.slow
def test_10_there_is_no_import_time_work_and_no_process_wide_state():
    """No module calls anything when it is imported, but definitions, constants and a logger-free type alias."""
    code = """
import sys, random, pkgutil, importlib
import matplotlib, numpy as np, torch
from matplotlib import scale
before = (dict(matplotlib.rcParams), sorted(scale.get_scale_names()), torch.get_num_threads(), torch.get_rng_state().sum(), np.random.get_state()[1].sum(), torch.get_default_dtype())
import shiftline
for module in pkgutil.walk_packages(shiftline.__path__, "shiftline."):
    importlib.import_module(module.name)
after = (dict(matplotlib.rcParams), sorted(scale.get_scale_names()), torch.get_num_threads(), torch.get_rng_state().sum(), np.random.get_state()[1].sum(), torch.get_default_dtype())
assert before == after
"""
    python(code)


def test_10_no_module_keeps_state_that_a_function_rebinds():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Global), f"{path}: global {node.names}"


def test_11_accuracies_are_fractions(tiny):
    for table in (tiny.results()["value"], tiny.effective_robustness()["reference"], tiny.effective_robustness()["predicted"]):
        assert table.between(0, 1).all()
    assert np.abs(tiny.effective_robustness()["effective_robustness"]).max() <= 1


def test_12_every_number_can_be_traced(tiny):
    plan = tiny.plan()
    for row in tiny.results().itertuples():
        score = plan.jobs[row.key]
        summary = tiny.store.manifest(row.key).summary
        assert row.value == summary["correct"] / summary["n"]
        (prediction,) = score.parents
        assert plan.jobs[prediction].distribution == dict(plan.study.evaluated())[row.distribution]
    for figure, numbers in tiny.figures().values():
        assert figure is not None
        assert len(numbers)
    assert tiny.figures()["robustness"][1]["key"].notna().all()


def test_no_banned_names():
    banned = {"utils", "util", "helpers", "helper", "common", "misc", "info", "data2"}
    for path in SOURCE.rglob("*.py"):
        assert path.stem not in banned
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                words = set(node.name.lower().strip("_").split("_"))
                assert not words & banned, f"{path}: {node.name}"
                assert not node.name.startswith(("process_", "handle_")), f"{path}: {node.name}"
